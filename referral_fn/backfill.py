"""Backfill: asks for every referral that Partner Center lists, page by page, at a pace that leaves room for live ones.

Its progress is in its messages: a page's message is deleted only once the next one is on the queue. A page that is slow
is taken in parts, so that no message takes long: the message of the next part names the last referral of this one.
"""

import asyncio
import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from referral_fn import log
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.queues.base import Queue
from referral_fn.referral_list import MAX_PAGES, Listed, Query, ReferralList
from referral_fn.referrals.backfill_page import BackfillPage
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import BACKFILL, ReferralRequest
from referral_fn.state.backfill_runs import BackfillRuns, Run
from referral_fn.state.comparison import Comparison, compare
from referral_fn.state.memory import Memory
from referral_fn.state.table import ConflictError

CONCURRENCY = 16
"""How many referrals are compared, and then requested, at a time."""

PART_LIMIT = 10
"""Seconds after which a page is left to a further message, once some of its referrals are taken.

What is started before then, and the next message, fit into the worker's limit even if each call takes half of its own
(at the default `REFERRALS_RETRY_BUDGET`).
"""


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

    async def start(self, *, status: str | None = None, since: datetime | None = None) -> Run:
        """Start a run.

        Args:
            status: only referrals of this status.
            since: only referrals updated then or later.

        Raises:
            RetryableError: `state-unavailable`, `queue-unavailable`, `token-unavailable`.
        """
        run = await self.runs.start(str(uuid.uuid4()))
        await self._requests.put(BackfillPage(run.id, status=status, since=since).message())
        log.info("backfill.started", run=run.id)
        return run

    async def process(self, page: BackfillPage) -> None:
        """Request the referrals of a page that were not published, then hand on to the next page.

        A page that comes twice is recognized by the run's row, which is written last. If a worker dies before that, the
        page is requested once more, and the next page may come twice, which is recognized in the same way. A page that
        comes before the row is written is put off once.

        Raises:
            RetryableError: the list, the table or the queue failed. The page is to be tried again.
        """
        run = await self.runs.read(page.run_id)
        if run is not None and _may_be_early(page, run):
            raise RetryableError("state-unavailable", "the row of the run does not say yet that this page is next")
        if run is None or not _is_next(page, run) or run.state == "finished":
            log.info("backfill.repeated", run=page.run_id, page=page.number)
            return
        try:
            await self._process(page, run)
        except PermanentError as error:
            await self.fail(page, str(error))
        except ConflictError:
            log.info("backfill.repeated", run=page.run_id, page=page.number)

    async def fail(self, page: BackfillPage, why: str) -> None:
        """End a run at this page. Its message, put back, goes on from there.

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
        condition = f"status eq '{page.status}'" if page.status else None
        listed = await self._list.page(Query("createdDateTime", condition), page.skip_token)
        left = _left(listed.referrals, page)
        taken = requested = 0
        while taken < len(left) and (not taken or clock() - started < PART_LIMIT):
            group = left[taken : taken + CONCURRENCY]
            differences = [one for one in await compare(group, self._memory) if not one.is_current]
            await self._request(differences, requested)
            taken += len(group)
            requested += len(differences)
        delay = requested / self._rate
        totals = {"listed": run.listed + taken, "requested": run.requested + requested}
        if taken < len(left):
            after = left[taken - 1].referral_id
            await self._requests.put(dataclasses.replace(page, after=after, attempt=0).message(), delay=delay)
            await self.runs.save(run, state="running", detail="", after=after, **totals)
        else:
            await self._go_on(page, run, listed.skip_token, delay, {"page": page.number + 1, **totals})

    async def _go_on(
        self, page: BackfillPage, run: Run, following: str | None, delay: float, totals: Mapping[str, int]
    ) -> None:
        """Hand on to the page that this skip token asks for, or finish the run."""
        if following is None:
            await self.runs.save(run, state="finished", detail="", after="", **totals)
            log.info("backfill.finished", run=run.id, **totals)
            return
        if following == page.skip_token:
            raise PermanentError("invalid-list", "Partner Center's list repeats a skip token")
        if page.number + 1 >= MAX_PAGES:
            raise PermanentError("invalid-list", f"Partner Center's list has more than {MAX_PAGES} pages")
        next_page = dataclasses.replace(page, number=page.number + 1, skip_token=following, after="", attempt=0)
        await self._requests.put(next_page.message(), delay=delay)
        await self.runs.save(run, state="running", detail="", after="", **totals)

    async def _request(self, differences: Sequence[Comparison], earlier: int) -> None:
        """Put the requests on the queue, each hidden until its turn, so that live ones need not wait behind them."""

        async def put(number: int, listed: Listed) -> None:
            request = ReferralRequest(listed.referral_id, cause=BACKFILL, changed_at=listed.updated_at)
            await self._requests.put(request_message(request), delay=number / self._rate)

        await asyncio.gather(*[put(number, one.listed) for number, one in enumerate(differences, earlier)])


def _is_next(page: BackfillPage, run: Run) -> bool:
    return (page.number, page.after) == (run.page, run.after)


def _may_be_early(page: BackfillPage, run: Run) -> bool:
    """Whether this message may have come before the row was written, which happens after the message was put.

    Once it was deferred, this is over: either the row is written, or its writer died, and will put the message again.
    """
    is_behind = page.number < run.page or (page.number == run.page and not page.after)
    return not (page.attempt or is_behind or _is_next(page, run) or run.state == "finished")


def _left(referrals: Iterable[Listed], page: BackfillPage) -> list[Listed]:
    """The referrals of a page that are asked for and were not taken yet, each once.

    All of them, if the last one that was taken is not listed any more: to request some of them again does no harm.
    """
    selected = {one.referral_id: one for one in referrals if _is_selected(one, page)}
    first = list(selected).index(page.after) + 1 if page.after in selected else 0
    return list(selected.values())[first:]


def _is_selected(listed: Listed, page: BackfillPage) -> bool:
    """Whether a referral is among those asked for; what the list does not say counts as yes."""
    if page.status and listed.status and listed.status != page.status:
        return False
    return not (page.since and listed.updated_at and listed.updated_at < page.since)
