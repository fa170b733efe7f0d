"""What all adapters share: the topic's match, JSON, numbers, and how a message is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from foreshock_rules.readings import Rejected
from foreshock_wire.errors import ForeshockError, InvalidIdError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from foreshock_agent.judging.tracks import MachineTracks, Tracks
    from foreshock_agent.settings import SourceSettings

UNIT_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}

NO_TIME: Final = -1
"""Stands for a stamp that is none: before every valid one, so that its reading is refused."""

_LARGEST: Final = (1 << 63) - 1


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
    all_tracks: Tracks
    tracks: MachineTracks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tracks", self.all_tracks.of(self.machine))

    @classmethod
    def of(cls, groups: dict[str, str], settings: SourceSettings, tracks: Tracks) -> TopicMatch:
        """Check the ids that stand in a topic.

        Raises:
            RejectedMessageError: one of them is no valid id.
        """
        channel = groups.get("channel")
        try:
            machine = check_id(groups["machine"], "machine")
            if channel is not None:
                check_id(channel, "channel")
        except InvalidIdError as error:
            raise RejectedMessageError(Rejected.INVALID_ID, str(error)) from None
        return cls(machine, channel, settings, tracks)

    def time_ns(self, raw: object) -> int:
        """Return a source's stamp in nanoseconds, clamped to what int64 holds.

        Raises:
            RejectedMessageError: it is not a number.
        """
        if isinstance(raw, bool) or not isinstance(raw, int | float) or raw != raw:  # noqa: PLR0124 - NaN
            raise RejectedMessageError(Rejected.BAD_TIME, f"time {raw!r} is no number")
        try:
            time_ns = int(raw * UNIT_NS[self.settings.time_unit])
        except OverflowError:
            raise RejectedMessageError(Rejected.BAD_TIME, f"time {raw!r} is infinite") from None
        return max(NO_TIME, min(time_ns, _LARGEST))

    def times_ns(self, raw: list[Any]) -> list[int]:
        """Return stamps in nanoseconds, NO_TIME for one that is not a number."""
        unit_ns = UNIT_NS[self.settings.time_unit]
        if set(map(type, raw)) == {int} and min(raw) >= 0 and max(raw) <= _LARGEST // unit_ns:
            return raw if unit_ns == 1 else [time * unit_ns for time in raw]
        return [self._time_or_none(one) for one in raw]

    def _time_or_none(self, raw: object) -> int:
        try:
            return self.time_ns(raw)
        except RejectedMessageError:
            return NO_TIME


def load_json(payload: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return what a JSON text says; NaN, Infinity and endless integers are let through.

    They spoil one reading and not its neighbours, so the strict parser is only the fast one.

    Raises:
        RejectedMessageError: it is not JSON.
    """
    try:
        return orjson.loads(payload)
    except ValueError:
        pass
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise RejectedMessageError(Rejected.MALFORMED, f"not JSON: {error}") from None


def number(raw: object) -> float:
    """Return a JSON value as a number, NaN where it is none."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return math.nan
    try:
        return float(raw)
    except OverflowError:
        return math.inf


def row_of(match: TopicMatch, body: dict[str, Any]) -> dict[str, float]:
    """Return the channels of an object that the settings want, all of them if they name none."""
    wanted = match.settings.channels
    if wanted:
        body = {name: body[name] for name in wanted if name in body}
    return {name: raw if type(raw) is float else number(raw) for name, raw in body.items()}
