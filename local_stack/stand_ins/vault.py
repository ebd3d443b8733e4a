"""Key Vault's secrets: read the newest or a specific version, and store a new one."""

import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus

import jwt
from aiohttp import web

from local_stack.stand_ins.tokens import TENANT, Issuer

AUDIENCE = "https://vault.azure.net"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a secret."""

    value: str
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970."""


class Vault:
    """One vault. Like the real one, it refuses missing or invalid tokens and missing API versions."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.versions: dict[str, list[Version]] = {}
        """By secret name, newest last."""
        self.reads = 0
        """The number of reads."""
        self.failure: int | None = None
        """If set, the status of every response."""
        self.read_only = False
        """Whether storing is forbidden."""
        self.app = web.Application()
        self.app.router.add_get("/secrets/{name}", self._get)
        self.app.router.add_get("/secrets/{name}/{version}", self._get)
        self.app.router.add_put("/secrets/{name}", self._set)

    def store(self, name: str, value: str, *, age_days: float = 0) -> Version:
        """Store a new version."""
        version = Version(value, created=int(time.time() - age_days * 86400))
        self.versions.setdefault(name, []).append(version)
        return version

    def newest(self, name: str) -> str:
        """The newest version's value."""
        return self.versions[name][-1].value

    def _refusal(self, request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self.failure:
            return _error(self.failure, "InternalServerError")
        try:
            self._issuer.check(token if scheme == "Bearer" else "", AUDIENCE)
        except jwt.InvalidTokenError:
            refused = _error(HTTPStatus.UNAUTHORIZED, "Unauthorized")
            challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{AUDIENCE}"'
            refused.headers["WWW-Authenticate"] = challenge
            return refused
        if not request.query.get("api-version", "").startswith("7."):
            return _error(HTTPStatus.BAD_REQUEST, "BadParameter")
        return None

    async def _get(self, request: web.Request) -> web.Response:
        self.reads += 1
        if refused := self._refusal(request):
            return refused
        name, wanted = request.match_info["name"], request.match_info.get("version")
        for version in reversed(self.versions.get(name, [])):
            if wanted in (None, version.name):
                return _answer(request, version)
        return _error(HTTPStatus.NOT_FOUND, "SecretNotFound")

    async def _set(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        if self.read_only:
            return _error(HTTPStatus.FORBIDDEN, "Forbidden")
        name, value = request.match_info["name"], (await request.json()).get("value")
        if not isinstance(value, str):
            return _error(HTTPStatus.BAD_REQUEST, "BadParameter")
        return _answer(request, self.store(name, value))


def _answer(request: web.Request, version: Version) -> web.Response:
    return web.json_response(
        {
            "value": version.value,
            "id": f"https://{request.host}/secrets/{request.match_info['name']}/{version.name}",
            "attributes": {"enabled": True, "created": version.created, "updated": version.created},
        }
    )


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "Do not match on this."}}, status=status)
