"""Files that are whole or as they were: temp -> fsync -> rename -> fsync of the folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that a kill or a power cut leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; what stood there stands.
    """
    temp = path.with_name(f"{path.name}.temp")
    with temp.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in a folder durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
