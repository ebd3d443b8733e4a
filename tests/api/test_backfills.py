"""What `POST /api/backfills` can ask for. tests/end_to_end/test_state.py calls it under the host."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from referral_fn.api import backfills
from referral_fn.api.handlers import Response
from tests.test_backfill import World


async def start(world: World, document: Any) -> Response:
    app: Any = SimpleNamespace(state=world)
    body = json.dumps(document).encode()
    return await backfills.start(lambda: app, {"content-length": str(len(body))}, body)


@pytest.mark.parametrize(("document", "republish"), [({}, False), ({"all": False}, False), ({"all": True}, True)])
async def test_all_requests_what_was_published_too(document: Any, republish: bool) -> None:
    world = World()
    response = await start(world, document)
    ((page, _),) = world.pages()
    assert (response.status, page.republish) == (202, republish)


@pytest.mark.parametrize("value", ["true", 1, None])
async def test_all_must_be_true_or_false(value: Any) -> None:
    world = World()
    response = await start(world, {"all": value})
    assert (response.status, json.loads(response.body)["detail"], len(world.queue)) == (
        400,
        "/all must be true or false",
        0,
    )
