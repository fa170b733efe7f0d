"""Two gateways and two models, and what a gateway tells of itself."""

from __future__ import annotations

from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState, Report

SHA_A, SHA_B = "a" * 64, "b" * 64
ONE, TWO = Gateway("north", "gw-1"), Gateway("north", "gw-2")


def told(
    at: Gateway,
    counter: int = 0,
    state: DeviceState | None = None,
    *,
    reason: str = "",
    model: str | None = None,
) -> Report:
    """Return a report."""
    return Report(gateway=at.gateway, counter=counter, state=state, reason=reason, model=model)
