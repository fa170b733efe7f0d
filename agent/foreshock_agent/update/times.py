"""When a signed directive may be followed: what the clock must say, and what nobody can undo.

Pure. The floor is the newest signed time that this gateway has accepted. Only a signed time raises
it, and only one that the clock agrees with: a clock that once stood at 2099 leaves nothing behind.
An answer is never final: a gateway whose clock is wrong waits, and follows when it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from foreshock_agent.clock import is_trusted
from foreshock_agent.update.errors import DeferredError

if TYPE_CHECKING:
    from collections.abc import Mapping

SKEW_NS: Final = 300 * 10**9
"""How far the clocks of centre and gateway may be apart, ns."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when a directive is valid, and until when it and each metadata file are (UTC ns)."""

    issued_ns: int
    expires_ns: Mapping[str, int]


def admit(now_ns: int, floor_ns: int, validity: Validity) -> int:
    """Return the new floor if what is valid so long may be followed now.

    Raises:
        DeferredError: the clock cannot be right, or something has expired by it.
    """
    if not is_trusted(now_ns):
        raise DeferredError(f"this gateway's clock says {moment(now_ns)}: it waits for the time")
    newest_ns = max(floor_ns, validity.issued_ns)
    if now_ns + SKEW_NS < newest_ns:
        raise DeferredError(
            f"this gateway's clock says {moment(now_ns)}, and something was signed at "
            f"{moment(newest_ns)}: set the clock"
        )
    what, first_ns = min(validity.expires_ns.items(), key=lambda item: item[1])
    if max(now_ns, floor_ns) >= first_ns:
        raise DeferredError(
            f"the {what} expired at {moment(first_ns)}, and this gateway's clock says "
            f"{moment(now_ns)}: the clock is ahead, or the centre has stopped to sign"
        )
    return newest_ns


def moment(time_ns: int) -> str:
    """Return a time in RFC 3339, to the second."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
