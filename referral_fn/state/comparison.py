"""What Partner Center lists, compared with what was published."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from referral_fn.errors import RetryableError
from referral_fn.referral_list import Listed
from referral_fn.state.memory import Memory
from referral_fn.timestamps import utc


@dataclass(frozen=True, slots=True)
class Comparison:
    """A listed referral, and what was published of it."""

    listed: Listed
    published: str | None
    """The greatest `sequence` that was published; empty if no event had one; None if nothing was published."""

    @property
    def is_current(self) -> bool:
        """Whether the listed version was published, or a later one. One without a time counts as published."""
        if self.published is None:
            return False
        return self.listed.updated_at is None or utc(self.listed.updated_at) <= self.published


async def not_published(referrals: Sequence[Listed], memory: Memory) -> list[Comparison]:
    """Find the referrals whose listed version was not published, in their order, each once. All are compared at once.

    One whose row cannot be read, which is logged, counts as not published: to request it again does no harm.

    Raises:
        RetryableError: `state-unavailable`: no row can be read.
    """

    async def look_up(listed: Listed) -> Comparison | None:
        known = await memory.recall(listed.referral_id)
        if known is None:
            return None
        return Comparison(listed, known.published.sequence if known.published else None)

    latest = {listed.referral_id: listed for listed in referrals}
    found = await asyncio.gather(*[look_up(listed) for listed in latest.values()])
    if latest and not any(found):
        raise RetryableError("state-unavailable", "no row of the listed referrals can be read")
    compared = [one or Comparison(listed, None) for one, listed in zip(found, latest.values(), strict=True)]
    return [one for one in compared if not one.is_current]
