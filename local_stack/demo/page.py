"""The server behind the page. One port serves all: `/` is the page, `/local` its own API, and `/api` the app."""

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from azure.core.exceptions import AzureError

from local_stack.demo.app_calls import AppCalls
from local_stack.demo.fault_controls import FaultControls
from local_stack.demo.http_rules import (
    add_security_headers,
    error,
    json_object,
    reject_other_origins,
    static_file,
)
from local_stack.demo.record_stream import RecordStream
from local_stack.host.process import Host
from local_stack.stack import AnyQueue, Queues, Stack
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import LIST, ReceivedCall
from local_stack.stand_ins.serving import serving

SETTINGS = {
    "REFERRALS_DEFERRAL_SCHEDULE": "3,4,5,6,8,10,15,20",
    "REFERRALS_RETRY_BUDGET": "2",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.5",
}
"""Settings that differ from production: short delays, so that a deferral and its recovery can be watched."""

OnLogLine = Callable[[str, dict[str, Any] | None], None]

_FILES = Path(__file__).parent
_POLL_SECONDS = 2


class Page:
    """The page for one app. It consumes the app's events and rejects."""

    def __init__(
        self,
        stack: Stack,
        queues: Queues,
        host: Host,
        session: aiohttp.ClientSession,
        settings: dict[str, str],
        *,
        flaky: FlakyQueues | None = None,
        keep: bool = False,
        on_log_line: OnLogLine = lambda _line, _event: None,
    ) -> None:
        """Follow an app.

        Args:
            stack: the stand-ins.
            queues: the app's queues.
            host: of the app.
            session: for calls to the app.
            settings: with which commands and other programs work with the same queues.
            flaky: the proxy in front of the events queue, if that is on Azure Storage.
            keep: whether events and rejects stay on their queues. The page then sees the first 32 of each.
            on_log_line: called with each line of the app's log, and its log event if it is one.
        """
        self._stack = stack
        self._queues = queues
        self._session = session
        self._keep = keep
        self._seen: set[str] = set()
        """With `keep`, the IDs of the messages that were shown."""
        self.host = host
        self.settings = settings
        self.url = ""
        """The page's own URL, once it is served."""
        self.outcomes: asyncio.Queue[tuple[AnyQueue, dict[str, Any]]] = asyncio.Queue()
        """Events and rejects in the order in which they were taken from their queues."""
        self._faults = FaultControls(stack, queues, flaky)
        self._records = RecordStream()
        self._calls = AppCalls(session, self._records, lambda: host.url)
        self._state: dict[str, Any] = {}
        self._refresh = asyncio.Event()
        self._host_ended = asyncio.create_task(host.ended())
        self._host_ended.add_done_callback(lambda _: self._refresh.set())
        self._following = asyncio.create_task(self._follow())
        self._report_log_line = on_log_line
        for line in host.log.splitlines():
            on_log_line(line, None)
        host.on_log_line = self._on_log_line
        stack.partner_center.on_call = self._on_call

    def site(self) -> web.Application:
        """The page's files, its own API, and a proxy to the app."""
        site = web.Application(client_max_size=100 * 1024 * 1024, middlewares=[reject_other_origins])
        site.on_response_prepare.append(add_security_headers)
        site.on_shutdown.append(self._end_streams)
        for path, name in (("/", "index.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
            site.router.add_get(path, static_file(_FILES / name))
        site.router.add_get("/local/stream", self._stream)
        site.router.add_put("/local/faults", self._set_faults)
        site.router.add_post("/local/requests", self._put_request)
        site.router.add_post("/local/notifications", self._notify)
        site.router.add_post("/local/reconciliations", self._reconcile)
        site.router.add_post("/api/referrals/{id}", self._calls.forward)
        site.router.add_post("/api/referrals", self._calls.request)
        site.router.add_route("*", "/api/{path:.*}", self._calls.proxy)
        return site

    async def close(self) -> None:
        """Stop following the app."""
        self._stack.partner_center.on_call = lambda _: None
        for task in (self._following, self._host_ended):
            task.cancel()
        await asyncio.gather(self._following, self._host_ended, return_exceptions=True)

    async def _end_streams(self, _: web.Application) -> None:
        self._records.send(None)

    def _on_call(self, call: ReceivedCall) -> None:
        if call.referral_id != LIST:
            self._records.add("fetching", referralId=call.referral_id)

    def _on_log_line(self, line: str) -> None:
        """Record an event of the app's log, and check the queues, which may have changed with it."""
        _, is_event, fields = line.partition(".User {")
        event: dict[str, Any] | None = json.loads("{" + fields) if is_event else None
        if event:
            self._records.add("log", **event)
            self._refresh.set()
        self._report_log_line(line, event)

    async def _follow(self) -> None:
        """Check the queues after each log event, and every few seconds: commands, too, put events on them."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._refresh.wait()
            self._refresh.clear()
            app_runs = not self._host_ended.done()
            state: dict[str, Any] = {"kind": "now", "app": app_runs, "faults": self._faults.current()}
            try:
                state["waiting"] = await self._read_queues()
            except (AzureError, aiohttp.ClientError):
                state["waiting"] = None
            if state != self._state:
                self._state = state
                self._records.send(state)

    async def _read_queues(self) -> dict[str, int]:
        """Show new events and rejects. Returns the message count of each queue, hidden messages included."""
        queues = {"requests": self._queues.requests, "events": self._queues.events, "rejects": self._queues.rejects}
        for name in ("events", "rejects"):
            for document in await self._new_documents(queues[name]):
                self._records.add("outcome", queue=name, document=document)
                self.outcomes.put_nowait((queues[name], document))
        return {name: await queue.count() for name, queue in queues.items()}

    async def _new_documents(self, queue: AnyQueue) -> list[dict[str, Any]]:
        """Take what is on a queue, or look at it if it should stay there."""
        documents = []
        if self._keep:
            for message_id, document in await queue.peek():
                if message_id not in self._seen:
                    self._seen.add(message_id)
                    documents.append(document)
            return documents
        while document := await queue.take():
            documents.append(document)
        return documents

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Apply a body such as `{"partnerCenter": "throttled", "token": false, "events": true}`."""
        try:
            self._faults.set(await json_object(request))
        except ValueError as unknown:
            return error(str(unknown))
        self._refresh.set()
        return web.json_response(self._faults.current())

    async def _put_request(self, request: web.Request) -> web.Response:
        """Put the body on the requests queue unchanged."""
        text = await request.text()
        if not text.strip() or len(text.encode()) > 48 * 1024:
            return error("A message has 1 byte to 48 KiB.")
        await self._queues.requests.send(base64.b64encode(text.encode()).decode())
        self._refresh.set()
        return web.json_response({}, status=HTTPStatus.ACCEPTED)

    async def _notify(self, request: web.Request) -> web.Response:
        """Change a referral in Partner Center, which then sends the app a signed notification, or drops it."""
        if not self._stack.webhooks.registration:
            return error(
                "The webhook is not registered. `referral-fn webhook register` does that; see docs/webhooks.md.",
                HTTPStatus.CONFLICT,
            )
        try:
            referral_id = str(uuid.UUID(str((await json_object(request)).get("referralId"))))
        except ValueError:
            return error("A referral ID must be a GUID.")
        changes = {"updatedDateTime": datetime.now(UTC).isoformat(), "eTag": f'"{uuid.uuid4()}"'}
        attempts = await self._stack.webhooks.change(referral_id, **changes)
        if not attempts:
            self._records.add("dropped", referralId=referral_id)
        status = attempts[-1]["responseCode"] if attempts else None
        return web.json_response({"status": status, "attempts": len(attempts)})

    async def _reconcile(self, _: web.Request) -> web.Response:
        """Run the reconciliation now, in place of waiting for its timer."""
        try:
            async with self._session.post(f"{self.host.url}/admin/functions/reconcile", json={}) as response:
                return web.json_response({}, status=response.status)
        except aiohttp.ClientError:
            return error("The app does not answer. The terminal of `make run` says more.", HTTPStatus.BAD_GATEWAY)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the known referrals, the history, the current state, then every new record."""
        referrals = self._stack.partner_center.referrals.items()
        known = [{"id": key, "name": document.get("name") or "Unnamed referral"} for key, document in referrals]
        schedule = SETTINGS["REFERRALS_DEFERRAL_SCHEDULE"]
        hello = {"kind": "hello", "referrals": known, "schedule": schedule, "keep": self._keep}

        def snapshot() -> list[dict[str, Any]]:
            self._refresh.set()
            return [hello, *self._records.history, self._state or {"kind": "now"}]

        return await self._records.serve(request, snapshot)


@contextlib.asynccontextmanager
async def opened(
    stack: Stack,
    queues: Queues,
    port: int = 0,
    settings: Mapping[str, str] | None = None,
    *,
    keep: bool = False,
    on_log_line: OnLogLine = lambda _line, _event: None,
) -> AsyncIterator[Page]:
    """Run the app under its host, with the page in front of it.

    Args:
        stack: the stand-ins.
        queues: the app's queues.
        port: preferred port for the page and the app; if it is taken, another one is used.
        settings: app settings that override `SETTINGS`.
        keep: whether events and rejects stay on their queues.
        on_log_line: called with each line of the app's log, and its log event if it is one.

    Raises:
        HostError: the host did not start.
    """
    async with contextlib.AsyncExitStack() as opening:
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        session = await opening.enter_async_context(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        environment = stack.environment(queues, STATE_URL=await stack.fresh_table(), **{**SETTINGS, **(settings or {})})
        own_settings, flaky = environment.copy(), None
        if not isinstance(queues.events, service_bus.BusQueue):
            flaky = FlakyQueues(stack.azurite.origin, session)
            proxy_url = await opening.enter_async_context(serving(flaky.app, tls=stack.authority.server_context()))
            environment["EVENTS_URL"] = queues.events.url.replace(stack.azurite.origin, proxy_url)
        host = await opening.enter_async_context(stack.host(environment))
        page = Page(stack, queues, host, session, own_settings, flaky=flaky, keep=keep, on_log_line=on_log_line)
        opening.push_async_callback(page.close)
        page.url = await opening.enter_async_context(serving(page.site(), port))
        yield page
