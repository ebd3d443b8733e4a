"""The parts of the app that `STATE_URL` turns on. Workers without it do not import them."""

import asyncio
from dataclasses import dataclass

import aiohttp

from referral_fn.backfill import Backfiller
from referral_fn.credentials.entra import Tokens
from referral_fn.partner_center import PartnerCenter
from referral_fn.queues.base import Queue
from referral_fn.reconcile import Reconciler
from referral_fn.referral_list import ReferralList
from referral_fn.settings import Settings
from referral_fn.state.backfill_runs import BackfillRuns
from referral_fn.state.memory import Memory
from referral_fn.state.pause import SharedPause
from referral_fn.state.retention import Retention
from referral_fn.state.table import StorageTable
from referral_fn.state.watermark import Watermark
from referral_fn.state.webhook_watch import WebhookWatch
from referral_fn.webhooks.registration import RegistrationClient

TIMER_LIMIT = 55
"""Seconds for all that the timer does: below half of host.json's functionTimeout, as for messages (forwarder.py)."""


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


def open_state(
    url: str,
    settings: Settings,
    session: aiohttp.ClientSession,
    tokens: Tokens,
    partner_center: PartnerCenter,
    requests: Queue,
) -> State:
    """Wire the parts up, and share the pauses of Partner Center's gate."""
    table = StorageTable(url, session, tokens.identity)
    partner_center.shared_pause = SharedPause(table, partner_center.gate)
    memory, referral_list = Memory(table), ReferralList(partner_center, settings.source)
    backfiller = Backfiller(referral_list, memory, BackfillRuns(table), requests, settings.backfill_rate)
    watch = None
    if webhook_url := settings.expected_webhook_url:
        client = RegistrationClient(session, tokens.partner_center, settings.webhook_api)
        watch = WebhookWatch(client, table, webhook_url, is_configured=settings.webhook_url is not None)
    return State(
        memory,
        Reconciler(referral_list, memory, Watermark(table), requests, backfiller),
        backfiller,
        Retention(table, settings.state_retention_days),
        watch,
    )
