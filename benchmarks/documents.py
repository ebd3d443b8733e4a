"""The referral that is fetched, in three sizes."""

import json
from pathlib import Path

SEED = (Path(__file__).parent.parent / "local_stack" / "stand_ins" / "seed_referral.json").read_bytes()
SEED_ID: str = json.loads(SEED)["id"]
SIZES = (2_000, 20_000, 200_000)
"""Approximate bytes. The first is the unchanged seed referral."""


def referral(size: int) -> bytes:
    """The seed's referral, extended by what makes real ones long: notes and undeclared fields."""
    document = json.loads(SEED)
    missing = max(size - len(SEED), 0)
    document["details"]["notes"] = (document["details"].get("notes") or "") + "A line of notes.\n" * (missing // 34)
    document["attributes"] = {f"attribute{number}": "x" * 30 for number in range(missing // 100)}
    return json.dumps(document).encode()
