"""The triggers called in this process: what no input may do to them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.functions.queue import QueueMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import function_app
from local_stack.stack import Queues
from tests.conftest import OpenWorker
from tests.documents import json_values

Message: Any = QueueMessage  # untyped upstream
ROOT = Path(__file__).parent.parent
ANY_BODY = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
FEW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
async def queues(open_worker: OpenWorker, bus_queues: Queues, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """The queues of an app that is opened in this process."""
    monkeypatch.setattr(function_app, "_opened", open_worker())
    return bus_queues


@given(ANY_BODY)
@FEW
async def test_no_message_raises_past_the_trigger(queues: Queues, body: bytes) -> None:
    before = await queues.rejects.count()
    await function_app.forward_from_storage(Message(id="1", body=body, dequeue_count=1))
    assert await queues.rejects.count() == before + 1


@given(ANY_BODY)
@FEW
async def test_no_body_raises_past_the_trigger(queues: Queues, body: bytes) -> None:
    request = func.HttpRequest("POST", "/api/referrals", headers={"content-length": str(len(body))}, body=body)
    answer = await function_app.request_referrals(request)
    assert answer.status_code == 400
    assert json.loads(answer.get_body())["type"] == "urn:referral-fn:problem:invalid-request"


@given(st.text(max_size=50), st.dictionaries(st.sampled_from(["prefer", "traceparent", "tracestate"]), st.text()))
@FEW
async def test_no_path_or_header_raises_past_the_trigger(queues: Queues, path: str, headers: dict[str, str]) -> None:
    request = func.HttpRequest("POST", "/", headers=headers, route_params={"referralId": path}, body=b"")
    assert (await function_app.forward_referral(request)).status_code == 400


@pytest.mark.e2e
def test_indexing_imports_neither_the_http_client_nor_credentials_nor_models() -> None:
    heavy = "{'aiohttp', 'azure.identity', 'azure.core', 'phonenumbers', 'iso3166', 'cryptography', 'pydantic'}"
    program = f"import sys, function_app; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
