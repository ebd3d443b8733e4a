"""The queue clients against Azurite and the stand-in of Service Bus, and and against a failing server."""

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from local_stack.azurite import AzuriteQueue
from local_stack.stack import SERVICE_BUS, STORAGE, Queues, Stack
from local_stack.stand_ins.serving import serving
from referral_fn.credentials.token_source import TokenSource, make_token_source
from referral_fn.errors import RetryableError
from referral_fn.queues import opening as app_queues
from referral_fn.queues.base import Message, MessageTooLargeError
from referral_fn.queues.base import Queue as AppQueue
from referral_fn.queues.storage import MAX_MESSAGE

BOTH_KINDS = True
SERVICE_BUS_LIMIT = 256 * 1024
OpenQueue = Callable[[str], AppQueue]


@pytest.fixture
async def open_queue(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenQueue]:
    """Opens queues as the app does, with a real token of the stand-in identity."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stack.identity_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", stack.identity.secret)
    monkeypatch.setattr("referral_fn.queues.base.BUDGET", 2)
    tokens: TokenSource = make_token_source("managed-identity", None)
    context = ssl.create_default_context(cafile=stack.authority.root)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield lambda url: app_queues.open_queue(url, session, tokens, SERVICE_BUS_LIMIT)
    await tokens.close()


@pytest.fixture
async def queues(stack: Stack, kind: str) -> Queues:
    return await stack.fresh_queues(inbound=kind, outbound=kind)


@pytest.mark.storage_only
async def test_a_message_is_stored_as_base64_without_expiry(open_queue: OpenQueue, queues: Queues) -> None:
    message = "\u00fcber & <unter>".encode()
    await open_queue(queues.events.url).put(Message(message))
    assert isinstance(queues.events, AzuriteQueue)
    (peeked,) = await queues.events.client.peek_messages()
    assert base64.b64decode(peeked.content) == message
    assert str(peeked.expires_on).startswith("9999-")


async def test_a_delayed_message_is_hidden(open_queue: OpenQueue, queues: Queues) -> None:
    await open_queue(queues.events.url).put(Message(b"later"), delay=0.2)
    assert (await queues.events.texts(), await queues.events.count()) == ([], 1)
    await open_queue(queues.events.url).put(Message(b"next week"), delay=7 * 24 * 3600)
    assert await queues.events.count() == 2


async def test_a_message_keeps_its_id_and_an_expired_lease_is_reported(open_queue: OpenQueue, queues: Queues) -> None:
    queue = open_queue(queues.events.url)
    await queue.put(Message(b"x"))
    (first,) = await queue.take(60)
    await queue.release(first)
    (second,) = await queue.take(60)
    assert (second.id, second.receipt != first.receipt) == (first.id, True)
    for act in (queue.release, queue.remove):
        with pytest.raises(RetryableError, match="ended the lease on the message"):
            await act(first)
    await queue.remove(second)
    with pytest.raises(RetryableError, match="ended the lease on the message"):
        await queue.remove(second)


async def test_a_leased_message_is_hidden_until_it_is_released_or_removed(
    open_queue: OpenQueue, queues: Queues
) -> None:
    queue, seen = open_queue(queues.events.url), queues.events
    for number in range(40):
        await queue.put(Message(b"%d" % number))
    taken = await queue.take(60) + await queue.take(60)
    assert sorted(int(message.body) for message in taken) == list(range(40))
    assert (await seen.texts(), await queue.take(60)) == ([], [])
    await queue.remove(taken[0])
    await queue.release(taken[1])
    assert ([message.removed for message in taken[:2]], len(await seen.texts()), await seen.count()) == (
        [True, False],
        1,
        39,
    )


async def test_a_probe_sends_no_message(open_queue: OpenQueue, queues: Queues) -> None:
    await open_queue(queues.events.url).probe()
    assert await queues.events.count() == 0
    with pytest.raises(RetryableError, match="does not exist"):
        await open_queue(f"{queues.events.url}-not-there").probe()


@pytest.mark.storage_only
async def test_the_largest_message_fits_and_a_larger_one_is_refused(open_queue: OpenQueue, queues: Queues) -> None:
    queue = open_queue(queues.events.url)
    await queue.put(Message(b"x" * MAX_MESSAGE))
    with pytest.raises(MessageTooLargeError, match="49153 bytes"):
        await queue.put(Message(b"x" * (MAX_MESSAGE + 1)))
    assert await queues.events.count() == 1


@contextlib.asynccontextmanager
async def troubled(
    stack: Stack, kind: str, *answers: tuple[int, dict[str, str]]
) -> AsyncIterator[tuple[str, list[str]]]:
    """A queue with configured responses, then 201. Yields its URL and the tokens it was sent."""
    left, tokens = list(answers), []

    async def put(request: web.Request) -> web.Response:
        tokens.append(request.headers["Authorization"])
        status, headers = left.pop(0) if left else (201, {})
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_post("/account/queue/messages", put)
    async with serving(app, tls=stack.authority.server_context()) as url:
        yield f"{url if kind == STORAGE else url.replace('https', 'sb')}/account/queue", tokens


BUSY = (503, {"Retry-After": "0"})


@pytest.mark.parametrize("trouble", [(500, {}), BUSY, (429, {}), (408, {})])
async def test_transient_queue_errors_are_retried(
    stack: Stack, kind: str, open_queue: OpenQueue, trouble: tuple[int, dict[str, str]]
) -> None:
    async with troubled(stack, kind, trouble, trouble) as (url, tokens):
        await open_queue(url).put(Message(b"x"))
        assert len(tokens) == 3


async def test_retries_of_a_permanently_failing_queue_end(stack: Stack, kind: str, open_queue: OpenQueue) -> None:
    async with troubled(stack, kind, *[BUSY] * 9) as (url, tokens):
        with pytest.raises(RetryableError, match="queue did not accept the call \\(503") as raised:
            await open_queue(url).put(Message(b"x"))
        assert (raised.value.reason, len(tokens)) == ("queue-unavailable", 3)


async def test_a_refused_token_is_renewed_before_the_call_fails(stack: Stack, kind: str, open_queue: OpenQueue) -> None:
    async with troubled(stack, kind, (401, {})) as (url, tokens):
        await open_queue(url).put(Message(b"x"))
        assert len(set(tokens)) == 2


@pytest.mark.parametrize(
    ("status", "sentences"),
    [
        (401, {STORAGE: "does not accept the app's token", SERVICE_BUS: "the role Azure Service Bus Data Sender"}),
        (
            403,
            {
                STORAGE: "needs the role Storage Queue Data Message Sender",
                SERVICE_BUS: "needs the role Azure Service Bus Data Sender",
            },
        ),
        (404, {STORAGE: "does not exist", SERVICE_BUS: "does not exist"}),
    ],
)
async def test_errors_that_need_an_operator_are_reported_immediately(
    stack: Stack, kind: str, open_queue: OpenQueue, status: int, sentences: dict[str, str]
) -> None:
    async with troubled(stack, kind, *[(status, {})] * 9) as (url, tokens):
        with pytest.raises(RetryableError, match=sentences[kind]):
            await open_queue(url).put(Message(b"x"))
        assert len(tokens) == (2 if status == 401 else 1)


async def test_an_unreachable_queue_is_named(open_queue: OpenQueue, kind: str) -> None:
    scheme = "https" if kind == STORAGE else "sb"
    with pytest.raises(RetryableError, match="here cannot be reached"):
        await open_queue(f"{scheme}://127.0.0.1:9/nobody/here").put(Message(b"x"))
