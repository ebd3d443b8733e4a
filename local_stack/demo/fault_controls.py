"""The faults that the page can switch on and off."""

from http import HTTPStatus
from typing import Any

from local_stack.stack import Queues, Stack
from local_stack.stand_ins import service_bus
from local_stack.stand_ins.flaky import FlakyQueues
from local_stack.stand_ins.partner_center import ANY, AUDIENCE, Fault

FAULTS = {
    "throttled": Fault("status", status=429, retry_after="3"),
    "unavailable": Fault("status", status=503),
    "silent": Fault("stall"),
    "denied": Fault("status", status=403),
    "missing": Fault("status", status=404),
    "malformed": Fault("replace", document={"id": 7, "customerProfile": "none"}),
}
"""Partner Center's faults, by the names that the page uses."""


class FaultControls:
    """Switches the faults of the stand-ins that one app uses."""

    def __init__(self, stack: Stack, queues: Queues, flaky: FlakyQueues | None) -> None:
        self._stack = stack
        self._queues = queues
        self._flaky = flaky
        """The proxy in front of the events queue if that is in Azurite; None for Service Bus."""

    def current(self) -> dict[str, Any]:
        """The active faults: `{"partnerCenter": "", "dropped": false, "token": false, "events": false}` if none are."""
        fault = self._stack.partner_center.faults.get(ANY)
        names = [name for name, known in FAULTS.items() if known == fault]
        return {
            "partnerCenter": names[0] if names else "other" if fault else "",
            "dropped": self._stack.webhooks.dropped > 0,
            "token": bool(self._stack.identity.failures),
            "events": self._flaky.refused > 0 if self._flaky else self._events_entity().refuses,
        }

    def set(self, wanted: dict[str, Any]) -> None:
        """Apply faults in the form that `current` returns.

        Raises:
            ValueError: there is no such fault of Partner Center; the message lists them.
        """
        name, partner_center, identity = wanted.get("partnerCenter"), self._stack.partner_center, self._stack.identity
        if name not in ("", "other", *FAULTS):
            raise ValueError(f"Partner Center's faults are: {', '.join(FAULTS)}.")
        if name in FAULTS:
            partner_center.faults[ANY] = FAULTS[name]
        elif not name:
            partner_center.faults.clear()
        self._stack.webhooks.dropped = float(bool(wanted.get("dropped")))
        identity.failures.clear()
        partner_center.refused_tokens.discard(ANY)
        if wanted.get("token"):  # the app's token is valid for hours: it asks for a new one only if that is refused
            identity.failures[AUDIENCE] = HTTPStatus.BAD_REQUEST
            partner_center.refused_tokens.add(ANY)
        if self._flaky:
            self._flaky.refused = float(bool(wanted.get("events")))
        else:
            self._events_entity().refuses = bool(wanted.get("events"))

    def _events_entity(self) -> service_bus.Entity:
        return self._stack.service_bus.entities[self._queues.events.name]
