"""What a reading is, when two are the same one, and which are refused."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final, NamedTuple

EARLIEST_NS: Final = 0
LATEST_NS: Final = 2**62
"""Stamps outside 1970 to 2116 are taken for damage, not for time."""

FLOAT32_MAX: Final = 3.4028234663852886e38


class Reading(NamedTuple):
    """One value of one channel of one machine at one source time (UTC, ns).

    `own_time` is false where the source gave no stamp and the gateway's arrival time stands in.
    """

    machine: str
    channel: str
    time_ns: int
    value: float
    own_time: bool = True

    @property
    def identity(self) -> tuple[str, str, int]:
        """Two readings with equal identities are the same reading."""
        return self.machine, self.channel, self.time_ns


class Rejected(StrEnum):
    """Why something that arrived was not stored as a reading; the name of its counter."""

    MALFORMED = "malformed"
    OVERSIZE = "oversize"
    UNKNOWN_TOPIC = "unknown_topic"
    INVALID_ID = "invalid_id"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIME = "bad_time"


def problem_of(reading: Reading) -> Rejected | None:
    """Return why a reading cannot be stored, or None when it can."""
    if not abs(reading.value) <= FLOAT32_MAX:  # true of NaN; JSON's integers know no limit
        finite = abs(reading.value) < math.inf
        return Rejected.OUT_OF_RANGE if finite else Rejected.NOT_A_NUMBER
    if not EARLIEST_NS <= reading.time_ns < LATEST_NS:
        return Rejected.BAD_TIME
    return None


def is_future(time_ns: int, now_ns: int, max_ahead_ns: int, *, clock_trusted: bool) -> bool:
    """Say whether a stamp lies too far ahead to move a watermark.

    A clock that is not trusted (a gateway at 1970) must not disown good stamps.
    """
    return clock_trusted and time_ns > now_ns + max_ahead_ns
