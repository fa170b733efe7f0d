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


def future_of(
    time_ns: npt.NDArray[np.int64],
    arrived_ns: npt.NDArray[np.int64],
    max_ahead_ns: int,
    trusted_from_ns: int,
) -> npt.NDArray[np.bool_]:
    """Say which stamps lie too far ahead of their arrival to move a watermark.

    A clock that says it is earlier than `trusted_from_ns` (a gateway at 1970) disowns no stamp.
    """
    trusted: npt.NDArray[np.bool_] = arrived_ns >= trusted_from_ns
    return trusted & (time_ns - arrived_ns > max_ahead_ns)
