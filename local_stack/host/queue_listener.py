"""Polls the queue of a queue-triggered function, as the Storage Queues extension 5.x does, including its quirks.

Sources: `QueueListener`, `QueueProcessor` and `UpdateQueueMessageVisibilityCommand` of that extension. What a function
does to a message is one thing, and deleting, releasing or moving the message another: an error there is nobody's
failure, and ends the host unless the extension expects it.
"""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local_stack.host import wire
from local_stack.host.backoff import Backoff
from local_stack.host.binding import BindingError, bind
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import Function, Invoker
from local_stack.host.host_json import resolve, seconds
from local_stack.host.http_site import new_trace_parent
from local_stack.host.logs import HostLog
from local_stack.host.storage import QueueMessage, StorageError, StorageQueues

POISON_SUFFIX = "-poison"
_CATEGORY = "Host.Triggers.Queue"
_BASE64_BLANKS = str.maketrans("", "", " \t\r\n")


@dataclass(frozen=True)
class QueueOptions:
    """The `queues` section of host.json."""

    batch_size: int
    new_batch_threshold: int
    max_dequeue_count: int
    visibility_timeout: float
    max_polling_interval: float
    is_base64: bool

    @classmethod
    def read(cls, section: dict[str, Any]) -> "QueueOptions":
        """The section with the extension's defaults."""
        batch_size = int(section.get("batchSize", 16))
        default_threshold = batch_size // 2 * (os.cpu_count() or 1)
        return cls(
            batch_size,
            int(section.get("newBatchThreshold", default_threshold)),
            int(section.get("maxDequeueCount", 5)),
            seconds(section.get("visibilityTimeout", "00:00:00")),
            seconds(section.get("maxPollingInterval", "00:01:00")),
            section.get("messageEncoding", "base64").lower() == "base64",
        )


class QueueListener:
    """The listener of one function."""

    def __init__(
        self,
        function: Function,
        dispatcher: Invoker,
        queues: StorageQueues,
        options: QueueOptions,
        log: HostLog,
        *,
        lease: float,
        end_host: Callable[[str], None],
    ) -> None:
        self._function = function
        self._dispatcher = dispatcher
        self._queues = queues
        self._options = options
        self._log = log
        self._lease = lease
        self._end_host = end_host
        self._queue = resolve(function.trigger["queueName"])
        self._poison = None if self._queue.endswith(POISON_SUFFIX) else self._queue + POISON_SUFFIX
        self._backoff = Backoff(options.max_polling_interval)
        self._processing: set[asyncio.Task[None]] = set()
        self._exists = False
        self._found_since_wait = False

    async def run(self) -> None:
        """Poll until cancelled, then let running calls finish."""
        try:
            while True:
                if await self._poll():
                    self._found_since_wait = True
                    await self._wait_for_threshold()
                else:
                    wait, self._found_since_wait = self._backoff.next(found=self._found_since_wait), False
                    await asyncio.sleep(wait)
        except Exception as error:  # noqa: BLE001 - any unexpected error stops the host
            self._end_host(f"{type(error).__name__}: {error}")
        finally:
            if self._processing:
                await asyncio.wait(self._processing)

    async def _poll(self) -> bool:
        """Take one batch. Returns whether there was any message."""
        try:
            self._exists = self._exists or await self._queues.exists(self._queue)
            if not self._exists:
                return False
            batch = await self._queues.receive(self._queue, self._options.batch_size, int(self._lease))
        except StorageError as error:
            self._exists = False
            if error.is_gone or error.is_server_side:
                self._log.write("Debug", _CATEGORY, f"Polling failed: {error}")
                return False
            raise
        for message in batch:
            task = asyncio.create_task(self._process(message))
            self._processing.add(task)
            task.add_done_callback(self._processing.discard)
        return bool(batch)

    async def _wait_for_threshold(self) -> None:
        while len(self._processing) > self._options.new_batch_threshold:
            await asyncio.wait(self._processing, return_when=asyncio.FIRST_COMPLETED)

    async def _process(self, message: QueueMessage) -> None:
        try:
            body = self._decode(message.text)
            if body is None or message.dequeue_count > self._options.max_dequeue_count:
                await self._move_to_poison(message)
                return
            lease = _Lease(self._queues, self._queue, message, self._lease, self._end_host)
            try:
                succeeded = await self._call(body, message)
            finally:
                message = await lease.end()
            await self._complete(message, succeeded=succeeded)
        except Exception as error:  # noqa: BLE001 - any unexpected error stops the host
            self._end_host(f"{type(error).__name__}: {error}")

    async def _call(self, body: bytes, message: QueueMessage) -> bool:
        """Call the function. Returns whether it succeeded."""
        trigger = self._function.trigger
        try:
            value, metadata = bind(body, trigger.get("dataType"), _metadata(message, body))
            call = Call(self._function.id, self._function.name, {trigger["name"]: value}, metadata, new_trace_parent())
            await self._dispatcher.invoke(call, f"New queue message detected on '{self._queue}'.")
        except BindingError as error:
            name = self._function.name
            self._log.error(f"Function.{name}", f"Executed 'Functions.{name}' (Failed) Exception binding: {error}")
            return False
        except InvocationError:
            return False
        return True

    async def _complete(self, message: QueueMessage, *, succeeded: bool) -> None:
        if succeeded:
            await self._delete(message)
        elif self._poison is None:
            return  # without a poison queue it stays hidden, or it would fail again and again
        elif message.dequeue_count >= self._options.max_dequeue_count:
            await self._move_to_poison(message)
        else:
            await self._release(message)

    async def _move_to_poison(self, message: QueueMessage) -> None:
        if self._poison is None:
            return
        count = self._options.max_dequeue_count
        text = f"Message has reached MaxDequeueCount of {count}. Moving message to queue '{self._poison}'."
        self._log.warning(_CATEGORY, text)
        try:
            await self._queues.put(self._poison, message.text)
        except StorageError as error:
            if not error.is_gone:
                raise
            await self._queues.create(self._poison)
            await self._queues.put(self._poison, message.text)
        await self._delete(message)

    async def _delete(self, message: QueueMessage) -> None:
        try:
            await self._queues.delete(self._queue, message)
        except StorageError as error:
            if not (error.is_gone or error.is_stale_receipt):
                raise

    async def _release(self, message: QueueMessage) -> None:
        try:
            await self._queues.hide(self._queue, message, int(self._options.visibility_timeout))
        except StorageError as error:
            if not (error.is_gone or error.is_stale_receipt):
                raise

    def _decode(self, text: str) -> bytes | None:
        """The message's bytes; None if they should be base64 but are not."""
        if not self._options.is_base64:
            return text.encode()
        try:
            return base64.b64decode(text.translate(_BASE64_BLANKS), validate=True)
        except ValueError:  # binascii.Error is one; text beyond ASCII is another
            return None


