"""How much room the store has and needs: the rule; all in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """What there is: `free` in the file system, and in the database.

    `inside` is in pages that it holds unused, `used` in the others.
    """

    free: int
    inside: int
    used: int

    @property
    def available(self) -> int:
        """What the store can still write."""
        return self.free + self.inside


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that the store may use, what it leaves free, and what is kept for alarms alone."""

    max_bytes: int
    min_free: int
    reserve: int


def excess(room: Room, bounds: Bounds) -> int:
    """Return how many bytes of the store must go; 0 when none must.

    Pages that are freed inside the database are room for the store, though not for others.
    """
    return max(0, room.used - bounds.max_bytes, bounds.min_free - room.available)


def has_room_for_bulk(room: Room, bounds: Bounds) -> bool:
    """Say whether readings and scores may be stored, or only alarms, events and accounts."""
    return room.available > bounds.reserve
