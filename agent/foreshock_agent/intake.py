"""Which sensor message this is: a redelivered one that was committed before is known again.

A reading that carries its source's time is known by it. One that was stamped on arrival is not, so
the (packet id, payload hash) of the last in-flight window is committed with the data: after a new
connect, a message with the DUP flag, a known packet id and the same payload is the same message.
The DUP flag alone says nothing (the first delivery may have been lost before the commit).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 4096
"""How many messages are remembered: more than a broker keeps in flight, far fewer than the 65,535
packet ids that must pass before one is used again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a message: its place in the order of arrival is `number`."""

    packet_id: int
    payload_hash: int
    number: int
    connection: int = 0


class IntakeIdentity:
    """The memory of the last in-flight window of one session."""

    def __init__(self, saved: Iterable[Seen] = ()) -> None:
        self._seen = OrderedDict((seen.packet_id, seen) for seen in saved)
        self._fresh: dict[int, Seen] = {}
        self._number = max((seen.number for seen in self._seen.values()), default=0)
        self._forget_up_to = 0

    def session_lost(self) -> None:
        """Forget everything: in a new session packet ids begin again, nothing is redelivered."""
        self._seen.clear()
        self._fresh.clear()
        self._forget_up_to = self._number

    def is_redelivered(self, packet_id: int, payload: bytes, connection: int, *, dup: bool) -> bool:
        """Say whether this message was taken before; remember it if not."""
        digest = hashlib.blake2b(payload, digest_size=8).digest()
        payload_hash = int.from_bytes(digest, "little", signed=True)
        known = self._seen.get(packet_id)
        if known and dup and known.connection != connection and known.payload_hash == payload_hash:
            return True
        self._remember(packet_id, payload_hash, connection)
        return False

    def _remember(self, packet_id: int, payload_hash: int, connection: int) -> None:
        self._number += 1
        seen = Seen(packet_id, payload_hash, self._number, connection)
        self._seen[packet_id] = self._fresh[packet_id] = seen
        self._seen.move_to_end(packet_id)
        while len(self._seen) > WINDOW:
            self._forget_up_to = self._seen.popitem(last=False)[1].number

    def take_fresh(self) -> tuple[list[Seen], int]:
        """Return what the next commit must save, and the number up to which it may forget."""
        fresh = list(self._fresh.values())
        self._fresh.clear()
        return fresh, self._forget_up_to