class _Lease:
    """Keeps a message hidden while it is worked on: renewed whenever half of the time is over."""

    def __init__(
        self, queues: StorageQueues, queue: str, message: QueueMessage, length: float, end_host: Callable[[str], None]
    ) -> None:
        self._queues = queues
        self._queue = queue
        self._message = message
        self._length = length
        self._end_host = end_host
        self._in_renewal = asyncio.Lock()
        self._renewing = asyncio.create_task(self._renew())

    async def end(self) -> QueueMessage:
        """Stop renewing. Returns the message with its newest pop receipt."""
        async with self._in_renewal:
            self._renewing.cancel()
        return self._message

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._length / 2)
            try:
                async with self._in_renewal:
                    self._message = await self._queues.hide(self._queue, self._message, int(self._length))
            except StorageError as error:
                if error.is_gone or error.is_stale_receipt:
                    return  # another consumer has it, or it was deleted
                self._end_host(f"Renewing failed: {error}")
                return
            except Exception as error:  # noqa: BLE001 - any unexpected error stops the host
                self._end_host(f"Renewing failed: {type(error).__name__}: {error}")
                return


def _metadata(message: QueueMessage, body: bytes) -> dict[str, wire.TypedData]:
    """The trigger metadata of a queue message."""
    metadata = {
        "DequeueCount": wire.as_json(message.dequeue_count),
        "ExpirationTime": _time(message.expires),
        "Id": wire.string(message.id),
        "InsertionTime": _time(message.inserted),
        "NextVisibleTime": _time(message.next_visible),
        "PopReceipt": wire.string(message.pop_receipt),
    }
    try:
        return {"QueueTrigger": wire.string(body.decode())} | metadata
    except UnicodeDecodeError:
        return metadata


def _time(moment: datetime) -> wire.TypedData:
    return {"json": json.dumps(moment.strftime("%Y-%m-%dT%H:%M:%S+00:00"))}
