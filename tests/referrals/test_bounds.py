"""What an answer of one MiB can cost: tests count the work that is done, because time depends on the machine."""

import json
from typing import Any

import phonenumbers
import pytest
from pydantic import ValidationError

from referral_fn.partner_center import MAX_ANSWER
from referral_fn.referrals import contacts, findings, links, phone_numbers, wire
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire_types import MAX_ITEMS
from tests.documents import COLLECTION, SEED_ID, encode, seed


def as_many(item: Any) -> list[Any]:
    """As many copies of an item as an answer has room for, beside the rest of the referral."""
    return [item] * ((MAX_ANSWER - 4096) // (len(json.dumps(item)) + 2))


def normalized(document: dict[str, Any]) -> Any:
    body = encode(document)
    assert len(body) <= MAX_ANSWER
    return json.loads(normalize(wire.read_referral(body, SEED_ID), collection=COLLECTION).encode())["data"]


def test_the_telephone_library_sees_few_and_short_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    parse = phonenumbers.parse

    def recording_parse(number: str, region: str | None) -> phonenumbers.PhoneNumber:
        lengths.append(len(number))
        return parse(number, region)

    monkeypatch.setattr(phonenumbers, "parse", recording_parse)
    odd = {"phoneNumber": "12345" + "-" * (phone_numbers.MAX_LENGTH - 6) + "#"}
    too_long = {"phoneNumber": odd["phoneNumber"] + "-"}
    profile = {"address": {"country": "US"}, "team": [too_long, *as_many(odd)]}
    data = normalized(seed(customerProfile=profile))
    assert len(lengths) == MAX_ITEMS - 1
    assert max(lengths) == phone_numbers.MAX_LENGTH
    assert data["customer"]["contacts"][0]["phone"] == too_long["phoneNumber"]


def test_regular_expressions_and_url_functions_see_no_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    class RecordingPattern:
        def fullmatch(self, text: str) -> bool:
            lengths.append(len(text))
            return True

    def recording_quote(url: str, safe: str) -> str:
        lengths.append(len(url))
        return url

    monkeypatch.setattr(contacts, "_EMAIL", RecordingPattern())
    monkeypatch.setattr(links, "quote", recording_quote)
    long = "a@b." + "c" * 500_000
    uri = "https://example.com/\u00e9" + "c" * 300_000
    people = [{"email": long}, {"email": "a@b.example"}]
    data = normalized(seed(customerProfile=None, team=people, links={"self": uri, "relatedReferrals": "/\u00e9"}))
    assert len(lengths) == 2
    assert max(lengths) <= links.MAX_LENGTH
    assert (data["team"][0]["email"], data["links"]["self"]) == (long, uri)
    assert {finding["path"] for finding in data["warnings"]} == {"/team/0/email", "/links/self"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("team", "team"),
        ("customerProfile/team", "customer/contacts"),
        ("customerProfile/ids", "customer/ids"),
        ("target", "targets"),
        ("details/requirements/industries", "requirements/industries"),
        ("details/requirements/solutions", "requirements/solutions"),
    ],
)
def test_the_items_beyond_the_limit_of_a_list_are_in_extra_as_sent(path: str, place: str) -> None:
    items: Any = [{"id": f"{index}", "firstName": f"{index}"} for index in range(MAX_ITEMS + 2)]
    document: Any = items
    for name in reversed(path.split("/")):
        document = {name: document}
    data = normalized({"id": SEED_ID, **document})
    kept, extra = data, data["extra"]
    for name in place.split("/"):
        kept = kept[name]
    for name in path.split("/"):
        extra = extra[name]
    assert len(kept) == MAX_ITEMS
    assert [extra[str(index)] for index in (MAX_ITEMS, MAX_ITEMS + 1)] == items[MAX_ITEMS:]
    assert {
        "path": f"/extra/{path}",
        "rule": f"has the items after the first {MAX_ITEMS}, as sent",
    } in data["warnings"]


def test_pydantic_builds_no_more_errors_than_lists_may_have_items(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    build_findings = wire._findings  # noqa: SLF001 - where the error is seen

    def counting_findings(error: ValidationError) -> Any:
        counts.append(error.error_count())
        return build_findings(error)

    monkeypatch.setattr(wire, "_findings", counting_findings)
    with pytest.raises(wire.InvalidReferralError) as raised:
        normalized(seed(team=as_many(5)))
    assert counts == [MAX_ITEMS]
    assert len(raised.value.findings) == wire.MAX_FINDINGS


def test_an_event_has_a_limited_number_of_warnings() -> None:
    data = normalized(seed(team=[{"email": "nobody"}] * MAX_ITEMS))
    assert len(data["warnings"]) == findings.MAX_WARNINGS
    assert data["warnings"][-1] == {"path": "", "rule": "has more odd fields than are listed here"}


@pytest.mark.parametrize("amount", ["9" * 2000, "0." + "9" * 2000])
def test_a_long_amount_is_not_parsed(amount: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("referral_fn.referrals.wire_types.Decimal")
    with pytest.raises(wire.InvalidReferralError) as raised:
        normalized(seed(details={"dealValue": amount}))
    assert [finding["path"] for finding in raised.value.findings] == ["/details/dealValue"]
