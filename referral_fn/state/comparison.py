"""What Partner Center lists, compared with what was published."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

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


async def compare(referrals: Sequence[Listed], memory: Memory) -> list[Comparison]:
    """Compare referrals with the table, in their order, each once. All their rows are read at the same time.

    Raises:
        RetryableError: `state-unavailable`, `token-unavailable`.
    """

    async def look_up(listed: Listed) -> Comparison:
        published = (await memory.look_up(listed.referral_id)).published
        return Comparison(listed, published.sequence if published else None)

    latest = {listed.referral_id: listed for listed in referrals}
    return await asyncio.gather(*[look_up(listed) for listed in latest.values()])
