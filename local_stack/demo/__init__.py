"""The local stack's page: referrals as they go through the app, and things to try. On this machine only.

It stands before the app on one port: `/` is the page, `/local` what the page needs, `/api` the app itself.
"""

import asyncio
import base64
import contextlib
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from azure.core.exceptions import AzureError

from local_stack.host.process import Host
from local_stack.stack import AnyQueue, Queues, Stack
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.flaky import FlakyQueues, without_own
from local_stack.stand_ins.partner_center import ANY, AUDIENCE, Call, Fault
from local_stack.stand_ins.serving import serving

SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "3,4,5,6,8,10,15,20",
    "REFERRALS_RETRY_BUDGET": "2",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.5",
}
"""What the app has other than in production, so that a person sees a deferral and the recovery."""

FAULTS = {
    "throttled": Fault("status", status=429, retry_after="3"),
    "unavailable": Fault("status", status=503),
    "silent": Fault("stall"),
    "denied": Fault("status", status=403),
    "missing": Fault("status", status=404),
    "malformed": Fault("replace", document={"id": 7, "customerProfile": "none"}),
}
"""What may be wrong with Partner Center, by the page's names."""

_FILES = Path(__file__).parent
_KEPT = 1000
"""Records that whoever opens the page is told of."""

_LOOK_SECONDS = 2
_BEAT_SECONDS = 15
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Page:
    """The page of one app. Reads its events and rejects, as a consumer would."""

    def __init__(self, stack: Stack, queues: Queues, host: Host, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._queues = queues
        self._session = session
        self.host = host
        self.url = ""
        """Where it listens, once it is served."""
        self.flaky: FlakyQueues | None = None
        """What stands before the events queue, where that is Azurite's."""
        self.outcomes: asyncio.Queue[tuple[AnyQueue, dict[str, Any]]] = asyncio.Queue()
        """Events and rejects, as they come out."""
        self._records: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._now: dict[str, Any] = {}
        self._watchers: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._stirred = asyncio.Event()
        self._ended = asyncio.create_task(host.ended())
        self._ended.add_done_callback(lambda _: self._stirred.set())
        self._following = asyncio.create_task(self._follow())
        host.heard = self._heard
        stack.partner_center.asked = self._asked

    def site(self) -> web.Application:
        """The page, what it needs, and the app behind it."""
        site = web.Application(client_max_size=100 * 1024 * 1024, middlewares=[_own_callers_only])
        site.on_response_prepare.append(_add_headers)
        site.on_shutdown.append(self._end_streams)
        for path, name in (("/", "index.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
            site.router.add_get(path, _file(_FILES / name))
        site.router.add_get("/local/stream", self._stream)
        site.router.add_put("/local/faults", self._set_faults)
        site.router.add_post("/local/requests", self._put_request)
        site.router.add_post("/local/notifications", self._notify)
        site.router.add_post("/api/referrals/{id}", self._forward)
        site.router.add_route("*", "/api/{path:.*}", self._pass_on)
        return site

    async def close(self) -> None:
        """Stop following."""
        self._stack.partner_center.asked = lambda _: None
        for task in (self._following, self._ended):
            task.cancel()
        await asyncio.gather(self._following, self._ended, return_exceptions=True)

    def _record(self, kind: str, **said: Any) -> None:
        record = {"kind": kind, "at": datetime.now(UTC).isoformat(), **said}
        self._records.append(record)
        self._tell(record)

    def _tell(self, record: dict[str, Any] | None) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(record)

    async def _end_streams(self, _: web.Application) -> None:
        self._tell(None)

    def _asked(self, call: Call) -> None:
        self._record("asked", referralId=call.referral_id)

    def _heard(self, line: str) -> None:
        """Note an event of the app's log, and look at the queues, for it may be about them."""
        _, found, said = line.partition(".User {")
        if found:
            self._record("log", **json.loads("{" + said))
            self._stirred.set()

    async def _follow(self) -> None:
        """Look at the queues after each event of the app's log; now and then, too, while anybody watches."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS if self._watchers else None):
                    await self._stirred.wait()
            self._stirred.clear()
            now: dict[str, Any] = {"kind": "now", "app": not self._ended.done(), "faults": self._faults()}
            try:
                now["waiting"] = await self._look()
            except (AzureError, aiohttp.ClientError):
                now["waiting"] = None
            if now != self._now:
                self._now = now
                self._tell(now)

    async def _look(self) -> dict[str, int]:
        """Take what has come out of the app. Returns how many messages lie on each queue, hidden ones included."""
        named = {"requests": self._queues.requests, "events": self._queues.events, "rejects": self._queues.rejects}
        for name in ("events", "rejects"):
            while document := await named[name].take():
                self._record("outcome", queue=name, document=document)
                self.outcomes.put_nowait((named[name], document))
        return {name: await queue.count() for name, queue in named.items()}

    def _faults(self) -> dict[str, Any]:
        fault = self._stack.partner_center.faults.get(ANY)
        names = [name for name, known in FAULTS.items() if known == fault]
        events = self.flaky.refused > 0 if self.flaky else self._entity().refuses
        return {
            "partnerCenter": names[0] if names else "other" if fault else "",
            "token": bool(self._stack.identity.failures),
            "events": events,
        }

    def _entity(self) -> service_bus.Entity:
        return self._stack.service_bus.entities[self._queues.events.name]

    async def _set_faults(self, request: web.Request) -> web.Response:
        """`{"partnerCenter": "", "token": false, "events": false}`: what is wrong from now on."""
        asked = await _read(request)
        name, partner_center, identity = asked.get("partnerCenter"), self._stack.partner_center, self._stack.identity
        if name not in ("", "other", *FAULTS):
            return _refused(f"Partner Center's faults are: {', '.join(FAULTS)}.")
        if name in FAULTS:
            partner_center.faults[ANY] = FAULTS[name]
        elif not name:
            partner_center.faults.clear()
        identity.failures.clear()
        partner_center.refused_tokens.discard(ANY)
        if asked.get("token"):  # the app has a token for hours: it asks for another where that is refused
            identity.failures[AUDIENCE] = HTTPStatus.BAD_REQUEST
            partner_center.refused_tokens.add(ANY)
        if self.flaky:
            self.flaky.refused = float(bool(asked.get("events")))
        else:
            self._entity().refuses = bool(asked.get("events"))
        self._stirred.set()
        return web.json_response(self._faults())

    async def _put_request(self, request: web.Request) -> web.Response:
        """Put the body on the requests queue, as it is."""
        text = await request.text()
        if not text.strip() or len(text.encode()) > 48 * 1024:
            return _refused("A message has 1 byte to 48 KiB.")
        await self._queues.requests.send(base64.b64encode(text.encode()).decode())
        self._stirred.set()
        return web.json_response({}, status=HTTPStatus.ACCEPTED)

    async def _notify(self, request: web.Request) -> web.Response:
        """Change a referral in Partner Center, which sends the app a signed notification."""
        if not self._stack.webhooks.registration:
            return _refused("The webhook is not registered yet.", HTTPStatus.CONFLICT)
        try:
            referral_id = str(uuid.UUID(str((await _read(request)).get("referralId"))))
        except ValueError:
            return _refused("Partner Center has GUIDs for IDs.")
        changes = {"updatedDateTime": datetime.now(UTC).isoformat(), "eTag": f'"{uuid.uuid4()}"'}
        attempts = await self._stack.webhooks.change(referral_id, **changes)
        return web.json_response({"status": attempts[-1]["responseCode"], "attempts": len(attempts)})

    async def _forward(self, request: web.Request) -> web.Response:
        """Pass a call for a referral on to the app, and note it."""
        referral_id = request.match_info["id"].lower()[:100]
        self._record("received", referralId=referral_id, by="HTTP")
        answer = await self._pass_on(request)
        self._record("told", referralId=referral_id, status=answer.status)
        return answer

    async def _pass_on(self, request: web.Request) -> web.Response:
        """Pass a call on to the app, and its answer back."""
        body, headers = await request.read(), without_own(request.headers)
        url = self.host.url + str(request.rel_url)
        try:
            async with self._session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers=without_own(answer.headers))
        except aiohttp.ClientError:
            return _refused("The app does not answer.", HTTPStatus.BAD_GATEWAY)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Everything there is to tell, as server-sent events: what was, then what is, then what happens."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        referrals = self._stack.partner_center.referrals.items()
        known = [{"id": key, "name": document.get("name") or "One without a name"} for key, document in referrals]
        hello = {"kind": "hello", "referrals": known, "schedule": SETTINGS["REFERRALS_DEFERRAL_SCHEDULE"]}
        told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        for record in (hello, *self._records, self._now or {"kind": "now"}):
            told.put_nowait(record)
        self._watchers.add(told)
        self._stirred.set()
        with contextlib.suppress(ConnectionError):  # the watcher has gone
            try:
                while said := await _next(told):
                    await answer.write(said)
            finally:
                self._watchers.discard(told)
        return answer


@contextlib.asynccontextmanager
async def opened(stack: Stack, queues: Queues, port: int = 0, **settings: str) -> AsyncIterator[Page]:
    """The app under its host, with the page before it, until left.

    Args:
        stack: the stand-ins.
        queues: of the app.
        port: of the page and the app; another is taken where it is not free.
        settings: of the app, over the page's own.

    Raises:
        HostError: the host did not come up.
    """
    async with contextlib.AsyncExitStack() as opening:
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        session = await opening.enter_async_context(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        environment = stack.environment(queues, **{**SETTINGS, **settings})
        flaky = None
        if not isinstance(queues.events, service_bus.Queue):
            flaky = FlakyQueues(stack.azurite.origin, session)
            before = await opening.enter_async_context(serving(flaky.app, tls=stack.authority.server_context()))
            environment["EVENTS_URL"] = queues.events.url.replace(stack.azurite.origin, before)
        host = await opening.enter_async_context(stack.host(environment))
        page = Page(stack, queues, host, session)
        page.flaky = flaky
        opening.push_async_callback(page.close)
        page.url = await opening.enter_async_context(serving(page.site(), port))
        yield page


@web.middleware
async def _own_callers_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn away other websites: those that call this port, and those whose name was made to point to it."""
    port = request.get_extra_info("sockname")[1]
    own = {f"127.0.0.1:{port}", f"localhost:{port}"}
    origin = request.headers.get("Origin")
    if request.host not in own or (origin is not None and origin.removeprefix("http://") not in own):
        return _refused(f"Only for this machine's own http://127.0.0.1:{port}.", HTTPStatus.FORBIDDEN)
    return await handler(request)


async def _add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    if not request.path.startswith("/api/"):
        answer.headers.update(_HEADERS)


async def _next(told: "asyncio.Queue[dict[str, Any] | None]") -> bytes:
    """The next server-sent event; a comment where none comes for long, lest the line seem dead; nothing at the end."""
    try:
        async with asyncio.timeout(_BEAT_SECONDS):
            record = await told.get()
    except TimeoutError:
        return b": still here\n\n"
    return f"data: {json.dumps(record)}\n\n".encode() if record else b""


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return serve


async def _read(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object; an empty one where it is none."""
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(await request.read()), dict):
            return found
    return {}


def _refused(why: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> web.Response:
    return web.json_response({"error": why}, status=status)
