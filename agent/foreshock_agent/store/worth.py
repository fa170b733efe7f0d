"""What a full store drops first: the order of worth, as a rule.

Delivered readings go before all (`Store.trim_readings`). Of what the lake has not got yet, ordinary
readings are thinned, then dropped; then ordinary scores; then what lies around alarms, readings
before scores; then events; alarms last. Within one class the oldest go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STORAGE_FULL: Final = "storage_full"
"""The reason of tombstones."""

REACH_UPLOADS: Final = 100
"""How many uploads' worth of a stream may be on its way before the acknowledgements are durable."""

THINNED: Final = 4
"""Thinning leaves one chunk in so many."""

_SCATTER: Final = 0x9E3779B97F4A7C15
"""An odd number near 2^64 / golden ratio (Knuth, TAOCP 3, 6.4): neighbours come out far apart."""


class Worth(IntEnum):
    """The classes, cheapest first."""

    THINNABLE = 0
    READINGS = 1
    SCORES = 2
    READINGS_AROUND_ALARMS = 3
    SCORES_AROUND_ALARMS = 4
    EVENTS = 5
    ALARMS = 6

    @property
    def stream(self) -> Stream:
        """The stream that its records are of."""
        return _STREAMS[self]

    @property
    def around_alarms(self) -> bool:
        """Whether it is what lies around alarms."""
        return self in {Worth.READINGS_AROUND_ALARMS, Worth.SCORES_AROUND_ALARMS}


_STREAMS: Final = {
    Worth.THINNABLE: Stream.READINGS,
    Worth.READINGS: Stream.READINGS,
    Worth.SCORES: Stream.SCORES,
    Worth.READINGS_AROUND_ALARMS: Stream.READINGS,
    Worth.SCORES_AROUND_ALARMS: Stream.SCORES,
    Worth.EVENTS: Stream.EVENTS,
    Worth.ALARMS: Stream.ALARMS,
}


def stays_when_thinned(n: int) -> bool:
    """Say whether the chunk with this number is one of the few that thinning leaves.

    Scattered, not each fourth: machines that report in turn would be thinned away as a whole.
    """
    return ((n * _SCATTER & 0xFFFF_FFFF_FFFF_FFFF) >> 32) % THINNED == 0


@dataclass(frozen=True, slots=True)
class Span:
    """Stored records of one epoch's stream that follow one another, and the bytes they take."""

    epoch_n: int
    first_seq: int
    last_seq: int
    size: int


def cheapest(spans: Iterable[Span], wanted: int) -> Iterator[Span]:
    """Yield spans in their order until they free what is wanted; none is taken beyond that."""
    freed = 0
    for span in spans:
        yield span
        freed += span.size
        if freed >= wanted:
            return


def runs(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans that touch as one."""
    last: Span | None = None
    for span in spans:
        if last and span.epoch_n == last.epoch_n and span.first_seq == last.last_seq + 1:
            last = Span(last.epoch_n, last.first_seq, span.last_seq, last.size + span.size)
            continue
        if last:
            yield last
        last = span
    if last:
        yield last


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one epoch's stream is: the lake holds it up to `acked`, `last` is its last seq."""

    epoch_n: int
    acked: int
    last: int


def reach_of(cursors: Iterable[Cursor], records: int) -> tuple[int, int]:
    """Return the (epoch, seq) up to which the first so many pending records go, or would go.

    The uplink sends nothing beyond this, and nothing up to it is ever dropped: what is on its way
    may be in the lake already, and dropped it would be counted twice. `cursors` are the durable
    ones, oldest epoch first.
    """
    end = (0, 0)
    for cursor in cursors:
        end = (cursor.epoch_n, cursor.acked + records)
        records -= max(0, cursor.last - cursor.acked)
        if records <= 0:
            break
    return end
