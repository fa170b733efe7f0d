"""Which sensor message this is: a redelivered one that was committed before is known again.

A reading that carries its source's time is known by it. One that was stamped on arrival is not, so
the (packet id, payload hash) of such messages in the last in-flight window is committed with the
data: after a new connect, a message with the DUP flag, a known packet id and the same payload is
the same message. The DUP flag alone says nothing (the first delivery may have been lost before the
commit).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_agent.link import Delivery

WINDOW: Final = 4096
"""For how many messages one is remembered: more than a broker keeps in flight, far fewer than the
65,535 packet ids that must pass before one is used again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a message; `number` is its place among all that ever came."""

    packet_id: int
    payload_hash: int
    number: int
    connection: int = 0


class IntakeIdentity:
    """The memory of the last in-flight window of one session; a `number` counts all messages."""

    def __init__(self, saved: Iterable[Seen] = ()) -> None:
        self._seen = {seen.packet_id: seen for seen in saved}
        self._fresh: dict[int, Seen] = {}
        self._lost_at = 0

    def session_lost(self, number: int) -> None:
        """Forget everything: in a new session packet ids begin again, nothing is redelivered."""
        self._seen.clear()
        self._fresh.clear()
        self._lost_at = number

    def is_redelivered(self, message: Delivery) -> bool:
        """Say whether this message was taken before."""
        known = self._seen.get(message.packet_id) if message.dup and message.qos else None
        return (
            known is not None
            and known.connection != message.connection
            and known.payload_hash == _hash(message.payload)
        )

    def remember(self, message: Delivery, number: int) -> None:
        """Remember a message that is being taken."""
        if message.qos:
            seen = Seen(message.packet_id, _hash(message.payload), number, message.connection)
            self._seen[message.packet_id] = self._fresh[message.packet_id] = seen

    def take_fresh(self, number: int) -> tuple[list[Seen], int]:
        """Return what the next commit must save, and the number up to which it may forget."""
        fresh = list(self._fresh.values())
        self._fresh.clear()
        upto = max(number - WINDOW, self._lost_at)
        for seen in [seen for seen in self._seen.values() if seen.number <= upto]:
            del self._seen[seen.packet_id]
        return fresh, upto


def _hash(payload: bytes) -> int:
    digest = hashlib.blake2b(payload, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
