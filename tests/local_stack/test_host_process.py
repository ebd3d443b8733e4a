"""Host and worker as processes, with an app that shows what reaches it: HTTP, timers, groups, and how hosts end."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from local_stack.host.functions_host import ENDED_BY_ITSELF
from local_stack.host.process import Host
from local_stack.stack import STORAGE, Queues, Stack
from local_stack.stand_ins.identity import CLIENT_ID
from tests.conftest import until

pytestmark = pytest.mark.e2e

PROBE = Path(__file__).parent / "probe_app"
QUICK = ("--restart-wait", "0", "--retry-delay", "0.01")
Json = Any


def settings(stack: Stack, queues: Queues | None = None, **more: str) -> dict[str, str]:
    """The probe app's settings."""
    identity = {"IDENTITY_ENDPOINT": f"{stack.identity_url}/msi/token", "IDENTITY_HEADER": stack.identity.secret}
    environment = {**identity, "SSL_CERT_FILE": str(stack.authority.root), **more}
    if queues:
        environment["PROBE_QUEUE"] = queues.requests.name
        environment["Probe__queueServiceUri"] = stack.azurite.account_url
        environment["Probe__clientId"] = CLIENT_ID
        environment.setdefault("PROBE_DATA_TYPE", "BINARY")
    return environment


def probe(stack: Stack, environment: dict[str, str], *options: str) -> AbstractAsyncContextManager[Host]:
    return stack.host(environment, 0, "--root", str(PROBE), *QUICK, *options)


@pytest.fixture(scope="module")
async def host(shared_stack: Stack) -> AsyncIterator[Host]:
    """One host for the tests that only call it."""
    async with probe(shared_stack, settings(shared_stack, PROBE_SCHEDULE="0 0 0 1 1 *")) as running:
        yield running


async def ask(host: Host, path: str, method: str = "GET", **request: Any) -> tuple[int, Json]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{host.url}{path}", **request) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def test_a_body_with_a_content_length_is_passed_on(host: Host) -> None:
    _, seen = await ask(host, "/api/echo/a", "POST", data=b"all of it")
    assert seen["body"] == "all of it"


async def test_a_chunked_body_arrives_empty(host: Host) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"lost"

    _, seen = await ask(host, "/api/echo/a", "POST", data=chunks())
    assert (seen["body"], seen["headers"]["transfer-encoding"]) == ("", "chunked")


@pytest.mark.parametrize("path", ["/api/echo/Word", "/API/Echo/Word", "/api/echo/Word/"])
async def test_routes_ignore_case_and_parameters_preserve_it(host: Host, path: str) -> None:
    assert (await ask(host, path))[1]["route"] == {"word": "Word"}


async def test_a_parameter_may_contain_any_character(host: Host) -> None:
    url = URL(f"{host.url}/api/echo/a%0Ab%7D", encoded=True)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(("path", "method"), [("/api/echo", "GET"), ("/echo/a", "GET"), ("/api/echo/a", "DELETE")])
async def test_another_path_or_method_is_not_found(host: Host, path: str, method: str) -> None:
    assert await ask(host, path, method) == (404, "")


async def test_headers_sent_several_times_are_joined_and_empty_query_values_dropped(host: Host) -> None:
    headers = CIMultiDict([("X-Word", "a"), ("X-Word", "b"), ("X-Empty", "")])
    _, seen = await ask(host, "/api/echo/a?q=1&q=2&empty=", headers=headers)
    assert (seen["headers"]["x-word"], seen["headers"]["x-empty"]) == ("a,b", "")
    assert seen["params"] == {"q": "1,2"}


async def test_the_function_sees_the_callers_trace_with_a_span_of_the_hosts(host: Host) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    _, seen = await ask(host, "/api/echo/a", headers={"traceparent": f"00-{trace}-{span}-01"})
    version, seen_trace, seen_span, flags = seen["traceparent"].split("-")
    assert (version, seen_trace, flags) == ("00", trace, "01")
    assert seen_span != span
    _, seen = await ask(host, "/api/echo/a")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", seen["traceparent"])


async def test_a_function_that_raises_is_a_500_without_a_body(host: Host) -> None:
    assert await ask(host, "/api/raise") == (500, "")


async def test_an_http_call_that_times_out_is_a_500_and_the_next_has_another_worker(host: Host) -> None:
    before = len(host.worker_pids)
    assert await ask(host, "/api/sleep/60") == (500, "")
    await host.has_started_workers(before + 1)
    assert await ask(host, "/api/process") == (200, str(host.worker_pids[-1]))


async def test_a_timer_is_run_through_the_admin_endpoint_with_its_schedule(host: Host) -> None:
    assert (await ask(host, "/admin/functions/Tick", "POST", json={}))[0] == 202
    await host.says("Executed 'Functions.tick' (Succeeded")
    (line,) = [line for line in host.log.splitlines() if ".User ticked" in line]
    seen = json.loads(line.partition("ticked ")[2])
    assert seen["past_due"] is False
    assert "01-01T00:00:00+00:00" in str(seen["status"])
    assert (await ask(host, "/admin/functions/tick", "POST", data=b"no JSON"))[0] == 400
    assert (await ask(host, "/admin/functions/nothing", "POST", json={}))[0] == 404


