"""The published model files: a folder, each file named by the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from foreshock_fleet.errors import UnknownBlockError

if TYPE_CHECKING:
    from pathlib import Path


class Repository:
    """Content-addressed files in `directory`; what is in it is complete and never changes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, sha256: str) -> Path:
        """Where the file with this hash stands, or would stand."""
        return self.directory / f"{sha256}.onnx"

    def add(self, data: bytes) -> str:
        """Keep these bytes durably; return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.directory.mkdir(parents=True, exist_ok=True)
        temp = self.directory / f"{sha256}.{os.getpid()}.temp"
        with temp.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(self.path(sha256))
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return sha256

    def block(self, sha256: str, index: int, block_bytes: int) -> bytes:
        """Return block `index` of a file; the last one is shorter.

        Raises:
            UnknownBlockError: there is no such file, or the block is beyond its end.
        """
        try:
            with self.path(sha256).open("rb") as file:
                data = os.pread(file.fileno(), block_bytes, index * block_bytes)
        except (OSError, OverflowError):
            raise UnknownBlockError(f"model {sha256[:12]} is not in {self.directory}") from None
        if not data:
            raise UnknownBlockError(f"model {sha256[:12]} has no block {index}")
        return data
