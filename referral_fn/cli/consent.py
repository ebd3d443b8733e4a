"""`consent`: a user signs in once, and the refresh token is stored for the app."""

import argparse
import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msal

from referral_fn.cli import output
from referral_fn.cli.errors import CommandError
from referral_fn.cli.session import open_session_as
from referral_fn.credentials import aadsts
from referral_fn.credentials.entra import TIME_OUT, authority
from referral_fn.credentials.vault import Secret
from referral_fn.settings import CredentialSettings, read_credential_settings

HELP = "sign a user in, and store their consent for REFERRALS_AUTH=app-user"
ROLES = (
    "for whoever runs it, Key Vault Secrets Officer on the secret; "
    "for the user who signs in, Referrals Admin in Partner Center"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--auth",
        default="developer",
        help="whose credentials store the consent; default: developer, which is `az login`",
    )


async def run(options: argparse.Namespace) -> int:
    """Sign a user in, and store their refresh token, which is never printed."""
    settings = read_credential_settings({**os.environ, "REFERRALS_AUTH": "app-user"})
    signed_in = await sign_in(settings, output.line)
    output.line(f"{signed_in.user} of tenant {signed_in.tenant} has signed in.")
    async with open_session_as(options.auth) as session:
        secret = Secret(settings.refresh_token_secret or "", session.http, session.tokens.identity)
        await secret.write(signed_in.refresh_token)
    output.line("The consent is stored in Key Vault.")
    return 0


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user who signed in."""

    user: str
    tenant: str
    refresh_token: str = field(repr=False)


async def sign_in(settings: CredentialSettings, show: Callable[[str], None]) -> SignedIn:
    """Have a user sign in with a device code.

    Args:
        settings: the app registration, which must allow public client flows.
        show: called with the sentence that says where to go, and which code to enter.

    Raises:
        CommandError: Entra ID refused, time ran out, or the user belongs to another tenant.
    """
    return await asyncio.to_thread(_sign_in, settings, show)


def _sign_in(settings: CredentialSettings, show: Callable[[str], None]) -> SignedIn:
    try:
        app = msal.PublicClientApplication(
            settings.app_client_id,
            authority=f"https://{authority()}/{settings.app_tenant_id}",
            instance_discovery=False,
            timeout=TIME_OUT,
        )
        result = app.initiate_device_flow([settings.referrals_scope])
        if "user_code" in result:
            show(result["message"])
            result = app.acquire_token_by_device_flow(result)
    except (OSError, ValueError) as error:
        raise CommandError(f"Entra ID cannot be reached, or has no such tenant: {type(error).__name__}") from None
    if "refresh_token" not in result:
        raise CommandError(_explain(result))
    claims = result["id_token_claims"]
    if claims["tid"] != app.authority.tenant:
        raise CommandError(f"the user is of tenant {claims['tid']}, and the app of {app.authority.tenant}")
    return SignedIn(claims["preferred_username"], claims["tid"], result["refresh_token"])


def _explain(result: dict[str, Any]) -> str:
    number = aadsts.number(str(result.get("error_description")))
    return aadsts.explain(ValueError(f"AADSTS{number}")) if number else f"Entra ID answered {result.get('error')}"
