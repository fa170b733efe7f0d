"""Times as people read them; inside, a time is UTC nanoseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(time_ns: int) -> str:
    """Return UTC nanoseconds as RFC 3339, with microseconds where there are some.

    A time that no calendar holds, which only a source's own stamp can be, stays a number.
    """
    try:
        moment = EPOCH + timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return f"{time_ns} ns"
    return moment.isoformat().replace("+00:00", "Z")
