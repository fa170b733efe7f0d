"""A copy of the database's first page, without which nothing of the rest can be read.

The page holds the file's header, of which most never changes, and the root of the schema. One
flipped bit there, and SQLite reads nothing at all; with the page as it was, it reads the rest.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from foreshock_agent.damage.errors import StoreDamagedError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES: Final = 65_536
"""SQLite's largest page."""
_STEADY: Final = (slice(0, 24), slice(44, 60), slice(64, 92))
"""What stays as it is for ever (sqlite.org/fileformat2, 1.3): not the counters, the size, the free
list, and not the schema's cookie and version."""
_OF_THE_SCHEMA: Final = slice(40, 92)
_SIZE_VALID_FOR: Final = slice(92, 96)
_FREE_LIST: Final = slice(32, 40)


@dataclass(frozen=True, slots=True)
class Header:
    """The first page of `database` as it is, and as it was when its schema was made."""

    database: Path
    page: bytes
    kept: bytes | None

    @classmethod
    def of(cls, database: Path, held: int | None = None) -> Self:
        """Read both; of a file that is not there, nothing.

        While this process has the database open, `held` must be a descriptor that is closed after
        it: closing any other one would drop SQLite's locks (sqlite.org/howtocorrupt, 2.2).
        """
        kept = _kept(database.with_suffix(".head"))
        page = _first(database, _MOST_BYTES) if held is None else os.pread(held, _MOST_BYTES, 0)
        return cls(database, page[: _page_bytes(kept or page)], kept)

    def check(self) -> None:
        """Compare the steady parts.

        Raises:
            StoreDamagedError: they differ.
        """
        if self.kept is None:
            return
        if any(self.page[part] != self.kept[part] for part in _STEADY):
            raise StoreDamagedError("the database is damaged: its header is not what was written")

    def keep(self) -> None:
        """Keep the page as it is, if the schema is another than that of the kept one."""
        same = self.kept is not None and self.page[_OF_THE_SCHEMA] == self.kept[_OF_THE_SCHEMA]
        if same or not self.page:
            return
        path = self.database.with_suffix(".head")
        temporary = path.with_name(path.name + ".new")
        with suppress(OSError):  # a disk that refuses has the next start try again
            temporary.write_bytes(zlib.crc32(self.page).to_bytes(4, "little") + self.page)
            temporary.replace(path)

    def mend(self) -> bool:
        """Put the kept page back, so that the rest can be read; return whether there is one.

        The page as it was found stays beside the file. The kept one is of an earlier size of the
        file: SQLite takes the size from the file system when the header says that it is not valid.
        """
        if self.kept is None or not self.page:
            return False
        self.database.with_name("page-1.bin").write_bytes(self.page)
        page = bytearray(self.kept)
        page[_FREE_LIST] = bytes(8)
        page[_SIZE_VALID_FOR] = bytes(4) if any(page[24:28]) else b"\1\1\1\1"
        with self.database.open("r+b") as file:
            file.write(page)
        return True


def _first(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""


def _page_bytes(page: bytes) -> int:
    """Return the size of a page, as its header says it."""
    size = int.from_bytes(page[16:18], "big")
    return _MOST_BYTES if size == 1 else size


def _kept(path: Path) -> bytes | None:
    content = _first(path, _MOST_BYTES + 4)
    page = content[4:]
    intact = bool(page) and zlib.crc32(page).to_bytes(4, "little") == content[:4]
    return page if intact else None
