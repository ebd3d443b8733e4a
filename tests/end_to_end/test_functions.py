"""The functions as callers and operators see them, under the host, on real queues."""

import asyncio
import base64
import json
import uuid
from collections import Counter
from typing import Any

import azure.functions as func
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

import function_app
from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import REFERRALS
from referral_fn.referrals.events import CONTENT_TYPE, REFERRAL_SCHEMA, REJECT_SCHEMA
from tests.conftest import App, StartApp, eventually_empty, eventually_holds
from tests.contract import validator
from tests.documents import SEED_ID, seed
from tests.referrals.test_contact_policy import PERSONAL, gossip

REFERRAL, REJECT = validator(REFERRAL_SCHEMA), validator(REJECT_SCHEMA)
IDS = [referral["id"] for referral in REFERRALS]

BOTH_KINDS = True


def bindings(functions: func.FunctionApp) -> dict[str, dict[str, Any]]:
    return {
        str(function.get_function_name()): function.get_trigger().get_dict_repr()  # type: ignore[union-attr]
        for function in functions.get_functions()
    }


@pytest.mark.parametrize(
    ("account", "trigger", "connection"),
    [
        ("https://acme.queue.core.windows.net", "queueTrigger", "queueServiceUri"),
        ("sb://acme.servicebus.windows.net", "serviceBusTrigger", "fullyQualifiedNamespace"),
    ],
)
def test_the_queue_trigger_binds_bytes_and_is_there_only_while_settings_are_valid(
    account: str, trigger: str, connection: str
) -> None:
    environment = {
        **{f"{name.upper()}_URL": f"{account}/{name}" for name in ("events", "rejects", "requests")},
        "REFERRALS_AUTH": "managed-identity",
    }
    functions = func.FunctionApp()
    function_app.register_by_settings(functions, environment)
    (binding,) = bindings(functions).values()
    assert (binding["type"], binding["dataType"]) == (trigger, func.DataType.BINARY)
    assert (binding["queueName"], binding["connection"]) == ("%REFERRAL_REQUESTS_QUEUE%", "ReferralRequests")
    for invalid in ("EVENTS_URL", "REFERRALS_URL", "AzureFunctionsJobHost__extensions__queues__maxDequeueCount"):
        functions = func.FunctionApp()
        function_app.register_by_settings(functions, {**environment, invalid: "hush-hush"})
        assert bindings(functions) == {}


def test_the_app_has_these_http_functions() -> None:
    by_name = bindings(function_app.app)
    http = {name: binding for name, binding in by_name.items() if binding["type"] == "httpTrigger"}
    anyone = {"partner_center_webhook", "health", "openapi", "read_schema"}
    assert set(http) == {"forward_referral", "request_referrals"} | anyone
    assert (by_name["forward_referral"]["route"], by_name["request_referrals"]["route"]) == (
        "referrals/{referralId}",
        "referrals",
    )
    levels = {name: str(binding.get("authLevel")) for name, binding in by_name.items() if "authLevel" in binding}
    assert {name for name, level in levels.items() if level.endswith("ANONYMOUS")} == anyone


async def test_every_referral_of_the_stand_in_is_forwarded_by_http(app: App) -> None:
    for referral_id in IDS:
        answer, event = await app.forward(referral_id)
        assert (answer.status, event["subject"]) == (200, referral_id)
    events = await app.queues.events.texts()
    assert len(events) == len(IDS)
    for text in events:
        parsed = from_structured_event(HTTPMessage({"content-type": CONTENT_TYPE}, text.encode()))
        assert parsed.get_type() == "partnercenter.referral.v1"
        REFERRAL.validate(parsed.get_data())


async def test_a_reject_is_a_cloudevent_of_its_schema(app: App) -> None:
    await app.queues.requests.send("hello")
    await app.queues.requests.send(str(uuid.uuid4()))
    await eventually_holds(app.queues.rejects, 2)
    for text in await app.queues.rejects.texts():
        parsed = from_structured_event(HTTPMessage({"content-type": CONTENT_TYPE}, text.encode()))
        assert parsed.get_type() == "partnercenter.referral.rejected.v1"
        REJECT.validate(parsed.get_data())


async def test_a_batch_is_queued_with_a_result_for_every_id(app: App) -> None:
    asked = [*IDS, IDS[0].upper(), "42", None]
    answer, body = await app.post("referrals", {"referralIds": asked})
    assert answer.status == 202
    assert [result["index"] for result in body["results"]] == list(range(len(asked)))
    assert Counter(result["status"] for result in body["results"]) == {"queued": len(IDS) + 1, "invalid": 2}
    assert body["results"][-1] == {"index": len(asked) - 1, "status": "invalid", "detail": "must be a GUID"}
    events = await eventually_holds(app.queues.events, len(IDS))
    assert sorted(event["subject"] for event in events) == sorted(IDS)
    await eventually_empty(app.queues.requests)


