"""How far each epoch's streams have come: what was numbered, and what the lake acknowledged."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Self

from foreshock_agent.store.seals import CURSORS, EPOCHS
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from foreshock_agent.store.seals import Values


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
        return cls.of(
            (row.values for row in EPOCHS.read(db)), (row.values for row in CURSORS.read(db))
        )

    @classmethod
    def of(cls, epochs: Iterable[Values], cursors: Iterable[Values]) -> Self:
        """Make them of their tables' rows."""
        by_n = {values[0]: Epoch(*values) for values in sorted(epochs)}
        for n, stream, following, acked in cursors:
            if n in by_n:
                by_n[n].following[Stream(stream)] = following
                by_n[n].acked[Stream(stream)] = acked
        return cls({epoch.name: epoch for epoch in by_n.values()})

    @property
    def now(self) -> Epoch:
        """The epoch of this start."""
        return next(reversed(self.epochs.values()))

    @property
    def before(self) -> Epoch | None:
        """The epoch of the last start of which something is left."""
        return next(islice(reversed(self.epochs.values()), 1, None), None)

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

    def salvages(self, stream: Stream, epoch_n: int, seq: int) -> bool:
        """Say whether a record is one that is being salvaged: of such an epoch, and not sent."""
        found = next((one for one in self.epochs.values() if one.n == epoch_n), None)
        return found is not None and bool(found.salvage) and seq > found.acked[stream]

    def quarantined(self) -> set[str]:
        """Return the entries of the quarantine from which something is still salvaged."""
        return {name for epoch in self.epochs.values() for name in (epoch.salvage or "").split()}

    def end_salvage(self, db: sqlite3.Connection) -> None:
        """Write that nothing is salvaged any more."""
        for epoch in self.epochs.values():
            if epoch.salvage:
                epoch.salvage = None
                epoch.save(db)

    def save(self, db: sqlite3.Connection) -> None:
        """Write what changed since the last call."""
        for name, stream in sorted(self._changed):
            self.epochs[name].save_cursor(db, stream)
        self._changed.clear()


def begin_epoch(db: sqlite3.Connection, now_ns: int) -> None:
    """Begin an epoch: no start, and no copy of the database, numbers in another's.

    Those of earlier starts of which nothing is left to send or to keep are forgotten.
    """
    name = f"{now_ns:016x}{secrets.token_hex(4)}"
    (before,) = db.execute("SELECT coalesce(max(n), 0) FROM epochs").fetchone()
    Epoch(before + 1, name, now_ns).save(db)
    db.execute(
        "DELETE FROM epochs WHERE n < (SELECT max(n) FROM epochs) "
        "AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.epoch = epochs.n) AND NOT EXISTS"
        " (SELECT 1 FROM cursors WHERE cursors.epoch = n AND acked_seq < next_seq - 1)"
    )
    for table in ("cursors", "tombstones"):
        db.execute(f"DELETE FROM {table} WHERE epoch NOT IN (SELECT n FROM epochs)")  # noqa: S608
