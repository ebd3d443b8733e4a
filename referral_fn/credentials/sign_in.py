"""Signing a user in, once, for the refresh token of REFERRALS_AUTH=app-user.

Two flows: the authorization code flow with PKCE, in a browser on this machine (RFC 8252), and the device code flow, for
machines without one (RFC 8628). Many tenants block the latter. Either demands multi-factor authentication, because
Partner Center answers 401 without it.
"""

import asyncio
import json
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msal
from aiohttp import web

from referral_fn.credentials import aadsts
from referral_fn.credentials.entra import TIME_OUT, authority
from referral_fn.settings import CredentialSettings

SIGN_IN_TIME = 900
"""Seconds for the user to sign in: as long as Entra ID lets a device code live."""

Flow = Literal["browser", "device"]

_MULTI_FACTOR = {"amr": {"essential": True, "values": ["mfa"]}}
_CLAIMS = json.dumps({"id_token": _MULTI_FACTOR, "access_token": _MULTI_FACTOR})
"""Asks for proof of multi-factor authentication (OpenID Connect Core 1.0, section 5.5; RFC 8176)."""

_PROOFS = {"mfa", "ngcmfa"}
"""Values of the claim `amr` that mean multi-factor authentication ("Access tokens", claim `amr`)."""


class SignInError(Exception):
    """Nobody signed in, or not as required. The message says what to do."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user who signed in."""

    user: str
    tenant: str
    multi_factor: bool | None
    """Whether the tokens prove multi-factor authentication. None if they say nothing about it."""
    refresh_token: str = field(repr=False)


async def sign_in(
    settings: CredentialSettings, *, flow: Flow = "browser", show: Callable[[str], None] = print
) -> SignedIn:
    """Have a user sign in.

    Args:
        settings: the app registration. It must allow public client flows, and for `browser` have the redirect URI
            `http://localhost` of the kind "Mobile and desktop applications".
        flow: where the user signs in: in a browser on this machine, or on any device.
        show: shown where to sign in.

    Raises:
        SignInError: Entra ID refused, time ran out, the user is of another tenant, or signed in with a single factor.
    """
    try:
        app = await asyncio.to_thread(
            msal.PublicClientApplication,
            settings.app_client_id,
            authority=f"https://{authority()}/{settings.app_tenant_id}",
            instance_discovery=False,
            timeout=TIME_OUT,
        )
    except (OSError, ValueError) as error:
        raise SignInError(
            f"Entra ID cannot be reached, or has no tenant REFERRALS_APP_TENANT_ID: {type(error).__name__}"
        ) from None
    sign_in_by = _by_browser if flow == "browser" else _by_device_code
    try:
        result = await sign_in_by(app, [settings.referrals_scope], show)
    except TimeoutError:
        raise SignInError(f"nobody signed in within {SIGN_IN_TIME // 60} minutes: run the command again") from None
    except (OSError, ValueError, RuntimeError) as error:  # MSAL's, for answers that it does not accept
        raise SignInError(f"the sign-in could not be completed: {type(error).__name__}") from None
    return _check(result, app.authority.tenant)


async def _by_device_code(app: Any, scopes: list[str], show: Callable[[str], None]) -> dict[str, Any]:
    flow: dict[str, Any] = await asyncio.to_thread(app.initiate_device_flow, scopes, claims_challenge=_CLAIMS)
    if "user_code" not in flow:
        return flow
    show(flow["message"])
    try:
        result: dict[str, Any] = await asyncio.to_thread(
            app.acquire_token_by_device_flow, flow, claims_challenge=_CLAIMS
        )
    finally:
        flow["expires_at"] = 0  # ends the thread's polling if this was cancelled
    return result


async def _by_browser(app: Any, scopes: list[str], show: Callable[[str], None]) -> dict[str, Any]:
    """Receive the authorization code on a loopback port. MSAL makes and checks the PKCE verifier, state and nonce."""
    redirected: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    expected_state = ""

    async def receive(request: web.Request) -> web.Response:
        answer = {name: str(value) for name, value in (await request.post()).items()}
        if answer.get("state") != expected_state or redirected.done():
            return web.Response(
                text="This is not the sign-in that was started last. Run the command again.", status=400
            )
        redirected.set_result(answer)
        return web.Response(text="Done. You can close this window, and return to the command line.")

    receiver = web.Application(client_max_size=64 * 1024)
    receiver.router.add_post("/", receive)
    runner = web.AppRunner(receiver, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        flow = await asyncio.to_thread(
            app.initiate_auth_code_flow,
            scopes,
            redirect_uri=f"http://localhost:{runner.addresses[0][1]}",  # Entra ID accepts any port of localhost
            response_mode="form_post",  # keeps the code out of the browser's history
            prompt="select_account",
            claims_challenge=_CLAIMS,
        )
        expected_state = flow["state"]
        show(f"Sign in in the browser window that opens, or at {flow['auth_uri']}")
        await asyncio.to_thread(webbrowser.open, flow["auth_uri"])
        async with asyncio.timeout(SIGN_IN_TIME):
            answer = await redirected
    finally:
        await runner.cleanup()
    result: dict[str, Any] = await asyncio.to_thread(app.acquire_token_by_auth_code_flow, flow, answer)
    return result


def _check(result: dict[str, Any], tenant: str) -> SignedIn:
    if "refresh_token" not in result:
        number = aadsts.error_number(str(result.get("error_description")))
        raise SignInError(aadsts.advice(number) if number else f"Entra ID answered {result.get('error')}")
    claims = result.get("id_token_claims") or {}
    if claims.get("tid") != tenant:
        raise SignInError(
            f"the user is of tenant {claims.get('tid')}, and the app of {tenant}: sign in as a user of the app's tenant"
        )
    multi_factor = _proves_multi_factor(claims)
    if multi_factor is False:
        raise SignInError(
            "the user signed in without multi-factor authentication, which Partner Center requires: turn it on for the"
            " user (by security defaults, or a conditional access policy), and sign in again"
        )
    return SignedIn(claims.get("preferred_username", "(no name)"), tenant, multi_factor, result["refresh_token"])


def _proves_multi_factor(claims: dict[str, Any]) -> bool | None:
    """What the ID token says. Tokens of version 2.0 may have no `amr`, even if it was asked for."""
    methods = claims.get("amr")
    return None if not isinstance(methods, list) else not _PROOFS.isdisjoint(map(str, methods))
