"""What one worker process shares between invocations: connections, tokens and the gate."""

import gc
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Self

import aiohttp

from referral_fn.credentials.entra import Tokens
from referral_fn.forwarder import Forwarder
from referral_fn.partner_center import PartnerCenter
from referral_fn.queue_worker import QueueWorker
from referral_fn.queues.base import Queue
from referral_fn.queues.opening import open_queue
from referral_fn.settings import Settings, read_settings
from referral_fn.webhooks.recent import RecentNotifications

if TYPE_CHECKING:
    from referral_fn.optional_state import State
    from referral_fn.webhooks.intake import Intake


class App:
    """The parts of the app, wired up from its settings. One per worker process."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._session = session
        self.tokens = Tokens(settings, session)
        self.requests = self._open(settings.requests_url)
        self.partner_center = PartnerCenter(settings, session, self.tokens.partner_center)
        self.state = self._open_state(settings.state_url) if settings.state_url else None
        memory, backfiller = (self.state.memory, self.state.backfiller) if self.state else (None, None)
        self.forwarder = Forwarder(settings, self.partner_center, self._open(settings.events_url), memory)
        rejects = self._open(settings.rejects_url)
        self.queue_worker = QueueWorker(settings, self.forwarder, self.requests, rejects, backfiller)
        self.notifications = RecentNotifications()

    @cached_property
    def intake(self) -> "Intake":
        """Checks notifications. Made for the first one: most referrals do not need its certificates."""
        from referral_fn.webhooks.certificates import Signers  # noqa: PLC0415
        from referral_fn.webhooks.intake import Intake  # noqa: PLC0415

        settings = self.settings
        return Intake(
            Signers(self._session, settings.webhook_extra_roots),
            hosts=settings.webhook_certificate_hosts,
            max_age=settings.webhook_max_age,
        )

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> Self:
        """Open the app for the settings in the environment, in the running event loop.

        Raises:
            SettingsError: settings are missing or invalid.
        """
        settings = read_settings(environment)
        gc.freeze()  # what is imported stays: a collection that walks all of it holds up every request
        return cls(settings, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self.tokens.close()

    def _open_state(self, url: str) -> "State":
        from referral_fn.optional_state import open_state  # noqa: PLC0415 - most workers do without

        return open_state(url, self.settings, self._session, self.tokens, self.partner_center, self.requests)

    def _open(self, url: str) -> Queue:
        return open_queue(url, self._session, self.tokens.identity, self.settings.service_bus_max_message)
