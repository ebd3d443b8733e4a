"""The token cache: azure-identity's own credential against the identity endpoint's stand-in, and scripted ones."""

import asyncio
import itertools
import json
import time

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from local_stack.stand_ins.identity import CLIENT_ID
from referral_fn.credentials import token_source
from referral_fn.credentials.token_source import COOL_DOWN, MARGIN, Credential, TokenSource, make_token_source
from referral_fn.errors import RetryableError
from tests.credentials.conftest import Cloud

RESOURCE = "https://service.example"
SCOPE = f"{RESOURCE}/.default"


async def test_a_hundred_first_callers_make_one_request_per_scope(cloud: Cloud) -> None:
    source = make_token_source("managed-identity", CLIENT_ID)
    scopes = [f"{RESOURCE}/a/.default", f"{RESOURCE}/b/.default"]
    tokens = await asyncio.gather(*(source.token(scope) for scope in scopes * 100))
    assert len(set(tokens)) == 2
    assert [cloud.identity.requests[scope.removesuffix("/.default")] for scope in scopes] == [1, 1]
    await source.close()


async def test_a_refused_token_is_replaced_once_however_many_callers_were_refused(cloud: Cloud) -> None:
    source = make_token_source("managed-identity", CLIENT_ID)
    first = await source.token(SCOPE)
    tokens = await asyncio.gather(*(source.token(SCOPE, refused=first) for _ in range(50)))
    assert first not in tokens
    assert len(set(tokens)) == 1
    assert await source.token(SCOPE) == tokens[0]
    assert await source.token(SCOPE, refused=first) == tokens[0]
    assert cloud.identity.requests[RESOURCE] == 2
    await source.close()


async def test_a_caller_refused_while_the_token_is_being_replaced_gets_the_new_one(cloud: Cloud) -> None:
    source = make_token_source("managed-identity", CLIENT_ID)
    first = await source.token(SCOPE)
    replacing = asyncio.create_task(source.token(SCOPE, refused=first))
    for _ in range(3):
        await asyncio.sleep(0)  # the request is on its way, and the cool-down has begun
    assert await source.token(SCOPE, refused=first) == await replacing != first
    assert cloud.identity.requests[RESOURCE] == 2
    await source.close()


