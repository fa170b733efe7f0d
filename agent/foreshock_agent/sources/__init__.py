"""Sensor messages become readings: a registry of adapters, and the patterns of their topics.

An adapter is a function `(match, payload, received_ns) -> list[Reading]`; one file each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from foreshock_agent.sources import json_object, number
from foreshock_agent.sources.base import RejectedMessageError, TopicMatch
from foreshock_rules.readings import Reading, Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_agent.settings import SourceSettings


class Adapter(Protocol):
    """Turns one payload into readings, or raises `RejectedMessageError`."""

    def __call__(self, match: TopicMatch, payload: bytes, received_ns: int) -> list[Reading]:
        """Decode; `received_ns` stands in where the source gives no time."""
        ...


ADAPTERS: Final[dict[str, Adapter]] = {
    "json_object": json_object.decode,
    "number": number.decode,
}

_PLACEHOLDER: Final = re.compile(r"\{(machine|channel)\}")


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


class Sources:
    """All configured sources: which topics to subscribe to, and what a message holds."""

    def __init__(self, settings: Sequence[SourceSettings], max_message_bytes: int) -> None:
        self._sources = [Source.of(entry) for entry in settings]
        self._max_bytes = max_message_bytes

    @property
    def topic_filters(self) -> list[str]:
        """What to subscribe to."""
        return [source.topic_filter for source in self._sources]

    def decode(self, topic: str, payload: bytes, received_ns: int) -> list[Reading]:
        """Return the readings of one message.

        Raises:
            RejectedMessageError: nothing in the message can be used; says why.
        """
        if len(payload) > self._max_bytes:
            raise RejectedMessageError(Rejected.OVERSIZE, f"{len(payload)} bytes")
        for source in self._sources:
            if found := source.pattern.fullmatch(topic):
                match = TopicMatch.of(found.groupdict(), source.settings)
                return source.adapter(match, payload, received_ns)
        raise RejectedMessageError(Rejected.UNKNOWN_TOPIC, topic)
