"""A user's consent, once: sign-in by device code, and the refresh token that it leaves."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msal

from referral_fn.credentials import aadsts
from referral_fn.credentials.entra import TIME_OUT, authority
from referral_fn.settings import CredentialSettings


class ConsentError(Exception):
    """Nobody signed in, or not who should; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in."""

    user: str
    tenant: str
    refresh_token: str = field(repr=False)


async def sign_in(settings: CredentialSettings, say: Callable[[str], None]) -> SignedIn:
    """Have a user sign in on any device, with all that the tenant demands.

    Args:
        settings: the app registration. It must allow public client flows, for device codes are one.
        say: shown where to go, and the code to enter there.

    Raises:
        ConsentError: Entra ID refused, time ran out, or the user is of another tenant.
    """
    return await asyncio.to_thread(_sign_in, settings, say)


def _sign_in(settings: CredentialSettings, say: Callable[[str], None]) -> SignedIn:
    try:
        app = msal.PublicClientApplication(
            settings.app_client_id,
            authority=f"https://{authority()}/{settings.app_tenant_id}",
            instance_discovery=False,
            timeout=TIME_OUT,
        )
        flow = app.initiate_device_flow([settings.referrals_scope])
        if "user_code" in flow:
            say(flow["message"])
            flow = app.acquire_token_by_device_flow(flow)
    except (OSError, ValueError) as error:
        raise ConsentError(f"Entra ID cannot be reached, or has no such tenant: {type(error).__name__}") from None
    if "refresh_token" not in flow:
        raise ConsentError(_refusal(flow))
    claims = flow["id_token_claims"]
    if claims["tid"] != app.authority.tenant:
        raise ConsentError(f"the user is of tenant {claims['tid']}, and the app of {app.authority.tenant}")
    return SignedIn(claims["preferred_username"], claims["tid"], flow["refresh_token"])


def _refusal(answer: dict[str, Any]) -> str:
    number = aadsts.number(str(answer.get("error_description")))
    return aadsts.explain(ValueError(f"AADSTS{number}")) if number else f"Entra ID answered {answer.get('error')}"
