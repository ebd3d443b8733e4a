"""The webhook as Partner Center and strangers see it: what is answered, and what is then on the requests queue."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes

from local_stack.stand_ins.webhooks import notification
from referral_fn.app import App
from referral_fn.referrals.request import MAX_NOTIFICATION
from referral_fn.settings import read_settings
from tests.documents import SEED_ID
from tests.webhook_caller import BODY, Attacked, signature_of, signer


async def test_every_refusal_looks_the_same_to_the_caller(attacked: Attacked) -> None:
    correct = attacked.host.headers()
    missing = {**correct, "x-ms-certificate-url": f"https://{attacked.host.name}/cert/missing.cer"}
    attacks = {
        "scheme": {**correct, "authorization": "Bearer AAAA"},
        "signature": {**correct, "authorization": "Signature AAAA"},
        "certificate-fetch": missing,
    }
    for headers in attacks.values():
        answer = await attacked.post(headers)
        assert (answer.status, answer.content_type) == (401, "application/problem+json")
        assert json.loads(answer.body) == {
            "type": "urn:referral-fn:problem:signature-invalid",
            "title": "The notification is not signed by Microsoft",
            "status": 401,
            "detail": "the log of the app says which check failed",
        }
    assert [line["check"] for line in attacked.log() if line["event"] == "webhook.refused"] == list(attacks)
    assert await attacked.queues.requests.count() == 0


async def test_a_certificate_host_in_trouble_is_no_refusal(attacked: Attacked) -> None:
    answer = await attacked.post(
        attacked.host.headers(x_ms_certificate_url=attacked.host.publish(web.Response(status=503)))
    )
    assert answer.status == 503
    assert json.loads(answer.body)["type"] == "urn:referral-fn:problem:certificate-unavailable"
    assert await attacked.queues.requests.count() == 0


BODIES = {
    "over the limit": (b" " * (MAX_NOTIFICATION + 1), 413),
    "not UTF-8": (BODY[:-1] + b"\xff", 400),
    "not JSON": (b"EventName=referral-created", 400),
    "no object": (b"[]", 400),
    "no event": (b"{}", 400),
    "an event twice": (BODY[:-1] + b', "EventName": "referral-updated"}', 400),
    "deep nesting": (b'{"a":' * 100 + b"1" + b"}" * 100, 400),
    "no ID": (notification("referral-created", "latest"), 400),
    "two IDs": (notification("referral-created", f"{SEED_ID}/{SEED_ID}"), 400),
    "no URI": (json.dumps({"EventName": "referral-created"}).encode(), 400),
    "no time": (BODY.replace(b'"ResourceChangeUtcDate": "', b'"ResourceChangeUtcDate": "x'), 400),
}


async def test_signed_bodies_that_name_no_referral_are_refused(attacked: Attacked) -> None:
    for attack, (body, status) in BODIES.items():
        answer = await attacked.post(attacked.host.headers(body=body), body)
        assert answer.status == status, attack
    assert await attacked.queues.requests.count() == 0


async def test_an_oversized_body_is_refused_before_anything_else(attacked: Attacked) -> None:
    assert (await attacked.post({}, b" " * (MAX_NOTIFICATION + 1))).status == 413
    assert attacked.host.asked == []


@pytest.mark.parametrize("header", ["authorization", "x-ms-signature"])
async def test_a_correct_notification_is_queued_with_its_cause(attacked: Attacked, header: str) -> None:
    headers = {
        "X-MS-Certificate-Url": attacked.host.publish(signer().pem),
        "X-MS-Signature-Algorithm": "RSA-SHA384",
        header: signature_of(signer(), BODY, hashes.SHA384()),
    }
    answer = await attacked.post(headers)
    assert (answer.status, answer.body) == (202, b"")
    (request,) = await attacked.queues.requests.documents()
    assert (request["referralId"], request["cause"], request["attempt"]) == (SEED_ID, "referral-created", 0)
    assert request["changedAt"].startswith(str(datetime.now(UTC).year))


EVENTS = {
    "referral-created": (202, 1),
    "referral-updated": (202, 1),
    "related-referral-created": (202, 1),
    "related-referral-updated": (202, 1),
    "test-created": (200, 0),
    "subscription-updated": (204, 0),
    "Sue Smith": (204, 0),
}


async def test_each_event_has_its_answer(attacked: Attacked) -> None:
    queued = 0
    for event, (status, requests) in EVENTS.items():
        body = notification(event, SEED_ID)
        assert (await attacked.post(attacked.host.headers(body=body), body)).status == status
        queued += requests
        assert await attacked.queues.requests.count() == queued


async def test_an_old_notification_is_refused_if_a_limit_is_set(attacked: Attacked) -> None:
    old = BODY.replace(str(datetime.now(UTC).year).encode(), b"2018")
    limited = {**attacked.environment, "WEBHOOK_MAX_AGE": "3600"}
    attacked.app = App(read_settings(limited), attacked.session)
    assert (await attacked.post(attacked.host.headers(body=old), old)).status == 401
    assert [line["check"] for line in attacked.log() if line["event"] == "webhook.refused"] == ["notification-age"]
    assert (await attacked.post(attacked.host.headers())).status == 202
    await attacked.app.close()


async def test_500_replays_of_a_captured_notification_make_one_request(attacked: Attacked) -> None:
    headers = attacked.host.headers()
    for batch in range(5):
        answers = await asyncio.gather(*(attacked.post(headers) for _ in range(100)))
        assert {answer.status for answer in answers} == {202}, batch
    assert await attacked.queues.requests.count() == 1
    accepted = [line["repeated"] for line in attacked.log() if line["event"] == "webhook.accepted"]
    assert (accepted.count(False), accepted.count(True)) == (1, 499)


async def test_two_changes_of_one_referral_make_two_requests(attacked: Attacked) -> None:
    for body in (notification("referral-updated", SEED_ID), notification("referral-updated", SEED_ID)):
        assert (await attacked.post(attacked.host.headers(body=body), body)).status == 202
    assert await attacked.queues.requests.count() == 2