@pytest.mark.parametrize("change", [{"IDENTITY_HEADER": "wrong"}, {"IDENTITY_ENDPOINT": "http://127.0.0.1:9/"}])
async def test_without_an_identity_there_is_no_token(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    source = make_token_source("managed-identity", None)
    with pytest.raises(RetryableError) as raised:
        await source.token(SCOPE, seconds=0.5)
    assert raised.value.reason == "token-unavailable"
    await source.close()


def test_developers_use_their_own_credential() -> None:
    assert make_token_source("developer", None)


class Clock:
    """Both clocks of the token source: the one that tokens expire by, and the one of the cool-down."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(token_source, "time", clock)
    return clock


class Scripted:
    """A credential that returns tokens, or raises errors, one after the other. Counts how often it is asked."""

    def __init__(self, *script: AccessToken | Exception) -> None:
        self.script = list(script)
        self.requests = 0
        self.closed = 0

    async def get_token(self, *_: str) -> AccessToken:
        self.requests += 1
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self) -> None:
        self.closed += 1


class Endless(Scripted):
    """A credential that returns a new token each time."""

    def __init__(self, clock: Clock, lifetime: float = 3600) -> None:
        super().__init__()
        self._clock, self._lifetime = clock, lifetime

    async def get_token(self, *_: str) -> AccessToken:
        self.requests += 1
        return AccessToken(f"token-{self.requests}", int(self._clock.now + self._lifetime))


def source_of(credential: Credential) -> TokenSource:
    return TokenSource(lambda: credential)


def token(text: str, clock: Clock, lifetime: float) -> AccessToken:
    return AccessToken(text, int(clock.now + lifetime))


async def test_a_token_is_renewed_five_minutes_before_it_expires(clock: Clock) -> None:
    source = source_of(Endless(clock))
    assert await source.token("s") == "token-1"
    clock.now += 3600 - MARGIN - 1
    assert await source.token("s") == "token-1"
    clock.now += 1
    assert await source.token("s") == "token-2"


@pytest.mark.parametrize("lifetime", [10, 60, 299, 1000])
async def test_a_short_lived_token_is_reused_for_most_of_its_life(clock: Clock, lifetime: int) -> None:
    credential = Endless(clock, lifetime)
    source = source_of(credential)
    for _ in range(lifetime * 3 // 4):
        assert await source.token("s") == "token-1"
        clock.now += 1
    clock.now += lifetime // 4 + 1
    assert await source.token("s") == "token-2"
    assert credential.requests == 2


def levels(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The level and name of each log event."""
    return [(record.levelname, json.loads(record.getMessage())["event"]) for record in caplog.records]


async def test_the_old_token_is_used_while_its_renewal_fails_which_is_tried_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    credential = Scripted(token("old", clock, 3600), ClientAuthenticationError("no"))
    source = source_of(credential)
    assert await source.token("s") == "old"
    clock.now += 3600 - MARGIN
    assert [await source.token("s") for _ in range(5)] == ["old"] * 5
    assert credential.requests == 2
    assert levels(caplog) == [("WARNING", "token.not-renewed")]
    credential.script.append(token("new", clock, 9999))
    clock.now += COOL_DOWN
    assert await source.token("s") == "new"


async def test_an_expired_token_is_not_used_when_its_renewal_fails(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(Scripted(token("old", clock, 100), *[ClientAuthenticationError("no")] * 2))
    assert await source.token("s") == "old"
    clock.now += 101
    for _ in range(2):
        with pytest.raises(RetryableError):
            await source.token("s")
    assert levels(caplog) == [("ERROR", "token.failed")] * 2


async def test_a_failure_is_not_remembered(clock: Clock) -> None:
    source = source_of(Scripted(ClientAuthenticationError("no"), token("new", clock, 3600)))
    with pytest.raises(RetryableError):
        await source.token("s")
    assert await source.token("s") == "new"


async def test_an_endpoint_that_returns_the_refused_token_again_is_asked_once(clock: Clock) -> None:
    credential = Scripted(token("same", clock, 3600), token("same", clock, 3600))
    source = source_of(credential)
    await source.token("s")
    assert [await source.token("s", refused="same") for _ in range(3)] == ["same"] * 3
    assert credential.closed == 1


async def test_a_hundred_refusals_in_a_row_ask_for_one_new_token_a_minute(clock: Clock) -> None:
    credential = Endless(clock)
    source = source_of(credential)
    for _ in range(100):
        refused = await source.token("s")
        await source.token("s", refused=refused)
    assert credential.requests == 2
    clock.now += COOL_DOWN
    assert await source.token("s", refused=refused) == "token-3"


async def test_a_refused_token_is_not_returned_when_its_renewal_fails(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(Scripted(token("old", clock, 3600), ClientAuthenticationError("no")))
    refused = await source.token("s")
    with pytest.raises(RetryableError):
        await source.token("s", refused=refused)
    assert levels(caplog) == [("ERROR", "token.failed")]


async def test_a_refusal_in_one_scope_does_not_close_the_credential_that_another_scope_uses(clock: Clock) -> None:
    release, numbers = asyncio.Event(), itertools.count()

    class Closable(Scripted):
        async def get_token(self, *scopes: str) -> AccessToken:
            if scopes == ("slow",):
                await release.wait()
            if self.closed:
                raise OSError("the credential is closed")
            return token(f"{scopes[0]}-{next(numbers)}", clock, 3600)

    source = TokenSource(Closable)
    refused = await source.token("fast")
    slow = asyncio.create_task(source.token("slow"))
    await asyncio.sleep(0)
    assert await source.token("fast", refused=refused) != refused
    release.set()
    assert (await slow).startswith("slow")


async def test_a_caller_who_stops_waiting_does_not_stop_the_others(clock: Clock) -> None:
    release = asyncio.Event()

    class Slow(Scripted):
        async def get_token(self, *_: str) -> AccessToken:
            await release.wait()
            return token("late", clock, 3600)

    source = TokenSource(Slow)
    impatient, patient = (asyncio.create_task(source.token("s")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    release.set()
    assert await patient == "late"


async def test_a_hung_request_is_cancelled_so_that_later_callers_get_another(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(token_source, "REQUEST_TIMEOUT", 0.05)

    class HungOnce(Endless):
        async def get_token(self, *scopes: str) -> AccessToken:
            new = await super().get_token(*scopes)
            if self.requests == 1:
                await asyncio.Event().wait()
            return new

    source = source_of(HungOnce(clock))
    with pytest.raises(RetryableError):
        await source.token("s", seconds=10)
    assert await source.token("s") == "token-2"


@pytest.mark.parametrize(
    "answer",
    [
        AccessToken("", 1),
        AccessToken("two words", 9999999999),
        AccessToken("a\r\nX-Header: b", 9999999999),
        AccessToken("\u0661", 9999999999),
        AccessToken("x" * 65_537, 9999999999),
        AccessToken(None, 9999999999),  # type: ignore[arg-type]
        AccessToken({"a": 1}, 9999999999),  # type: ignore[arg-type]
        AccessToken("good", None),  # type: ignore[arg-type]
        AccessToken("good", "soon"),  # type: ignore[arg-type]
        AccessToken("good", float("nan")),  # type: ignore[arg-type]
        AccessToken("good", float("inf")),  # type: ignore[arg-type]
        AccessToken("good", 10**400),
        *[
            kind("odd")
            for kind in (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, OSError)
        ],
    ],
    ids=lambda answer: repr(answer)[:60],
)
async def test_what_is_not_a_token_is_a_retryable_error(answer: AccessToken | Exception) -> None:
    with pytest.raises(RetryableError) as raised:
        await source_of(Scripted(answer)).token("s")
    assert raised.value.reason == "token-unavailable"


async def test_a_credential_that_cannot_be_made_is_a_retryable_error() -> None:
    def fail() -> Scripted:
        raise ValueError("workload identity without a client ID")

    with pytest.raises(RetryableError):
        await TokenSource(fail).token("s")
