"""The command line in this process: over the stand-ins that need no other process, or over the whole stack."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from local_stack.stack import REFRESH_TOKEN_SECRET, SERVICE_BUS, Queues, Stack
from local_stack.stand_ins.tokens import TENANT
from referral_fn.cli.main import main


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str


class Cli:
    """Runs commands with the settings of an app that works with these queues."""

    def __init__(
        self, stack: Stack, queues: Queues, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.stack = stack
        self.events, self.rejects, self.requests = queues.events, queues.rejects, queues.requests
        self.environment = stack.environment(queues, REFERRALS_RETRY_BUDGET="0.5")
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        # aiohttp reads SSL_CERT_FILE when it is imported; a command's own process sets it before that
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", stack.authority.client_context())

    async def __call__(self, *arguments: str, stdin: str = "", **changes: str) -> Result:
        """Run a command with some settings changed; an empty one is unset."""
        self._set({**self.environment, **changes})
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        try:
            status = await asyncio.to_thread(main, arguments)
        except SystemExit as exit_:  # argparse ends like this
            status = int(exit_.code or 0)
        self._set({**dict.fromkeys(changes, ""), **self.environment})
        captured = self._capsys.readouterr()
        assert not self.stack.leaked(captured.out + captured.err)
        return Result(status, captured.out, captured.err)

    def _set(self, environment: dict[str, str]) -> None:
        for name, value in environment.items():
            if value:
                self._monkeypatch.setenv(name, value)
            else:
                self._monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Undo what a command does to loggers, which ends with its process in real life."""
    loggers = [logging.getLogger(name) for name in ("azure", "referral_fn")]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


@pytest.fixture
async def cli(
    stand_ins: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Cli]:
    """The command line over the stand-ins, with queues on Service Bus and a user who has consented."""
    entra, vault, webhooks = stand_ins.entra, stand_ins.vault, stand_ins.webhooks
    vault.store(REFRESH_TOKEN_SECRET, entra.new_refresh_token())
    webhooks.registration, webhooks.pause = None, 0.02
    webhooks.forget_tests()
    subject, methods = entra.subject, entra.methods
    queues = await stand_ins.fresh_queues(inbound=SERVICE_BUS, outbound=SERVICE_BUS)
    yield Cli(stand_ins, queues, monkeypatch, capsys)
    entra.subject, entra.home_tenant, entra.methods = subject, TENANT, methods
    vault.versions.clear()
    vault.failure, vault.read_only = None, False
    webhooks.registration, webhooks.refusal = None, None


@pytest.fixture
async def storage_cli(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line over the whole stack, with queues on Azurite."""
    return Cli(stack, await stack.fresh_queues(), monkeypatch, capsys)
