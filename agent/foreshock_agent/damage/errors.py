"""What is said when the disk did not keep what was written."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_wire.topics import Stream

DAMAGED = "damaged"
"""The reason of a tombstone for what a disk lost."""


_CORRUPTIONS: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}


class BeginAnewError(ForeshockError):
    """The agent's parts are to be stopped and made anew, in the same process."""


class DiskIsBackError(BeginAnewError):
    """The data folder, in whose place one in memory was used, can be written again."""


class StoreDamagedError(BeginAnewError):
    """The database as a whole cannot be trusted any more; the next opening puts it aside."""


class UnreadableError(ForeshockError):
    """What follows `mark` in a stream is damaged or gone."""

    def __init__(self, stream: Stream, epoch_n: int, mark: int) -> None:
        super().__init__(f"{stream} of epoch {epoch_n}: what follows seq {mark} is damaged or gone")
        self.stream = stream
        self.epoch_n = epoch_n
        self.mark = mark


SQLITE_ERRORS: Final = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file can end in: SQLite quotes a broken schema in its message, and Python
cannot read that as text."""


def is_corruption(error: BaseException) -> bool:
    """Say whether an error of SQLite's means that the file is not what was written."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return isinstance(error, UnicodeDecodeError) or code & 0xFF in _CORRUPTIONS


@contextmanager
def corruption_told(
    errors: tuple[type[Exception], ...] = (sqlite3.DatabaseError,),
) -> Iterator[None]:
    """Tell of corruption in our own terms.

    Raises:
        StoreDamagedError: SQLite came upon it.
    """
    try:
        yield
    except errors as error:
        if not is_corruption(error):
            raise
        raise StoreDamagedError(f"the database is damaged: {error}") from None
