"""Entra ID: the token endpoint of an app with a federated credential, and the sign-in of its users."""

import base64
import hashlib
import html
import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import jwt
from aiohttp import web

from local_stack.stand_ins.tokens import ISSUER, TENANT, Issuer, object_id

APP_CLIENT_ID = "c1b9a7de-5f43-4a8e-9a55-0d4d2f1f7e66"
"""The app registration."""

EXCHANGE = "api://AzureADTokenExchange"
USER = "lead.admin@northwind.example"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OPENID_SCOPES = {"openid", "profile", "offline_access"}


@dataclass(frozen=True, slots=True)
class _Code:
    """An issued authorization code, and the values that redeeming it must match."""

    redirect_uri: str
    challenge: str
    nonce: str
    scope: str


class Entra:
    """One tenant, one app, and its federated credential. Like the real service, it refuses invalid requests."""

    def __init__(self, issuer: Issuer, identity_client_id: str) -> None:
        self._issuer = issuer
        self.subject = object_id(identity_client_id)
        """The subject of the app's federated credential."""
        self.issuer = ISSUER
        """The issuer of the app's federated credential."""
        self.lifetime = 3600.0
        """The lifetime of access tokens in seconds."""
        self.stated_lifetime: int | None = None
        """Overrides the value of `expires_in`."""
        self.requests: Counter[str] = Counter()
        """Token requests by grant type."""
        self.refusal: int | None = None
        """The AADSTS number to refuse every token request with."""
        self.single_use = False
        """Whether a refresh token can be used only once; real ones stay valid for their 90 days."""
        self.home_tenant = TENANT
        """The tenant of the user who signs in."""
        self.methods: list[str] | None = ["pwd", "mfa"]
        """The user's authentication methods, claim `amr`; None leaves it out, as tokens of version 2.0 do."""
        self.claims_requested: list[Any] = []
        """The `claims` parameter of each sign-in request."""
        self._refresh_tokens: dict[str, bool] = {}
        """The valid refresh tokens, and whether each was issued to a public client."""
        self._devices: dict[str, bool] = {}
        self._codes: dict[str, _Code] = {}
        self.app = web.Application()
        root = f"/{TENANT}"
        self.app.router.add_get(f"{root}/v2.0/.well-known/openid-configuration", self._discovery)
        self.app.router.add_get(f"{root}/oauth2/v2.0/authorize", self._authorize)
        self.app.router.add_post(f"{root}/oauth2/v2.0/token", self._token)
        self.app.router.add_post(f"{root}/oauth2/v2.0/devicecode", self._device_code)

    def new_refresh_token(self, *, public: bool = True) -> str:
        """Issue a refresh token for a user who has consented.

        Args:
            public: whether the user signed in by a native redirect URI or with a device code, as `consent` has them do,
                and not by a web redirect URI.
        """
        token = f"0.{secrets.token_urlsafe(48)}"
        self._refresh_tokens[token] = public
        self._issuer.secrets.add(token)
        return token

    def revoke(self) -> None:
        """Revoke all refresh tokens, as a password reset does."""
        self._refresh_tokens.clear()

    async def _discovery(self, request: web.Request) -> web.Response:
        root = f"https://{request.host}/{TENANT}"
        return web.json_response(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        """Sign the user in, and send the browser back with a code: a page whose form a real browser submits itself."""
        query = request.query
        redirect = urlsplit(query.get("redirect_uri", ""))
        if query.get("client_id") != APP_CLIENT_ID:
            return _page("AADSTS700016: no such app")
        if (redirect.scheme, redirect.hostname, redirect.path) != ("http", "localhost", ""):
            return _page("AADSTS50011: the redirect URI is not registered")
        required = {"response_type": "code", "response_mode": "form_post", "code_challenge_method": "S256"}
        if any(query.get(name) != value for name, value in required.items()):
            return _page("AADSTS900144: a parameter is missing or not supported")
        if not all(query.get(name) for name in ("code_challenge", "state", "nonce", "scope")):
            return _page("AADSTS900144: a parameter is missing")
        self.claims_requested.append(json.loads(query.get("claims", "null")))
        fields = {"state": query["state"]}
        if self.refusal:
            fields |= {"error": "access_denied", "error_description": f"AADSTS{self.refusal}: {USER} was refused."}
        else:
            fields["code"] = secrets.token_urlsafe(32)
            self._issuer.secrets.add(fields["code"])
            self._codes[fields["code"]] = _Code(
                query["redirect_uri"], query["code_challenge"], query["nonce"], query["scope"]
            )
        inputs = "".join(f'<input type="hidden" name="{name}" value="{html.escape(fields[name])}">' for name in fields)
        return _page(
            f'<form method="post" action="{html.escape(query["redirect_uri"])}">{inputs}</form>', HTTPStatus.OK
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        grant = form.get("grant_type", "")
        self.requests[grant] += 1
        if form.get("client_id") != APP_CLIENT_ID:
            return _refused("unauthorized_client", 700016)
        if self.refusal:
            return _refused("invalid_grant", self.refusal)
        if grant == _DEVICE_GRANT:
            return self._device_token(form)
        if grant == "authorization_code":
            return self._redeem_code(form)
        if grant == "refresh_token" and form.get("refresh_token") not in self._refresh_tokens:
            return _refused("invalid_grant", 50173)
        number = self._check_client(grant, form)
        return _refused("invalid_client", number) if number else self._grant(grant, form)

    def _grant(self, grant: str, form: Mapping[str, str]) -> web.Response:
        if grant == "client_credentials" and form.get("scope", "").endswith("/.default"):
            return web.json_response(self._access(form["scope"], {"roles": ["Referrals.Read"]}))
        return self._redeem(form) if grant == "refresh_token" else _refused("unsupported_grant_type", 70003)

    def _check_client(self, grant: str, form: Mapping[str, str]) -> int | None:
        """The number of the error in the client's authentication: a public client has none, any other an assertion."""
        if grant == "refresh_token" and self._refresh_tokens[form["refresh_token"]]:
            return 700025 if "client_assertion" in form or "client_secret" in form else None
        if form.get("client_assertion_type") != _ASSERTION:
            return 7000218
        try:
            claims = self._issuer.check(form.get("client_assertion", ""), EXCHANGE)
        except jwt.InvalidAudienceError:
            return 700212
        except jwt.InvalidTokenError:
            return 700024
        if claims["iss"] != self.issuer:
            return 700211
        return None if claims["sub"] == self.subject else 700213

    def _redeem(self, form: Mapping[str, str]) -> web.Response:
        used = form["refresh_token"]
        public = self._refresh_tokens[used]
        if self.single_use:
            del self._refresh_tokens[used]
        return web.json_response(self._signed_in(form.get("scope", ""), public=public))

    def _redeem_code(self, form: Mapping[str, str]) -> web.Response:
        """Redeem an authorization code, once, with the verifier of its challenge (RFC 7636, section 4.6)."""
        code = self._codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if code is None or form.get("redirect_uri") != code.redirect_uri:
            return _refused("invalid_grant", 70008)
        if base64.urlsafe_b64encode(verifier).decode().rstrip("=") != code.challenge:
            return _refused("invalid_grant", 501481)
        return web.json_response(self._signed_in(code.scope, nonce=code.nonce))

    def _signed_in(self, scope: str, *, public: bool = True, **claims: str) -> dict[str, Any]:
        """Tokens of the user. The scope includes OpenID's own, which are not an audience."""
        audience = next(part for part in scope.split() if part not in _OPENID_SCOPES)
        amr = {"amr": self.methods} if self.methods else {}
        identity = {
            "aud": APP_CLIENT_ID,
            "tid": self.home_tenant,
            "oid": object_id(USER),
            "sub": object_id(USER),
            "preferred_username": USER,
            "iss": ISSUER,
            "iat": int(time.time()),
            "exp": int(time.time()) + 3600,
            **amr,
            **claims,
        }
        info = json.dumps({"uid": object_id(USER), "utid": self.home_tenant}).encode()
        offline = "offline_access" in scope.split()
        return {
            **self._access(audience, {"scp": "user_impersonation", "upn": USER, **amr}),
            **({"refresh_token": self.new_refresh_token(public=public)} if offline else {}),
            "id_token": jwt.encode(identity, "a key that nobody checks: the connection is trusted", algorithm="HS256"),
            "client_info": base64.urlsafe_b64encode(info).decode().rstrip("="),
        }

    def _access(self, scope: str, claims: dict[str, Any]) -> dict[str, Any]:
        audience = scope.removesuffix("/.default")
        token = self._issuer.mint(audience, APP_CLIENT_ID, self.lifetime, **claims)
        stated = int(self.lifetime) if self.stated_lifetime is None else self.stated_lifetime
        return {"token_type": "Bearer", "expires_in": stated, "access_token": token, "scope": scope}

    async def _device_code(self, request: web.Request) -> web.Response:
        code, user_code = secrets.token_urlsafe(16), secrets.token_hex(4).upper()
        self.claims_requested.append(json.loads(str((await request.post()).get("claims", "null"))))
        self._devices[code] = False
        return web.json_response(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": f"https://{request.host}/device",
                "expires_in": 60,
                "interval": 1,
                "message": f"To sign in, open https://{request.host}/device and enter the code {user_code}.",
            }
        )

    def _device_token(self, form: Mapping[str, str]) -> web.Response:
        """The user takes a second to sign in: the first poll is answered with `authorization_pending`."""
        code = form.get("device_code", "")
        if code not in self._devices:
            return _refused("invalid_grant", 70008)
        if not self._devices[code]:
            self._devices[code] = True
            return _refused("authorization_pending", 70016)
        scope = form.get("scope") or "https://api.partner.microsoft.com/.default offline_access"
        return web.json_response(self._signed_in(scope))


def _page(body: str, status: int = HTTPStatus.BAD_REQUEST) -> web.Response:
    return web.Response(text=f"<html>{body}</html>", content_type="text/html", status=status)


def _refused(error: str, number: int) -> web.Response:
    """An error as Entra ID phrases it. It names a person, so it must not appear in a log."""
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {USER} was refused.\r\nTrace ID: {secrets.token_hex(8)}",
        "error_codes": [number],
    }
    return web.json_response(body, status=HTTPStatus.BAD_REQUEST)
