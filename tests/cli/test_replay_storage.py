"""`replay` over Azure Storage queues, which Azurite keeps."""

import json
from typing import Any

import pytest

from local_stack.azurite import AzuriteQueue
from tests.cli.conftest import Cli
from tests.cli.rejects import parts, reject


async def fill(cli: Cli, *documents: Any) -> None:
    for document in documents:
        await cli.rejects.send(json.dumps(document))


async def raw(queue: Any) -> list[str]:
    """The texts on a queue as they are, without decoding base64."""
    assert isinstance(queue, AzuriteQueue)
    return [message.content for message in await queue.client.peek_messages(max_messages=32)]


async def test_a_few_hundred_rejects_are_listed_and_put_back(storage_cli: Cli) -> None:
    documents = [reject() for _ in range(300)]
    await fill(storage_cli, *documents)
    for _ in range(2):  # all of them are visible again at once
        result = await storage_cli("replay", "--json")
        assert (result.status, result.err) == (0, "")
        assert sorted(one["id"] for one in json.loads(result.out)) == sorted(one["id"] for one in documents)
    result = await storage_cli("replay", "--requeue", "--yes")
    assert (result.status, result.out.splitlines()[-1], result.err) == (0, "300 put back.", "")
    assert (await storage_cli.requests.count(), await storage_cli.rejects.count()) == (300, 0)


@pytest.mark.parametrize("text", ["hello", "aGVsbG8=", "eyJh", " <a>&amp;\r\n\té", '"' * 9000])
async def test_a_message_that_could_not_be_read_is_put_back_as_it_was(storage_cli: Cli, text: str) -> None:
    await fill(storage_cli, *parts("kept", text[:5], text[5:]))
    result = await storage_cli("replay", "--requeue", "--yes")
    assert (result.status, await raw(storage_cli.requests), await storage_cli.rejects.count()) == (0, [text], 0)


async def test_bytes_that_are_no_text_are_put_back_in_base64(storage_cli: Cli) -> None:
    await fill(storage_cli, reject(data={"message": {"base64": "/wD/"}}))
    result = await storage_cli("replay", "--requeue", "--yes")
    assert (result.status, await raw(storage_cli.requests), await storage_cli.rejects.count()) == (0, ["/wD/"], 0)


async def test_leftovers_and_foreign_messages_stay_and_leftovers_can_be_removed(storage_cli: Cli) -> None:
    await fill(storage_cli, parts("torn", "a", "b")[1], "hello")
    result = await storage_cli("replay", "--requeue", "--yes")
    assert (result.status, result.out.splitlines()[-1]) == (0, "0 put back.")
    assert "Incomplete: torn has only the parts [2] of 2." in result.err
    assert "1 messages on the queue are not rejects and were left alone." in result.err
    assert await storage_cli.rejects.count() == 2
    result = await storage_cli("replay", "--remove-leftovers", "--yes")
    assert (result.status, "1 incomplete rejects removed." in result.err) == (0, True)
    assert await raw(storage_cli.rejects) == [json.dumps("hello")]


async def test_a_queue_that_does_not_exist_is_named_with_the_roles_needed(storage_cli: Cli) -> None:
    result = await storage_cli("replay", REJECTS_URL=storage_cli.rejects.url + "-not-there")
    assert (result.status, result.out) == (1, "")
    failed, roles = result.err.splitlines()
    assert failed.endswith("-not-there does not exist (404 QueueNotFound)")
    assert "Storage Queue Data Contributor on the rejects queue" in roles
