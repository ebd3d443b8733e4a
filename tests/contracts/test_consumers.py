"""The programs of examples/: they get events twice and in the wrong order, and messages that they cannot read."""

import asyncio
import base64
import contextlib
import json
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local_stack.azurite import AzuriteQueue
from local_stack.stack import SERVICE_BUS, STORAGE, Stack
from local_stack.stand_ins.identity import CLIENT_ID
from tests.conftest import eventually_empty, until
from tests.contract import PATH, ROOT, run
from tests.documents import event_of, seed

EXAMPLES = ROOT / "examples"
NODE = ROOT / "tests" / "contracts" / "node"
BOTH_KINDS = True
TIMES = ["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.5Z", "2026-01-02T00:00:00Z"]
LATEST = f"Zoë at {TIMES[-1]}"
SENT = [event_of(seed(updatedDateTime=time, name=f"Zoë at {time}")).encode().decode() for time in TIMES]
NEWER_TYPE = json.dumps(json.loads(SENT[0]) | {"id": "new", "type": "partnercenter.referral.v2"})
UNREADABLE = ["hello", NEWER_TYPE]
MESSAGES = [*SENT[::-1], *UNREADABLE, *random.sample(SENT, len(SENT))]
"""Three snapshots, the latest first, then all again in any order; among them what no consumer knows."""


@contextlib.asynccontextmanager
async def program(*command: str, folder: Path, **settings: str) -> AsyncIterator[None]:
    """Run an example until the test has seen what it does; then SIGTERM must end it well."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PATH": PATH, "HOME": os.environ["HOME"], **settings}
    )
    try:
        yield
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def typescript(node_folder: Path) -> Path:
    """The TypeScript examples, compiled strictly."""
    shutil.copytree(EXAMPLES / "typescript", node_folder, dirs_exist_ok=True)
    await run("tsc", folder=node_folder)
    return node_folder


def kept_by_python(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as opened:
        return [json.loads(data)["name"] for (data,) in opened.execute("SELECT data FROM referrals")]


def kept_by_typescript(database: Path) -> list[str]:
    events = [json.loads(line) for line in database.read_text(encoding="utf-8").splitlines()]
    assert len({event["id"] for event in events}) == len(events) == len(SENT), "each event is stored once"
    return [max(events, key=lambda event: event["sequence"])["data"]["name"]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "kept"


async def check_on_storage(stack: Stack, program_of: Any, database: Path) -> None:
    queue = (await stack.fresh_queues()).events
    set_aside = AzuriteQueue(stack.azurite, f"{queue.name}-set-aside")
    await set_aside.client.create_queue()
    for message in MESSAGES:
        await queue.send(base64.b64encode(message.encode()).decode())
    await queue.send("not base64")
    root = str(stack.authority.root)
    settings = {
        "EVENTS_URL": queue.url,
        "DATABASE": str(database),
        "VISIBILITY_SECONDS": "1",
        "IDENTITY_ENDPOINT": f"{stack.identity_url}/msi/token",
        "IDENTITY_HEADER": stack.identity.secret,
        "AZURE_CLIENT_ID": CLIENT_ID,
        "REQUESTS_CA_BUNDLE": root,
        "NODE_EXTRA_CA_CERTS": root,
    }
    async with program_of(**settings):
        await eventually_empty(queue)
    kept = [message.content for message in await set_aside.client.peek_messages(max_messages=32)]
    assert sorted(kept) == sorted(["not base64", *(base64.b64encode(text.encode()).decode() for text in UNREADABLE)])


async def test_the_python_program_for_storage(stack: Stack, database: Path) -> None:
    def start(**settings: str) -> Any:
        return program(sys.executable, "storage_queue.py", folder=EXAMPLES / "python", **settings)

    await check_on_storage(stack, start, database)
    assert kept_by_python(database) == [LATEST]


async def test_the_typescript_program_for_storage(stack: Stack, typescript: Path, database: Path) -> None:
    def start(**settings: str) -> Any:
        return program("node", "dist/storage-queue.js", folder=typescript, **settings)

    await check_on_storage(stack, start, database)
    assert kept_by_typescript(database) == [LATEST]


@contextlib.asynccontextmanager
async def service_bus(folder: Path) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """A broker that has the messages, and speaks AMQP: its connection string, and what it prints of each delivery."""
    shutil.copy(NODE / "service-bus.mjs", folder)
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PATH": PATH}
    command = ("node", "service-bus.mjs")
    broker = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdin=pipe, stdout=pipe)
    assert broker.stdin is not None
    assert broker.stdout is not None
    try:
        port = json.loads(await broker.stdout.readline())["port"]
        for number, body in enumerate(MESSAGES):
            broker.stdin.write(json.dumps({"id": str(number), "body": body}).encode() + b"\n")
        key = "SharedAccessKeyName=any;SharedAccessKey=YW55"
        yield f"Endpoint=sb://127.0.0.1:{port};{key};UseDevelopmentEmulator=true", broker.stdout
    finally:
        broker.stdin.close()  # ends it
        await broker.wait()


async def check_on_service_bus(program_of: Any, database: Path, folder: Path) -> None:
    """Run a program with the real client of Service Bus against a broker that speaks AMQP to it."""
    async with service_bus(folder) as (connection, printed):
        settings = {"SERVICE_BUS_CONNECTION": connection, "EVENTS_QUEUE": "events", "DATABASE": str(database)}
        async with program_of(**settings):
            lines = [json.loads(await printed.readline()) for _ in MESSAGES]
    outcomes = {int(line["id"]): line["outcome"] for line in lines}
    expected = {n: "dead-lettered" if body in UNREADABLE else "completed" for n, body in enumerate(MESSAGES)}
    assert outcomes == expected


@pytest.mark.e2e
async def test_the_python_program_for_service_bus(node_folder: Path, database: Path) -> None:
    def start(**settings: str) -> Any:
        return program(sys.executable, "service_bus.py", folder=EXAMPLES / "python", **settings)

    await check_on_service_bus(start, database, node_folder)
    assert kept_by_python(database) == [LATEST]


@pytest.mark.e2e
async def test_the_typescript_program_for_service_bus(typescript: Path, database: Path) -> None:
    def start(**settings: str) -> Any:
        return program("node", "dist/service-bus.js", folder=typescript, **settings)

    await check_on_service_bus(start, database, typescript)
    assert kept_by_typescript(database) == [LATEST]


async def test_the_functions_app(stack: Stack, kind: str, database: Path) -> None:
    options = {"max_delivery_count": 5} if kind == SERVICE_BUS else {}
    queues = await stack.fresh_queues(inbound=kind, **options)
    prefix, host = (
        ("ServiceBus", {"ServiceBus__fullyQualifiedNamespace": stack.service_bus.namespace})
        if kind == SERVICE_BUS
        else ("Storage", {"Storage__queueServiceUri": stack.azurite.account_url})
    )
    environment = {
        **{name: value for name, value in stack.environment(queues).items() if name.startswith(("IDENTITY", "SSL"))},
        **host,
        f"{prefix}__credential": "managedidentity",
        f"{prefix}__clientId": CLIENT_ID,
        "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
        "EVENTS_QUEUE": queues.requests.name,
        "DATABASE": str(database),
    }
    for message in MESSAGES:
        await queues.requests.send(base64.b64encode(message.encode()).decode() if kind == STORAGE else message)
    async with stack.host(environment, root=EXAMPLES / "python"):
        await until(queues.poison.count, len(UNREADABLE))
        await eventually_empty(queues.requests)
    assert kept_by_python(database) == [LATEST]
