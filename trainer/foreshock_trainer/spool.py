"""Windows on disk: what is cut from millions of readings is read again a few rows at a time.

A temporary file without a name: it is gone with the process, however that ends. It lies where
`tempfile` puts files (TMPDIR).
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Self

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


class Spool:
    """Takes windows float32[n, T, C], some at a time, and gives them back as one array."""

    def __init__(self, length: int, channels: int) -> None:
        self._shape = (length, channels)
        self._count = 0
        self._file = tempfile.TemporaryFile(prefix="foreshock-windows-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; arrays that were given out stay readable."""
        self._file.close()

    def add(self, windows: Float32) -> None:
        """Put windows behind those that are there.

        Raises:
            ForeshockError: the disk is full.
        """
        try:
            self._file.write(np.ascontiguousarray(windows).data)
            self._file.flush()
        except OSError as error:
            raise ForeshockError(
                f"windows cannot be kept in {tempfile.gettempdir()} ({error.strerror}): "
                "set TMPDIR to a folder with more room"
            ) from None
        self._count += len(windows)

    def array(self) -> Float32:
        """Return all windows float32[N, T, C], read from the disk where they are looked at."""
        shape = (self._count, *self._shape)
        if not self._count:
            return np.empty(shape, np.float32)
        return np.memmap(self._file, np.float32, mode="r", shape=shape)
