"""Test tiers, and fixtures for the app, its host and the stand-ins.

A test that uses the `stack` fixture, or anything built on it, is end-to-end: `make unit` leaves it out. Nobody has to
mark it. Tests that start processes in another way have the marker `e2e`; without it, the attempt fails.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import pytest
from hypothesis import HealthCheck, settings

from local_stack.host.process import Host
from local_stack.stack import SERVICE_BUS, STORAGE, AnyQueue, Countable, Queues, Stack, running
from referral_fn.app import App as WorkerApp
from referral_fn.referrals.events import Event
from referral_fn.settings import read_settings
from tests.contract import check_answer, check_event_data

_UNTIMED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # both judge the machine
settings.register_profile("suite", **_UNTIMED, max_examples=25)
settings.register_profile("ci", **_UNTIMED, max_examples=100)
settings.load_profile("suite")

pytest_plugins = ["tests.webhook_caller"]

Json = Any
T = TypeVar("T")
POLL_INTERVAL = 0.05
END_TO_END_FIXTURES = {"shared_stack", "browser"}
_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}|Bearer |Signature [A-Za-z0-9+/]{40}|refresh_token=")
_unit_test_is_running = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core for unit tests; one more for end-to-end tests, which mostly wait for other processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if config.option.markexpr == "not e2e" else cores + 1


@pytest.hookimpl(trylast=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs Azurite, the host or a browser."""
    if END_TO_END_FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker("e2e")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no process is left alone with them; the others stay in random order."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with `BOTH_KINDS` on both kinds of queue, the others on Storage queues."""
    if "kind" in metafunc.fixturenames:
        storage_only = metafunc.definition.get_closest_marker("storage_only")
        both = getattr(metafunc.module, "BOTH_KINDS", False) and not storage_only
        metafunc.parametrize("kind", [STORAGE, SERVICE_BUS] if both else [STORAGE])


