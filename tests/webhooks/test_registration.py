"""The registration as a value: read from odd answers, and merged with what others registered for."""

from typing import Any

import pytest

from referral_fn.referrals.request import REFERRAL_EVENTS, TEST_EVENT
from referral_fn.webhooks.registration import Registration, RegistrationError, merged

WANTED = Registration("https://new.example/", REFERRAL_EVENTS, own_header=True)


def test_a_first_registration_has_the_wanted_events_and_the_test_event() -> None:
    assert merged(None, WANTED).events == (*REFERRAL_EVENTS, TEST_EVENT)


def test_events_of_other_products_are_kept_and_referral_events_replaced() -> None:
    current = Registration("https://old.example/", ("invoice-ready", "referral-created", TEST_EVENT), own_header=False)
    wanted = Registration("https://new.example/", ("referral-updated",), own_header=True)
    assert merged(current, wanted).events == ("referral-updated", TEST_EVENT, "invoice-ready")


def test_merging_twice_changes_nothing() -> None:
    current = Registration("https://old.example/", ("invoice-ready",), own_header=None)
    once = merged(current, WANTED)
    assert merged(once, WANTED) == once


@pytest.mark.parametrize("own_header", [True, False, None])
def test_a_registration_is_read_as_it_is_written(own_header: bool | None) -> None:
    registration = Registration("https://example.com/", ("referral-created",), own_header)
    assert Registration.read(registration.document()) == registration


def test_names_of_members_are_read_in_any_case() -> None:
    document = {"webhookUrl": "https://example.com/", "webhookEvents": [], "unknown": 1}
    assert Registration.read(document) == Registration("https://example.com/", (), own_header=None)


@pytest.mark.parametrize(
    "document",
    [[], "text", 5, {}, {"WebhookUrl": None, "WebhookEvents": []}, {"WebhookUrl": "u", "WebhookEvents": [1]}, {"a": 1}],
)
def test_an_answer_that_is_no_registration_is_an_error_and_not_taken_for_none(document: Any) -> None:
    with pytest.raises(RegistrationError):
        Registration.read(document)
