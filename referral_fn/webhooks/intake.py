"""Who sent a notification: nobody but Microsoft may make the app fetch a referral."""

from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp

from referral_fn import log
from referral_fn.errors import SignatureError
from referral_fn.settings import Settings
from referral_fn.webhooks import signature
from referral_fn.webhooks.certificates import Signers


class Intake:
    """Authenticates notifications."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._signers = Signers(session, settings.webhook_extra_roots)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check that a notification is signed by Microsoft.

        Args:
            headers: by lower-case name.
            body: the exact bytes received.

        Raises:
            SignatureError: it is not; `check` names the check that failed.
            RetryableError: `certificate-unavailable`.
        """
        try:
            claim = signature.read_claim(headers, self._settings.webhook_certificate_hosts)
            await self._signers.check(body, claim)
        except SignatureError as error:
            log.warning("webhook.refused", check=error.check, detail=str(error))
            raise

    def check_age(self, changed_at: datetime | None) -> None:
        """Check that a notification is not older than the settings allow.

        Raises:
            SignatureError: `notification-age`.
        """
        try:
            signature.check_age(changed_at, self._settings.webhook_max_age, datetime.now(UTC))
        except SignatureError as error:
            log.warning("webhook.refused", check=error.check, detail=str(error))
            raise
