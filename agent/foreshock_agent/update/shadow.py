"""Score live windows with a second model in a child process, so that it can hurt nobody.

`python -m foreshock_agent.update.shadow FILE` is the child: it reads batches of windows from its
standard input and writes what the model said. `Shadow` is the parent's side, in a thread of its
own: what it cannot take at once is dropped and counted, and the pipeline never waits for it.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from foreshock_agent.update.duel import Said
from foreshock_agent.update.trial import ONE_THREAD, limit_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from foreshock_agent.judging.scoring import Score

WAITING: Final = 16
"""Batches that may wait; a model that cannot keep up is judged on what it could take."""

ANSWER_S: Final = 30.0
NICE: Final = 10
HEAD: Final = struct.Struct("<III")

Taken = list[tuple["Score", float, Said]]
"""Scores of the model that decides, with its microseconds a window, and what the other one said."""


class Shadow:
    """The second model; `told(taken)` is called in this object's thread for each batch.

    `failure` says why there is no second model any more, "" while there is one. `dropped` counts
    windows that were not compared.
    """

    def __init__(self, path: Path, memory_bytes: int, told: Callable[[Taken], None]) -> None:
        self._told = told
        self._batches: queue.Queue[tuple[Sequence[Score], float] | None] = queue.Queue(WAITING)
        self._child = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "foreshock_agent.update.shadow", str(path)),
                *("--memory-bytes", str(memory_bytes)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
        )
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()
        self.failure = ""
        self.dropped = 0

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def offer(self, scores: Sequence[Score], latency_us: float) -> None:
        """Take scored windows to score them again; never waits."""
        try:
            self._batches.put_nowait((scores, latency_us))
        except queue.Full:
            self.dropped += len(scores)

    def close(self) -> None:
        """End the child, whatever it does."""
        self._child.kill()
        with suppress(queue.Full):
            self._batches.put_nowait(None)
        self._thread.join(ANSWER_S)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _run(self) -> None:
        while self._child.poll() is None or not self._batches.empty():
            try:
                batch = self._batches.get(timeout=1.0)
            except queue.Empty:
                continue
            if batch is None:
                return
            self._score(*batch)
        self.failure = self.failure or self._ended()

    def _score(self, scores: Sequence[Score], latency_us: float) -> None:
        watchdog = threading.Timer(ANSWER_S, self._late)
        watchdog.start()
        try:
            said = self._ask(np.stack([one.due.window.values for one in scores]))
        except (OSError, ValueError):
            # `failure` tells of its end; that it says nothing afterwards is no fault of its model.
            self.failure = self.failure or self._ended()
            self.dropped += len(scores)
            return
        finally:
            watchdog.cancel()
        self._told([(one, latency_us, other) for one, other in zip(scores, said, strict=True)])

    def _late(self) -> None:
        self.failure = f"it did not answer within {ANSWER_S:g} s"
        self._child.kill()

    def _ended(self) -> str:
        self._child.kill()
        code = self._child.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process ended: {name}"

    def _ask(self, windows: npt.NDArray[np.float32]) -> list[Said]:
        assert self._child.stdin is not None  # noqa: S101 - a pipe
        assert self._child.stdout is not None  # noqa: S101 - a pipe
        self._child.stdin.write(HEAD.pack(*windows.shape) + windows.tobytes())
        self._child.stdin.flush()
        answer = _read(self._child.stdout, 8 * len(windows))
        rows = np.frombuffer(answer, np.float32).reshape(-1, 2)
        return [Said(float(margin), float(micros)) for margin, micros in rows]


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise OSError("the other process ended")
    return data


def main() -> int:
    """Be the child process."""
    from foreshock_wire.model import Model  # noqa: PLC0415 - after the limits are set

    parser = argparse.ArgumentParser(prog="python -m foreshock_agent.update.shadow")
    parser.add_argument("file", type=Path)
    parser.add_argument("--memory-bytes", type=int, required=True)
    options = parser.parse_args()
    os.nice(NICE)
    limit_memory(options.memory_bytes)
    model = Model.load(options.file)
    while head := sys.stdin.buffer.read(HEAD.size):
        shape = HEAD.unpack(head)
        data = _read(sys.stdin.buffer, 4 * math.prod(shape))
        sys.stdout.buffer.write(_scored(model.run, np.frombuffer(data, np.float32).reshape(shape)))
        sys.stdout.buffer.flush()
    return 0


def _scored(run: Callable[..., object], windows: npt.NDArray[np.float32]) -> bytes:
    """Return margin and microseconds a window, float32[N, 2]; NaN where the model fails."""
    rows = np.full((len(windows), 2), np.nan, np.float32)
    began = time.thread_time()
    with suppress(Exception):  # the runtime raises bare C++ exception types
        rows[:, 0] = run(windows).margin  # type: ignore[attr-defined]
    rows[:, 1] = 1e6 * (time.thread_time() - began) / len(windows)
    return rows.tobytes()


if __name__ == "__main__":
    sys.exit(main())
