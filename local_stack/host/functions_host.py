"""A small Functions host: runs the real function_app.py by its own bindings and host.json, so that it can be tried.

It does what the real host does with what this app uses of it: HTTP, Storage Queue and Service Bus triggers of the
Python v2 model, through the azure-functions library's own converters. Like Core Tools, it asks for no function keys.
"""

import argparse
import asyncio
import base64
import contextlib
import importlib
import inspect
import json
import logging
import os
import re
import secrets
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import azure.functions as func
from aiohttp import web
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.functions import meta
from azure.functions.decorators.function_app import Function
from azure.functions.http import HttpRequestConverter, HttpResponseConverter
from azure.functions.queue import QueueMessageInConverter
from azure.functions.servicebus import ServiceBusMessageInConverter
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient
from multidict import CIMultiDictProxy

from local_stack.stand_ins.serving import serving

GRACE = 30
"""Seconds that work in flight may take once the host is told to stop."""

_SHORTEST_POLL = 0.1
_log = logging.getLogger("host")


def read_host_json(root: Path) -> dict[str, Any]:
    """host.json with the overrides of the environment: `AzureFunctionsJobHost__extensions__queues__batchSize=1`."""
    host: dict[str, Any] = json.loads((root / "host.json").read_text(encoding="utf-8"))
    for name, value in os.environ.items():
        prefix, *path = name.split("__")
        if prefix == "AzureFunctionsJobHost" and path:
            section = host
            for key in path[:-1]:
                section = section.setdefault(key, {})
            section[path[-1]] = value
    return host


def seconds(text: str) -> float:
    """A .NET time span, `hh:mm:ss` with an optional fraction, in seconds."""
    hours, minutes, rest = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(rest)).total_seconds()


def resolve(value: str) -> str:
    """A binding's value with its `%NAME%`s replaced by app settings.

    Raises:
        LookupError: there is no such setting.
    """

    def setting(match: re.Match[str]) -> str:
        if not os.environ.get(match[1]):
            raise LookupError(f"'%{match[1]}%' does not resolve to a value.")
        return os.environ[match[1]]

    return re.sub(r"%([^%]+)%", setting, value)


def joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Headers by lower-case name; one sent several times is joined by commas, as the real host does."""
    return {name.lower(): ",".join(headers.getall(name)) for name in headers}


@dataclass(frozen=True)
class TraceContext:
    """The trace of an invocation, under the worker's names."""

    trace_parent: str
    trace_state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What the worker passes a function that has a parameter `context`."""

    function_name: str
    trace_context: TraceContext
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Invoker:
    """Calls functions as the Python worker does."""

    def __init__(self, time_out: float) -> None:
        self._time_out = time_out

    async def __call__(self, function: Function, argument: Any, trace: TraceContext) -> Any:
        """Call the function with its trigger's value.

        Raises:
            TimeoutError: it took longer than host.json allows.
        """
        call = function.get_user_function()
        arguments = {function.get_trigger().name: argument}  # type: ignore[union-attr]
        if "context" in inspect.signature(call).parameters:
            arguments["context"] = Context(function.get_function_name() or "", trace)
        async with asyncio.timeout(self._time_out):
            if inspect.iscoroutinefunction(call):
                return await call(**arguments)
            return await asyncio.to_thread(call, **arguments)


def http_handler(function: Function, invoke: Invoker) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Serve an HTTP-triggered function."""

    async def handle(request: web.Request) -> web.Response:
        datum = {
            "method": meta.Datum(request.method, "string"),
            "url": meta.Datum(str(request.url), "string"),
            "headers": {name: meta.Datum(value, "string") for name, value in joined(request.headers).items()},
            "query": {name: meta.Datum(value, "string") for name, value in request.query.items()},
            "params": {name: meta.Datum(value, "string") for name, value in request.match_info.items()},
            "body": meta.Datum(await request.read(), "bytes"),
        }
        req = HttpRequestConverter.decode(meta.Datum(datum, "http"), trigger_metadata=None)
        fresh = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        trace = TraceContext(request.headers.get("traceparent", fresh), request.headers.get("tracestate", ""))
        try:
            answer = await invoke(function, req, trace)
            encoded = HttpResponseConverter.encode(answer, expected_type=func.HttpResponse).value
        except Exception:  # noqa: BLE001 - whatever a function raises, the host answers 500 and lives on
            _log.exception("Executed 'Functions.%s' (Failed)", function.get_function_name())
            return web.Response(status=500)
        return web.Response(
            status=int(encoded["status_code"].value),
            headers={name: value.value for name, value in encoded["headers"].items()},
            body=encoded["body"].value,
        )

    return handle


