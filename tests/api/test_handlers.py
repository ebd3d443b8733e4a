"""The HTTP API on an app in memory: what is answered, and that every refusal is logged in its invocation."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from referral_fn.api import handlers
from referral_fn.api.handlers import Response
from referral_fn.credentials.consent_check import RecentReason
from referral_fn.errors import RetryableError
from referral_fn.queues.base import Message
from referral_fn.referrals.outcome import Deferred, Outcome, Rejected
from referral_fn.referrals.request import ReferralRequest
from referral_fn.settings import read_settings
from tests.contract import check_answer

ID = "8b9dbf1c-1c5c-4b1a-9e37-3a6f7c2f2a11"


@dataclass
class FakeQueue:
    messages: list[Message] = field(default_factory=list)
    is_down: bool = False

    async def put(self, message: Message, *, delay: float = 0) -> None:
        if self.is_down:
            raise RetryableError("queue-unavailable", "queue requests cannot be reached: TimeoutError")
        self.messages.append(message)


@dataclass
class FakeForwarder:
    outcome: Outcome

    async def forward(self, request: ReferralRequest) -> Outcome:
        return self.outcome


@dataclass
class FakeTokens:
    reason: str | None = None

    async def check_consent(self) -> str | None:
        return self.reason


@dataclass
class FakePartnerCenter:
    mfa_required: RecentReason = field(default_factory=RecentReason)


@dataclass
class FakeApp:
    tokens: FakeTokens = field(default_factory=FakeTokens)
    partner_center: FakePartnerCenter = field(default_factory=FakePartnerCenter)
    state: None = None
    requests: FakeQueue = field(default_factory=FakeQueue)
    forwarder: FakeForwarder = field(default_factory=lambda: FakeForwarder(Rejected("referral-not-found", "404")))


@pytest.fixture
def app() -> FakeApp:
    return FakeApp()


@pytest.fixture
def open_app(app: FakeApp) -> Any:
    return lambda: app


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.INFO, "referral_fn")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "referral_fn"]


Logged = Callable[[], list[dict[str, Any]]]


def problem_of(response: Response) -> Any:
    assert response.content_type == "application/problem+json"
    return json.loads(response.body)


def sized(body: bytes) -> dict[str, str]:
    return {"content-length": str(len(body))}


def invalid_settings() -> Any:
    return read_settings({"EVENTS_URL": "hush-hush"})


_ONE = json.dumps({"referralId": ID}).encode()

CALLS: dict[str, Callable[[Any], Awaitable[Response]]] = {
    "forward_referral": lambda open_app: handlers.forward(open_app, {}, ID),
    "request_referrals": lambda open_app: handlers.request(open_app, sized(_ONE), _ONE),
    "partner_center_webhook": lambda open_app: handlers.webhook(open_app, {"content-length": "2"}, b"{}"),
    "health": handlers.health,
}


@pytest.mark.parametrize("function", CALLS)
async def test_with_invalid_settings_every_function_names_them_in_its_answer_and_in_its_log(
    function: str, logged: Logged
) -> None:
    response = await CALLS[function](invalid_settings)
    assert response.status == 503
    problem = problem_of(response)
    assert "EVENTS_URL" in {setting["name"] for setting in problem["settings"]}
    (event,) = logged()
    assert (event["event"], event["function"]) == ("settings.wrong", function)
    assert "EVENTS_URL" in event["detail"]
    assert "hush-hush" not in json.dumps([problem, event])


async def test_a_body_that_the_host_did_not_hand_over_is_411(open_app: Any, logged: Logged) -> None:
    response = await handlers.request(open_app, {"transfer-encoding": "chunked"}, b"")
    assert (response.status, problem_of(response)["type"]) == (411, "urn:referral-fn:problem:length-required")
    assert [(event["event"], event["status"]) for event in logged()] == [("request.refused", 411)]


async def test_a_notification_without_its_body_is_503_so_that_partner_center_sends_it_again(
    open_app: Any, logged: Logged
) -> None:
    response = await handlers.webhook(open_app, {"transfer-encoding": "chunked"}, b"")
    assert (response.status, problem_of(response)["type"]) == (503, "urn:referral-fn:problem:body-missing")
    assert [(event["event"], event["reason"]) for event in logged()] == [("request.refused", "body-missing")]


async def test_an_empty_body_with_a_length_is_an_invalid_request(open_app: Any) -> None:
    assert (await handlers.request(open_app, sized(b""), b"")).status == 400


async def test_no_body_is_needed_to_forward_the_referral_in_the_path(open_app: Any) -> None:
    assert (await handlers.forward(open_app, {"transfer-encoding": "chunked"}, ID)).status == 404


@pytest.mark.parametrize(
    ("outcome", "status", "has_retry_after"),
    [
        (Rejected("referral-not-found", "d"), 404, False),
        (Rejected("upstream-refused", "d"), 502, False),
        (Rejected("invalid-referral", "d"), 502, False),
        (Rejected("event-too-large", "d"), 502, False),
        (Deferred(12.2, "upstream-throttled"), 503, True),
        (Deferred(12.2, "upstream-unavailable"), 503, True),
        (Deferred(12.2, "upstream-timeout"), 504, True),
        (Deferred(12.2, "queue-unavailable"), 503, True),
        (Deferred(12.2, "upstream-denied"), 502, False),
        (Deferred(12.2, "token-unavailable"), 502, False),
    ],
)
async def test_an_outcome_without_an_event_is_a_problem_and_logged(
    app: FakeApp, open_app: Any, logged: Logged, outcome: Rejected | Deferred, status: int, has_retry_after: bool
) -> None:
    app.forwarder.outcome = outcome
    response = await handlers.forward(open_app, {}, ID)
    check_answer("post", f"/referrals/{ID}", response.status, response.content_type, problem_of(response))
    assert response.status == status
    assert response.headers == ({"Retry-After": "13"} if has_retry_after else {})
    (event,) = logged()
    assert (event["event"], event["reason"], event["referralId"]) == ("request.refused", outcome.reason, ID)


async def test_each_id_of_a_batch_is_queued_once_and_every_item_has_its_result(app: FakeApp, open_app: Any) -> None:
    body = json.dumps({"referralIds": [ID, ID.upper(), 5]}).encode()
    response = await handlers.request(open_app, sized(body), body)
    assert response.status == 202
    assert json.loads(response.body)["results"] == [
        {"index": 0, "referralId": ID, "status": "queued"},
        {"index": 1, "referralId": ID, "status": "queued"},
        {"index": 2, "status": "invalid", "detail": "must be a GUID"},
    ]
    assert len(app.requests.messages) == 1


async def test_a_batch_of_which_nothing_is_queued_is_refused(app: FakeApp, open_app: Any, logged: Logged) -> None:
    app.requests.is_down = True
    body = json.dumps({"referralIds": [ID]}).encode()
    response = await handlers.request(open_app, sized(body), body)
    assert (response.status, response.headers) == (503, {"Retry-After": "10"})
    assert logged()[-1]["reason"] == "queue-unavailable"


async def test_a_request_that_prefers_so_is_queued(app: FakeApp, open_app: Any) -> None:
    response = await handlers.forward(open_app, {"prefer": "wait=5, Respond-Async"}, ID.upper())
    assert (response.status, response.headers) == (202, {"Preference-Applied": "respond-async"})
    assert json.loads(app.requests.messages[0].body)["referralId"] == ID


async def test_health_is_200_while_the_consent_works(open_app: Any) -> None:
    response = await handlers.health(open_app)
    assert (response.status, json.loads(response.body)) == (200, {"status": "ok"})


async def test_health_is_503_when_the_consent_lapsed_or_lacks_multi_factor_authentication(
    app: FakeApp, open_app: Any
) -> None:
    app.tokens.reason = "the secret does not exist"
    assert problem_of(await handlers.health(open_app))["detail"] == "the secret does not exist"
    app.tokens.reason = None
    app.partner_center.mfa_required.set("sign in with multi-factor authentication")
    response = await handlers.health(open_app)
    assert (response.status, problem_of(response)["detail"]) == (503, "sign in with multi-factor authentication")
