"""The endpoint at which App Service and Functions hand out managed-identity tokens.

Source: "Connect to Azure services in app code", REST endpoint reference, in the App Service documentation.
"""

import random
import secrets
from collections import Counter
from http import HTTPStatus

import jwt
from aiohttp import web

from local_stack.stand_ins.tokens import Issuer

API_VERSION = "2019-08-01"
CLIENT_ID = "7f1c1f7a-5d8e-4f0e-9b0a-2f6f0f4f9d11"
"""The client ID of the only user-assigned identity."""


class IdentityEndpoint:
    """Answers `GET /msi/token`. Refuses what the real one refuses."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.secret = secrets.token_hex(16)
        self.requests: Counter[str] = Counter()
        """Token requests by resource."""
        self.failures: dict[str, int] = {}
        """The status to answer with, by resource."""
        self.failure_rate = 0.0
        """The share of requests that fail at random."""
        self.lifetime = 24 * 3600.0
        """Seconds that a token is valid for."""
        self.app = web.Application()
        self.app.router.add_get("/msi/token", self._token)

    async def _token(self, request: web.Request) -> web.Response:
        resource = request.query.get("resource", "")
        if request.headers.get("X-IDENTITY-HEADER") != self.secret:
            return web.json_response({"statusCode": 401, "message": "Unauthorized"}, status=HTTPStatus.UNAUTHORIZED)
        client_id = request.query.get("client_id", CLIENT_ID)
        if request.query.get("api-version") != API_VERSION or not resource or client_id != CLIENT_ID:
            return web.json_response({"statusCode": 400, "message": "Bad request"}, status=HTTPStatus.BAD_REQUEST)
        self.requests[resource] += 1
        if status := self.failures.get(resource) or (random.random() < self.failure_rate and 500):
            return web.json_response({"statusCode": status, "message": "Failed as configured"}, status=status)
        token = self._issuer.mint(resource, client_id, self.lifetime)
        # not validated: a test may have requested an expired token
        expires_on = jwt.decode(token, options={"verify_signature": False})["exp"]
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(expires_on),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client_id,
            }
        )
