"""The process that feeds a stream into the broker (`peers/feeder.py`), seen from outside."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from benchmarks.agent_stream import Frames

FEEDER: Final = Path(__file__).parent / "peers" / "feeder.py"
NO_LIMIT: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Pace:
    """How the frames go out: at most `ahead` messages before the consumer, and so many a second."""

    ahead: int = NO_LIMIT
    per_s: float = 0.0


class Feeder:
    """The feeding process; a context manager that ends it."""

    def __init__(self, broker: str, frames: Frames, pace: Pace) -> None:
        options = {"--broker": broker, "--frames": frames.path}
        options |= {"--ahead": pace.ahead, "--per-s": pace.per_s}
        words = [str(word) for pair in options.items() for word in pair]
        self._command = [sys.executable, str(FEEDER), *words]
        self._child: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._child is not None  # noqa: S101 - asked while it runs
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether there is more to send.

        Raises:
            ConnectionError: it ended before everything was sent.
        """
        assert self._child is not None  # noqa: S101 - asked while it runs
        code = self._child.poll()
        if code:
            raise ConnectionError(f"the feeder ended with code {code}: its words are above")
        return code is None

    def tell(self, taken: int) -> None:
        """Say how many messages the consumer has."""
        assert self._child is not None  # noqa: S101 - told while it runs
        assert self._child.stdin is not None  # noqa: S101 - a pipe
        with suppress(BrokenPipeError):  # it has sent everything
            print(taken, file=self._child.stdin, flush=True)

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(self._command, stdin=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child is not None  # noqa: S101 - entered
        self._child.kill()
        self._child.wait()
        if self._child.stdin:
            with suppress(BrokenPipeError):
                self._child.stdin.close()
