"""Nothing is lost: the small runs of `make chaos` and `make outage`, shutdown, the last delivery."""

import asyncio
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from rich.progress import Progress

from endurance import chaos, outage
from endurance.chaos import Fed
from local_stack.stand_ins.partner_center import Fault
from tests.conftest import StartApp, eventually_empty, eventually_holds, until
from tests.documents import seed

BOTH_KINDS = True
ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
async def test_in_the_chaos_every_referral_is_accounted_for(kind: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "endurance.chaos", "-n", "250", "--queue", kind),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, shown = await process.communicate()
    assert process.returncode == 0, said.decode() + shown.decode()
    figures = {line[:48].strip(): float(line[48:].replace(",", "")) for line in said.decode().splitlines()}
    assert (figures["referrals"], figures["lost"], figures["in the poison queue"]) == (250, 0, 0)
    assert figures["workers killed"] >= 5
    assert figures["queue service restarted"] == 1


@pytest.mark.parametrize(
    ("fed", "wrong"),
    [
        (Fed("event"), "lost"),
        (Fed("event", Counter(a=2)), None),
        (Fed("event", Counter("ab")), "has events of different IDs: ['a', 'b']"),
        (Fed("event", rejects=Counter(["upstream-refused"])), "must end as event, and ended as ['upstream-refused']"),
        (Fed("event", rejects=Counter(["retries-exhausted"]), given_up=True), None),
        (Fed("referral-not-found", rejects=Counter(["referral-not-found"])), None),
        (Fed("referral-not-found", Counter("a")), "must end as referral-not-found, and ended as ['event']"),
    ],
)
def test_the_chaos_run_knows_a_wrong_fate(fed: Fed, wrong: str | None) -> None:
    assert fed.wrong() == wrong


@pytest.mark.parametrize("what", ["lost", "other than expected", "in the poison queue", "events of nobody"])
def test_the_chaos_run_fails_for_one_referral(what: str) -> None:
    clean = dict.fromkeys(
        (
            *("lost", "other than expected", "in the poison queue", "events of nobody"),
            *("given up beside one of them", "that stop workers"),
        ),
        0,
    )
    assert not chaos.failed(clean)
    assert chaos.failed(clean | {what: 1})
    assert chaos.failed(clean | {"given up beside one of them": 21, "that stop workers": 1})


@pytest.mark.timeout(200)
async def test_after_two_days_without_partner_center_every_referral_arrives(tmp_path: Path, kind: str) -> None:
    found = await outage.run(60, 0.4, Progress(disable=True), kind)
    assert (found["arrived"], found["rejected"], found["in the poison queue"]) == (60, 0, 0)
    assert found["most calls in an hour, back"] <= 60
    assert found["worker's peak memory, MiB"] < found["worker's memory after half a day, MiB"] + 20
    outage.plot(found, tmp_path / "plot.svg")
    assert "calls to Partner Center" in (tmp_path / "plot.svg").read_text()


async def test_what_is_in_flight_is_finished_when_the_app_is_told_to_stop(start_app: StartApp) -> None:
    async with start_app(REFERRALS_RETRY_BUDGET="10") as app:
        queued, called = str(uuid.uuid4()), str(uuid.uuid4())
        center = app.stack.partner_center
        for referral_id in (queued, called):
            center.referrals[referral_id] = seed(id=referral_id)
            center.faults[referral_id] = Fault("latency", seconds=0.4)
        await app.queues.requests.send(queued)
        call = asyncio.create_task(app.forward(called))

        async def in_flight() -> set[str]:
            return {one.referral_id for one in center.calls} & {queued, called}

        await until(in_flight, {queued, called})
        await app.host.stop()
        answer, _ = await call
        assert answer.status == 200
        events = await eventually_holds(app.queues.events, 2)
        assert {event["subject"] for event in events} == {queued, called}
        assert await app.queues.requests.count() == 0
        assert "Unclosed" not in app.host.log
        assert "Traceback" not in app.host.log


async def test_a_killed_workers_referral_is_forwarded_by_the_next(start_app: StartApp) -> None:
    referral_id = str(uuid.uuid4())
    async with start_app(lease=2) as app:
        app.stack.partner_center.referrals[referral_id] = seed(id=referral_id)
        app.stack.partner_center.faults[referral_id] = Fault("kill", times=1)
        app.stack.partner_center.killing = app.host.kill_now
        await app.queues.requests.send(referral_id)
        await app.host.ended()
        async with app.stack.host(app.environment):
            (event,) = await eventually_holds(app.queues.events)
            assert event["subject"] == referral_id
            await eventually_empty(app.queues.requests)


async def test_the_last_delivery_outlives_a_rejects_queue_in_trouble(start_app: StartApp) -> None:
    nowhere = {"REJECTS_URL": "https://127.0.0.1:9/nobody/listens"}
    async with start_app(max_deliveries=1, REFERRALS_DEFERRAL_SCHEDULE="7", **nowhere) as app:
        await app.queues.requests.send(str(uuid.uuid4()))
        await app.host.says('"event":"message.held"')
        assert '"seconds":7' in app.host.log
        await until(app.queues.requests.count, 1)
        assert await app.queues.poison.count() == 0
