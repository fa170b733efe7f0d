"""Times as people read and write them; inside, a time is UTC nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from foreshock_wire.errors import ForeshockError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1700, 2262)  # what int64 nanoseconds can hold


class TimeTextError(ForeshockError):
    """A text that says no time, or not which."""


def rfc3339(time_ns: int) -> str:
    """Return UTC nanoseconds as RFC 3339, with microseconds where there are some.

    A time that no calendar holds, which only a source's own stamp can be, stays a number.
    """
    try:
        moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return f"{time_ns} ns"
    return moment.isoformat().replace("+00:00", "Z")


def time_ns(text: str) -> int:
    """Return an RFC 3339 time as UTC nanoseconds.

    Raises:
        TimeTextError: it is not one, or has no offset from UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TimeTextError(f"time {text!r} is not RFC 3339, like 2024-01-31T06:00:00Z") from None
    if moment.tzinfo is None:
        raise TimeTextError(f"time {text!r} has no offset: add Z if it is UTC")
    if moment.year not in _YEARS:
        raise TimeTextError(f"time {text!r} is not within {_YEARS.start} to {_YEARS.stop - 1}")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