async def test_a_timer_is_run_by_its_schedule(stack: Stack) -> None:
    async with probe(stack, settings(stack, PROBE_SCHEDULE="* * * * * *")) as host:
        while host.log.count("Executed 'Functions.tick' (Succeeded") < 2:
            await asyncio.sleep(0.02)


async def test_an_invalid_schedule_disables_only_its_own_timer(stack: Stack) -> None:
    async with probe(stack, settings(stack, PROBE_SCHEDULE="hourly")) as host:
        await host.says("The 'tick' function is in error: The schedule expression 'hourly' was not recognized")
        assert (await ask(host, "/api/echo/a"))[0] == 200


async def test_http_and_queue_functions_can_run_in_separate_hosts(stack: Stack) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues)
    async with probe(stack, environment, "--group", "http") as http:
        assert (await ask(http, "/api/echo/a"))[0] == 200
        await queues.requests.send("a")
        async with probe(stack, environment, "--group", "function:take") as queue:
            assert (await ask(queue, "/api/echo/a"))[0] == 404
            await queue.says(".User took")
        assert ".User took" not in http.log
        assert http.worker_pids != queue.worker_pids


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_killing_the_host_leaves_no_worker(stack: Stack) -> None:
    async with probe(stack, settings(stack)) as host:
        (worker,) = host.worker_pids
        assert _is_alive(worker)
        await host.kill()
        while _is_alive(worker):
            await asyncio.sleep(0.01)


async def test_after_the_hosts_death_a_message_is_back_once_its_lease_is_over(stack: Stack) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues)
    async with probe(stack, environment, "--lease", "5") as host:
        await queues.requests.send("sleep60")
        await host.says(".User took")
        await host.kill()
        assert (await queues.requests.count(), await queues.requests.texts()) == (1, [])
    async with probe(stack, environment) as host:
        await host.says('"count": 2')
        await host.kill()


@pytest.mark.parametrize("ends", ["dies", "times out"])
async def test_after_the_workers_end_its_message_is_back_after_visibility_timeout(stack: Stack, ends: str) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues, AzureFunctionsJobHost__extensions__queues__visibilityTimeout="00:00:01")
    if ends == "dies":
        environment["AzureFunctionsJobHost__functionTimeout"] = "00:01:00"
    async with probe(stack, environment) as host:
        await queues.requests.send("sleep60")
        await host.says(".User took")
        if ends == "dies":
            host.kill_worker()
        await host.has_started_workers(2)
        await host.says('"count": 2')  # under a lease of ten minutes
        await host.kill()


async def test_a_forbidden_queue_stops_the_host_with_a_distinct_status(stack: Stack) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues, IDENTITY_HEADER="wrong")
    async with probe(stack, environment) as host:
        assert await host.ended() == ENDED_BY_ITSELF
        await host.says("An unhandled exception has occurred. Host is shutting down.")


async def test_three_dead_workers_end_the_host(stack: Stack) -> None:
    async with probe(stack, settings(stack)) as host:
        for number in (1, 2, 3):
            await host.has_started_workers(number)
            host.kill_worker()
        assert await host.ended() == ENDED_BY_ITSELF
        await host.says("Exceeded language worker restart retry count")


async def test_a_host_that_shuts_down_accepts_nothing_new_and_lets_calls_finish(stack: Stack) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    async with probe(stack, settings(stack, queues)) as host:
        await queues.requests.send("sleep1")
        await host.says(".User took")
        call = asyncio.create_task(ask(host, "/api/sleep/1"))
        await host.says("Executing 'Functions.sleep'")
        stopping = asyncio.create_task(host.stop())
        assert await call == (200, "slept")
        await stopping
        assert await queues.requests.count() == 0
        assert not _is_alive(host.worker_pids[0])
        assert await host.ended() == 0


@pytest.mark.parametrize("body", ["", "  ", '{"DequeueCount": "often"}'])
async def test_bound_as_bytes_every_body_reaches_the_function(stack: Stack, body: str) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues)
    async with probe(stack, environment) as host:
        await queues.requests.send(body)
        await host.says(f'"count": 1, "body": "{body.encode().hex()}"')
        await until(queues.requests.count, 0)


async def test_bound_as_text_a_body_can_break_the_function_until_it_is_poison(stack: Stack) -> None:
    queues = await stack.fresh_queues(inbound=STORAGE)
    environment = settings(stack, queues, PROBE_DATA_TYPE="STRING")
    async with probe(stack, environment) as host:
        body = '{"InsertionTime": "2026-11-24T04:00:00Z"}'
        await queues.requests.send(body)
        await until(queues.poison.count, 1)
        assert ".User took" not in host.log
        assert host.log.count("Executed 'Functions.take' (Failed") == 5
        own_id = str(uuid.uuid4())
        await queues.requests.send(json.dumps({"id": own_id, "DEQUEUECOUNT": 4}))
        await host.says(f'"id": "{own_id}", "count": 4')