async def test_a_batch_that_cannot_be_queued_says_so(start_app: StartApp, stack: Any) -> None:
    async with start_app(REQUESTS_URL=f"{stack.azurite.account_url}/gone", REFERRAL_REQUESTS_QUEUE="gone") as app:
        answer, problem = await app.post("referrals", {"referralIds": [SEED_ID]})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert problem["results"][0]["status"] == "failed"
        answer, problem = await app.forward(SEED_ID, Prefer="respond-async")
        assert (answer.status, problem["type"]) == (503, "urn:referral-fn:problem:queue-unavailable")


@pytest.mark.parametrize("by_path", [True, False])
async def test_a_caller_may_prefer_not_to_wait(app: App, by_path: bool) -> None:
    path, body = (f"referrals/{SEED_ID}", None) if by_path else ("referrals", {"referralId": SEED_ID})
    answer, document = await app.post(path, body, Prefer="wait=5, respond-async")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    assert document == {"referralId": SEED_ID, "status": "queued"}
    (event,) = await eventually_holds(app.queues.events)
    assert event["subject"] == SEED_ID


async def test_one_referral_can_be_requested_in_the_body(app: App) -> None:
    answer, event = await app.post("referrals", {"referralId": SEED_ID})
    assert (answer.status, event["subject"]) == (200, SEED_ID)


@pytest.mark.parametrize(
    "message",
    [
        base64.b64encode(SEED_ID.encode()).decode(),
        json.dumps({"referralId": SEED_ID}),
        json.dumps(
            {
                "EventName": "referral-updated",
                "ResourceUri": f"https://api.partnercenter.microsoft.com/engagements/v1/referrals/{SEED_ID}",
                "ResourceName": "referral",
            }
        ),
        json.dumps({"specversion": "1.0", "id": "1", "source": "/crm", "type": "sync", "subject": SEED_ID.upper()}),
    ],
)
async def test_every_kind_of_message_is_forwarded(app: App, message: str) -> None:
    await app.queues.requests.send(message)
    (event,) = await eventually_holds(app.queues.events)
    assert event["subject"] == SEED_ID
    await eventually_empty(app.queues.requests)


async def test_an_event_or_a_reject_that_is_put_back_is_forwarded_again(app: App) -> None:
    _, event = await app.forward(SEED_ID)
    await app.queues.requests.send(json.dumps(event))
    assert [again["id"] for again in await eventually_holds(app.queues.events, 2)] == [event["id"]] * 2

    missing = str(uuid.uuid4())
    await app.queues.requests.send(missing)
    (reject,) = await eventually_holds(app.queues.rejects)
    app.stack.partner_center.referrals[missing] = seed(id=missing)
    await app.queues.requests.send(json.dumps(reject))
    assert (await eventually_holds(app.queues.events, 3))[2]["subject"] == missing


@pytest.mark.storage_only
async def test_the_host_may_decode_base64_itself(start_app: StartApp) -> None:
    async with start_app(AzureFunctionsJobHost__extensions__queues__messageEncoding="base64") as app:
        await app.forward(SEED_ID, Prefer="respond-async")
        await app.queues.requests.send(base64.b64encode(b"\xff\xfe").decode())
        await eventually_holds(app.queues.events)
        (reject,) = await eventually_holds(app.queues.rejects)
        assert reject["data"]["message"] == {"base64": "//4="}


async def test_a_hundred_at_once_are_all_forwarded_with_one_token_request(start_app: StartApp) -> None:
    async with start_app(REFERRALS_RETRY_BUDGET="20") as app:
        before = app.stack.identity.requests.copy()
        answers = await asyncio.gather(*(app.forward(SEED_ID) for _ in range(100)))
        assert {answer.status for answer, _ in answers} == {200}
        assert await app.queues.events.count() == 100
        assert (app.stack.identity.requests - before)["https://api.partner.microsoft.com"] == 1


async def test_a_refused_token_is_replaced_once_for_all_requests(app: App) -> None:
    partner_center, identity = app.stack.partner_center, app.stack.identity
    resource = "https://api.partner.microsoft.com"
    await app.forward(SEED_ID)
    before = identity.requests[resource]
    partner_center.refused_tokens.add(partner_center.calls[-1].token_hash)
    answers = await asyncio.gather(*(app.forward(SEED_ID) for _ in range(20)))
    assert {answer.status for answer, _ in answers} == {200}
    assert identity.requests[resource] == before + 1


