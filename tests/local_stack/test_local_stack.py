"""The stand-ins, where a person or a test relies on them to be strict."""

import asyncio
import os
import signal
import ssl
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from local_stack.host.host_json import seconds
from local_stack.stack import SERVICE_BUS, STORAGE, Stack
from local_stack.stand_ins.identity import API_VERSION, CLIENT_ID
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import REFERRALS
from tests.conftest import App, StartApp, until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def session(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=stack.authority.root)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as opened:
        yield opened


def test_there_are_two_dozen_different_referrals() -> None:
    assert len({referral["id"] for referral in REFERRALS}) == len(REFERRALS) >= 24


@pytest.mark.parametrize(
    ("query", "header", "status"),
    [
        ({"resource": "https://a", "api-version": API_VERSION, "client_id": CLIENT_ID}, True, 200),
        ({"resource": "https://a", "api-version": API_VERSION}, True, 200),
        ({"resource": "https://a", "api-version": API_VERSION}, False, 401),
        ({"resource": "https://a", "api-version": "2017-09-01"}, True, 400),
        ({"api-version": API_VERSION}, True, 400),
        ({"resource": "https://a", "api-version": API_VERSION, "client_id": "another"}, True, 400),
    ],
)
async def test_the_identity_endpoint_refuses_what_the_real_one_does(
    stack: Stack,
    session: aiohttp.ClientSession,
    query: dict[str, str],
    header: bool,
    status: int,
) -> None:
    headers = {"X-IDENTITY-HEADER": stack.identity.secret} if header else {}
    async with session.get(f"{stack.identity_url}/msi/token", params=query, headers=headers) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({}, 200, None),
        ({"client-request-id": "1"}, 400, "invalidRequest"),
        ({"Accept": "*/*"}, 406, "generalException"),
        ({"Authorization": "Bearer x"}, 401, "unauthenticated"),
        ({"Authorization": ""}, 401, "unauthenticated"),
    ],
)
async def test_partner_center_refuses_what_the_real_one_does(
    stack: Stack, session: aiohttp.ClientSession, change: dict[str, str], status: int, code: str | None
) -> None:
    token = stack.issuer.mint("https://api.partner.microsoft.com", CLIENT_ID, 60)
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "client-request-id": str(uuid.uuid4()),
        **change,
    }
    url = f"{stack.partner_center_url}/v1/referrals/{REFERRALS[1]['id']}"
    async with session.get(url, headers=headers) as answer:
        assert (answer.status, (await answer.json()).get("error", {}).get("code")) == (status, code)
    if status == 200:  # an ID is good for one call
        async with session.get(url, headers=headers) as answer:
            assert answer.status == 400


async def test_key_vault_challenges_callers_without_a_token(stack: Stack, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{stack.vault_url}/secrets/a?api-version=7.4") as answer:
        assert answer.status == 401
        assert 'resource="https://vault.azure.net"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "fault",
    [{"kind": "statis"}, {"sort": "status"}, {"kind": "status", "status": 1}, {"kind": "status", "status": "x"}, []],
)
async def test_an_unknown_fault_is_refused(stack: Stack, session: aiohttp.ClientSession, fault: object) -> None:
    async with session.put(f"{stack.partner_center_url}/_faults", json=fault) as answer:
        assert answer.status == 400
    assert not stack.partner_center.faults


async def test_an_unsupported_method_is_not_found(app: App) -> None:
    async with app.session.get(f"{app.host.url}/api/referrals") as answer:
        assert answer.status == 404


async def test_a_caller_that_disconnects_does_not_stop_the_function(start_app: StartApp) -> None:
    async with start_app(REFERRALS_RETRY_BUDGET="10") as app:
        referral_id = REFERRALS[2]["id"]
        app.stack.partner_center.faults[referral_id] = Fault("latency", seconds=0.5, times=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await app.forward(referral_id)
        await until(app.queues.events.count, 1)


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list a process's children")
@pytest.mark.parametrize("when", ["Running on this machine", "What happens:"])
async def test_make_run_shuts_down_gracefully_and_leaves_no_process(when: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_stack", "--settings", str(tmp_path / "settings.sh")),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    output = b""
    while when.encode() not in output:
        line = await process.stdout.readline()
        assert line, output.decode()
        output += line
    children = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    output += await process.stdout.read()
    await process.wait()
    assert "Traceback" not in output.decode()
    assert len(children) == 3  # two services of Azurite, and the host
    assert [child for child in children if is_running(child)] == []


@pytest.mark.e2e
@pytest.mark.parametrize("queue", [STORAGE, SERVICE_BUS])
async def test_make_run_once_exits_with_either_kind_of_queue(queue: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local_stack", "--once", "--queue", queue, "--settings", str(tmp_path / "settings.sh")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"Both events have the id" in output
    assert b"caused by referral-updated" in output


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("text", "expected"), [("00:00:00.2", 0.2), ("00:02:00", 120), ("01:00:30", 3630)])
def test_time_spans_are_read_as_dotnet_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == expected
