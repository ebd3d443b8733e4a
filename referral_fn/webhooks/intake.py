"""Whether a notification is authentic: signed by Microsoft, and not too old."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from referral_fn import log
from referral_fn.errors import SignatureError
from referral_fn.referrals.request import InvalidRequestError, read_event_name, read_notification
from referral_fn.webhooks import signature
from referral_fn.webhooks.certificates import Signers


class Intake:
    """Decides which notifications the webhook accepts.

    Args:
        signers: fetches and keeps the signers' certificates.
        hosts: where these may be; `name` means port 443, `name:port` that port.
        max_age: seconds since the referral changed after which a notification is refused; None sets no limit.
        now: the time.
    """

    def __init__(
        self,
        signers: Signers,
        *,
        hosts: Collection[str],
        max_age: float | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._signers = signers
        self._hosts = hosts
        self._max_age = max_age
        self._now = now

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check that a notification is signed by Microsoft, and not older than allowed.

        A refusal is logged here (`webhook.refused`); nobody else needs to.

        Args:
            headers: by lower-case name.
            body: the exact bytes received.

        Raises:
            SignatureError: it is not authentic; `check` names the check that failed.
            RetryableError: `certificate-unavailable`: whether it is cannot be decided now.
        """
        try:
            await self._signers.check(body, signature.read_claim(headers, self._hosts))
            if self._max_age is not None:
                self._check_age(body, self._max_age)
        except SignatureError as error:
            log.warning("webhook.refused", check=error.check, detail=str(error))
            raise

    def _check_age(self, body: bytes, max_age: float) -> None:
        """Check the age of a notification about a referral; others have no effect, whatever their age."""
        try:
            _, document = read_event_name(body)
            request = read_notification(document)
        except InvalidRequestError:
            return  # no request can come of it; the handler reads it again, and answers accordingly
        signature.check_age(request.changed_at, max_age, self._now())
