"""Whether the account's webhook registration still leads to this app: anybody who registers takes it over."""

import asyncio
import time
from urllib.parse import urlsplit

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.referrals.request import REFERRAL_EVENTS
from referral_fn.state.table import ConflictError, Table
from referral_fn.webhooks.registration import Registration, RegistrationClient, RegistrationError

PARTITION, KEY = "app", "webhook"

CACHE_SECONDS = 30.0
"""Seconds for which `drift` answers what it read last."""


class WebhookWatch:
    """Compares the registration with what the app needs, and keeps the result in the table for all instances."""

    def __init__(self, client: RegistrationClient, table: Table, url: str, *, is_configured: bool) -> None:
        """Watch the registration.

        Args:
            client: reads the registration.
            table: where the result is kept.
            url: the URL that the registration should name.
            is_configured: whether an operator has set that URL. By default it is the app's own, which an installation
                that takes requests from its queue only never registers.
        """
        self._client = client
        self._table = table
        self._url = url
        self._is_configured = is_configured
        self._cached: tuple[float, str | None] | None = None

    async def check(self, deadline: float | None = None) -> None:
        """Look at the registration. Logs `webhook.drifted`, or why it could not look.

        An account that never had a registration of this app is not reported: it may use the queue only.

        Args:
            deadline: when to give up, by the event loop's clock.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._check()
        except ConflictError:
            return  # another run has just looked
        except TimeoutError:
            log.info("webhook.unchecked", detail="not done in time")
        except (RegistrationError, RetryableError) as error:
            log.info("webhook.unchecked", detail=str(error))

    async def _check(self) -> None:
        registration = await self._client.show()
        row = await self._table.get(PARTITION, KEY)
        is_ours = registration is not None and _host_and_path(registration.url) == _host_and_path(self._url)
        was_ours = is_ours or (row is not None and row.values.get("WasOurs") is True)
        drift = self._compare(registration, is_ours=is_ours, was_ours=was_ours)
        if drift:
            log.error("webhook.drifted", detail=drift)
        values = {"Drift": drift or "", "WasOurs": was_ours}
        await self._table.save(PARTITION, KEY, values, etag=row.etag if row else None)

    async def drift(self) -> str | None:
        """What the last check found wrong with the registration; None if nothing, or if the table cannot be read."""
        if self._cached is None or time.monotonic() - self._cached[0] > CACHE_SECONDS:
            try:
                row = await self._table.get(PARTITION, KEY)
            except RetryableError:
                return None
            try:
                drift = row.text("Drift") if row else ""
            except ValueError as error:
                drift = ""
                if row:
                    row.log_malformed(error)
            self._cached = time.monotonic(), drift or None
        return self._cached[1]

    def _compare(self, found: Registration | None, *, is_ours: bool, was_ours: bool) -> str | None:
        if found is None:
            return "there is no registration any more" if was_ours else None
        if not is_ours:
            return "the registration names another URL" if was_ours or self._is_configured else None
        missing = [event for event in REFERRAL_EVENTS if event not in found.events]
        return f"the registration lacks {', '.join(missing)}" if missing else None


def _host_and_path(url: str) -> tuple[str, str]:
    """What two URLs are compared by. The query is left out because it may contain a key."""
    parts = urlsplit(url)
    return parts.netloc.lower(), parts.path.rstrip("/").lower()
