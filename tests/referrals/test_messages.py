"""The messages of events: what a queue or a subscription filter sees of them."""

import json
from typing import Any

import pytest

from referral_fn.queues import service_bus
from referral_fn.referrals.messages import FILTER_PROPERTIES, MAX_PROPERTY, event_message
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import read_referral
from tests.documents import SEED_ID, seed

COLLECTION = "https://api.partner.microsoft.com/v1/referrals"


def event(**changes: Any) -> Any:
    document = seed(id=SEED_ID, **changes)
    return normalize(read_referral(json.dumps(document).encode(), SEED_ID), collection=COLLECTION)


def test_properties_are_what_subscriptions_filter_by() -> None:
    forwarded = event()
    message = event_message(forwarded, forwarded.encode())
    assert set(message.properties) <= set(FILTER_PROPERTIES[forwarded.type])
    assert message.properties["status"] == forwarded.data["status"]


@pytest.mark.parametrize("odd", ["x" * 100_000, "a\r\nX-Injected: 1", "\u202e\U0001f600" * 500])
def test_a_long_or_odd_status_is_cut_in_its_property_and_whole_in_the_event(odd: str) -> None:
    forwarded = event(status=odd)
    message = event_message(forwarded, forwarded.encode())
    assert message.properties["status"] == odd[:MAX_PROPERTY]
    assert json.loads(message.body)["data"]["status"] == odd


async def test_a_property_becomes_a_header_of_printable_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    headers: dict[str, str] = {}

    async def call(*_: Any, **sent: str) -> None:
        headers.update(sent)

    nothing: Any = None
    queue = service_bus.ServiceBusQueue("sb://acme.servicebus.windows.net/events", nothing, nothing, 256 * 1024)
    monkeypatch.setattr(queue, "_call", call)
    forwarded = event(status="a\r\nX-Injected: 1\u202e")
    await queue.put(event_message(forwarded, forwarded.encode()))
    assert headers["status"].isascii()
    assert headers["status"].isprintable()
    assert json.loads(headers["status"]) == "a\r\nX-Injected: 1\u202e"
