"""The memory of what was forwarded: one row a referral.

If the table fails, that is logged, and the event is published without what the row would have added. Reading delays the
event by up to 2 seconds. Writing comes after publishing, and delays the end of the request by up to 2 more.
"""

import asyncio
from dataclasses import dataclass

from referral_fn import log
from referral_fn.errors import RetryableError
from referral_fn.referrals.events import Event
from referral_fn.referrals.referral_data import ReferralData
from referral_fn.state.published import Published
from referral_fn.state.table import ConflictError, Table

ROW = "referral"
"""The row key of every referral's row; the partition key is the referral's ID."""

WRITE_LIMIT = 2
"""Seconds to write a row, with everything that a lost race takes."""


@dataclass(frozen=True, slots=True)
class Recollection:
    """What is known of a referral before its event is published."""

    published: Published | None
    """None if nothing was published yet."""
    etag: str | None

    def has(self, event: Event[ReferralData]) -> bool:
        """Whether this version of the referral is the last one that was published."""
        return self.published is not None and self.published.event_id == event.id


class Memory:
    """Reads and writes the rows of referrals."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def recall(self, referral_id: str) -> Recollection | None:
        """What is known of a referral; None if the table could not be read, which is logged."""
        try:
            return await self.look_up(referral_id)
        except RetryableError as error:
            log.warning("state.unavailable", referralId=referral_id, operation="read", detail=str(error))
            return None

    async def look_up(self, referral_id: str) -> Recollection:
        """What is known of a referral. A malformed row, which is logged, counts as none.

        Raises:
            RetryableError: `state-unavailable`, `token-unavailable`.
        """
        row = await self._table.get(referral_id, ROW)
        if row is None:
            return Recollection(None, None)
        try:
            return Recollection(Published.read(row.values), row.etag)
        except ValueError as error:
            row.log_malformed(error, referralId=referral_id)
            return Recollection(None, row.etag)

    async def remember(self, referral_id: str, published: Published, known: Recollection) -> None:
        """Write what was just published, unless the row knows of a later snapshot.

        If this fails, or never happens because the process dies, the row stays as it was: the next event is compared
        with an earlier one, whose ID it names, and the same version may be published once more.
        """
        try:
            async with asyncio.timeout(WRITE_LIMIT):
                while not _is_known(published, known):
                    values = published.after(known.published).values()
                    try:
                        await self._table.save(referral_id, ROW, values, etag=known.etag)
                    except ConflictError:
                        known = await self.look_up(referral_id)
                    else:
                        return
        except (RetryableError, TimeoutError) as error:
            detail = str(error) or f"not written within {WRITE_LIMIT} s"
            log.warning("state.unavailable", referralId=referral_id, operation="write", detail=detail)


def _is_known(published: Published, known: Recollection) -> bool:
    """Whether the row says it already, or is ahead."""
    current = known.published
    return current is not None and (current == published or current.is_newer_than(published.sequence))