async def test_the_current_url_works_like_the_seeds_url(start_app: StartApp, stack: Any) -> None:
    collection = f"{stack.partner_center_url}/v1.0/engagements/referrals"
    async with start_app(REFERRALS_URL=f"{collection}/{{referralId}}") as app:
        answer, event = await app.forward(IDS[1])
        assert (answer.status, event["source"]) == (200, collection)


@pytest.mark.parametrize(("policy", "personal"), [("none", False), ("consented", False), ("full", True)])
async def test_people_appear_in_events_by_policy_and_never_in_logs(
    start_app: StartApp,
    policy: str,
    personal: bool,
) -> None:
    async with start_app(REFERRAL_CONTACTS=policy) as app:
        referral_id = str(uuid.uuid4())
        app.stack.partner_center.referrals[referral_id] = gossip() | {"id": referral_id}
        _, event = await app.forward(referral_id)
        await app.queues.requests.send(referral_id)
        events = await eventually_holds(app.queues.events, 2)
        app.stack.partner_center.faults[referral_id] = Fault("replace", document=gossip() | {"id": 5, "team": "Zelda"})
        await app.forward(referral_id)
        for text in (json.dumps(event, ensure_ascii=False), json.dumps(events, ensure_ascii=False)):
            assert any(word.casefold() in text.casefold() for word in PERSONAL) is personal
        assert [word for word in PERSONAL if word.casefold() in app.host.log.casefold()] == []


async def test_every_call_is_logged_with_both_sides_ids(app: App) -> None:
    await app.forward(SEED_ID)
    await app.host.says('"event":"referral.forwarded"')
    lines = [json.loads(line[line.index("{") :]) for line in app.host.log.splitlines() if '"event":' in line]
    (forwarded,) = [line for line in lines if line["event"] == "referral.forwarded"]
    calls = [call.client_request_id for call in app.stack.partner_center.calls]
    assert forwarded["clientRequestId"] in calls
    assert uuid.UUID(forwarded["requestId"])
    assert forwarded["eventId"].startswith(SEED_ID)


async def test_health_is_ok_with_valid_settings(app: App) -> None:
    answer, document = await app.get("health")
    assert (answer.status, document) == (200, {"status": "ok"})


async def test_all_invalid_settings_are_named_and_every_function_exists(start_app: StartApp) -> None:
    invalid = {"EVENTS_URL": "", "REJECTS_URL": "queue hush-hush", "REFERRAL_CONTACTS": "hush-hush"}
    async with start_app(**invalid) as app:
        answer, problem = await app.get("health")
        assert (answer.status, answer.content_type) == (503, "application/problem+json")
        assert [setting["name"] for setting in problem["settings"]] == [
            "EVENTS_URL",
            "REFERRAL_CONTACTS",
            "REJECTS_URL",
        ]
        await app.host.says('"event":"settings.wrong"')
        assert all(name in app.host.log for name in invalid)
        assert "hush-hush" not in app.host.log + str(problem)
        for preference in ("", "respond-async"):
            answer, problem = await app.forward(SEED_ID, Prefer=preference)
            assert (answer.status, problem["type"]) == (503, "urn:referral-fn:problem:misconfigured")
        answer, problem = await app.post("referrals", {"referralIds": [SEED_ID]})
        assert answer.status == 503


async def test_messages_wait_on_the_queue_while_settings_are_invalid(start_app: StartApp) -> None:
    invalid = {
        "EVENTS_URL": "",
        "REFERRALS_AUTH": "hush-hush",
        "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "often",
    }
    async with start_app(**invalid) as app:
        await app.queues.requests.send(SEED_ID)
        _, problem = await app.get("health")
        names = [setting["name"] for setting in problem["settings"]]
        assert names == ["AzureFunctionsJobHost__extensions__queues__maxDequeueCount", "EVENTS_URL", "REFERRALS_AUTH"]
        assert await app.queues.requests.count() == 1
        assert "forward_queued_referral" not in app.host.log


async def test_without_a_requests_queue_http_says_what_is_missing(start_app: StartApp) -> None:
    async with start_app(REQUESTS_URL="") as app:
        answer, problem = await app.forward(SEED_ID)
        assert (answer.status, [setting["name"] for setting in problem["settings"]]) == (503, ["REQUESTS_URL"])


async def test_the_host_shuts_down_gracefully(start_app: StartApp) -> None:
    async with start_app(REFERRALS_RETRY_BUDGET="10") as app:
        referral_id = str(uuid.uuid4())
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = Fault("latency", seconds=1)
        await app.queues.requests.send(referral_id)
        calls = app.stack.partner_center.calls
        while referral_id not in {call.referral_id for call in calls}:
            await asyncio.sleep(0.02)
        await app.host.stop()
        assert [event["subject"] for event in await app.queues.events.documents()] == [referral_id]
        assert await app.queues.requests.count() == 0
        assert "Unclosed" not in app.host.log
