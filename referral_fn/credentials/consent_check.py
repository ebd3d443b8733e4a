"""What `/api/health` knows about a user's consent, without asking Entra ID."""

import time
from datetime import UTC, datetime

from referral_fn import log
from referral_fn.credentials.vault import Secret, UnusableSecretError
from referral_fn.errors import RetryableError
from referral_fn.single_flight import SingleFlight

INTERVAL = 300
"""Seconds for which a result counts. Health probes come every few seconds, and from anybody."""

WARN_AFTER = 80
"""Days since the consent was last used."""

LAPSES_AFTER = 90
"""Days without use after which a refresh token expires ("Refresh tokens in the Microsoft identity platform")."""


class RecentReason:
    """Why the consent did not work, as seen by the latest attempt of this process; forgotten after `INTERVAL`.

    On Flex Consumption an instance for HTTP functions may live for days on webhooks and health probes, and make no
    further attempt, which could show that an operator has acted.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        self._set_at = 0.0

    def set(self, reason: str | None) -> None:
        """Set the result of an attempt: None if the consent worked."""
        self._reason, self._set_at = reason, time.monotonic()

    @property
    def current(self) -> str | None:
        """The reason, if it is recent."""
        return self._reason if time.monotonic() - self._set_at < INTERVAL else None


class ConsentCheck:
    """Looks at the stored refresh token's age. A use stores a new version, at most once a day."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._checks: SingleFlight[None, str | None] = SingleFlight()
        self._next_check = 0.0
        self._reason: str | None = None

    async def reason(self) -> str | None:
        """Why no token can be had; None if the consent is in place, or if Key Vault cannot be asked right now.

        A consent that is about to lapse is logged as `consent.expiring`.
        """
        if time.monotonic() < self._next_check:
            return self._reason
        return await self._checks.run(None, self._check)

    async def _check(self) -> str | None:
        try:
            version = await self._secret.read()
        except UnusableSecretError as error:
            self._reason = str(error)
        except RetryableError as error:
            log.warning("consent.unchecked", detail=str(error))
            self._reason = None
        else:
            self._reason = _lapsed(version.stored_at)
        self._next_check = time.monotonic() + INTERVAL
        return self._reason


def _lapsed(stored_at: datetime | None) -> str | None:
    days = (datetime.now(UTC) - stored_at).days if stored_at else 0
    if days >= LAPSES_AFTER:
        return f"the consent has not been used for {days} days: run `referral-fn consent`"
    if days >= WARN_AFTER:
        log.warning("consent.expiring", days=days)
    return None
