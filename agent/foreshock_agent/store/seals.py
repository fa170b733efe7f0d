"""Checksums over stored rows: SQLite itself does not notice most of what a disk does to them.

Every table whose rows go up or decide something has a last column `crc`, the CRC-32 of the row's
other values. It is written with the row and checked whenever the row is read.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

Values = tuple[Any, ...]

_AS_THEY_ARE: Final = frozenset({int, str, type(None)})


def seal(values: Sequence[object]) -> int:
    """Return the checksum of a row's values, as SQLite will give them back."""
    kept = [one if type(one) in _AS_THEY_ARE else _kept(one) for one in values]
    return zlib.crc32(repr(kept).encode())


def _kept(value: object) -> object:
    """Return what SQLite keeps of a value: NULL for NaN, 0.0 for -0.0; a blob by its own CRC."""
    if isinstance(value, float):
        return None if value != value else float(value) + 0.0  # noqa: PLR0124 - NaN
    if isinstance(value, str):
        return str(value)
    return zlib.crc32(value) if isinstance(value, bytes) else value


class Row(NamedTuple):
    """A row as it was read, and whether it is what was written."""

    rowid: int
    values: Values
    intact: bool


@dataclass(frozen=True, slots=True)
class Sealed:
    """A table whose rows are under a checksum."""

    name: str
    columns: tuple[str, ...]

    @property
    def _names(self) -> str:
        return ", ".join(self.columns)

    def put(self, db: sqlite3.Connection, rows: Iterable[Values], how: str = "INSERT") -> None:
        """Write rows with their checksums; `how` may be `INSERT OR REPLACE` or `OR IGNORE`."""
        places = ", ".join("?" * (len(self.columns) + 1))
        db.executemany(
            f"{how} INTO {self.name} ({self._names}, crc) VALUES ({places})",
            ((*row, seal(row)) for row in rows),
        )

    def read(self, db: sqlite3.Connection, rest: str = "", values: Values = ()) -> Iterator[Row]:
        """Yield rows; `rest` is SQL of our own: conditions and order."""
        query = f"SELECT rowid, {self._names}, crc FROM {self.name} {rest}"  # noqa: S608 - constants
        for rowid, *found, crc in db.execute(query, values):
            yield Row(rowid, tuple(found), crc == seal(found))

    def reseal(self, db: sqlite3.Connection) -> None:
        """Put checksums on rows that have none yet, trusting them as they are."""
        for (rowid,) in db.execute(f"SELECT rowid FROM {self.name}").fetchall():  # noqa: S608
            (row,) = self.read(db, "WHERE rowid = ?", (rowid,))
            db.execute(
                f"UPDATE {self.name} SET crc = ? WHERE rowid = ?",  # noqa: S608 - constants
                (seal(row.values), rowid),
            )


EPOCHS: Final = Sealed("epochs", ("n", "epoch", "started_ns", "salvage"))
CURSORS: Final = Sealed("cursors", ("epoch", "stream", "next_seq", "acked_seq"))
ACCOUNTS: Final = Sealed("accounts", ("name", "value"))
MACHINES: Final = Sealed("machines", ("machine", "state"))
SNAPSHOT: Final = Sealed("snapshot", ("id", "n", "windows"))
ALARM_HEADS: Final = Sealed("alarm_heads", ("machine", "head", "alarm"))
INTAKE: Final = Sealed("intake", ("packet_id", "payload_hash", "n"))
TOMBSTONES: Final = Sealed("tombstones", ("stream", "epoch", "first_seq", "last_seq", "reason"))
RECORDS: Final = Sealed("records", ("stream", "epoch", "seq", "body"))
SCORES: Final = Sealed(
    "scores",
    (
        "epoch",
        "seq",
        "machine",
        "time_ns",
        "scored_ns",
        "model",
        "margin",
        "probability",
        "novelty",
    ),
)
CHUNKS: Final = Sealed(
    "chunks",
    (
        "n",
        "epoch",
        "first_seq",
        "last_seq",
        "oldest_ns",
        "newest_ns",
        "settled_ns",
        "kept",
        "body",
    ),
)
STATE: Final = (EPOCHS, CURSORS, ACCOUNTS, MACHINES, SNAPSHOT, ALARM_HEADS, INTAKE, TOMBSTONES)
"""What a start reads whole: its size goes with the machines, not with the backlog."""
OUTGOING: Final = (CHUNKS, SCORES, RECORDS)
