"""Key Vault's secrets: read the newest version, or one, and store a new one."""

import secrets
from http import HTTPStatus

import jwt
from aiohttp import web

from local_stack.stand_ins.tokens import TENANT, Issuer

AUDIENCE = "https://vault.azure.net"


class Vault:
    """One vault. Refuses what the real one refuses: no token (with its challenge), a wrong one, no API version."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.versions: dict[str, list[tuple[str, str]]] = {}
        """By secret: its versions and their values, the newest last."""
        self.failure: int | None = None
        """The status to answer every call with."""
        self.read_only = False
        """Whether the caller lacks the right to store."""
        self.app = web.Application()
        self.app.router.add_get("/secrets/{name}", self._get)
        self.app.router.add_get("/secrets/{name}/{version}", self._get)
        self.app.router.add_put("/secrets/{name}", self._set)

    def store(self, name: str, value: str) -> str:
        """Store a new version. Returns its name."""
        version = secrets.token_hex(16)
        self.versions.setdefault(name, []).append((version, value))
        return version

    def newest(self, name: str) -> str:
        """The newest version's value."""
        return self.versions[name][-1][1]

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
        if refused := self._refusal(request):
            return refused
        name, wanted = request.match_info["name"], request.match_info.get("version")
        for version, value in reversed(self.versions.get(name, [])):
            if wanted in (None, version):
                return web.json_response({"value": value, "id": f"https://{request.host}/secrets/{name}/{version}"})
        return _error(HTTPStatus.NOT_FOUND, "SecretNotFound")

    async def _set(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        if self.read_only:
            return _error(HTTPStatus.FORBIDDEN, "Forbidden")
        name, value = request.match_info["name"], (await request.json()).get("value")
        if not isinstance(value, str):
            return _error(HTTPStatus.BAD_REQUEST, "BadParameter")
        version = self.store(name, value)
        return web.json_response({"value": value, "id": f"https://{request.host}/secrets/{name}/{version}"})


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "Do not match on this."}}, status=status)
