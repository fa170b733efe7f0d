"""The repository's files: model files named by the SHA-256 of their bytes, and signed metadata.

`targets/` and `metadata/` are what TUF calls them; copied to a stick, the folder is a repository
as much as it is here. What the metadata says is `signed.py`'s business.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from foreshock_fleet.errors import UnknownBlockError
from foreshock_wire.files import locked, write_durably
from foreshock_wire.signing import FILE_NAME_PATTERN, target_path

if TYPE_CHECKING:
    from pathlib import Path

_FILE_NAME: Final = re.compile(FILE_NAME_PATTERN)


class Repository:
    """The folder `directory`; what is in it is complete, and a versioned file never changes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.targets = directory / "targets"
        self.metadata = directory / "metadata"

    def path(self, sha256: str) -> Path:
        """Where the model file with this hash stands, or would stand."""
        return self.targets / target_path(sha256)

    def add(self, data: bytes) -> str:
        """Keep these bytes durably; return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.targets.mkdir(parents=True, exist_ok=True)
        with locked(self.directory / "add.lock"):
            write_durably(self.path(sha256), data)
        return sha256

    def block(self, sha256: str, index: int, block_bytes: int) -> bytes:
        """Return block `index` of a model file; the last one is shorter.

        Raises:
            UnknownBlockError: there is no such file, or the block is beyond its end.
        """
        data = _read_at(self.path(sha256), index, block_bytes)
        if not data:
            raise UnknownBlockError(f"model {sha256[:12]} has no block {index}")
        return data

    def metadata_block(self, name: str, index: int, block_bytes: int) -> bytes:
        """Return block `index` of a metadata file, empty at its end.

        Raises:
            UnknownBlockError: there is no such file.
        """
        if not _FILE_NAME.fullmatch(name):
            raise UnknownBlockError(f"{name!r} is no name of a metadata file")
        return _read_at(self.metadata / name, index, block_bytes)

    def write_metadata(self, name: str, data: bytes) -> None:
        """Keep a metadata file durably."""
        self.metadata.mkdir(parents=True, exist_ok=True)
        write_durably(self.metadata / name, data)


def _read_at(path: Path, index: int, block_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return os.pread(file.fileno(), block_bytes, index * block_bytes)
    except (OSError, OverflowError):
        raise UnknownBlockError(f"{path.name} is not in {path.parent}") from None
