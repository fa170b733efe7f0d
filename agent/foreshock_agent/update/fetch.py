"""Pull one model file block by block, in a window, whatever gets lost on the way.

Blocks are appended in order, so the length of the `.part` file is all there is to resume from.
No thread, socket or clock: the caller asks for what `requests` says and hands in what comes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from foreshock_agent.update.errors import FetchError
from foreshock_agent.update.store import file_sha256

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from foreshock_wire.messages import ModelRef


@dataclass(frozen=True, slots=True)
class Pacing:
    """How many blocks are asked for at once, and how long to wait before asking again."""

    window: int = 8
    first_s: float = 2.0
    longest_s: float = 30.0
    wrong_sizes: int = 3


class Download:
    """The growing file of one `ModelRef`; a context manager that keeps the file open."""

    def __init__(self, ref: ModelRef, part: Path, pacing: Pacing) -> None:
        self._ref, self._part, self._pacing = ref, part, pacing
        self._blocks = -(-ref.size // ref.block_bytes)
        self._asked: dict[int, tuple[float, int]] = {}
        self._early: dict[int, bytes] = {}
        self._wrong = 0
        self._open()

    def _open(self) -> None:
        self._file = self._part.open("ab")
        length = self._file.tell()
        self.resumed = self._next = (
            length // self._ref.block_bytes if length < self._ref.size else self._whole(length)
        )
        self._file.truncate(min(self._next * self._ref.block_bytes, self._ref.size))

    def _whole(self, length: int) -> int:
        return self._blocks if length == self._ref.size else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def complete(self) -> bool:
        """Whether every block is in the file."""
        return self._next == self._blocks

    def requests(self, now_s: float) -> list[int]:
        """Return the blocks to ask for now, each with its back-off, and remember that."""
        end = min(self._next + self._pacing.window, self._blocks)
        due = [
            index
            for index in range(self._next, end)
            if index not in self._early and self._asked.get(index, (now_s, 0))[0] <= now_s
        ]
        for index in due:
            tries = self._asked.get(index, (0.0, 0))[1]
            wait = min(self._pacing.first_s * 2**tries, self._pacing.longest_s)
            # Jitter: a fleet that lost its broker must not come back in step.
            self._asked[index] = (now_s + wait * random.uniform(0.75, 1.25), tries + 1)  # noqa: S311
        return due

    def wait_s(self, now_s: float) -> float:
        """Return how long nothing needs to be asked for, in seconds."""
        return max(0.0, min((at for at, _ in self._asked.values()), default=now_s) - now_s)

    def hurry(self) -> None:
        """Ask again at once for what is outstanding: the connection is new."""
        self._asked.clear()

    def take(self, sha256: str, index: int, payload: bytes) -> None:
        """Take a block that came; one of another file, or that is here already, is nothing.

        Raises:
            FetchError: the fleet does not have the block, or sends it in the wrong size.
        """
        known = self._next <= index < self._next + self._pacing.window
        if sha256 != self._ref.sha256 or not known or index in self._early:
            return
        if not payload:
            raise FetchError(f"the fleet does not have block {index} of {self._ref.sha256[:12]}")
        if len(payload) != self._length(index):
            self._count_wrong(index, len(payload))
            return
        self._early[index] = payload
        self._asked.pop(index, None)
        self._append()

    def _append(self) -> None:
        while (payload := self._early.pop(self._next, None)) is not None:
            self._file.write(payload)
            self._next += 1
        # Into the kernel, so that a kill of this process does not fetch it again.
        self._file.flush()

    def _length(self, index: int) -> int:
        return min(self._ref.block_bytes, self._ref.size - index * self._ref.block_bytes)

    def _count_wrong(self, index: int, length: int) -> None:
        self._wrong += 1
        if self._wrong >= self._pacing.wrong_sizes:
            raise FetchError(
                f"block {index} of {self._ref.sha256[:12]} has {length} bytes, "
                f"promised were {self._length(index)}: truncated or of another size"
            )

    def check(self) -> None:
        """Check the whole file's SHA-256; a file that has another is deleted.

        Raises:
            FetchError: the bytes are not the ones that were promised.
        """
        found = file_sha256(self._part)
        if found != self._ref.sha256:
            self._part.unlink()
            raise FetchError(
                f"the file has SHA-256 {found[:12]}, promised was {self._ref.sha256[:12]}: "
                "tampered with or damaged on the way"
            )
