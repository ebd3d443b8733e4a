"""Reconciliation: asks for the referrals that Partner Center lists as changed and that no event has shown."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from referral_fn import log
from referral_fn.backfill import Backfiller
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.queues.base import Queue
from referral_fn.referral_list import Listed, Page, Query, ReferralList
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import RECONCILE, ReferralRequest
from referral_fn.state.comparison import Comparison, not_published
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
    """How many of those a notification should have announced; none in the first run."""
    seconds: float = 0.0
    newest_first: bool = False
    """Whether the list was read backwards, because its filter was refused or ignored."""
    announced_before: datetime | None = None
    """A change before this time should have been announced. None in a first run: there may have been no app before."""
    is_complete: bool = True
    """Whether the run reached the end of the list."""

    def is_missed(self, updated_at: datetime | None) -> bool:
        """Whether a notification should have announced a change that was not published."""
        return bool(updated_at and self.announced_before and updated_at < self.announced_before)


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

    def __init__(
        self,
        referral_list: ReferralList,
        memory: Memory,
        watermark: Watermark,
        requests: Queue,
        backfiller: Backfiller,
    ) -> None:
        self._list = referral_list
        self._memory = memory
        self._watermark = watermark
        self._requests = requests
        self._backfiller = backfiller

    async def run_from_timer(self) -> None:
        """Make one run, and log its failure: the next run, an hour later, goes on from the watermark."""
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

        Where the list is in the order of changes, the watermark moves along with the run, so that one that dies or
        fails has not been in vain. A late run that could not be resumed leaves the rest to a backfill.

        Args:
            since: list what was updated since then; None: since the watermark, minus `OVERLAP`.
            dry_run: put nothing on the queue, and leave the watermark.
            seconds: after which the run ends early.
            on_part: called with the progress, and with the differences of the part of a page just compared.

        Raises:
            PermanentError, RetryableError: the list, the table or the queue failed.
        """
        started, clock = datetime.now(UTC), asyncio.get_running_loop().time
        start = clock()
        watermark = await self._watermark.read()
        default = watermark - OVERLAP if watermark else started - FIRST_RUN
        report = Report(since or default, announced_before=started - ANNOUNCED_WITHIN if watermark else None)
        moves = not dry_run and report.since <= default
        async for part in self._parts(report):
            differences = await self._take(part, report, dry_run=dry_run)
            on_part(report, differences)
            resume_at = _resume_at(part, report, started)
            if resume_at and moves:
                await self._watermark.move(resume_at)
            if part.is_last or clock() - start <= seconds:
                continue
            if resume_at is None:
                if not _would_repeat(part, report):
                    continue
                await self._backfiller.start(since=report.since)
                await self._watermark.move(started)
            report.is_complete = False
            break
        if moves and report.is_complete:
            await self._watermark.move(started)
        report.seconds = round(clock() - start, 3)
        log.info(
            "reconcile.finished",
            listed=report.listed,
            current=report.current,
            requested=report.requested,
            missed=report.missed,
            pages=report.pages,
            seconds=report.seconds,
            isComplete=report.is_complete,
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

        If the filter is refused or ignored, the newest first, down to that time. What changes meanwhile is then left to
        the next run, which starts before it.
        """
        since = report.since.replace(microsecond=0)
        condition = f"updatedDateTime ge {since:%Y-%m-%dT%H:%M:%SZ}"
        has_answered = False
        try:
            async for page in self._list.pages(Query("updatedDateTime", condition)):
                if any(one.updated_at and one.updated_at < since for one in page.referrals):
                    break
                has_answered = True
                yield page
            else:
                return
        except PermanentError as error:
            if has_answered or (error.upstream or {}).get("status") != _BAD_REQUEST:
                raise
        report.newest_first = True
        log.info("reconcile.filter-refused")
        async for page in self._list.pages(Query("updatedDateTime desc")):
            recent = tuple(one for one in page.referrals if one.updated_at is None or one.updated_at >= since)
            times = [one.updated_at for one in page.referrals if one.updated_at]
            is_last = bool(times) and times[-1] < since
            yield Page(recent, None if is_last else page.skip_token)
            if is_last:
                return

    async def _take(self, part: _Part, report: Report, *, dry_run: bool) -> list[Comparison]:
        """Compare the referrals of a part, count them, and request those that differ. Returns the differences."""
        differences = await not_published(part.referrals, self._memory)
        report.listed += len(part.referrals)
        report.requested += len(differences)
        report.current = report.listed - report.requested
        for one in differences:
            if report.is_missed(one.listed.updated_at):
                report.missed += 1
                log.warning("referral.missed", referralId=one.listed.referral_id, updatedAt=utc(one.listed.updated_at))
        if not dry_run:
            await asyncio.gather(*map(self._request, differences))
        return differences

    async def _request(self, difference: Comparison) -> None:
        listed = difference.listed
        request = ReferralRequest(listed.referral_id, cause=RECONCILE, changed_at=listed.updated_at)
        await self._requests.put(request_message(request))


def _would_repeat(part: _Part, report: Report) -> bool:
    """Whether the next run would read the same referrals again, and get no further than this one."""
    return not part.in_order or bool(part.times and part.times[-1] <= report.since)


def _resume_at(part: _Part, report: Report, started: datetime) -> datetime | None:
    """The watermark with which the next run, which starts `OVERLAP` earlier, goes on after this part.

    None if the pages are not in the order of changes, or if the next run would get no further than this one.
    """
    if not part.in_order or not part.times:
        return None
    return part.times[-1] + OVERLAP if report.since < part.times[-1] < started - OVERLAP else None
