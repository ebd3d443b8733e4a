"""What every program gets: referrals, and tokens of a realistic length."""

import json
from pathlib import Path
from typing import Any

SEED = (Path(__file__).parent.parent / "local_stack" / "stand_ins" / "seed_referral.json").read_bytes()
SEED_ID: str = json.loads(SEED)["id"]
TOKEN_LENGTH = 1500
"""Characters of an access token. Entra ID's have about as many."""

_PHONE_NUMBERS = (
    "+44 20 7946 0958",
    "(403) 569-8759 ext. 12",
    "0049 (0)30 901820",
    "+1 (425) 882-8080",
    "12345",
    "call the front desk",
    "+81-3-4332-5300",
    "425.555.0100",
)
"""In national and international formats, with an extension, too short, and no number at all."""

_LARGE = 20_000
"""Bytes of the large referral."""


def _seed() -> dict[str, Any]:
    return dict(json.loads(SEED))


def _with_contacts() -> dict[str, Any]:
    """The seed's referral with eight contacts, whose telephone numbers are written in eight ways."""
    document = _seed()
    document["customerProfile"]["team"] = [
        {"firstName": "Sue", "lastName": f"Smith {index}", "phoneNumber": number, "email": f"sue{index}@contoso.com"}
        for index, number in enumerate(_PHONE_NUMBERS)
    ]
    return document


def _large() -> dict[str, Any]:
    """The seed's referral with what makes real ones long: notes and undeclared fields, half of it each."""
    document = _seed()
    missing = _LARGE - len(SEED)
    document["details"]["notes"] += "A line of notes.\n" * (missing // 34)
    document["attributes"] = {f"attribute{number}": "x" * 30 for number in range(missing // 100)}
    return document


DOCUMENTS = {
    "seed": json.dumps(_seed()).encode(),
    "contacts": json.dumps(_with_contacts()).encode(),
    "large": json.dumps(_large()).encode(),
}
"""By name: the documented referral, one with eight contacts, and one of 20 KB."""
