"""One consumer, one stream: a steady run that is measured, and one in which it is killed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.agent_consumers import TICKS_A_SECOND, Consumer, Kept, Usage
from benchmarks.agent_feed import Feeder, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.agent_stream import Form, Frames

LOOK_S: Final = 0.02
QUIET_S: Final = 1.5
"""So long nothing comes any more: whatever it was sent, it has."""

WARM_UP: Final = 0.1
"""Share of the stream that is not measured: the first windows, caches and imports."""

COOL_DOWN: Final = 0.05
"""Share at its end: nothing fills the last commit any more, which then waits for its interval."""

AHEAD: Final = {1: 20_000, 100: 1_500}
"""Messages before the consumer, by readings a message: so many that nobody waits for more, though
peers tell how far they are ten times a second only (4,000 would hold all at 40,000 a second)."""

STALLED_S: Final = 60.0


class Look(NamedTuple):
    """A moment of a run: `at_s` monotonic, what the consumer had done, and used."""

    at_s: float
    readings: int
    usage: Usage
    broker_cpu_s: float
    feeder_cpu_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """A measured run, between the end of the warm-up and the begin of the cool-down."""

    per_s: float
    per_cpu_s: float
    cpu_us: float
    bytes_written: float
    rss_mib: float
    broker_cpu: float
    feeder_cpu: float
    """CPU of consumer (us a reading, and readings a second of it: what other work on the machine
    changes little), of broker and feeder (shares of a core)."""


class Flow:
    """A consumer that runs, a broker process, and a stream on its way between them."""

    def __init__(self, consumer: Consumer, feeder: Feeder, broker_pid: int, form: Form) -> None:
        self._consumer = consumer
        self._feeder = feeder
        self._broker_pid = broker_pid
        self._per_message = form.readings_a_message

    def looks(self, goal: int, limit_s: float = math.inf) -> Iterator[Look]:
        """Look until the consumer has dealt with `goal` readings, or `limit_s` after its first.

        Raises:
            TimeoutError: it does not get there.
        """
        moved_s, before, readings = time.monotonic(), 0, 0
        end_s = math.inf
        yield self._look(0)
        while readings < goal and time.monotonic() < end_s:
            time.sleep(LOOK_S)
            self._consumer.check()
            readings = self._consumer.readings()
            self._feeder.tell(readings // self._per_message)
            now_s = time.monotonic()
            if readings and end_s == math.inf:
                end_s = now_s + limit_s
            if readings > before:
                before, moved_s = readings, now_s
            elif now_s - moved_s > STALLED_S:
                raise TimeoutError(f"{self._consumer.folder.name} stands still at {readings}")
            yield self._look(readings)

    def _look(self, readings: int) -> Look:
        feeder_s = Usage.of(self._feeder.pid).cpu_s if self._feeder.running else 0.0
        broker_s = Usage.of(self._broker_pid).cpu_s
        return Look(time.monotonic(), readings, Usage.of(self._consumer.pid), broker_s, feeder_s)


def steady(consumer: Consumer, broker: str, broker_pid: int, frames: Frames, limit_s: float) -> Run:
    """Feed a fresh consumer the whole stream, or what it takes of it in `limit_s`."""
    pace = Pace(AHEAD[frames.form.readings_a_message])
    with consumer, Feeder(broker, frames, pace) as feeder:
        flow = Flow(consumer, feeder, broker_pid, frames.form)
        return _figures(list(flow.looks(frames.readings, limit_s)))


def _figures(looks: list[Look]) -> Run:
    measured = _between(looks, WARM_UP, 1 - COOL_DOWN)
    first, last = measured[0], measured[-1]
    fed = [look for look in measured if look.feeder_cpu_s] or [first]
    count, seconds = last.readings - first.readings, last.at_s - first.at_s
    cpu_s = max(last.usage.cpu_s - first.usage.cpu_s, 1 / TICKS_A_SECOND)
    return Run(
        per_s=count / seconds,
        per_cpu_s=count / cpu_s,
        cpu_us=cpu_s / count * 1e6,
        bytes_written=(last.usage.written - first.usage.written) / count,
        rss_mib=max(look.usage.rss for look in looks) / 2**20,
        broker_cpu=(last.broker_cpu_s - first.broker_cpu_s) / seconds,
        feeder_cpu=(fed[-1].feeder_cpu_s - first.feeder_cpu_s)
        / max(fed[-1].at_s - first.at_s, LOOK_S),
    )


def _between(looks: list[Look], begin: float, end: float) -> list[Look]:
    """Return the looks from one share of the readings to another; all, if they came in one go."""
    total = looks[-1].readings
    reached = (share * total for share in (begin, end))
    first, last = (
        next(at for at, look in enumerate(looks) if look.readings >= enough) for enough in reached
    )
    return looks[first : last + 1] if first < last else looks


def killed(consumer: Consumer, broker: str, broker_pid: int, frames: Frames) -> Kept:
    """Kill a fresh consumer in the middle of the stream, start it again; return what it holds."""
    pace = Pace(AHEAD[frames.form.readings_a_message])
    with consumer, Feeder(broker, frames, pace) as feeder:
        for _ in Flow(consumer, feeder, broker_pid, frames.form).looks(frames.readings // 2):
            pass
        consumer.kill()
        feeder.tell(frames.messages)
        consumer.start()
        _drain(consumer, feeder)
        consumer.stop()
    return consumer.kept()


def _drain(consumer: Consumer, feeder: Feeder) -> None:
    """Return when everything was sent and the consumer has come to rest."""
    before, moved_s = -1, time.monotonic()
    while feeder.running or time.monotonic() - moved_s < QUIET_S:
        time.sleep(LOOK_S)
        consumer.check()
        if (now := consumer.readings()) != before:
            before, moved_s = now, time.monotonic()
