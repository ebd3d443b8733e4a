"""Backfill: asks for every referral that Partner Center lists, page by page, at a pace that leaves room for live ones.

Its progress is in its messages: a page's message is deleted only once the next one is on the queue. A page that is slow
is taken in parts, so that no message takes long: the message of the next part names the last referral of this one.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from referral_fn import log
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.queues.base import Queue
from referral_fn.referral_list import MAX_PAGES, Listed, Query, ReferralList
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import BACKFILL, ReferralRequest
from referral_fn.state.backfill_runs import BackfillRuns, Run
from referral_fn.state.comparison import not_published
from referral_fn.state.memory import Memory
from referral_fn.state.table import ConflictError

CONCURRENCY = 16
"""How many referrals are compared, and then requested, at a time."""

PART_LIMIT = 10
"""Seconds after which a page is left to a further message, once some of its referrals are taken.

What is started before then, and the next message, fit into the worker's limit even if each call takes half of its own
(at the default `REFERRALS_RETRY_BUDGET`).
"""

MIN_DELAY = 1
"""Seconds between two pages, at least, so that pages without requests are not read as fast as the list answers."""


class Backfiller:
    """Starts runs, and takes them from page to page."""

    def __init__(
        self, referral_list: ReferralList, memory: Memory, runs: BackfillRuns, requests: Queue, rate: float
    ) -> None:
        self._list = referral_list
        self._memory = memory
        self.runs = runs
        self._requests = requests
        self._rate = rate

    async def start(self, *, status: str | None = None, since: datetime | None = None, republish: bool = False) -> Run:
        """Start a run. If its first message cannot be put on the queue, it has failed.

        Args:
            status: only referrals of this status.
            since: only referrals updated then or later.
            republish: request those that were published already, too, and publish them again.

        Raises:
            RetryableError: `state-unavailable`, `queue-unavailable`, `token-unavailable`.
        """
        run = await self.runs.start(str(uuid.uuid4()))
        page = BackfillPage(run.id, status=status, since=since, republish=republish)
        try:
            await self._requests.put(page.message())
        except RetryableError as error:
            await self.fail(page, f"{error.reason}: {error}")
            raise
        log.info("backfill.started", run=run.id)
        return run

    async def process(self, page: BackfillPage) -> None:
        """Request the referrals of a page that were not published, then hand on to the next page.

        A page that comes twice is recognized by the run's row, which is written last. If a worker dies before that, the
        page is requested once more, and the next page may come twice: the row names the one message that counts. A page
        that comes before the row is written is deferred once.

        Raises:
            PermanentError: the list cannot be read, or the run's row. The page is to be rejected.
            RetryableError: the list, the table or the queue failed. The page is to be tried again.
        """
        run = await self.runs.read(page.run_id)
        if run is None:
            raise PermanentError(
                "invalid-request", f"the table has no row of the backfill {page.run_id}, or no valid one"
            )
        if _may_be_early(page, run):
            raise RetryableError("state-unavailable", "the row of the run does not say yet that this page is next")
        if _is_next(page, run) and run.state != "finished":
            with contextlib.suppress(ConflictError):
                await self._process(page, run)
                return
        log.info("backfill.repeated", run=page.run_id, page=page.number)

    async def fail(self, page: BackfillPage, why: str) -> None:
        """End a run at this page. Its message, rejected and put back, goes on from there.

        Raises:
            RetryableError: the table failed.
        """
        log.error("backfill.failed", run=page.run_id, page=page.number, detail=why)
        run = await self.runs.read(page.run_id)
        if run and _is_next(page, run):
            try:
                await self.runs.save(run, state="failed", detail=why)
            except ConflictError:
                return

    async def _process(self, page: BackfillPage, run: Run) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        listed = await self._list.page(Query("createdDateTime"), page.skip_token)
        remaining = _remaining(listed.referrals, page)
        taken = requested = 0
        while taken < len(remaining) and (not taken or clock() - started < PART_LIMIT):
            group = remaining[taken : taken + CONCURRENCY]
            wanted = group if page.republish else [one.listed for one in await not_published(group, self._memory)]
            await self._request(wanted, page, requested)
            taken += len(group)
            requested += len(wanted)
        run = dataclasses.replace(run, listed=run.listed + taken, requested=run.requested + requested)
        if taken < len(remaining):
            next_page = dataclasses.replace(page, after=remaining[taken - 1].referral_id)
        elif listed.skip_token is not None:
            next_page = _following(page, listed.skip_token)
        else:
            totals = {"page": page.number + 1, "listed": run.listed, "requested": run.requested}
            await self.runs.save(run, state="finished", detail="", after="", **totals)
            log.info("backfill.finished", run=run.id, **totals)
            return
        await self._advance(next_page, run, delay=max(requested / self._rate, MIN_DELAY))

    async def _advance(self, page: BackfillPage, run: Run, *, delay: float) -> None:
        """Put the next message on the queue, then name it in the row.

        If two workers process a page at the same time, each puts one. The row names only one of them, so that the other
        does not start a second chain.
        """
        page = dataclasses.replace(page, attempt=0, ticket=uuid.uuid4().hex)
        await self._requests.put(page.message(), delay=delay)
        await self.runs.save(run, state="running", detail="", page=page.number, after=page.after, ticket=page.ticket)

    async def _request(self, wanted: Sequence[Listed], page: BackfillPage, earlier: int) -> None:
        """Put the requests on the queue, each hidden until its turn, so that live ones need not wait behind them."""

        async def put(number: int, listed: Listed) -> None:
            request = ReferralRequest(
                listed.referral_id, cause=BACKFILL, changed_at=listed.updated_at, republish=page.republish
            )
            await self._requests.put(request_message(request), delay=number / self._rate)

        await asyncio.gather(*[put(number, one) for number, one in enumerate(wanted, earlier)])


def _following(page: BackfillPage, skip_token: str) -> BackfillPage:
    """The page that this skip token asks for.

    Tokens that come again are recognized however many are in the circle, by comparing each with that of one earlier
    page: the last whose number is a power of two (Brent's algorithm).

    Raises:
        PermanentError: `invalid-list`: the list does not end.
    """
    number = page.number + 1
    digest = hashlib.sha256(skip_token.encode()).hexdigest()
    if skip_token == page.skip_token or digest == page.milestone:
        raise PermanentError("invalid-list", "Partner Center's list repeats a skip token")
    if number >= MAX_PAGES:
        raise PermanentError("invalid-list", f"Partner Center's list has more than {MAX_PAGES} pages")
    milestone = page.milestone if number & (number - 1) else digest
    return dataclasses.replace(page, number=number, skip_token=skip_token, after="", milestone=milestone)


def _is_next(page: BackfillPage, run: Run) -> bool:
    return (page.number, page.after, page.ticket) == (run.page, run.after, run.ticket)


def _may_be_early(page: BackfillPage, run: Run) -> bool:
    """Whether this message may have come before the row was written, which happens after the message was put.

    A deferred copy is never early. If the row is still missing, the worker died, and its redelivered page enqueues this
    one again.
    """
    is_behind = page.number < run.page or (page.number == run.page and not page.after)
    return not (page.attempt or is_behind or _is_next(page, run) or run.state == "finished")


def _remaining(referrals: Iterable[Listed], page: BackfillPage) -> list[Listed]:
    """The referrals of a page that are asked for and were not taken yet, each once.

    All of them, if the last one that was taken is not listed any more: to request some of them again does no harm.
    """
    selected = {one.referral_id: one for one in referrals if _is_selected(one, page)}
    first = list(selected).index(page.after) + 1 if page.after in selected else 0
    return list(selected.values())[first:]


def _is_selected(listed: Listed, page: BackfillPage) -> bool:
    """Whether a referral is among those asked for; what the list does not say counts as yes.

    The list is not filtered by status: a referral whose status changes would leave it, and if skip tokens are offsets,
    another one would move to a page that was read already.
    """
    if page.status and listed.status and listed.status != page.status:
        return False
    return not (page.since and listed.updated_at and listed.updated_at < page.since)
