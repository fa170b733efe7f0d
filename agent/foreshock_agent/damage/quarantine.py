"""The quarantine: what a disk damaged is kept for a look, within bounds, the oldest going first.

One entry is a folder: the files of a database that was put aside, or a damaged row, and beside it
`why.json`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST_ENTRIES: Final = 64
MOST_BYTES: Final = 1 << 30
WHY: Final = "why.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was put aside; `when` is RFC 3339."""

    name: str
    when: str
    what: str
    reason: str
    size_bytes: int


class Quarantine:
    """The folder beside a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, database: Path) -> Self:
        """Return the quarantine of a database."""
        return cls(database.parent / "quarantine")

    def name(self, what: str) -> str:
        """Return a new entry's name."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        taken = {path.name for path in self.folder.glob(f"{stamp}-*")}
        names = (f"{stamp}-{what}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def open(self, name: str, what: str, reason: str) -> Path:
        """Make an entry, or find it; return its folder."""
        entry = self.folder / name
        entry.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        why = {"when": now, "what": what, "reason": reason}
        (entry / WHY).write_text(json.dumps(why))
        return entry

    def keep_row(self, table: str, values: tuple[Any, ...], reason: str) -> None:
        """Keep a damaged row: its blob as a file, the rest of it as text."""
        entry = self.open(self.name(table), f"a row of {table}", reason)
        blobs = [value for value in values if isinstance(value, bytes)]
        rest = [None if isinstance(value, bytes) else repr(value) for value in values]
        (entry / "row.json").write_text(json.dumps(rest))
        for blob in blobs:
            (entry / "blob.bin").write_bytes(blob)

    def entries(self) -> list[Entry]:
        """Return what is kept, oldest first."""
        return [self._entry(path) for path in sorted(self.folder.glob("*")) if path.is_dir()]

    def _entry(self, path: Path) -> Entry:
        try:
            why = json.loads((path / WHY).read_text())
        except (OSError, ValueError):
            why = {}
        size = sum(file.stat().st_size for file in path.iterdir())
        when, what, reason = (str(why.get(key, "")) for key in ("when", "what", "reason"))
        return Entry(path.name, when, what, reason, size)

    def prune(self, needed: Iterable[str]) -> None:
        """Let the oldest entries go that do not fit; those that are `needed` stay."""
        kept = self.entries()
        spared = set(needed)
        for entry in list(kept):
            fits = len(kept) <= MOST_ENTRIES and sum(e.size_bytes for e in kept) <= MOST_BYTES
            if fits:
                return
            if entry.name not in spared and entry is not kept[-1]:
                shutil.rmtree(self.folder / entry.name)
                kept.remove(entry)
