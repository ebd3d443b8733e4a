import base64
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from referral_fn.referrals.request import (
    MAX_BATCH,
    MAX_BODY,
    InvalidRequestError,
    ReferralRequest,
    Trace,
    prefers_async,
    read_body,
    read_message,
)
from tests.documents import json_values

ID = "fa2ebe8d-754c-4d43-baa1-c31688a9c8ff"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOTIFICATION = {
    "EventName": "referral-created",
    "ResourceUri": f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{ID.upper()}",
    "ResourceName": "referral",
    "AuditUri": None,
    "ResourceChangeUtcDate": "2018-02-17T00:05:39.5485487+00:00",
}
SHAPES: list[Any] = [
    ID,
    ID.upper(),
    f"\n{ID} ",
    json.dumps(ID),
    json.dumps({"referralId": ID}),
    json.dumps({"referralId": ID, "attempt": 3, "firstSeen": "2026-01-02T03:04:05Z", "traceparent": TRACEPARENT}),
    json.dumps(NOTIFICATION),
    json.dumps(NOTIFICATION | {"ResourceUri": f"/engagements/v1/referrals/{ID}/?api-version=1"}),
    json.dumps({"specversion": "1.0", "id": "1", "source": "/crm", "type": "lead", "subject": ID}),
    "\ufeff" + json.dumps({"referralId": ID}),
]


def to_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("encode", [str, to_base64])
def test_every_documented_message_asks_for_its_referral(text: str, encode: Any) -> None:
    assert read_message(encode(text).encode()).referral_id == ID


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("not a guid", ""),
        (f"{ID}0", ""),
        (f"{{{ID}}}", ""),
        (f"{ID} {ID}", ""),
        ("5", ""),
        ("[]", ""),
        ("{}", ""),
        ('"x"', ""),
        (json.dumps({"referralId": 5}), "/referralId"),
        (json.dumps({"referralId": ID, "attempt": -1}), "/attempt"),
        (json.dumps({"referralId": ID, "attempt": True}), "/attempt"),
        (json.dumps({"referralId": ID, "attempt": "1"}), "/attempt"),
        (json.dumps({"referralId": ID, "firstSeen": "yesterday"}), "/firstSeen"),
        (json.dumps({"referralId": ID, "changedAt": 5}), "/changedAt"),
        (json.dumps({"referralId": ID, "cause": "Sue Smith"}), "/cause"),
        (json.dumps(NOTIFICATION | {"ResourceChangeUtcDate": "now"}), "/ResourceChangeUtcDate"),
        (json.dumps(NOTIFICATION | {"EventName": "subscription-updated"}), "/EventName"),
        (json.dumps(NOTIFICATION | {"ResourceUri": "https://api.partnercenter.microsoft.com/"}), "/ResourceUri"),
        (json.dumps(NOTIFICATION | {"ResourceUri": f"/{ID}/{ID}"}), "/ResourceUri"),
        (json.dumps(NOTIFICATION | {"ResourceUri": f"/referrals?id={ID}"}), "/ResourceUri"),
        (json.dumps(NOTIFICATION | {"ResourceUri": "http://["}), "/ResourceUri"),
        (json.dumps(NOTIFICATION | {"ResourceUri": 5}), "/ResourceUri"),
        (json.dumps({"specversion": "1.0", "id": "1"}), "/subject"),
        (json.dumps({"specversion": "1.0", "subject": "lead 5"}), "/subject"),
        ("[" * 5000, ""),
        ('{"a":' * 70 + "1" + "}" * 70, ""),
        ("\\xff", ""),
        (base64.b64encode(b"\xff\xfe").decode(), ""),
    ],
)
def test_anything_else_is_refused_by_field_and_rule(text: str, path: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        read_message(text.encode())
    assert raised.value.path == path
    assert raised.value.rule.startswith("must ")


@given(st.text() | st.binary().map(lambda b: base64.b64encode(b).decode()) | json_values.map(json.dumps))
def test_no_text_on_the_queue_raises_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidRequestError):
        assert read_message(text.encode()).referral_id


def test_a_notification_says_why_and_when() -> None:
    request = read_message(json.dumps(NOTIFICATION).encode())
    assert request.cause == "referral-created"
    assert request.changed_at == datetime(2018, 2, 17, 0, 5, 39, 548548, tzinfo=UTC)
    assert request.event_attributes() == {"cause": "referral-created"}


def test_a_deferred_request_comes_back_as_it_was() -> None:
    first_seen = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    request = ReferralRequest(ID, 2, first_seen, Trace(TRACEPARENT, "a=b"), "referral-updated", first_seen)
    assert read_message(request.envelope(attempt=2)) == request


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-0",
        TRACEPARENT.upper(),
        TRACEPARENT + "-x",
        "ff" + TRACEPARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        TRACEPARENT + "\n",
        5,
        None,
    ],
)
def test_a_malformed_traceparent_is_ignored_and_its_tracestate_with_it(traceparent: Any) -> None:
    assert Trace.of({"traceparent": traceparent, "tracestate": "a=b"}) == Trace()


def test_a_malformed_tracestate_is_ignored_alone() -> None:
    assert Trace.of({"traceparent": TRACEPARENT, "tracestate": "a=\n"}).attributes() == {"traceparent": TRACEPARENT}
    assert Trace.of({"traceparent": TRACEPARENT, "tracestate": "a=b"}) == Trace(TRACEPARENT, "a=b")


def test_a_body_asks_for_one_or_for_many() -> None:
    assert read_body(json.dumps({"referralId": ID.upper()}).encode()) == ID
    assert read_body(json.dumps({"referralIds": [ID, "x", 5]}).encode()) == [ID, "x", 5]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", ""),
        (b"\xff", ""),
        (b"[]", ""),
        (b"{}", ""),
        (json.dumps({"referralId": ID, "referralIds": [ID]}).encode(), ""),
        (json.dumps({"referralId": "x"}).encode(), "/referralId"),
        (json.dumps({"referralIds": ID}).encode(), "/referralIds"),
        (json.dumps({"referralIds": []}).encode(), "/referralIds"),
        (json.dumps({"referralIds": [ID] * (MAX_BATCH + 1)}).encode(), "/referralIds"),
        (b" " * (MAX_BODY + 1), ""),
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes, path: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        read_body(body)
    assert raised.value.path == path


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("respond-async", True),
        ("Respond-Async, wait=10", True),
        ("wait=10, respond-async;foo=1", True),
        ("wait=10", False),
        ("", False),
        ("respond-async-not", False),
    ],
)
def test_the_preference_to_be_answered_later(header: str, expected: bool) -> None:
    assert prefers_async({"prefer": header}) is expected
    assert prefers_async({}) is False
