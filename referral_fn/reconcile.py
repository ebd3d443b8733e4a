"""Reconciliation: asks for the referrals that Partner Center lists as changed and that no event has shown."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.queues.base import Queue
from referral_fn.referral_list import Listed, Page, Query, ReferralList
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import RECONCILE, ReferralRequest
from referral_fn.state.comparison import Comparison, compare
from referral_fn.state.memory import Memory
from referral_fn.state.watermark import Watermark
from referral_fn.timestamps import utc

_BAD_REQUEST = 400

OVERLAP = timedelta(minutes=30)
"""How far before the watermark a run starts: a list may show a change later than its `updatedDateTime`."""

FIRST_RUN = timedelta(days=1)
"""How far back the very first run looks. What is older is for a backfill."""

ANNOUNCED_WITHIN = timedelta(minutes=15)
"""How long a notification may take. A change that is older and was not published was missed."""

CONCURRENCY = 16
"""How many referrals are compared, and then requested, at a time."""

RUN_LIMIT = 20
"""Seconds after which a run of the timer takes no further referrals."""

_HARD_LIMIT = 47
"""Seconds for a run of the timer.

What is under way when `RUN_LIMIT` is over fits in, even if each call takes half of its own limit: one page, its next
`CONCURRENCY` referrals, and the watermark.
"""


@dataclass(slots=True)
class Report:
    """What a run found."""

    since: datetime
    """From which time of change on the list was read."""
    pages: int = 0
    listed: int = 0
    current: int = 0
    """How many of the listed ones were published in this version or a later one."""
    requested: int = 0
    """How many were put on the requests queue, or would have been in a dry run."""
    missed: int = 0
    """How many of those a notification should have announced."""
    seconds: float = 0.0
    newest_first: bool = False
    """Whether the list was read backwards, because its filter was refused."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of a page's referrals, so that a run can end between them however slow the queue is."""

    referrals: Sequence[Listed]
    times: Sequence[datetime]
    """When the page's referrals up to the last of these were updated."""
    in_order: bool
    """Whether the page is in the order of changes."""
    is_last: bool
    """Whether there is no further part, of this page or another."""


OnPart = Callable[[Report, Sequence[Comparison]], None]


class Reconciler:
    """Compares the list with the table, page by page."""

    def __init__(self, referral_list: ReferralList, memory: Memory, watermark: Watermark, requests: Queue) -> None:
        self._list = referral_list
        self._memory = memory
        self._watermark = watermark
        self._requests = requests

    async def run_from_timer(self) -> None:
        """Make one run, and log its failure: the next run, an hour later, starts where this one did."""
        try:
            async with asyncio.timeout(_HARD_LIMIT):
                await self.run(seconds=RUN_LIMIT)
        except (RetryableError, PermanentError) as error:
            log.error("reconcile.failed", reason=error.reason, detail=str(error), **log.upstream_fields(error.upstream))
        except TimeoutError:
            log.error("reconcile.failed", reason="time-limit", detail=f"not done within {_HARD_LIMIT} s")

    async def run(
        self,
        since: datetime | None = None,
        *,
        dry_run: bool = False,
        seconds: float = math.inf,
        on_part: OnPart = lambda _report, _differences: None,
    ) -> Report:
        """Request every referral whose listed version was not published, then move the watermark to the run's start.

        A run that dies moves nothing: the next one starts at the same place, and asks again for what is still missing.

        Args:
            since: list what was updated since then; None: since the watermark, minus `OVERLAP`.
            dry_run: put nothing on the queue, and leave the watermark.
            seconds: after which the run ends early, with the watermark where the next one must go on.
            on_part: called with the progress, and with the differences of the part of a page just compared.

        Raises:
            PermanentError, RetryableError: the list, the table or the queue failed.
        """
        started, clock = datetime.now(UTC), asyncio.get_running_loop().time
        start = clock()
        watermark = await self._watermark.read()
        report = Report(since or (watermark - OVERLAP if watermark else started - FIRST_RUN))
        reached = started
        async for part in self._parts(report):
            differences = [one for one in await compare(part.referrals, self._memory) if not one.is_current]
            self._count(report, part, differences, started)
            if not dry_run:
                await asyncio.gather(*map(self._request, differences))
            on_part(report, differences)
            is_late = not part.is_last and clock() - start > seconds
            if is_late and (resume_at := _resume_at(part, report, started)):
                reached = resume_at
                break
        if not dry_run and not (watermark and since and since > watermark):
            await self._watermark.move(reached)
        report.seconds = round(clock() - start, 3)
        log.info(
            "reconcile.finished",
            listed=report.listed,
            current=report.current,
            requested=report.requested,
            missed=report.missed,
            pages=report.pages,
            seconds=report.seconds,
            isComplete=reached == started,
            dryRun=dry_run or None,
        )
        return report

    async def _parts(self, report: Report) -> AsyncIterator[_Part]:
        async for page in self._pages(report):
            report.pages += 1
            times = [one.updated_at for one in page.referrals if one.updated_at]
            in_order = times == sorted(times) and not report.newest_first
            for end in range(CONCURRENCY, max(len(page.referrals), 1) + CONCURRENCY, CONCURRENCY):
                taken = page.referrals[:end]
                is_last = page.skip_token is None and len(taken) == len(page.referrals)
                yield _Part(
                    taken[end - CONCURRENCY :], [one.updated_at for one in taken if one.updated_at], in_order, is_last
                )

    async def _pages(self, report: Report) -> AsyncIterator[Page]:
        """The pages of what was updated since then: in the order of changes, so that what changes meanwhile comes last.

        If the filter is refused, the newest first, down to that time. What changes meanwhile is then left to the next
        run, which starts before it.
        """
        since = report.since
        condition = f"updatedDateTime ge {since:%Y-%m-%dT%H:%M:%SZ}"
        has_answered = False
        try:
            async for page in self._list.pages(Query("updatedDateTime", condition)):
                has_answered = True
                yield page
        except PermanentError as error:
            if has_answered or (error.upstream or {}).get("status") != _BAD_REQUEST:
                raise
        else:
            return
        report.newest_first = True
        log.info("reconcile.filter-refused")
        async for page in self._list.pages(Query("updatedDateTime desc")):
            recent = tuple(one for one in page.referrals if one.updated_at is None or one.updated_at >= since)
            yield Page(recent, page.skip_token)
            times = [one.updated_at for one in page.referrals if one.updated_at]
            if times and times[-1] < since:
                return

    @staticmethod
    def _count(report: Report, part: _Part, differences: Sequence[Comparison], started: datetime) -> None:
        report.listed += len(part.referrals)
        report.requested += len(differences)
        report.current = report.listed - report.requested
        for one in differences:
            updated_at = one.listed.updated_at
            if updated_at and started - updated_at > ANNOUNCED_WITHIN:
                report.missed += 1
                log.warning("referral.missed", referralId=one.listed.referral_id, updatedAt=utc(updated_at))

    async def _request(self, difference: Comparison) -> None:
        listed = difference.listed
        request = ReferralRequest(listed.referral_id, cause=RECONCILE, changed_at=listed.updated_at)
        await self._requests.put(request_message(request))


def _resume_at(part: _Part, report: Report, started: datetime) -> datetime | None:
    """The watermark with which the next run, which starts `OVERLAP` earlier, goes on after this part.

    None if the pages are not in the order of changes, or if the next run would get no further than this one.
    """
    if not part.in_order or not part.times:
        return None
    return part.times[-1] + OVERLAP if report.since < part.times[-1] < started - OVERLAP else None