class QueueListener:
    """Polls the queue of a queue-triggered function, as the Storage Queues extension does."""

    lease = 600.0
    """Seconds that a message is hidden while it is worked on; renewed at half of it."""

    def __init__(self, function: Function, invoke: Invoker, options: dict[str, Any]) -> None:
        self._function = function
        self._invoke = invoke
        self._batch = int(options.get("batchSize", 16))
        self._threshold = int(options.get("newBatchThreshold", self._batch // 2))
        self._max_dequeue_count = int(options.get("maxDequeueCount", 5))
        self._retry_after = seconds(options.get("visibilityTimeout", "00:00:00"))
        self._longest_poll = seconds(options.get("maxPollingInterval", "00:01:00"))
        self._base64 = options.get("messageEncoding", "base64") == "base64"
        self._running: set[asyncio.Task[None]] = set()
        binding = function.get_trigger().get_dict_repr()  # type: ignore[union-attr]
        self._service, self._credential = _connect(binding["connection"])
        name = resolve(binding["queueName"])
        self._queue: QueueClient = self._service.get_queue_client(name)
        self._poison: QueueClient = self._service.get_queue_client(f"{name}-poison")

    async def run(self) -> None:
        """Poll until cancelled, then let what is running finish."""
        pause = _SHORTEST_POLL
        try:
            while True:
                found = await self._poll() if len(self._running) <= self._threshold else -1
                pause = _SHORTEST_POLL if found else min(pause * 2, self._longest_poll)
                await asyncio.sleep(0 if found > 0 else pause)
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=GRACE)
            await self._service.close()
            if self._credential:
                await self._credential.close()

    async def _poll(self) -> int:
        """Take one batch. Returns how many messages it had."""
        found = 0
        try:
            async for message in self._queue.receive_messages(
                max_messages=self._batch, messages_per_page=self._batch, visibility_timeout=int(self.lease)
            ):
                found += 1
                task = asyncio.create_task(self._process(message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                if found == self._batch:
                    break
        except AzureError as error:
            _log.warning("Polling failed: %s", type(error).__name__)
        return found

    async def _process(self, message: QueueMessage) -> None:
        renewal = asyncio.create_task(self._renew(message))
        try:
            body = self._decode(message)
            if body is None or (message.dequeue_count or 0) > self._max_dequeue_count:
                await self._give_up(message)
                return
            await self._invoke(self._function, body, TraceContext(f"00-{secrets.token_hex(16)}-{'1' * 16}-00"))
            await self._queue.delete_message(message)
        except Exception:  # noqa: BLE001 - whatever a function raises, its message is delivered again or given up
            _log.exception("Executed 'Functions.%s' (Failed)", self._function.get_function_name())
            if (message.dequeue_count or 0) >= self._max_dequeue_count:
                await self._give_up(message)
            else:
                await self._queue.update_message(message, visibility_timeout=int(self._retry_after))
        finally:
            renewal.cancel()

    def _decode(self, message: QueueMessage) -> func.QueueMessage | None:
        """The message as the worker sees it; none where it is no base64 though it should be."""
        content = message.content
        if self._base64:
            try:
                content = base64.b64decode(content, validate=True)
            except ValueError:  # binascii.Error is one; text beyond ASCII is another
                return None
        metadata = {
            "Id": meta.Datum(message.id, "string"),
            "DequeueCount": meta.Datum(json.dumps(message.dequeue_count), "json"),
            "PopReceipt": meta.Datum(message.pop_receipt, "string"),
            "ExpirationTime": meta.Datum(json.dumps(str(message.expires_on).replace(" ", "T")), "json"),
            "InsertionTime": meta.Datum(json.dumps(str(message.inserted_on).replace(" ", "T")), "json"),
            "NextVisibleTime": meta.Datum(json.dumps(str(message.next_visible_on).replace(" ", "T")), "json"),
        }
        kind = "bytes" if self._base64 else "string"
        decoded: func.QueueMessage = QueueMessageInConverter.decode(
            meta.Datum(content, kind), trigger_metadata=metadata
        )
        return decoded

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(self.lease / 2)
            renewed = await self._queue.update_message(message, visibility_timeout=int(self.lease))
            message.pop_receipt = renewed.pop_receipt

    async def _give_up(self, message: QueueMessage) -> None:
        _log.error("Message has reached MaxDequeueCount. Moving message to queue '%s'.", self._poison.queue_name)
        with contextlib.suppress(ResourceExistsError):
            await self._poison.create_queue()
        await self._poison.send_message(message.content)
        await self._queue.delete_message(message)


class ServiceBusListener:
    """Receives from the queue of a function triggered by Service Bus, as its extension does, but not by AMQP."""

    def __init__(self, function: Function, invoke: Invoker, options: dict[str, Any]) -> None:
        self._function = function
        self._invoke = invoke
        self._binding = function.get_trigger().get_dict_repr()  # type: ignore[union-attr]
        self._sessions = bool(self._binding.get("isSessionsEnabled"))
        most = ("maxConcurrentSessions", 8) if self._sessions else ("maxConcurrentCalls", 16)
        self._most = int(options.get(*most))
        self._running: set[asyncio.Task[None]] = set()
        connection = self._binding["connection"]
        namespace = os.environ.get(f"{connection}__fullyQualifiedNamespace")
        if not namespace:
            raise LookupError(f"connection '{connection}' does not exist: set '{connection}__fullyQualifiedNamespace'.")
        self._url = f"https://{namespace}/{resolve(self._binding['queueName'])}"
        self._credential = ManagedIdentityCredential(client_id=os.environ.get(f"{connection}__clientId"))

    async def run(self) -> None:
        """Receive until cancelled, then let what is running finish."""
        async with aiohttp.ClientSession() as self._session:
            try:
                while True:
                    found = await self._poll()
                    await asyncio.sleep(0 if found else _SHORTEST_POLL)
            finally:
                if self._running:
                    await asyncio.wait(self._running, timeout=GRACE)
                await self._credential.close()

    async def _poll(self) -> int:
        room = self._most - len(self._running)
        if not room:
            return 0
        try:
            found = json.loads(await self._ask("POST", f"_receive?max={room}&sessions={str(self._sessions).lower()}"))
        except (aiohttp.ClientError, AzureError, TimeoutError) as error:
            _log.warning("Receiving failed: %s", type(error).__name__)
            return 0
        for message in found:
            task = asyncio.create_task(self._process(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(found)

    async def _ask(self, method: str, path: str) -> str:
        token = await self._credential.get_token("https://servicebus.azure.net/.default")
        headers = {"Authorization": f"Bearer {token.token}"}
        async with self._session.request(method, f"{self._url}/{path}", headers=headers) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def _process(self, message: dict[str, Any]) -> None:
        lock = f"messages/{message['SequenceNumber']}/{message['LockToken']}"
        renewal = asyncio.create_task(self._renew(lock, message))
        metadata = {
            name: meta.Datum(value, "string") if isinstance(value, str) else meta.Datum(json.dumps(value), "json")
            for name, value in message.items()
            if name[0].isupper()
        }
        metadata["UserProperties"] = meta.Datum(json.dumps(message["properties"]), "json")
        body = message["body"].encode("latin-1").decode(errors="replace")
        try:
            decoded = ServiceBusMessageInConverter.decode(meta.Datum(body, "string"), trigger_metadata=metadata)
            await self._invoke(self._function, decoded, TraceContext(f"00-{secrets.token_hex(16)}-{'1' * 16}-00"))
            await self._ask("DELETE", lock)
        except Exception:  # noqa: BLE001 - whatever a function raises, its message is abandoned, which is to come again
            _log.exception("Executed 'Functions.%s' (Failed)", self._function.get_function_name())
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._ask("PUT", lock)
        finally:
            renewal.cancel()

    async def _renew(self, lock: str, message: dict[str, Any]) -> None:
        left = datetime.fromisoformat(message["LockedUntilUtc"]) - datetime.now(UTC)
        while True:
            await asyncio.sleep(max(left.total_seconds() / 2, _SHORTEST_POLL))
            await self._ask("POST", lock)


def _connect(connection: str) -> tuple[QueueServiceClient, ManagedIdentityCredential | None]:
    """The queue service of a connection: a connection string, or identity-based, and then its credential."""
    if text := os.environ.get(connection):
        return QueueServiceClient.from_connection_string(text), None
    url = os.environ.get(f"{connection}__queueServiceUri")
    if not url:
        raise LookupError(f"connection '{connection}' does not exist: set '{connection}__queueServiceUri'.")
    credential = ManagedIdentityCredential(client_id=os.environ.get(f"{connection}__clientId"))
    return QueueServiceClient(url, credential=credential), credential


@web.middleware
async def _not_found(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer another method than the route's as the real host does: there is no such function."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return web.Response(status=404)


async def run(root: Path, port: int) -> None:
    """Load the app, serve it, and stop at SIGTERM or SIGINT."""
    host = read_host_json(root)
    module = importlib.import_module("function_app")
    invoke = Invoker(seconds(host.get("functionTimeout", "00:30:00")))
    site = web.Application(client_max_size=100 * 1024 * 1024, middlewares=[_not_found])
    listeners: list[QueueListener | ServiceBusListener] = []
    prefix = host.get("extensions", {}).get("http", {}).get("routePrefix", "api")
    for function in module.app.get_functions():
        binding = function.get_trigger().get_dict_repr()
        try:
            if binding["type"] == "httpTrigger":
                path = f"/{prefix}/{binding.get('route') or function.get_function_name()}"
                for method in binding.get("methods") or "*":
                    site.router.add_route(str(getattr(method, "value", method)), path, http_handler(function, invoke))
            elif binding["type"] == "serviceBusTrigger":
                options = host.get("extensions", {}).get("serviceBus", {})
                listeners.append(ServiceBusListener(function, invoke, options))
            else:
                listeners.append(QueueListener(function, invoke, host.get("extensions", {}).get("queues", {})))
        except LookupError as error:
            _log.error("The '%s' function is in error: %s", function.get_function_name(), error)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(site, port, grace=GRACE) as url:
        polls = [asyncio.create_task(listener.run()) for listener in listeners]
        print(f"ready {url}", flush=True)
        await stop.wait()
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
    if close := getattr(module, "close", None):
        await close()


def main() -> None:
    """Run the host from the command line."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.host.functions_host", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the folder of function_app.py and host.json")
    parser.add_argument("--port", type=int, default=7071)
    lease = QueueListener.lease
    parser.add_argument("--lease", type=float, default=lease, help="seconds that a message in work is hidden for")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    QueueListener.lease = options.lease
    os.environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
    sys.path.insert(0, str(options.root.resolve()))
    asyncio.run(run(options.root, options.port))


if __name__ == "__main__":
    main()
