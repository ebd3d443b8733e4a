"""What one worker process shares between invocations: connections, tokens and the gate."""

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp

from referral_fn.backfill import Backfiller
from referral_fn.credentials.entra import Tokens
from referral_fn.forwarder import Forwarder
from referral_fn.partner_center import PartnerCenter
from referral_fn.queue_worker import QueueWorker
from referral_fn.queues.base import Queue
from referral_fn.queues.opening import open_queue
from referral_fn.reconcile import Reconciler
from referral_fn.referral_list import ReferralList
from referral_fn.settings import Settings, read_settings
from referral_fn.state.backfill_runs import BackfillRuns
from referral_fn.state.memory import Memory
from referral_fn.state.pause import SharedPause
from referral_fn.state.retention import Retention
from referral_fn.state.table import StorageTable
from referral_fn.state.watermark import Watermark
from referral_fn.state.webhook_watch import WebhookWatch
from referral_fn.webhooks.certificates import Signers
from referral_fn.webhooks.intake import Intake
from referral_fn.webhooks.recent import RecentNotifications
from referral_fn.webhooks.registration import RegistrationClient

TIMER_LIMIT = 55
"""Seconds for all that the timer does: below half of host.json's functionTimeout, as for messages (forwarder.py)."""

GC_THRESHOLD = 20_000
"""New objects between two collections of the youngest: some 20 referrals' in place of one's. Few are in cycles."""


@dataclass(frozen=True, slots=True)
class State:
    """What `STATE_URL` turns on."""

    memory: Memory
    reconciler: Reconciler
    backfiller: Backfiller
    retention: Retention
    webhook_watch: WebhookWatch | None
    """None where the webhook's own URL is not known."""

    async def run_timer(self) -> None:
        """Do what is due every hour, within `TIMER_LIMIT` seconds. What is not done by then is left to the next run."""
        deadline = asyncio.get_running_loop().time() + TIMER_LIMIT
        await self.reconciler.run_from_timer()
        if self.webhook_watch:
            await self.webhook_watch.check(deadline)
        await self.retention.run_if_due(deadline)


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
        self.intake = Intake(
            Signers(session, settings.webhook_extra_roots),
            hosts=settings.webhook_certificate_hosts,
            max_age=settings.webhook_max_age,
        )
        self.notifications = RecentNotifications()

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> Self:
        """Open the app for the settings in the environment, in the running event loop.

        Raises:
            SettingsError: settings are missing or invalid.
        """
        settings = read_settings(environment)
        gc.freeze()  # what is imported stays: a collection that walks all of it holds up every request
        gc.set_threshold(GC_THRESHOLD)
        return cls(settings, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self.tokens.close()

    def _open_state(self, url: str) -> State:
        table = StorageTable(url, self._session, self.tokens.identity)
        self.partner_center.shared_pause = SharedPause(table, self.partner_center.gate)
        memory, referral_list = Memory(table), ReferralList(self.partner_center, self.settings.source)
        watch = None
        if webhook_url := self.settings.expected_webhook_url:
            client = RegistrationClient(self._session, self.tokens.partner_center, self.settings.webhook_api)
            watch = WebhookWatch(client, table, webhook_url)
        return State(
            memory,
            Reconciler(referral_list, memory, Watermark(table), self.requests),
            Backfiller(referral_list, memory, BackfillRuns(table), self.requests, self.settings.backfill_rate),
            Retention(table, self.settings.state_retention_days),
            watch,
        )

    def _open(self, url: str) -> Queue:
        return open_queue(url, self._session, self.tokens.identity, self.settings.service_bus_max_message)
