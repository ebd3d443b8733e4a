"""Whether what the app needs is there: each step in turn, and what to mend where one fails."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from referral_fn.credentials.entra import EXCHANGE_SCOPE, Tokens
from referral_fn.credentials.vault import Secret
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.partner_center import PartnerCenter
from referral_fn.queues.opening import open_queue
from referral_fn.referrals.request import ReferralRequest
from referral_fn.settings import Settings, SettingsError, read_settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was tried, whether it works, and if not why."""

    step: str
    works: bool
    detail: str = ""


async def examine(environment: Mapping[str, str], referral_id: str | None) -> AsyncIterator[Finding]:
    """Try each step, for the settings as they are. Nothing is changed, but that a consent's token may be renewed.

    Args:
        environment: the app settings.
        referral_id: a referral to fetch; without one that step is left out.

    Yields:
        A finding for each step. Without right settings there are no further steps.
    """
    try:
        settings = read_settings(environment)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("settings", works=False, detail=f"{problem.name} {problem.rule}")
        return
    yield Finding("settings", works=True)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        tokens = Tokens(settings, session)
        try:
            for step, attempt in _steps(settings, session, tokens, referral_id):
                yield await _try(step, attempt)
        finally:
            await tokens.close()


def _steps(
    settings: Settings, session: aiohttp.ClientSession, tokens: Tokens, referral_id: str | None
) -> list[tuple[str, Awaitable[Any]]]:
    mode = settings.referrals_auth
    queues = {
        name: open_queue(url, session, tokens.identity, settings.service_bus_max_message)
        for name, url in (
            ("events", settings.events_url),
            ("rejects", settings.rejects_url),
            ("requests", settings.requests_url),
        )
    }
    steps: list[tuple[str, Awaitable[Any]]] = [("identity", tokens.identity.token(queues["events"].scope))]
    if mode in ("federated-app", "app-user"):
        steps.append(("assertion", tokens.identity.token(EXCHANGE_SCOPE)))
    if mode == "app-user":
        steps.append(("key vault", Secret(settings.refresh_token_secret or "", session, tokens.identity).read()))
    steps.append(("token", tokens.partner_center.token(settings.referrals_scope)))
    if referral_id:
        client = PartnerCenter(settings, session, tokens.partner_center)
        steps.append(("referral", client.fetch(ReferralRequest(referral_id))))
    return [*steps, *((f"{name} queue", queue.probe()) for name, queue in queues.items())]


async def _try(step: str, attempt: Awaitable[Any]) -> Finding:
    try:
        await attempt
    except (RetryableError, PermanentError) as error:
        return Finding(step, works=False, detail=str(error))
    return Finding(step, works=True)
