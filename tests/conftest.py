"""The app under its host, with stand-ins around it and a real Azurite: each test has its own process and queues."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import pytest
from hypothesis import settings

from local_stack.stack import SERVICE_BUS, STORAGE, AnyQueue, Countable, Host, Queues, Stack, running
from referral_fn.referrals.events import Event
from tests.contract import check_answer, check_event_data

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

pytest_plugins = ["tests.webhook_caller"]

Json = Any
T = TypeVar("T")
_BETWEEN_LOOKS = 0.05
_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}|Bearer |Signature [A-Za-z0-9+/]{40}|refresh_token=")


@dataclass
class App:
    """A running app, as a caller and an operator see it."""

    stack: Stack
    queues: Queues
    host: Host
    session: aiohttp.ClientSession
    environment: dict[str, str]

    async def get(self, path: str) -> tuple[aiohttp.ClientResponse, Json]:
        """GET, and read the answer as JSON."""
        async with self.session.get(f"{self.host.url}/api/{path}") as answer:
            said = await answer.json(content_type=None)
            check_answer("get", f"/{path}", answer.status, answer.content_type, said)
            return answer, said

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[aiohttp.ClientResponse, Json]:
        """POST, and read the answer as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.host.url}/api/{path}", data=data, headers=named) as answer:
            text = await answer.read()
            assert not self.stack.leaked(text.decode()), "a token is in an answer"
            said = json.loads(text) if text else None
            check_answer("post", f"/{path}", answer.status, answer.content_type, said)
            return answer, said

    async def forward(self, referral_id: str, **headers: str) -> tuple[aiohttp.ClientResponse, Json]:
        """Ask for a referral over HTTP."""
        return await self.post(f"referrals/{referral_id}", **headers)

    async def lies_on(self) -> dict[str, list[Json]]:
        """What lies on each queue to be seen, and how many requests are waiting, hidden ones included."""
        return {
            "events": await self.queues.events.documents(),
            "rejects": await self.queues.rejects.documents(),
            "requests": [None] * await self.queues.requests.count(),
            "poison": [None] * await self.queues.poison.count(),
        }


@pytest.fixture(scope="session")
async def shared_stack() -> AsyncIterator[Stack]:
    """The stand-ins and Azurite, once for a test worker."""
    async with running() as started:
        yield started


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The stand-ins as they are when nobody has touched them."""
    yield shared_stack
    shared_stack.partner_center.reset()
    shared_stack.identity.failures.clear()


@pytest.fixture(autouse=True)
def no_token_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold everything that a test logs in this process against the shapes of tokens; of the others, see `App`."""
    yield
    assert not _TOKEN.search(caplog.text), "a token is in the log"


@pytest.fixture(autouse=True)
def every_event_field_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check every event built in this process against the published schema; `App` checks those of other processes."""
    build = Event.document

    def document(event: Event[Any]) -> dict[str, Any]:
        built = build(event)
        check_event_data(built)
        return built

    monkeypatch.setattr(Event, "document", document)


StartApp = Callable[..., AbstractAsyncContextManager[App]]


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: tests wait for other processes as much as they compute."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, lest one process be left with them at the end; the order of the others stays random."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try the tests of a module that says so by `BOTH_KINDS` with either kind of queues, the others with one."""
    if "kind" in metafunc.fixturenames:
        storage_only = metafunc.definition.get_closest_marker("storage_only")
        both = getattr(metafunc.module, "BOTH_KINDS", False) and not storage_only
        metafunc.parametrize("kind", [STORAGE, SERVICE_BUS] if both else [STORAGE])


@pytest.fixture
def start_app(stack: Stack, kind: str) -> StartApp:
    """Starts the app with the settings a test wants; by default with quick attempts that are really quick."""

    @contextlib.asynccontextmanager
    async def start(
        *,
        lease: int = 600,
        max_deliveries: int = 10,
        inbound: str = kind,
        outbound: str = kind,
        **overrides: str,
    ) -> AsyncIterator[App]:
        options: dict[str, Any] = {}
        if inbound == SERVICE_BUS:
            options = {"lock_seconds": lease, "max_delivery_count": max_deliveries}
        queues = await stack.fresh_queues(inbound=inbound, outbound=outbound, **options)
        quick = {
            "REFERRALS_RETRY_BUDGET": "1",
            "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
            "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
            "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": str(max_deliveries),
            "SERVICE_BUS_MAX_DELIVERY_COUNT": str(max_deliveries),
        }
        environment = stack.environment(queues, **{**quick, **overrides})
        async with stack.host(environment, 0, "--lease", str(lease)) as host, aiohttp.ClientSession() as session:
            yield App(stack, queues, host, session, environment)
        assert not stack.leaked(host.log), "a token is in the app's log"

    return start


@pytest.fixture
async def app(start_app: StartApp) -> AsyncIterator[App]:
    """The app with its usual settings."""
    async with start_app() as started:
        yield started


async def until(look: Callable[[], Awaitable[T]], expected: T) -> None:
    """Look until what is expected is seen; the test's own time-out is the limit."""
    while await look() != expected:
        await asyncio.sleep(_BETWEEN_LOOKS)


async def eventually_holds(queue: AnyQueue, count: int = 1) -> list[Json]:
    """Wait until a queue shows so many messages."""
    while len(found := await queue.documents()) < count:
        await asyncio.sleep(_BETWEEN_LOOKS)
    for document in found:
        if isinstance(document, dict) and "specversion" in document:
            check_event_data(document)
    return found


async def eventually_empty(queue: Countable) -> None:
    """Wait until nothing is on a queue, hidden messages included."""
    await until(queue.count, 0)
