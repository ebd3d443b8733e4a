"""What a chaos run asks for, the faults in its way, and the fate that each referral must meet."""

import dataclasses
from collections import Counter
from typing import Any

from local_stack.stand_ins.partner_center import Fault
from local_stack.stand_ins.referrals import SEED

FAULT_TIMES = (1, 2, 4, 8, 13)
"""How many requests in a row meet a fault; each attempt makes three requests."""

FAULTS: tuple[tuple[float, Fault, str | None], ...] = (
    (0.0002, Fault("status", status=429, retry_after="1"), None),
    (0.0002, Fault("status", status=503, retry_after="1"), None),
    (0.02, Fault("status", status=429), None),
    (0.02, Fault("status", status=500), None),
    (0.02, Fault("status", status=502), None),
    (0.02, Fault("status", status=503), None),
    (0.02, Fault("status", status=504), None),
    (0.02, Fault("reset"), None),
    (0.02, Fault("reset-mid-body"), None),
    (0.01, Fault("stall"), None),
    (0.02, Fault("truncated"), None),
    (0.02, Fault("garbage"), None),
    (0.01, Fault("html"), None),
    (0.02, Fault("status", status=404), "referral-not-found"),
    (0.01, Fault("status", status=400), "upstream-refused"),
    (0.01, Fault("replace", document={**SEED, "team": "no list"}), "invalid-referral"),
    (0.002, Fault("status", status=500), "retries-exhausted"),
)
"""The share of referrals that meet a fault, and the reason they are rejected for, if they are. A fault without a reason
passes after some requests."""


@dataclasses.dataclass
class Asked:
    """A requested referral and its outcomes."""

    must: str
    """`event`, or the reason of its reject."""
    events: Counter[str] = dataclasses.field(default_factory=Counter)
    rejects: Counter[str] = dataclasses.field(default_factory=Counter)
    gave_up: bool = False
    """Whether it was rejected because it had been delivered too often without an outcome."""

    @property
    def has_outcome(self) -> bool:
        """Whether it has an outcome."""
        return bool(self.events or self.rejects)

    def violation(self) -> str | None:
        """How its fate differs from the expected one."""
        if not self.has_outcome:
            return "lost"
        if len(self.events) > 1:
            return f"has events of different IDs: {sorted(self.events)}"
        excused = {"retries-exhausted"} if self.gave_up else set()
        met = {*self.rejects, *(["event"] if self.events else [])} - excused
        return None if met <= {self.must} else f"must end as {self.must}, and ended as {sorted(met)}"


class AnyReferral(dict[str, Any]):
    """A mapping that has a referral for every ID."""

    def __contains__(self, referral_id: object) -> bool:
        return True

    def __missing__(self, referral_id: str) -> dict[str, Any]:
        return {**SEED, "id": referral_id, "eTag": f'"{referral_id[:8]}"'}
