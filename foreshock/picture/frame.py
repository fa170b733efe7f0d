"""Which part of a life to show, and what is to be told of it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from foreshock_plant.parameters import SUDDEN
from foreshock_wire.errors import ForeshockError
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from foreshock.picture.judged import Episode, JudgedLife
    from foreshock_plant.machine import Event
    from foreshock_plant.sensor_faults import Stretch
    from foreshock_wire.messages import Reason

HOUR_NS: Final = 3600 * 1_000_000_000
BEFORE_H: Final = 240.0
AFTER_H: Final = 30.0
MOVED_SHARE: Final = 0.3
"""A sensor counts as moved when it pushed at least this share of what the strongest one did."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A stretch of a life: times in UTC ns; `failure` and `warning` where there are any."""

    begin_ns: int
    end_ns: int
    failure: Event | None = None
    warning: Episode | None = None

    @property
    def origin_ns(self) -> int:
        """Where the hours of the picture's axis begin: the failure, or the frame's beginning."""
        return self.begin_ns if self.failure is None else self.failure.time_ns

    @property
    def warned_h(self) -> float | None:
        """Hours from the alarm to the failure."""
        if self.failure is None or self.warning is None:
            return None
        return (self.failure.time_ns - self.warning.raised_ns) / HOUR_NS

    def hours(self, time_ns: Any) -> Any:  # noqa: ANN401 - a number or an array of them
        """Return times as hours on the picture's axis."""
        return (time_ns - self.origin_ns) / HOUR_NS

    def holds(self, stretch: Stretch) -> bool:
        """Say whether a stretch lies in the frame, if only in part."""
        return stretch.begin_ns < self.end_ns and stretch.end_ns > self.begin_ns


def frame_of(judged: JudgedLife, number: int | None) -> Frame:
    """Return the days around a life's failure; the whole life for number 0 or without failures.

    `number` counts a life's failures from 1; None takes the first that wear announced.

    Raises:
        ForeshockError: there is no such failure.
    """
    begin_ns, end_ns = int(judged.life.time_ns[0]), int(judged.life.time_ns[-1])
    failures = judged.failures
    if number is not None and not 0 <= number <= len(failures):
        raise ForeshockError(
            f"{judged.life.machine} fails {len(failures)} times in these hours, so there is no "
            f"failure {number}: choose another --failure, --seed or --hours (0 shows it whole)"
        )
    if number is None:
        announced = [i for i, one in enumerate(failures, 1) if one.mode != SUDDEN]
        number = next(iter(announced), min(1, len(failures)))
    if number == 0:
        return Frame(begin_ns, end_ns)
    failure = failures[number - 1]
    return Frame(
        max(begin_ns, failure.time_ns - round(BEFORE_H * HOUR_NS)),
        min(end_ns, failure.time_ns + round(AFTER_H * HOUR_NS)),
        failure,
        judged.warning_of(failure),
    )


def moved(warning: Episode | None) -> tuple[Reason, ...]:
    """Return the sensors that made an alarm, strongest first."""
    reasons = warning.alarm.reasons if warning else ()
    least = MOVED_SHARE * reasons[0].contribution if reasons else 0.0
    return tuple(one for one in reasons if one.contribution >= max(least, 1e-9))


def told(judged: JudgedLife, frame: Frame) -> dict[str, Any]:
    """Return what the picture shows as one flat object; times in RFC 3339."""
    alarm = frame.warning.alarm if frame.warning else None
    return {
        "machine": judged.life.machine,
        "from": rfc3339(frame.begin_ns),
        "until": rfc3339(frame.end_ns),
        "failure": rfc3339(frame.failure.time_ns) if frame.failure else None,
        "mode": frame.failure.mode if frame.failure else None,
        "alarm": rfc3339(frame.warning.raised_ns) if frame.warning else None,
        "warned_h": frame.warned_h,
        "alarm_mode": alarm.mode if alarm else None,
        "lead_time_h": alarm.lead_time_h if alarm else None,
        "sensors_moved": [reason.channel for reason in moved(frame.warning)],
        "advice": alarm.advice if alarm else "",
        "model": alarm.model if alarm else None,
        "alarms_of_this_life": [rfc3339(one.raised_ns) for one in judged.episodes],
        "failures_of_this_life": [rfc3339(one.time_ns) for one in judged.failures],
        "windows": len(judged.played.end_ns),
        "sensor_faults": [
            {"fault": one.fault, "channel": one.channel, "begin": rfc3339(one.begin_ns)}
            for one in judged.stretches
            if frame.holds(one)
        ],
    }
