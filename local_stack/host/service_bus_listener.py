"""Receives for a function triggered by Service Bus, as its extension does without sessions, but not over AMQP."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
from azure.core.exceptions import AzureError

from local_stack.host import wire
from local_stack.host.backoff import SHORTEST
from local_stack.host.binding import BindingError, bind
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import Function, Invoker
from local_stack.host.host_json import resolve
from local_stack.host.http_site import new_trace_parent
from local_stack.host.logs import HostLog
from local_stack.host.storage import Connection

SCOPE = "https://servicebus.azure.net/.default"
_CATEGORY = "Host.Triggers.ServiceBus"


class ServiceBusListener:
    """The listener of one function."""

    def __init__(
        self,
        function: Function,
        dispatcher: Invoker,
        connection: Connection,
        session: aiohttp.ClientSession,
        options: dict[str, Any],
        log: HostLog,
        end_host: Callable[[str], None],
    ) -> None:
        self._function = function
        self._dispatcher = dispatcher
        self._connection = connection
        self._session = session
        self._log = log
        self._end_host = end_host
        self._queue = resolve(function.trigger["queueName"])
        self._most = int(options.get("maxConcurrentCalls", 16))
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Receive until cancelled, then let running calls finish."""
        try:
            while True:
                received = await self._poll()
                await asyncio.sleep(0 if received else SHORTEST)
        except Exception as error:  # noqa: BLE001 - any unexpected error stops the host
            self._end_host(f"{type(error).__name__}: {error}")
        finally:
            if self._running:
                await asyncio.wait(self._running)

    async def _poll(self) -> int:
        room = self._most - len(self._running)
        if not room:
            return 0
        try:
            messages = json.loads(await self._ask("POST", f"_receive?max={room}"))
        except (aiohttp.ClientError, AzureError, TimeoutError) as error:
            self._log.warning(_CATEGORY, f"Receiving failed: {type(error).__name__}")
            return 0
        for message in messages:
            task = asyncio.create_task(self._process(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(messages)

    async def _ask(self, method: str, path: str) -> str:
        headers = {"Authorization": f"Bearer {await self._connection.token(SCOPE)}"}
        url = f"https://{self._connection.url}/{self._queue}/{path}"
        async with self._session.request(method, url, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def _process(self, message: dict[str, Any]) -> None:
        lock = f"messages/{message['SequenceNumber']}/{message['LockToken']}"
        renewal = asyncio.create_task(self._renew(lock, message))
        try:
            method = "DELETE" if await self._call(message) else "PUT"  # complete, or abandon for redelivery
            with contextlib.suppress(aiohttp.ClientError, AzureError, TimeoutError):  # the lock runs out, then
                await self._ask(method, lock)
        finally:
            renewal.cancel()

    async def _call(self, message: dict[str, Any]) -> bool:
        """Call the function. Returns whether it succeeded."""
        trigger, name = self._function.trigger, self._function.name
        try:
            body = message["body"].encode("latin-1")
            value, metadata = bind(body, trigger.get("dataType"), _metadata(message))
            call = Call(self._function.id, name, {trigger["name"]: value}, metadata, new_trace_parent())
            await self._dispatcher.invoke(call, f"(null) New ServiceBus message detected on '{self._queue}'.")
        except BindingError as error:
            self._log.error(f"Function.{name}", f"Executed 'Functions.{name}' (Failed) Exception binding: {error}")
            return False
        except InvocationError:
            return False
        return True

    async def _renew(self, lock: str, message: dict[str, Any]) -> None:
        left = datetime.fromisoformat(message["LockedUntilUtc"]) - datetime.now(UTC)
        while True:
            await asyncio.sleep(max(left.total_seconds() / 2, SHORTEST))
            with contextlib.suppress(aiohttp.ClientError, AzureError, TimeoutError):
                await self._ask("POST", lock)


def _metadata(message: dict[str, Any]) -> dict[str, wire.TypedData]:
    """The trigger metadata of a Service Bus message."""
    metadata = {
        name: wire.string(value) if isinstance(value, str) else wire.as_json(value)
        for name, value in message.items()
        if name[0].isupper()
    }
    properties = wire.as_json(message["properties"])
    return metadata | {"UserProperties": properties, "ApplicationProperties": properties}
