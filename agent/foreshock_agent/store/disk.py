"""The disk below the store: how much is free, and a ballast that can be let go."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


def free_bytes(folder: Path) -> int:
    """Return what may still be written in a folder's file system; 0 if it cannot be told."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def give_back(folder: Path) -> None:
    """Let what root made in a folder belong to the folder's owner, who writes it next."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for path in folder.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


class Ballast:
    """A file that takes room as long as there is some, so that there is some when there is none.

    A database that is full needs room to delete: the write-ahead log grows before the file shrinks.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def aboard(self) -> bool:
        """Whether it is there, whole."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def take(self) -> bool:
        """Take the room, really; return whether the disk gave it."""
        if self.aboard:
            return True
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, self._size))
        except OSError as error:
            log.warning("no room for the ballast %s: %s", self._path, error.strerror)
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the room back; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
