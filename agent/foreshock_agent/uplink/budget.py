"""How many bytes may go up on a civil day: the rule, and the file that remembers what went.

Alarms and events may use the whole of the day's bytes. Scores and readings leave a reserve to what
comes before them, which melts as the day goes by, so that at midnight nothing of the day is unused.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from foreshock_agent.clock import PLAUSIBLE_NS
from foreshock_wire.files import write_durably
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

RESERVE: Final = {Stream.ALARMS: 0.0, Stream.EVENTS: 0.0, Stream.SCORES: 0.1, Stream.READINGS: 0.3}
"""Which part of a whole day a stream leaves to the streams before it."""

STEPS_A_DAY: Final = 100
"""In how many parts a day is written down: a kill costs one part at most, and never overspends."""


_FIRST_DAY: Final = datetime.fromtimestamp(PLAUSIBLE_NS / 1e9, UTC).toordinal()


class Moment(NamedTuple):
    """A time of a civil day: the day's number, and which part of it is still to come (0 to 1)."""

    day: int
    remaining: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What went up on the day with this number.

    A gateway that has not got its time yet may still be on the last day that it knew, `known_day`,
    of which `known_count` is.
    """

    day: int = 0
    count: int = 0
    known_day: int = 0
    known_count: int = 0

    def on(self, day: int) -> Spent:
        """Return what counts on `day`: a new day begins at nothing.

        A clock that is set back by a day or less opens no budget anew; one that is further behind
        was wrong before. Without a time, each start begins at the same day.
        """
        if _is_known(day) != _is_known(self.day):
            return self._when_set(day) if _is_known(day) else self._without_time(day)
        goes_on = _is_same(self.day, day) if _is_known(day) else day <= self.day
        return self if goes_on else Spent(day)

    def _without_time(self, day: int) -> Spent:
        return Spent(day, self.count, self.day, self.count)

    def _when_set(self, day: int) -> Spent:
        before = 0 if _is_same(self.known_day, day) else self.known_count
        return Spent(day, self.count - before)


def _is_same(day: int, now: int) -> bool:
    return day - 1 <= now <= day


def _is_known(day: int) -> bool:
    return day >= _FIRST_DAY


def allowance(stream: Stream, per_day: int, spent: Spent, at: Moment) -> int:
    """Return how many bytes a stream may send now; 0 when nothing is left for it."""
    limit = int(per_day * (1 - RESERVE[stream] * at.remaining))
    return max(0, limit - spent.on(at.day).count)


def local_moment(now_ns: int) -> Moment:
    """Return the moment in the time zone of this machine."""
    now = datetime.fromtimestamp(now_ns / 1e9).astimezone()
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Moment(now.toordinal(), max(0.0, 1 - (now - begin).total_seconds() / 86_400))


def read_spent(path: Path) -> Spent:
    """Return what the file says; of none, or one that is damaged, nothing was spent."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        least = {"known_day": 0, "known_count": 0}  # what an earlier version did not write
        return Spent(**{field.name: int((least | raw)[field.name]) for field in fields(Spent)})
    except FileNotFoundError:
        return Spent()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read, the day's bytes are counted anew: %s", path, error)
        return Spent()


class DayBudget:
    """Counts what goes up; `per_day` None lets everything go.

    The file is ahead of what was sent, a hundredth of a day at a time: after a kill the day goes on
    with what was set aside.
    """

    def __init__(
        self,
        per_day: int | None,
        path: Path,
        now_ns: Callable[[], int],
        moment: Callable[[int], Moment] = local_moment,
    ) -> None:
        self._per_day = per_day
        self._path = path
        self._now_ns = now_ns
        self._moment = moment
        self._set_aside = self._spent = read_spent(path) if per_day is not None else Spent()

    def allows(self, stream: Stream, size: int) -> bool:
        """Say whether so many bytes of a stream may go up now."""
        if self._per_day is None:
            return True
        return size <= allowance(stream, self._per_day, self._spent, self._moment(self._now_ns()))

    def charge(self, size: int) -> None:
        """Count bytes that are about to go up."""
        if self._per_day is None:
            return
        today = self._spent.on(self._moment(self._now_ns()).day)
        self._spent = replace(today, count=today.count + size)
        if self._spent.day != self._set_aside.day or self._spent.count > self._set_aside.count:
            step = max(1, self._per_day // STEPS_A_DAY)
            self._set_aside = replace(self._spent, count=self._spent.count + step)
            self._save()

    def _save(self) -> None:
        try:
            write_durably(self._path, json.dumps(asdict(self._set_aside)).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def gauges(self) -> dict[str, float]:
        """Return what /metrics says of the day; nothing without a budget."""
        if self._per_day is None:
            return {}
        today = self._spent.on(self._moment(self._now_ns()).day)
        return {"uplink_bytes_today": today.count, "uplink_bytes_per_day": self._per_day}


def day_report(per_day: int | None, path: Path, now_ns: int) -> dict[str, int] | None:
    """Return how many of the day's bytes are set aside so far; None without a budget."""
    if per_day is None:
        return None
    at = local_moment(now_ns)
    return {"bytes_today": read_spent(path).on(at.day).count, "bytes_per_day": per_day}
