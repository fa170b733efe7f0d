"""What a reading is, when two are the same one, and which are refused."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

EARLIEST_NS: Final = 0
LATEST_NS: Final = 2**62
"""Stamps outside 1970 to 2116 are taken for damage, not for time."""

_END_OF_TIME_NS: Final = 2**63 - 1

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


def problems_of(
    time_ns: npt.NDArray[np.int64], value: npt.NDArray[np.float64]
) -> dict[Rejected, npt.NDArray[np.bool_]]:
    """Return for each reason which readings of a batch it refuses; the first one is to be told.

    Args:
        time_ns: int64[n], with any stamp beyond int64 clamped to its ends.
        value: float64[n]; a number that float64 cannot hold is infinite.
    """
    finite = np.isfinite(value)
    return {
        Rejected.NOT_A_NUMBER: ~finite,
        Rejected.OUT_OF_RANGE: finite & (np.abs(value) > FLOAT32_MAX),
        Rejected.BAD_TIME: (time_ns < EARLIEST_NS) | (time_ns >= LATEST_NS),
    }


def future_from_ns(now_ns: int, max_ahead_ns: int, *, clock_trusted: bool) -> int:
    """Return the first stamp that lies too far ahead to move a watermark.

    A clock that is not trusted (a gateway at 1970) must not disown good stamps.
    """
    return now_ns + max_ahead_ns + 1 if clock_trusted else _END_OF_TIME_NS
