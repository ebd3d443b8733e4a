"""Partner Center's webhooks: the registration API, the signed notifications, and the host of the certificate."""

import asyncio
import base64
import json
import random
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives import hashes

from local_stack.stand_ins.partner_center import PartnerCenterServer
from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.tokens import Issuer

AUDIENCE = "https://api.partnercenter.microsoft.com"
ATTEMPTS = 10
EVENTS = [
    "referral-created",
    "referral-updated",
    "related-referral-created",
    "related-referral-updated",
    "subscription-updated",
    "test-created",
]
CERTIFICATE_PATH = "/cert/pcnotifications-dispatch.cer"
_TESTS_A_MINUTE = 2
_FIELDS = {"WebhookUrl", "WebhookEvents", "SignatureTokenToMsSignatureHeader"}


class Webhooks:
    """Stores the account's registration, and sends a notification when a referral changes."""

    def __init__(self, issuer: Issuer, partner_center: PartnerCenterServer) -> None:
        self._issuer = issuer
        self._partner_center = partner_center
        root = Identity.authority()
        intermediate = Identity.authority(issuer=root)
        self.signer = Identity.issue(intermediate)
        self.trusted = root.pem + intermediate.pem
        """PEM for `WEBHOOK_EXTRA_ROOTS`. Includes the intermediate: the app fetches these from Microsoft only."""
        self.registration: dict[str, Any] | None = None
        self.certificate_host = ""
        """Host and port of the certificate's URL. Set once it is served."""
        self.certificate_requests = 0
        self.pause = 0.2
        """Seconds between two delivery attempts. Partner Center waits longer."""
        self.refusal: type[web.HTTPError] | None = None
        """If set, the error for every registration call, such as `web.HTTPForbidden`."""
        self.dropped = 0.0
        """The share of notifications that are never sent."""
        self._tests: dict[str, dict[str, Any]] = {}
        self._test_times: list[float] = []
        self._sending: set[asyncio.Task[None]] = set()
        self.certificates = web.Application()
        self.certificates.router.add_get(CERTIFICATE_PATH, self._certificate)
        self.app = partner_center.app
        registration = "/webhooks/v1/registration"
        self.app.router.add_patch("/_referrals/{id}", self._change)
        self.app.router.add_get(f"{registration}/events", self._events)
        self.app.router.add_get(registration, self._show)
        self.app.router.add_post(registration, self._register)
        self.app.router.add_put(registration, self._register)
        self.app.router.add_post(f"{registration}/validationEvents", self._test)
        self.app.router.add_get(f"{registration}/validationEvents/{{id}}", self._test_state)

    async def change(self, referral_id: str, **changes: Any) -> list[dict[str, Any]]:
        """Change or create a referral, and notify the app. Returns the delivery attempts."""
        known = referral_id in self._partner_center.referrals
        document = {"id": referral_id, **self._partner_center.referrals.get(referral_id, {}), **changes}
        self._partner_center.referrals[referral_id] = document
        return await self.notify("referral-updated" if known else "referral-created", referral_id)

    async def _change(self, request: web.Request) -> web.Response:
        """`PATCH /_referrals/{id}`: changes a referral."""
        changes = {
            "updatedDateTime": datetime.now(UTC).isoformat(),
            "eTag": f'"{uuid.uuid4()}"',
            **await request.json(),
        }
        return web.json_response(await self.change(request.match_info["id"].lower(), **changes))

    async def notify(self, event: str, referral_id: str) -> list[dict[str, Any]]:
        """Send a notification, with at most ten attempts. Returns the attempts."""
        results: list[dict[str, Any]] = []
        if random.random() < self.dropped:
            return results
        if self.registration and event in self.registration["WebhookEvents"]:
            resource = "test" if event == "test-created" else "referral"
            await self._send(notification(event, referral_id, resource), results)
        return results

    def forget_tests(self) -> None:
        """Reset the rate limit of test events."""
        self._test_times.clear()

    def signed(self, body: bytes) -> dict[str, str]:
        """Sign a body. Returns the headers; the registration decides which of them has the signature."""
        signature = base64.b64encode(self.signer.sign(body, hashes.SHA256())).decode()
        own = self.registration and self.registration["SignatureTokenToMsSignatureHeader"]
        return {
            "Content-Type": "application/json; charset=utf-8",
            "X-MS-Certificate-Url": f"https://{self.certificate_host}{CERTIFICATE_PATH}",
            "X-MS-Signature-Algorithm": "rsa-sha256",
            "x-ms-signature" if own else "Authorization": f"Signature {signature}",
        }

    async def _send(self, body: bytes, results: list[dict[str, Any]]) -> None:
        url = (self.registration or {})["WebhookUrl"]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            for attempt in range(ATTEMPTS):
                if attempt:
                    await asyncio.sleep(self.pause)
                result: dict[str, Any] = {"dateTimeUtc": datetime.now(UTC).isoformat(), "systemError": None}
                try:
                    async with session.post(url, data=body, headers=self.signed(body)) as answer:
                        result |= {"responseCode": str(answer.status), "responseMessage": answer.reason}
                except aiohttp.ClientError as error:
                    result |= {"responseCode": None, "responseMessage": None, "systemError": type(error).__name__}
                results.append(result)
                if (result["responseCode"] or "").startswith("2"):
                    return

    async def _certificate(self, _: web.Request) -> web.Response:
        self.certificate_requests += 1
        return web.Response(body=self.signer.der, content_type="application/octet-stream")

    def _authorize(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            uuid.UUID(request.headers.get("ms-correlationid", ""))
            self._issuer.check(token if scheme == "Bearer" else "", AUDIENCE)
        except ValueError:
            raise web.HTTPBadRequest from None
        except jwt.InvalidTokenError:
            raise web.HTTPUnauthorized from None
        if self.refusal:
            raise self.refusal

    async def _events(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response(EVENTS)

    async def _show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response(self.registration, status=HTTPStatus.OK if self.registration else HTTPStatus.NOT_FOUND)

    async def _register(self, request: web.Request) -> web.Response:
        self._authorize(request)
        registration = await request.json()
        url = urlsplit(str(registration.get("WebhookUrl")))
        reachable = url.scheme == "https" or url.hostname == "127.0.0.1"
        if set(registration) != _FIELDS or not reachable or not set(registration["WebhookEvents"]) <= set(EVENTS):
            raise web.HTTPBadRequest
        if (request.method == "POST") is (self.registration is not None):
            raise web.HTTPConflict
        self.registration = registration
        return web.json_response(registration)

    async def _test(self, request: web.Request) -> web.Response:
        self._authorize(request)
        now = asyncio.get_running_loop().time()
        self._test_times = [time for time in self._test_times if now - time < 60]
        if self.registration is None:
            raise web.HTTPNotFound
        if len(self._test_times) >= _TESTS_A_MINUTE:
            raise web.HTTPTooManyRequests
        self._test_times.append(now)
        correlation = str(uuid.uuid4())
        self._tests[correlation] = {"correlationId": correlation, "status": "queued", "results": []}
        task = asyncio.create_task(self._run_test(self._tests[correlation]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return web.json_response({"correlationId": correlation})

    async def _run_test(self, state: dict[str, Any]) -> None:
        results = state["results"]
        await self._send(notification("test-created", state["correlationId"], "test"), results)
        state["status"] = "completed" if (results[-1]["responseCode"] or "").startswith("2") else "failed"

    async def _test_state(self, request: web.Request) -> web.Response:
        self._authorize(request)
        if request.match_info["id"] not in self._tests:
            raise web.HTTPNotFound
        return web.json_response(self._tests[request.match_info["id"]])


def notification(event: str, resource_id: str, resource: str = "referral") -> bytes:
    """Create the body of a notification."""
    return json.dumps(
        {
            "EventName": event,
            "ResourceUri": f"https://api.partnercenter.microsoft.com/engagements/v1/{resource}s/{resource_id}",
            "ResourceName": resource,
            "AuditUri": None,
            "ResourceChangeUtcDate": datetime.now(UTC).isoformat(),
        }
    ).encode()
