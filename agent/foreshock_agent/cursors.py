"""How far each epoch's streams have come: what was numbered, and what the lake acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from foreshock_agent.seals import CURSORS, EPOCHS
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3


@dataclass(slots=True)
class Epoch:
    """One start of the agent. `salvage` names the quarantined database its records come from."""

    n: int
    name: str
    started_ns: int
    salvage: str | None = None
    acked: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    following: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 1))

    def save(self, db: sqlite3.Connection) -> None:
        """Write the epoch and its cursors."""
        EPOCHS.put(db, [(self.n, self.name, self.started_ns, self.salvage)], "INSERT OR REPLACE")
        for stream in Stream:
            self.save_cursor(db, stream)

    def save_cursor(self, db: sqlite3.Connection, stream: Stream) -> None:
        """Write the cursor of one stream."""
        row = (self.n, stream, self.following[stream], self.acked[stream])
        CURSORS.put(db, [row], "INSERT OR REPLACE")


class Cursors:
    """The epochs of which something is left to send, oldest first; the last one is this start's."""

    def __init__(self, epochs: dict[str, Epoch]) -> None:
        self.epochs = epochs
        self._changed: set[tuple[str, Stream]] = set()

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Self:
        """Read all epochs; the rows were checked when the database was opened."""
        by_n: dict[int, Epoch] = {}
        for row in EPOCHS.read(db, "ORDER BY n"):
            n, name, started_ns, salvage = row.values
            by_n[n] = Epoch(n, name, started_ns, salvage)
        for row in CURSORS.read(db):
            n, stream, following, acked = row.values
            by_n[n].following[Stream(stream)] = following
            by_n[n].acked[Stream(stream)] = acked
        return cls({epoch.name: epoch for epoch in by_n.values()})

    @property
    def now(self) -> Epoch:
        """The epoch of this start."""
        return next(reversed(self.epochs.values()))

    def number(self, stream: Stream, count: int = 1) -> int:
        """Give out the next `count` seqs of this start's stream; return the first."""
        epoch = self.now
        first = epoch.following[stream]
        epoch.following[stream] = first + count
        self._changed.add((epoch.name, stream))
        return first

    def acknowledge(self, name: str, stream: Stream, seq: int) -> tuple[int, int]:
        """Move a stream's cursor; return where it was and where it is."""
        epoch = self.epochs[name]
        before = epoch.acked[stream]
        after = max(before, min(seq, epoch.following[stream] - 1))
        if after > before:
            epoch.acked[stream] = after
            self._changed.add((name, stream))
        return before, after

    def save(self, db: sqlite3.Connection) -> None:
        """Write what changed since the last call."""
        for name, stream in sorted(self._changed):
            self.epochs[name].save_cursor(db, stream)
        self._changed.clear()
