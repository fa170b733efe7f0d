"""Files that are whole or as they were, whatever happens in between; and locks on them."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FileNotWrittenError(ForeshockError):
    """A file that somebody asked for cannot be written."""


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a kill or a power cut leaves the old one or the new one.

    Temp -> fsync -> rename -> fsync of the folder. One writer at a time: where there are several,
    they hold a lock.

    Raises:
        OSError: it cannot be written; what stood there stands.
    """
    temp = path.with_name(f"{path.name}.temp")
    temp.unlink(missing_ok=True)
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
    sync(path.parent)


def write_for_people(path: Path, text: str) -> None:
    """Write a file that somebody asked for.

    Raises:
        FileNotWrittenError: it cannot be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileNotWrittenError(f"{path} cannot be written: {error.strerror}") from None


def sync(path: Path) -> None:
    """Make a file durable, or the renames and deletions in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hold(path: Path, *, wait: bool = True) -> IO[bytes]:
    """Return an exclusive lock on a file, made if need be; it is held until it is closed.

    A process that is killed lets go by dying. The file must be of no other use: closing a
    descriptor of a database would drop SQLite's own locks (sqlite.org/howtocorrupt, 2.2).

    Raises:
        BlockingIOError: another process holds it and `wait` is false.
        OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        lock.close()
        raise
    return lock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock, and hold it inside; raises as `hold` does."""
    with hold(path):
        yield
