"""What all adapters share: the topic's match, and how a message is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from foreshock_rules.readings import Rejected, problem_of
from foreshock_wire.errors import ForeshockError, InvalidIdError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from foreshock_agent.settings import SourceSettings
    from foreshock_rules.readings import Reading

UNIT_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class RejectedMessageError(ForeshockError):
    """A message from which no reading can be taken; it is counted and kept in quarantine."""

    def __init__(self, reason: Rejected, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """What a topic says about its message."""

    machine: str
    channel: str | None
    settings: SourceSettings

    @classmethod
    def of(cls, groups: dict[str, str], settings: SourceSettings) -> TopicMatch:
        """Check the ids that stand in a topic.

        Raises:
            RejectedMessageError: one of them is no valid id.
        """
        try:
            machine = check_id(groups.get("machine", ""), "machine")
            channel = groups.get("channel")
            if channel is not None:
                check_id(channel, "channel")
        except InvalidIdError as error:
            raise RejectedMessageError(Rejected.INVALID_ID, str(error)) from None
        return cls(machine, channel, settings)

    def time_ns(self, raw: object) -> int:
        """Return a source's stamp in nanoseconds.

        Raises:
            RejectedMessageError: it is not a number.
        """
        if isinstance(raw, bool) or not isinstance(raw, int | float) or raw != raw:  # noqa: PLR0124 - NaN
            raise RejectedMessageError(Rejected.BAD_TIME, f"time {raw!r} is no number")
        try:
            return int(raw * UNIT_NS[self.settings.time_unit])
        except OverflowError:
            raise RejectedMessageError(Rejected.BAD_TIME, f"time {raw!r} is infinite") from None


def refusal_of(reading: Reading) -> Rejected | None:
    """Return why a decoded reading is not stored, or None.

    A channel comes from the payload, where anything may stand: a name that is no id could be
    stored but never travel, and would hold back everything behind it.
    """
    return problem_of(reading) or (None if _is_id(reading.channel) else Rejected.INVALID_ID)


@lru_cache(maxsize=4096)
def _is_id(name: str) -> bool:
    try:
        check_id(name)
    except InvalidIdError:
        return False
    return True
