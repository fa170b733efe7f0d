"""Which sensor message this is: a redelivered one that was committed before is known again.

A reading that carries its source's time is known by it. One that was stamped on arrival is not, and
neither is a command, so the (packet id, payload hash) of such messages in the last in-flight window
is committed with the data: after a new connect, a message with the DUP flag, a known packet id and
the same payload is the same message. The DUP flag alone says nothing (the first delivery may have
been lost before the commit).

A broker that fell back to an older save hands out packet ids a second time, and a sensor at rest
sends the same payload again. But redelivered messages come before new ones on a connection (MQTT
3.1.1, section 4.6): so with the first new one, all that was taken on earlier connections and did
not come again is settled, and forgotten.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_agent.mqtt.link import Delivery
    from foreshock_agent.store.accounts import Accounts

WINDOW: Final = 4096
"""For how many messages one is remembered: more than a broker keeps in flight, far fewer than the
65,535 packet ids that must pass before one is used again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of a message; `number` is its place among all that ever came."""

    packet_id: int
    payload_hash: int
    number: int


class IntakeIdentity:
    """The memory of the last in-flight window of one session; a `number` counts all messages."""

    def __init__(self, saved: Iterable[Seen] = ()) -> None:
        self._seen = {seen.packet_id: seen for seen in saved}
        self._fresh: dict[int, Seen] = {}
        self._forgotten = 0
        self._connection: int | None = None
        self._earlier = 0
        self._settled = False

    def session_lost(self, number: int) -> None:
        """Forget everything: in a new session packet ids begin again, nothing is redelivered."""
        self._forget(number)

    def is_redelivered(self, message: Delivery, number: int) -> bool:
        """Say whether this message was taken before; asked once for each, in order of arrival."""
        if message.connection != self._connection:
            self._connection, self._earlier, self._settled = message.connection, number - 1, False
        if not message.qos:
            return False
        if not message.dup:
            self._settle()
            return False
        known = self._seen.get(message.packet_id)
        if known is None or known.number > self._earlier:
            return False
        if known.payload_hash != _hash(message.payload):
            return False
        self._note(Seen(known.packet_id, known.payload_hash, number))
        return True

    def remember(self, message: Delivery, number: int) -> None:
        """Remember a message that is being taken."""
        if message.qos:
            self._note(Seen(message.packet_id, _hash(message.payload), number))

    def take_fresh(self, number: int) -> tuple[list[Seen], int]:
        """Return what the next commit must save, and the number up to which it may forget."""
        self._forget(max(number - WINDOW, self._forgotten))
        fresh = list(self._fresh.values())
        self._fresh.clear()
        return fresh, self._forgotten

    def _note(self, seen: Seen) -> None:
        self._seen[seen.packet_id] = self._fresh[seen.packet_id] = seen

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            self._forget(self._earlier)

    def _forget(self, upto: int) -> None:
        self._forgotten = max(self._forgotten, upto)
        for memory in (self._seen, self._fresh):
            for seen in [seen for seen in memory.values() if seen.number <= upto]:
                del memory[seen.packet_id]


def taken(accounts: Accounts) -> int:
    """Return the number of the last message: how many sensor messages and commands ever came."""
    return accounts["messages.received"] + accounts["commands.received"]


def _hash(payload: bytes) -> int:
    digest = hashlib.blake2b(payload, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
