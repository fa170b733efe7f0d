"""Test a model file in a child process, so that one that crashes or hangs harms nobody.

`python -m foreshock_agent.update.trial FILE --channels a,b,c` is the child: its last line is one
JSON object and its exit code is 0 when the model may run here. `run_trial` is the parent.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from foreshock_agent.update.errors import InterruptedTrialError, TrialError, UpdateError
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL_S: Final = 0.05
ONE_THREAD: Final = {
    # Each thread reserves address space, which RLIMIT_AS counts.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: seconds of wall time and CPU, bytes of address space."""

    wall_s: int = 60
    cpu_s: int = 30
    memory_bytes: int = 2 << 30


def run_trial(
    path: Path,
    channels: Sequence[str],
    limits: Limits,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Test the file in a child process.

    Raises:
        TrialError: says what the model did: failed, crashed, or ran out of a limit.
        InterruptedTrialError: `cancelled()` became true.
    """
    # -P: the agent's working directory must not be able to shadow a module.
    command = [sys.executable, "-P", "-m", "foreshock_agent.update.trial", str(path)]
    options = [
        *("--channels", ",".join(channels), "--wall-s", str(limits.wall_s)),
        *("--cpu-s", str(limits.cpu_s), "--memory-bytes", str(limits.memory_bytes)),
    ]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
    ) as child:
        output = _wait(child, limits, cancelled)
    if child.returncode != 0:
        raise TrialError(_reason(child.returncode, output))


def _wait(child: subprocess.Popen[bytes], limits: Limits, cancelled: Callable[[], bool]) -> bytes:
    deadline = time.monotonic() + limits.wall_s
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return child.communicate(timeout=POLL_S)[0]
            if cancelled():
                raise InterruptedTrialError("the self-test was left: something newer came")
            if time.monotonic() > deadline:
                raise TrialError(f"the self-test took longer than {limits.wall_s} s")
    except UpdateError:
        child.kill()
        raise


def _reason(code: int, output: bytes) -> str:
    with suppress(ValueError, KeyError, IndexError, TypeError):
        return f"self-test: {json.loads(output.splitlines()[-1])['reason']}"
    if code < 0:
        return f"the self-test was ended by signal {signal.Signals(-code).name}"
    return f"the self-test ended with exit code {code} and said nothing"


def examine(path: Path, channels: Sequence[str]) -> dict[str, object]:
    """Load a model file for these channels, and repeat its golden windows.

    Raises:
        ForeshockError: the model must not run here.
    """
    from foreshock_wire.model import Model  # noqa: PLC0415 - after the limits are set

    started = time.perf_counter()
    model = Model.load(path, available=channels)
    loaded = time.perf_counter()
    model.self_test()
    return {
        "sha256": model.sha256,
        "load_ms": round(1e3 * (loaded - started), 1),
        "self_test_ms": round(1e3 * (time.perf_counter() - loaded), 1),
    }


def _limit(wall_s: int, cpu_s: int, memory_bytes: int) -> None:
    import resource  # noqa: PLC0415 - POSIX only, and only in the child

    # The parent may be killed too: then the kernel ends this process.
    signal.alarm(wall_s + 5)
    for what, value in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory_bytes)):
        # macOS has no enforceable RLIMIT_AS, and a container may have set a lower limit.
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))


def main() -> int:
    """Be the child process."""
    limits = Limits()
    parser = argparse.ArgumentParser(prog="python -m foreshock_agent.update.trial")
    parser.add_argument("file", type=Path)
    parser.add_argument("--channels", required=True, type=lambda text: text.split(","))
    parser.add_argument("--wall-s", type=int, default=limits.wall_s)
    parser.add_argument("--cpu-s", type=int, default=limits.cpu_s)
    parser.add_argument("--memory-bytes", type=int, default=limits.memory_bytes)
    options = parser.parse_args()
    _limit(options.wall_s, options.cpu_s, options.memory_bytes)
    try:
        answer: dict[str, object] = {"ok": True, **examine(options.file, options.channels)}
    except (ForeshockError, OSError, MemoryError) as error:
        answer = {"ok": False, "reason": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
