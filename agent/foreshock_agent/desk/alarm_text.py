"""An alarm in one line, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from foreshock_wire.messages import Alarm

SENSORS: Final = 2
"""So many sensors are named at most: those that weigh most."""


def describe(alarm: Alarm) -> str:
    """Return how sure an alarm is, which failure mode, how long, and why."""
    if alarm.source == "rule":
        worst = alarm.reasons[0] if alarm.reasons else None
        why = f"{worst.channel} {worst.value:.1f} beyond {worst.healthy:.1f}" if worst else "limit"
        return f"{why} (limit, no model)"
    parts = [f"p = {alarm.probability or 0:.2f}"]
    if alarm.mode:
        parts.append(alarm.mode.replace("_", " "))
    if alarm.lead_time_h:
        low, middle, high = alarm.lead_time_h
        parts.append(f"in {middle:.0f} h ({low:.0f} to {high:.0f})")
    reasons = [
        f"{reason.channel} {reason.contribution:+.1f}"
        for reason in alarm.reasons[:SENSORS]
        if reason.contribution > 0
    ]
    return ", ".join(parts) + (f"; because of {', '.join(reasons)}" if reasons else "")