def _refuse_processes(event: str, _: tuple[Any, ...]) -> None:
    if _unit_test_is_running and event in {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"}:
        raise RuntimeError("a unit test may start no process; mark the test with @pytest.mark.e2e")


sys.addaudithook(_refuse_processes)


@pytest.fixture(autouse=True)
def _unit_tests_start_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    global _unit_test_is_running  # noqa: PLW0603 - an audit hook cannot be removed
    _unit_test_is_running = request.node.get_closest_marker("e2e") is None
    yield
    _unit_test_is_running = False


@pytest.fixture(autouse=True)
def _loggers_are_restored() -> Iterator[None]:
    """What a test does to the log must not reach the next one."""
    loggers = [logging.getLogger(), logging.getLogger("referral_fn")]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate, logger.handlers[:] = propagate, handlers


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the pauses between quick attempts, for tests about other things."""
    monkeypatch.setattr("referral_fn.retry._FIRST_PAUSE", 0.001)


@pytest.fixture(autouse=True)
def no_token_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail when anything that a test logs in this process looks like a token. The app's own log: see `start_app`."""
    yield
    assert not _TOKEN.search(caplog.text), "a token is in the log"


@pytest.fixture(scope="session")
async def shared_stand_ins() -> AsyncIterator[Stack]:
    """The stand-ins, once per test worker, all of them in this process."""
    async with running(with_azurite=False) as started:
        yield started


@pytest.fixture(scope="session")
async def shared_stack(shared_stand_ins: Stack) -> AsyncIterator[Stack]:
    """The stand-ins and Azurite, once per test worker."""
    async with shared_stand_ins.azurite:
        yield shared_stand_ins


def _reset(stack: Stack) -> None:
    stack.partner_center.reset()
    stack.identity.failures.clear()


@pytest.fixture
def stand_ins(shared_stand_ins: Stack) -> Iterator[Stack]:
    """The stand-ins in their initial state, for unit tests: queues are on Service Bus only."""
    yield shared_stand_ins
    _reset(shared_stand_ins)


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The stand-ins in their initial state, and Azurite. A test that uses it is end-to-end."""
    yield shared_stack
    _reset(shared_stack)


@pytest.fixture
async def bus_queues(stand_ins: Stack) -> Queues:
    """Queues for one unit test, on the Service Bus stand-in."""
    return await stand_ins.fresh_queues(inbound=SERVICE_BUS, outbound=SERVICE_BUS)


OpenWorker = Callable[..., WorkerApp]


@pytest.fixture
async def open_worker(
    stand_ins: Stack, bus_queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenWorker]:
    """Opens the objects that a worker process shares between invocations, in this process and on the stand-ins."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    opened: list[WorkerApp] = []

    def open_app(**overrides: str) -> WorkerApp:
        connector = aiohttp.TCPConnector(ssl=stand_ins.authority.client_context())
        settings = read_settings(stand_ins.environment(bus_queues, **overrides))
        opened.append(WorkerApp(settings, aiohttp.ClientSession(connector=connector)))
        return opened[-1]

    yield open_app
    for app in opened:
        await app.close()


@dataclass
class App:
    """A running app, as a caller and an operator see it."""

    stack: Stack
    queues: Queues
    host: Host
    session: aiohttp.ClientSession
    environment: dict[str, str]

    async def get(self, path: str) -> tuple[aiohttp.ClientResponse, Json]:
        """GET, and read the response as JSON."""
        async with self.session.get(f"{self.host.url}/api/{path}") as response:
            body = await response.json(content_type=None)
            check_answer("get", f"/{path}", response.status, response.content_type, body)
            return response, body

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[aiohttp.ClientResponse, Json]:
        """POST, and read the response as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        dashed = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.host.url}/api/{path}", data=data, headers=dashed) as response:
            text = await response.read()
            assert not self.stack.leaked(text.decode()), "a token is in a response"
            document = json.loads(text) if text else None
            check_answer("post", f"/{path}", response.status, response.content_type, document)
            return response, document

    async def forward(self, referral_id: str, **headers: str) -> tuple[aiohttp.ClientResponse, Json]:
        """Request a referral over HTTP."""
        return await self.post(f"referrals/{referral_id}", **headers)

    async def lies_on(self) -> dict[str, list[Json]]:
        """The visible messages of each queue, and the number of waiting requests, hidden ones included."""
        return {
            "events": await self.queues.events.documents(),
            "rejects": await self.queues.rejects.documents(),
            "requests": [None] * await self.queues.requests.count(),
            "poison": [None] * await self.queues.poison.count(),
        }

    async def reset(self) -> None:
        """Wait until nothing is in flight, then empty the queues and the log for the next test."""
        await self.queues.requests.clear()
        await until(self._is_idle, expected=True)
        for queue in (self.queues.requests, self.queues.events, self.queues.rejects, self.queues.poison):
            await queue.clear()
        assert not self.stack.leaked(self.host.log), "a token is in the app's log"
        self.host.forget()

    async def _is_idle(self) -> bool:
        log = self.host.log
        return log.count("Executing 'Functions.") <= log.count("Executed 'Functions.")


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
ShareApp = Callable[..., Awaitable[App]]


@contextlib.asynccontextmanager
async def _running_app(
    stack: Stack,
    *,
    inbound: str,
    outbound: str,
    lease: int = 600,
    max_deliveries: int = 10,
    **overrides: str,
) -> AsyncIterator[App]:
    """The app under its host, on its own queues. Retries are quicker than in production."""
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


@pytest.fixture
def start_app(stack: Stack, kind: str) -> StartApp:
    """Starts an app for one test, with custom settings; for tests that stop it or change its state."""

    def start(*, inbound: str = kind, outbound: str = kind, **options: Any) -> AbstractAsyncContextManager[App]:
        return _running_app(stack, inbound=inbound, outbound=outbound, **options)

    return start


class _SharedApps:
    """The running apps of a test worker, by their options."""

    def __init__(self) -> None:
        self._apps: dict[frozenset[tuple[str, Any]], tuple[App, contextlib.AsyncExitStack]] = {}

    async def get(self, stack: Stack, **options: Any) -> App:
        key = frozenset(options.items())
        if key not in self._apps:
            stopping = contextlib.AsyncExitStack()
            self._apps[key] = await stopping.enter_async_context(_running_app(stack, **options)), stopping
        return self._apps[key][0]

    async def discard(self, app: App) -> None:
        for key, (known, stopping) in list(self._apps.items()):
            if known is app:
                del self._apps[key]
                await stopping.aclose()

    async def close(self) -> None:
        for app, _ in list(self._apps.values()):
            await self.discard(app)


@pytest.fixture(scope="session")
async def shared_apps(shared_stack: Stack) -> AsyncIterator[_SharedApps]:
    """The apps that tests share, stopped at the end of the session."""
    apps = _SharedApps()
    yield apps
    await apps.close()


@pytest.fixture
async def share_app(
    stack: Stack, kind: str, shared_apps: _SharedApps, request: pytest.FixtureRequest
) -> AsyncIterator[ShareApp]:
    """Provides running apps by their settings, for tests that do not change the app's state.

    An app keeps its pooled connections and tokens from one test to the next; its queues and its log are emptied. After
    a failed test it is stopped, so that one failure does not become many.
    """
    used: list[App] = []

    async def share(*, inbound: str = kind, outbound: str = kind, **options: Any) -> App:
        used.append(await shared_apps.get(stack, inbound=inbound, outbound=outbound, **options))
        return used[-1]

    yield share
    for app in used:
        if app.host.has_ended or request.node.stash.get(_FAILED, False):
            await shared_apps.discard(app)
        else:
            await app.reset()


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember for the fixtures' teardown whether the test failed."""
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[_FAILED] = report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture
async def app(share_app: ShareApp) -> App:
    """The app with its usual settings, shared by the tests of a worker."""
    return await share_app()


async def until(look: Callable[[], Awaitable[T]], expected: T) -> None:
    """Poll until the expected value is seen; the test's own timeout is the limit."""
    while await look() != expected:
        await asyncio.sleep(POLL_INTERVAL)


async def eventually_holds(queue: AnyQueue, count: int = 1) -> list[Json]:
    """Wait until a queue shows at least this many messages."""
    while len(documents := await queue.documents()) < count:
        await asyncio.sleep(POLL_INTERVAL)
    for document in documents:
        if isinstance(document, dict) and "specversion" in document:
            check_event_data(document)
    return documents


async def eventually_empty(queue: Countable) -> None:
    """Wait until a queue is empty, hidden messages included."""
    await until(queue.count, 0)
