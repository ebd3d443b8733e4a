"""Azurite's queue and table services as processes: HTTPS, bearer tokens, on free ports."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any, ClassVar, Self

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.identity import CLIENT_ID
from local_stack.stand_ins.serving import HOST, free_port
from local_stack.stand_ins.tokens import Issuer

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's documented development account; it is public."""

_ROOT = Path(__file__).parent.parent
_START_SECONDS = 60
_PEEK = 32


class AzuriteError(RuntimeError):
    """Azurite is not installed or does not start; the message says what to do."""


class _Service:
    """One of Azurite's services. Without a folder it stores everything in memory."""

    service_name: ClassVar[str]

    def __init__(self, authority: Authority, folder: Path | None = None, port: int = 0) -> None:
        self._authority = authority
        self._folder = folder
        self._preferred_port = port
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def origin(self) -> str:
        """Its base URL."""
        return f"https://{HOST}:{self.port}"

    @property
    def account_url(self) -> str:
        """The account's endpoint."""
        return f"{self.origin}/{ACCOUNT}"

    async def __aenter__(self) -> Self:
        self.port = free_port(self._preferred_port)
        try:
            await self.start()
        except AzuriteError as error:
            if "EADDRINUSE" not in str(error):
                raise
            self.port = free_port()  # another process has taken it meanwhile
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            AzuriteError: it is not installed, or did not come up.
        """
        name = self.service_name
        self._process = await asyncio.create_subprocess_exec(
            *_command(name),
            *(f"--{name}Host", HOST, f"--{name}Port", str(self.port), "--oauth", "basic"),
            *("--cert", str(self._authority.certificate), "--key", str(self._authority.key)),
            *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
            *(("--location", str(self._folder)) if self._folder else ("--inMemoryPersistence",)),
            env=os.environ | {"PARENT_FOLDER": str(self._authority.key.parent)},
            stdin=asyncio.subprocess.PIPE,  # kept open: Azurite exits when it is closed
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        output = self._process.stdout
        try:
            async with asyncio.timeout(_START_SECONDS):
                startup_log = b""
                while output and b" successfully " not in startup_log:
                    line = await output.readline()
                    if not line:
                        raise AzuriteError(f"Azurite did not start: {startup_log.decode(errors='replace').strip()}")
                    startup_log += line
        except TimeoutError:
            await self.stop()
            raise AzuriteError(
                f"Azurite was not ready within {_START_SECONDS} seconds: try again when the machine is less busy"
            ) from None
        except BaseException:  # includes Ctrl-C, whose signal does not reach Azurite's own session
            await self.stop()
            raise

    async def restart(self) -> None:
        """Stop it gracefully, and restart it with the data it has on disk."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGTERM)
            await self._process.wait()
        await self.start()

    async def stop(self) -> None:
        """Kill all its processes: `node` from PyPI is a script that starts the real one."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


class Azurite(_Service):
    """The queue service."""

    service_name = "queue"
    service: QueueServiceClient

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        tls = self._authority.client_context()
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=0))
        self.service = QueueServiceClient(
            self.account_url,
            credential={"account_name": ACCOUNT, "account_key": KEY},
            transport=AioHttpTransport(session=session, session_owner=True),
            retry_total=5,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.service.close()
        finally:
            await self.stop()


class Tables(_Service):
    """The table service. It is started when the first table is created."""

    service_name = "table"

    async def create(self, name: str, issuer: Issuer) -> str:
        """Create a table. Returns its URL."""
        if not self.port:
            await self.__aenter__()
        token = issuer.mint("https://storage.azure.com", CLIENT_ID, 60)
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "x-ms-version": "2024-11-04"}
        connector = aiohttp.TCPConnector(ssl=self._authority.client_context())
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, raise_for_status=True) as session,
            session.post(f"{self.account_url}/Tables", json={"TableName": name}),
        ):
            return f"{self.account_url}/{name}"


class AzuriteQueue:
    """A queue in Azurite, for tests and demonstrations."""

    def __init__(self, azurite: Azurite, name: str) -> None:
        self.name = name
        self.url = f"{azurite.account_url}/{name}"
        self.client: QueueClient = azurite.service.get_queue_client(name)

    async def send(self, text: str) -> None:
        """Send a message unchanged."""
        await self.client.send_message(text, time_to_live=-1)

    async def texts(self) -> list[str]:
        """The first 32 visible messages, decoded from base64."""
        return [decode(message.content) for message in await self.client.peek_messages(max_messages=_PEEK)]

    async def documents(self) -> list[Any]:
        """The visible messages, parsed as JSON."""
        return [json.loads(text) for text in await self.texts()]

    async def peek(self) -> list[tuple[str, Any]]:
        """The first 32 visible messages: their IDs, and what they say as JSON. They stay where they are."""
        messages = await self.client.peek_messages(max_messages=_PEEK)
        return [(str(message.id), json.loads(decode(message.content))) for message in messages]

    async def take(self) -> Any | None:
        """Remove a message and return it as JSON; None if none is visible."""
        message = await self.client.receive_message()
        if message is None:
            return None
        await self.client.delete_message(message)
        return json.loads(decode(message.content))

    async def count(self) -> int:
        """The number of messages, hidden ones included."""
        return (await self.client.get_queue_properties()).approximate_message_count or 0

    async def clear(self) -> None:
        """Remove all messages, hidden ones included."""
        await self.client.clear_messages()


def decode(content: str) -> str:
    """The text of a message that this app sent."""
    return base64.b64decode(content).decode()


def _command(service: str) -> list[str]:
    """The command line: Node and the service's script, as installed by bootstrap.py."""
    program = Path(os.environ.get("AZURITE_PATH", _ROOT / ".venv" / "azurite" / "node_modules" / "azurite"))
    main = program / "dist" / "src" / service / "main.js"
    beside_python = _ROOT / ".venv" / "bin" / "node"
    node = str(beside_python) if beside_python.exists() else shutil.which("node")
    if not main.exists() or node is None:
        raise AzuriteError("Azurite is not installed here: `make run` and `make test` install it")
    return [node, "--require", str(Path(__file__).with_name("ends_with_its_parent.js")), str(main)]
