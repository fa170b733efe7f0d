"""Sensor messages become readings: a registry of adapters, and the patterns of their topics.

An adapter is a function `(match, payload, received_ns, into) -> bool`; one file each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from foreshock_agent.intake.columns import OK, REASONS, Columns
from foreshock_agent.judging.tracks import Tracks
from foreshock_agent.sources import foreshock_batch, json_batch, json_object, json_path, number
from foreshock_agent.sources.base import RejectedMessageError, TopicMatch
from foreshock_rules.readings import Reading, Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_agent.settings import SourceSettings


class Adapter(Protocol):
    """Turns one payload into readings, or raises `RejectedMessageError` before it took any."""

    def __call__(self, match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:
        """Decode into `into`; return whether the source gave the times.

        `received_ns` stands in where it gave none.
        """
        ...


ADAPTERS: Final[dict[str, Adapter]] = {
    "foreshock_batch": foreshock_batch.decode,
    "json_batch": json_batch.decode,
    "json_object": json_object.decode,
    "json_path": json_path.decode,
    "number": number.decode,
}

_PLACEHOLDER: Final = re.compile(r"\{(machine|channel)\}")
_TOPICS: Final = 65_536
"""Topics whose match is remembered."""


@dataclass(frozen=True, slots=True)
class Source:
    """One configured source with its topic pattern made ready."""

    settings: SourceSettings
    topic_filter: str
    pattern: re.Pattern[str]
    adapter: Adapter

    @classmethod
    def of(cls, settings: SourceSettings) -> Source:
        """Prepare a source from its settings."""
        parts = _PLACEHOLDER.split(settings.topic)
        text = "".join(
            f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)
        )
        topic_filter = _PLACEHOLDER.sub("+", settings.topic)
        return cls(settings, topic_filter, re.compile(text), ADAPTERS[settings.adapter])


class Shown(NamedTuple):
    """A decoded reading for a person to look at, and why it would be refused, if it would."""

    reading: Reading
    problem: Rejected | None


class Sources:
    """All configured sources: which topics to subscribe to, and what a message holds."""

    def __init__(
        self,
        settings: Sequence[SourceSettings],
        max_message_bytes: int,
        tracks: Tracks | None = None,
    ) -> None:
        self._sources = [Source.of(entry) for entry in settings]
        self._max_bytes = max_message_bytes
        self._matches: dict[str, tuple[Adapter, TopicMatch]] = {}
        self.tracks = Tracks() if tracks is None else tracks

    @property
    def topic_filters(self) -> list[str]:
        """What to subscribe to."""
        return [source.topic_filter for source in self._sources]

    def decode(self, topic: str, payload: bytes, received_ns: int, into: Columns) -> bool:
        """Take the readings of one message; return whether they carry their source's time.

        Raises:
            RejectedMessageError: nothing in the message can be used; says why.
        """
        if len(payload) > self._max_bytes:
            raise RejectedMessageError(Rejected.OVERSIZE, f"{len(payload)} bytes")
        adapter, match = self._matches.get(topic) or self._matched(topic)
        return adapter(match, payload, received_ns, into)

    def show(self, topic: str, payload: bytes, received_ns: int) -> list[Shown]:
        """Return the readings of one message.

        Raises:
            RejectedMessageError: nothing in the message can be used; says why.
        """
        columns = Columns()
        own_time = self.decode(topic, payload, received_ns, columns)
        columns.end_message()
        found, tracks = columns.arrivals(), self.tracks
        return [
            Shown(
                Reading(*tracks.name(track), time_ns, value, own_time),
                None if problem == OK else REASONS[problem],
            )
            for track, time_ns, value, problem in zip(
                *(column.tolist() for column in (*found[:3], found.problems())), strict=True
            )
        ]

    def _matched(self, topic: str) -> tuple[Adapter, TopicMatch]:
        for source in self._sources:
            if found := source.pattern.fullmatch(topic):
                match = TopicMatch.of(found.groupdict(), source.settings, self.tracks)
                if len(self._matches) >= _TOPICS:
                    self._matches.clear()
                self._matches[topic] = source.adapter, match
                return source.adapter, match
        raise RejectedMessageError(Rejected.UNKNOWN_TOPIC, topic)
