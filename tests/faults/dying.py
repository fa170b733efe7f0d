"""Recoveries that die: `python -m tests.faults.dying` is killed before its n-th look at the disk.

Each line of its input is `FOLDER N`. It forks, and the child recovers the store in that folder, and
sends itself SIGKILL when it is about to make the n-th call that touches files or the database. For
each line it answers `killed` or, where the recovery was over before, `done`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from tests.faults.damage import recover

if TYPE_CHECKING:
    from types import FrameType

TOUCHING: Final = frozenset(
    {
        *("open", "write", "pwrite", "close", "fsync", "fdatasync"),
        *("replace", "rename", "unlink", "remove", "rmdir", "mkdir"),
        *("connect", "execute", "executemany", "fetchone", "fetchall"),
    }
)
"""The names of functions, written in C, behind which is the disk."""


class Dying:
    """The process that dies again and again; a context manager."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.dying"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A fork takes no threads along.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def recover(self, folder: Path, calls: int) -> bool:
        """Recover the store in a folder, and die before that call; say whether it came so far."""
        to_child, from_child = self._pipes
        to_child.write(f"{folder} {calls}\n")
        to_child.flush()
        answer = from_child.readline().strip()
        assert answer in {"killed", "done"}, f"{answer or 'no answer'}: see the output above"
        return answer == "killed"

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        return self._child.stdin, self._child.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._child.wait(20)


def _answer(line: str) -> str:
    folder, calls = line.rsplit(" ", 1)
    child = os.fork()
    if child == 0:
        _die_at(int(calls))
        recover(Path(folder), lambda _: None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return "killed"
    return "done" if status == 0 else f"ended with {status}"


def _die_at(calls: int) -> None:
    left = calls

    def count(_frame: FrameType, event: str, called: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(called, "__name__", "") in TOUCHING:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(_answer(line) + "\n")
        sys.stdout.flush()
