"""Whom the intake believes, as a whole: headers, certificate, signature and age, with a certificate host in between."""

from datetime import timedelta

import pytest

from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn.errors import RetryableError, SignatureError
from tests.documents import SEED_ID
from tests.webhook_caller import BODY, Caller, intermediate, root, signature_of, signer


async def test_a_correct_notification_is_accepted_in_silence(caller: Caller) -> None:
    await caller.intake().verify(caller.host.headers(), BODY)
    assert caller.refusals() == []


async def test_a_signer_of_a_public_authority_is_accepted(caller: Caller) -> None:
    """Root, intermediate for server authentication only, signer for server authentication only."""
    url = caller.issuers.publish(intermediate().der)
    genuine = Identity.issue(intermediate(), issuer_url=url)
    await caller.intake().verify(caller.host.headers(genuine), BODY)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"x-ms-signature-algorithm": "rsa-sha1"}, "algorithm"),
        ({"x-ms-certificate-url": "https://evil.example/cert/a.cer"}, "certificate-url"),
        ({"authorization": "Bearer AAAA"}, "scheme"),
        ({"authorization": "Signature AAAA"}, "signature"),
    ],
)
async def test_a_refusal_is_logged_once_and_names_the_check(
    caller: Caller, changes: dict[str, str], check: str
) -> None:
    with pytest.raises(SignatureError) as raised:
        await caller.intake().verify({**caller.host.headers(), **changes}, BODY)
    assert raised.value.check == check
    assert caller.refusals() == [check]


async def test_a_certificate_is_checked_before_the_signature(caller: Caller) -> None:
    expired = Identity.issue(root(), valid=(timedelta(days=-9), timedelta(days=-1)))
    with pytest.raises(SignatureError) as raised:
        await caller.intake().verify(caller.host.headers(expired), b"another body")
    assert raised.value.check == "certificate-expired"


async def test_headers_without_proof_cause_no_fetch(caller: Caller) -> None:
    for headers in ({}, {"authorization": "Signature AAAA"}, caller.host.headers(authorization="Bearer AAAA")):
        with pytest.raises(SignatureError):
            await caller.intake().verify(headers, BODY)
    assert caller.asked == []


async def test_a_certificate_that_cannot_be_fetched_is_no_refusal(caller: Caller) -> None:
    headers = caller.host.headers(x_ms_certificate_url="https://127.0.0.1:9/cert/a.cer")
    with pytest.raises(RetryableError) as raised:
        await caller.intake().verify(headers, BODY)
    assert raised.value.reason == "certificate-unavailable"
    assert caller.refusals() == []


class TestAge:
    """`WEBHOOK_MAX_AGE`, which is compared with the time that the notification states."""

    OLD = BODY.replace(b'"ResourceChangeUtcDate": "20', b'"ResourceChangeUtcDate": "19')

    async def refusal(self, caller: Caller, body: bytes) -> str:
        with pytest.raises(SignatureError) as raised:
            await caller.intake(max_age=3600).verify(caller.host.headers(body=body), body)
        assert caller.refusals() == [raised.value.check]
        return raised.value.check

    async def test_any_age_is_accepted_without_a_limit(self, caller: Caller) -> None:
        await caller.intake().verify(caller.host.headers(body=self.OLD), self.OLD)

    async def test_a_recent_notification_is_accepted(self, caller: Caller) -> None:
        await caller.intake(max_age=3600).verify(caller.host.headers(), BODY)

    async def test_an_old_notification_is_refused(self, caller: Caller) -> None:
        assert await self.refusal(caller, self.OLD) == "notification-age"

    async def test_a_notification_that_has_become_old_is_refused(self, caller: Caller) -> None:
        caller.clock.advance(3700)
        assert await self.refusal(caller, BODY) == "notification-age"

    async def test_a_notification_without_a_time_is_refused(self, caller: Caller) -> None:
        timeless = BODY.replace(b"ResourceChangeUtcDate", b"ResourceChangedAt")
        assert await self.refusal(caller, timeless) == "notification-age"

    async def test_the_signature_is_checked_first(self, caller: Caller) -> None:
        with pytest.raises(SignatureError) as raised:
            await caller.intake(max_age=3600).verify(caller.host.headers(), self.OLD)
        assert raised.value.check == "signature"

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{", notification("test-created", SEED_ID, "test"), notification("referral-created", "no")],
    )
    async def test_what_makes_no_request_is_left_to_the_handler(self, caller: Caller, body: bytes) -> None:
        caller.clock.advance(1_000_000)
        await caller.intake(max_age=3600).verify(caller.host.headers(body=body), body)


async def test_one_signature_does_not_pass_for_another_body(caller: Caller) -> None:
    intake, headers = caller.intake(), caller.host.headers()
    await intake.verify(headers, BODY)
    with pytest.raises(SignatureError):
        await intake.verify(headers, BODY + b" ")
    with pytest.raises(SignatureError):
        await intake.verify({**headers, "authorization": signature_of(intermediate(), BODY)}, BODY)
    assert signer().certificate.issuer == root().certificate.subject
