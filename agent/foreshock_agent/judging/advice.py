"""An alarm in words and figures: why, which failure mode, how long, and what to do (pure)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_agent.judging.scoring import RULE
from foreshock_rules.limits import recent_means
from foreshock_rules.readings import FLOAT32_MAX
from foreshock_wire.messages import Alarm, AlarmPriority, Reason

if TYPE_CHECKING:
    from foreshock_agent.judging.scoring import Score
    from foreshock_rules.alarms import AlarmHead
    from foreshock_wire.model import Outputs
    from foreshock_wire.spec import ModelSpec
    from foreshock_wire.topics import Gateway

LIMIT_ADVICE: Final = (
    "A sensor is beyond its limit: look at the machine, and check the sensor itself."
)
UNEXPLAINED: Final = "The model alarms but could not give its reason: look at the machine."


def alarm_of(
    at: Gateway, head: AlarmHead, score: Score, spec: ModelSpec | None, outputs: Outputs | None
) -> Alarm:
    """Return the message for an alarm that was just raised.

    `outputs` holds the explained run of the window (one row); without it the reason is the limit
    that was broken.
    """
    alarm = Alarm(
        site=at.site,
        gateway=at.gateway,
        machine=score.due.machine,
        episode=head.episode,
        state=head.state,
        time_ns=score.due.window.end_ns,
        raised_ns=head.raised_ns,
        trigger_received_ns=score.due.received_ns,
        source="rule" if score.model == RULE else "model",
    )
    if spec is None or score.model == RULE:
        return alarm.model_copy(update={"reasons": _limits(score), "advice": LIMIT_ADVICE})
    known = {
        "probability": _finite(score.probability),
        "threshold": spec.threshold,
        "model": score.model,
    }
    return alarm.model_copy(update=known | _explanation(spec, score, outputs))


def _explanation(spec: ModelSpec, score: Score, outputs: Outputs | None) -> dict[str, object]:
    """Return why, which mode and how long; an alarm that cannot be explained is still one."""
    if outputs is None:
        return {"advice": UNEXPLAINED}
    mode = _mode(spec, outputs)
    lead_time_h = _lead_time(outputs)
    return {
        "priority": _priority(lead_time_h),
        "mode": mode,
        "lead_time_h": lead_time_h,
        "reasons": _sensors(spec, score, outputs),
        "advice": spec.advice_for(mode),
    }


def _limits(score: Score) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            channel=one.channel,
            contribution=min(one.excess, FLOAT32_MAX),
            value=one.value,
            healthy=one.limit,
        )
        for one in score.breaches
    )


def _sensors(spec: ModelSpec, score: Score, outputs: Outputs) -> tuple[Reason, ...]:
    """Rank the sensors by their Shapley value, beside their recent and their healthy mean."""
    recent = recent_means(score.due.window.values)
    healthy = recent_means(spec.baseline)
    reasons = [
        Reason(
            channel=channel.id,
            contribution=float(outputs.shapley[0, column]),
            value=_finite(recent[column]),
            healthy=_finite(healthy[column]),
            unit=channel.unit,
            contribution_error=float(outputs.shapley_error[0, column]),
        )
        for column, channel in enumerate(spec.channels)
        if math.isfinite(outputs.shapley[0, column])
    ]
    return tuple(sorted(reasons, key=lambda reason: -reason.contribution))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mode(spec: ModelSpec, outputs: Outputs) -> str | None:
    row = outputs.modes[0]
    return spec.modes[int(np.argmax(row))] if len(row) and np.isfinite(row).all() else None


def _lead_time(outputs: Outputs) -> tuple[float, float, float] | None:
    row = outputs.lead_time[0]
    if not len(row) or not np.isfinite(row).all():
        return None
    return float(row[0]), float(row[len(row) // 2]), float(row[-1])


def _priority(lead_time_h: tuple[float, float, float] | None) -> AlarmPriority:
    """High when the failure may come within a day: less time to plan than one shift roster."""
    day_h = 24.0
    soon = lead_time_h is not None and lead_time_h[1] < day_h
    return AlarmPriority.HIGH if soon else AlarmPriority.MEDIUM
