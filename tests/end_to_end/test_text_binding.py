"""Why the queue trigger binds bytes: what would happen to the app's messages if it bound text."""

import json
import shutil
from pathlib import Path

import pytest

from local_stack.stack import ROOT, STORAGE, Stack
from tests.conftest import eventually_empty, eventually_holds, until
from tests.documents import SEED_ID

SETTINGS = {
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.2",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
}


@pytest.mark.parametrize("data_type", ["BINARY", "STRING"])
async def test_only_a_body_bound_as_text_may_be_rejected_unprocessed_or_poisoned(
    stack: Stack, tmp_path: Path, data_type: str
) -> None:
    app = (ROOT / "function_app.py").read_text()
    assert app.count("data_type=func.DataType.BINARY") == 2
    (tmp_path / "function_app.py").write_text(app.replace("DataType.BINARY", f"DataType.{data_type}"))
    shutil.copy(ROOT / "host.json", tmp_path)
    queues = await stack.fresh_queues(inbound=STORAGE)
    async with stack.host(stack.environment(queues, **SETTINGS), 0, "--root", str(tmp_path)):
        await queues.requests.send(json.dumps({"referralId": SEED_ID, "DequeueCount": 10}))
        await queues.requests.send(json.dumps({"referralId": SEED_ID, "insertionTime": "yesterday"}))
        if data_type == "BINARY":
            events = await eventually_holds(queues.events, 2)
            assert {event["subject"] for event in events} == {SEED_ID}
        else:
            (reject,) = await eventually_holds(queues.rejects)
            assert reject["data"]["reason"] == "retries-exhausted"
            await until(queues.poison.count, 1)
            assert await queues.events.count() == 0
        await eventually_empty(queues.requests)
