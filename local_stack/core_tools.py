"""Run the app under Azure Functions Core Tools, and forward the same referral by HTTP and by queue.

    python -m local_stack.core_tools

Needs `func`, version 4, on the path. CI on GitHub runs this. It has not run yet: where it was written, Core Tools could
not be installed, because it downloads the host and the extension bundle.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import certifi

from local_stack.azurite import ACCOUNT, KEY
from local_stack.stack import ROOT, Queues, Stack, running
from local_stack.stand_ins.referrals import REFERRALS
from local_stack.stand_ins.serving import free_port

_READY_SECONDS = 180
"""To start, which includes downloading the extension bundle."""

_QUEUE_SECONDS = 60
_POLL_SECONDS = 0.5
_AZURITE = ROOT / ".venv" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"


class CoreToolsError(RuntimeError):
    """The app did not do what it should; the message says what."""


async def main() -> int:
    """Forward a referral both ways. Returns the exit status."""
    referral_id = REFERRALS[0]["id"]
    async with running() as stack, _host_storage():
        queues = await stack.queues()
        async with _started(_environment(stack, queues)) as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/referrals/{referral_id}") as response:
                by_http = await response.json(content_type=None)
                if response.status != 200:
                    raise CoreToolsError(f"HTTP answered {response.status}: {json.dumps(by_http)}")
            await queues.requests.send(referral_id)
            async with asyncio.timeout(_QUEUE_SECONDS):
                while len(events := await queues.events.documents()) < 2:  # noqa: ASYNC110 - a queue must be polled
                    await asyncio.sleep(_POLL_SECONDS)
    ids = {by_http["id"], *(event["id"] for event in events)}
    if len(ids) != 1:
        raise CoreToolsError(f"the events have different IDs: {sorted(ids)}")
    print(f"Core Tools forwarded the referral both ways, with the event ID {ids.pop()}")
    return 0


def _environment(stack: Stack, queues: Queues) -> dict[str, str]:
    """The app settings. Core Tools downloads from the Internet, so it needs public roots beside the stand-ins' own."""
    roots = stack.authority.root.with_name("all-roots.pem")
    roots.write_bytes(Path(certifi.where()).read_bytes() + stack.authority.root.read_bytes())
    connection = f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY}"
    settings = stack.environment(
        queues,
        FUNCTIONS_WORKER_RUNTIME="python",
        AzureWebJobsStorage="UseDevelopmentStorage=true",
        ReferralRequests=f"{connection};QueueEndpoint={stack.azurite.account_url}",
        ReferralRequests__queueServiceUri="",
        ReferralRequests__credential="",
        ReferralRequests__clientId="",
        SSL_CERT_FILE=str(roots),
        REQUESTS_CA_BUNDLE=str(roots),
    )
    return os.environ | settings


@contextlib.asynccontextmanager
async def _host_storage() -> AsyncIterator[None]:
    """Azurite with all services, at the ports of `UseDevelopmentStorage=true`, for the host's own locks and keys."""
    command = ("node", str(_AZURITE), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent")
    async with _process(*command, environment=dict(os.environ)):
        yield


@contextlib.asynccontextmanager
async def _started(environment: dict[str, str]) -> AsyncIterator[str]:
    """Core Tools with the app. Yields its URL once the app is healthy."""
    if not (func := shutil.which("func")):
        raise CoreToolsError("func is not on the path: npm install --global azure-functions-core-tools@4")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with _process(func, "start", "--port", str(port), environment=environment) as process:
        async with aiohttp.ClientSession() as session, asyncio.timeout(_READY_SECONDS):
            while not await _is_healthy(session, url):
                if process.returncode is not None:
                    raise CoreToolsError(f"func ended with status {process.returncode}")
                await asyncio.sleep(_POLL_SECONDS)
        yield url


async def _is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/api/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@contextlib.asynccontextmanager
async def _process(*command: str, environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except CoreToolsError as error:
        sys.exit(str(error))
