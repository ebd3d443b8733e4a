"""Tokens: azure-identity's own credential against the identity endpoint's stand-in; and time, made to pass."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from local_stack.stack import Stack
from local_stack.stand_ins.identity import CLIENT_ID
from referral_fn.credentials.token_source import REFRESH_AHEAD, TokenSource, make_token_source
from referral_fn.errors import RetryableError


@pytest.fixture
def resource() -> str:
    return f"https://{uuid.uuid4()}.example"


@pytest.fixture
async def tokens(stand_ins: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TokenSource]:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stand_ins.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stand_ins.identity.secret)
    source = make_token_source("managed-identity", CLIENT_ID)
    yield source
    await source.close()


async def test_a_hundred_first_callers_make_one_request_per_scope(
    stand_ins: Stack, tokens: TokenSource, resource: str
) -> None:
    scopes = [f"{resource}/a/.default", f"{resource}/b/.default"]
    found = await asyncio.gather(*(tokens.token(scope) for scope in scopes * 100))
    assert len(set(found)) == 2
    assert [stand_ins.identity.requests[scope.removesuffix("/.default")] for scope in scopes] == [1, 1]


async def test_a_refused_token_is_replaced_once_however_many_were_refused(
    stand_ins: Stack, tokens: TokenSource, resource: str
) -> None:
    scope = f"{resource}/.default"
    first = await tokens.token(scope)
    found = await asyncio.gather(*(tokens.token(scope, refused=first) for _ in range(50)))
    assert first not in found
    assert len(set(found)) == 1
    assert await tokens.token(scope) == found[0]
    assert await tokens.token(scope, refused=first) == found[0]
    assert stand_ins.identity.requests[resource] == 2


@pytest.mark.parametrize("change", [{"IDENTITY_HEADER": "wrong"}, {"IDENTITY_ENDPOINT": "http://127.0.0.1:9/"}])
async def test_without_an_identity_there_is_no_token(
    stand_ins: Stack, monkeypatch: pytest.MonkeyPatch, resource: str, change: dict[str, str]
) -> None:
    good = {"IDENTITY_ENDPOINT": f"{stand_ins.identity_url}/msi/token", "IDENTITY_HEADER": stand_ins.identity.secret}
    for name, value in {**good, **change}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("referral_fn.credentials.token_source.PATIENCE", 0.5)
    source = make_token_source("managed-identity", None)
    with pytest.raises(RetryableError) as raised:
        await source.token(f"{resource}/.default")
    assert raised.value.reason == "token-unavailable"
    await source.close()


def test_developers_bring_their_own_credential() -> None:
    assert make_token_source("developer", None)


class Scripted:
    """A credential that says what it was told to, token or error, one after the other."""

    def __init__(self, *answers: AccessToken | Exception) -> None:
        self.answers = list(answers)
        self.closed = 0

    async def get_token(self, *_: str) -> AccessToken:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed += 1


def token(text: str, lifetime: float) -> AccessToken:
    return AccessToken(text, int(time.time() + lifetime))


async def test_a_token_is_renewed_ahead_of_its_expiry_and_kept_as_long_as_that_fails() -> None:
    failure: Any = ClientAuthenticationError("no")
    credential = Scripted(token("old", REFRESH_AHEAD - 10), failure, token("new", 3600))
    source = TokenSource(lambda: credential)
    assert [await source.token("s") for _ in range(4)] == ["old", "old", "new", "new"]


async def test_an_expired_token_is_not_used_when_renewal_fails() -> None:
    credential = Scripted(token("old", -1), ClientAuthenticationError("no"))
    source = TokenSource(lambda: credential)
    assert await source.token("s") == "old"
    with pytest.raises(RetryableError):
        await source.token("s")


async def test_a_failure_is_not_remembered() -> None:
    credential = Scripted(ClientAuthenticationError("no"), token("new", 3600))
    source = TokenSource(lambda: credential)
    with pytest.raises(RetryableError):
        await source.token("s")
    assert await source.token("s") == "new"


async def test_an_endpoint_that_returns_the_refused_token_is_asked_once() -> None:
    credential = Scripted(token("same", 3600), token("same", 3600))
    source = TokenSource(lambda: credential)
    await source.token("s")
    assert [await source.token("s", refused="same") for _ in range(3)] == ["same"] * 3
    assert credential.closed == 1


async def test_one_who_gives_up_waiting_does_not_stop_the_others() -> None:
    release = asyncio.Event()

    class Slow(Scripted):
        async def get_token(self, *_: str) -> AccessToken:
            await release.wait()
            return token("late", 3600)

    source = TokenSource(Slow)
    impatient, patient = (asyncio.create_task(source.token("s")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    release.set()
    assert await patient == "late"
