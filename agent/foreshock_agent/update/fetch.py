"""Pull one model file block by block, in a window, whatever gets lost on the way.

Each block is written at its place and then marked in a file beside it, one byte a block, so that a
process that was killed asks for no block twice. No thread, socket or clock: the caller asks for
what `requests` says and hands in what comes.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from foreshock_agent.update.errors import FetchError
from foreshock_agent.update.store import have_file

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_wire.updates import ModelRef

HERE: Final = 1


@dataclass(frozen=True, slots=True)
class Pacing:
    """How many blocks are asked for at once, and how long to wait before asking again."""

    window: int = 8
    first_s: float = 2.0
    longest_s: float = 30.0
    wrong_sizes: int = 3


class Download:
    """The growing file of one `ModelRef`; a context manager that keeps its files open."""

    def __init__(self, ref: ModelRef, part: Path, pacing: Pacing) -> None:
        self._ref, self._part, self._pacing = ref, part, pacing
        self._blocks = -(-ref.size // ref.block_bytes)
        self._asked: dict[int, tuple[float, int]] = {}
        self._wrong = 0
        self._data = _open(part)
        self._marks = _open(have_file(part))
        self._have = self._resume()
        self._first = 0
        self.resumed = self._have.count(HERE)
        self._missing = self._blocks - self.resumed

    def _resume(self) -> bytearray:
        """Read which blocks are here; marks that do not fit the file are worth nothing."""
        header = b"%d %d\n" % (self._ref.size, self._ref.block_bytes)
        fits = (
            os.fstat(self._data).st_size == self._ref.size
            and os.fstat(self._marks).st_size == len(header) + self._blocks
            and os.pread(self._marks, len(header), 0) == header
        )
        self._offset = len(header)
        if not fits:
            # Data first: marks for a file that is not there would be believed.
            os.ftruncate(self._marks, 0)
            os.ftruncate(self._data, 0)
            os.ftruncate(self._data, self._ref.size)
            _write_at(self._marks, header + bytes(self._blocks), 0)
        return bytearray(os.pread(self._marks, self._blocks, self._offset))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._data)
        os.close(self._marks)

    @property
    def complete(self) -> bool:
        """Whether every block is in the file."""
        return self._missing == 0

    @property
    def received_bytes(self) -> int:
        """How much of the file is here, in whole blocks."""
        return min((self._blocks - self._missing) * self._ref.block_bytes, self._ref.size)

    def requests(self, now_s: float) -> list[int]:
        """Return the blocks to ask for now, each with its back-off, and remember that."""
        due = [index for index in self._window() if self._asked.get(index, (now_s, 0))[0] <= now_s]
        for index in due:
            tries = self._asked.get(index, (0.0, 0))[1]
            wait = min(self._pacing.first_s * 2**tries, self._pacing.longest_s)
            # Jitter: a fleet that lost its broker must not come back in step.
            self._asked[index] = (now_s + wait * random.uniform(0.75, 1.25), tries + 1)  # noqa: S311
        return due

    def _window(self) -> list[int]:
        """The first missing blocks: a lost one holds up nobody but itself."""
        while self._first < self._blocks and self._have[self._first] == HERE:
            self._first += 1
        missing = (i for i in range(self._first, self._blocks) if self._have[i] != HERE)
        return list(islice(missing, self._pacing.window))

    def wait_s(self, now_s: float) -> float:
        """Return how long nothing needs to be asked for, in seconds."""
        return max(0.0, min((at for at, _ in self._asked.values()), default=now_s) - now_s)

    def hurry(self) -> None:
        """Ask again at once for what is outstanding: the connection is new."""
        self._asked.clear()

    def take(self, sha256: str, index: int, payload: bytes) -> None:
        """Take a block that came; one that nobody asked for, or that is here, is nothing.

        Raises:
            FetchError: the fleet does not have the block, or sends it in the wrong size.
        """
        if sha256 != self._ref.sha256 or index not in self._asked:
            return
        if not payload:
            raise FetchError(f"the fleet does not have block {index} of {self._ref.sha256[:12]}")
        if len(payload) != self._length(index):
            self._count_wrong(index, len(payload))
            return
        # Into the kernel, data before its mark: a kill of this process loses neither.
        _write_at(self._data, payload, index * self._ref.block_bytes)
        _write_at(self._marks, bytes([HERE]), self._offset + index)
        self._have[index] = HERE
        self._missing -= 1
        del self._asked[index]

    def _length(self, index: int) -> int:
        return min(self._ref.block_bytes, self._ref.size - index * self._ref.block_bytes)

    def _count_wrong(self, index: int, length: int) -> None:
        self._wrong += 1
        if self._wrong >= self._pacing.wrong_sizes:
            raise FetchError(
                f"block {index} of {self._ref.sha256[:12]} has {length} bytes, "
                f"promised were {self._length(index)}: truncated or of another size"
            )


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _write_at(handle: int, data: bytes, offset: int) -> None:
    if os.pwrite(handle, data, offset) != len(data):
        raise FetchError("the disk is full: the model file cannot be kept")
