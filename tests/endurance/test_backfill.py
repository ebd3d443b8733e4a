"""The backfill run counts requests by referral, and fails for one referral that is not requested."""

import base64

import pytest

from endurance import backfill
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import ReferralRequest

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"


def body(message: bytes) -> bytes:
    return b"<QueueMessage><MessageText>%b</MessageText></QueueMessage>" % base64.b64encode(message)


def test_requests_for_referrals_are_distinguished_from_pages() -> None:
    assert backfill.referral_id(body(request_message(ReferralRequest(ID)).body)) == ID
    assert backfill.referral_id(body(BackfillPage(ID).message().body)) is None
    assert backfill.referral_id(b"") is None


@pytest.mark.parametrize("what", ["not requested", "not finished", "rejects", "in the poison queue"])
def test_the_run_fails_for_one_of_them(what: str) -> None:
    clean = dict.fromkeys(("not requested", "not finished", "rejects", "in the poison queue"), 0)
    assert not backfill.failed(clean)
    assert backfill.failed(clean | {what: 1})
