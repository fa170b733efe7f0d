"""Files that are whole or as they were, whatever happens in between; and locks on them."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def sync(path: Path) -> None:
    """Make a file durable, or the renames and deletions in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file.

    Raises:
        BlockingIOError: another process holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
