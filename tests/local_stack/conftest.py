"""A queue listener in this process, on Azurite behind a proxy that injects faults; the tests act as its functions."""

import asyncio
import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from azure.core.exceptions import ResourceExistsError

from local_stack.azurite import AzuriteQueue
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import Function
from local_stack.host.logs import HostLog
from local_stack.host.queue_listener import QueueListener, QueueOptions
from local_stack.host.storage import SCOPE, StorageQueues
from local_stack.stack import STORAGE, Queues, Stack
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.tokens import TENANT

Fault = Callable[[web.Request], web.Response | None]
POISON = "-poison"
Listen = Callable[..., AbstractAsyncContextManager["Listening"]]


class Dispatcher:
    """Replaces the worker: a test decides the result of each call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.behave: Callable[[Call], Awaitable[None]] = succeed
        self.at_once = 0
        self.most_at_once = 0

    async def invoke(self, call: Call, reason: str) -> None:
        self.calls.append(call)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.behave(call)
        finally:
            self.at_once -= 1


class Listening:
    """A running listener."""

    def __init__(self, queue: AzuriteQueue, poison: AzuriteQueue, flaky: FlakyQueues) -> None:
        self.queue, self.poison = queue, poison
        self.dispatcher = Dispatcher()
        self.ended: list[str] = []
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.queries: list[dict[str, str]] = []
        self.fault: Fault = lambda _: None
        """Returns a response in place of Azurite's, or None."""
        flaky.fault = self._answer

    def refuse(self, method: str, status: int, code: str, *, of: str = "", times: float = float("inf")) -> None:
        """Answer requests of a method with an error, those whose path has `of` in it."""
        left = times

        def fault(request: web.Request) -> web.Response | None:
            nonlocal left
            if request.method != method or of not in request.path or left <= 0:
                return None
            left -= 1
            return web.Response(status=status, headers={"x-ms-error-code": code})

        self.fault = fault

    def _answer(self, request: web.Request) -> web.Response | None:
        self.queries.append({"method": request.method, **request.query})
        answer = self.fault(request)
        self.requests[(request.method, request.path.split("/")[2], answer.status if answer else 0)] += 1
        return answer

    async def send(self, *texts: str, time_to_live: int = -1) -> None:
        for text in texts:
            await self.queue.client.send_message(text, time_to_live=time_to_live)

    async def called(self, times: int) -> None:
        while len(self.dispatcher.calls) < times:
            await asyncio.sleep(0.01)

    async def ends(self) -> str:
        """Wait until the host ends. Returns why."""
        while not self.ended:
            await asyncio.sleep(0.01)
        return self.ended[0]


async def succeed(_: Call) -> None:
    return


async def fail(_: Call) -> None:
    raise InvocationError("the function failed")


@pytest.fixture
def listen(stack: Stack) -> Listen:
    """Starts a listener with options of host.json's `queues` section."""

    @contextlib.asynccontextmanager
    async def start(
        *, lease: float = 600, data_type: str = "BINARY", suffix: str = "", retry_delay: float = 0.01, **section: Any
    ) -> AsyncIterator[Listening]:
        queues: Queues = await stack.fresh_queues(inbound=STORAGE)
        name = queues.requests.name + suffix
        queue, poison = AzuriteQueue(stack.azurite, name), AzuriteQueue(stack.azurite, name + POISON)
        if suffix:
            with contextlib.suppress(ResourceExistsError):
                await queue.client.create_queue()
        binding = {"type": "queueTrigger", "name": "msg", "queueName": name, "dataType": data_type}
        function = Function("1", "take", [binding])
        options = QueueOptions.read({"maxPollingInterval": "00:00:00.2", "messageEncoding": "none", **section})
        connector = aiohttp.TCPConnector(ssl=stack.authority.client_context(), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            flaky = FlakyQueues(stack.azurite.origin, session)
            listening = Listening(queue, poison, flaky)
            async with serving(flaky.app) as url:
                account = stack.azurite.account_url.replace(stack.azurite.origin, url)
                token = stack.issuer.mint(SCOPE.removesuffix("/.default"), TENANT, 3600)
                client = StorageQueues(account, lambda: _constant(token), session, retry_delay)
                listener = QueueListener(
                    function,
                    listening.dispatcher,
                    client,
                    options,
                    HostLog({}, io.StringIO()),
                    lease=lease,
                    end_host=listening.ended.append,
                )
                running = asyncio.create_task(listener.run())
                try:
                    yield listening
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)

    return start


async def _constant(value: str) -> str:
    return value
