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

    from foreshock_wire.model import Model

POLL_S: Final = 0.05
MEASURED: Final = 200
MEASURE_S: Final = 3.0
ONE_THREAD: Final = {
    # Each thread reserves address space, which RLIMIT_AS counts.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: seconds of wall time and CPU, bytes of address space.

    And what the model may: milliseconds for a window (95th percentile, one window a call), and
    bytes of resident memory above those of an agent without a model.
    """

    wall_s: int = 60
    cpu_s: int = 30
    memory_bytes: int = 2 << 30
    window_ms: float = 50.0
    rss_bytes: int = 256 << 20


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
    options = [
        *("--channels", ",".join(channels), "--wall-s", str(limits.wall_s)),
        *("--cpu-s", str(limits.cpu_s), "--memory-bytes", str(limits.memory_bytes)),
        *("--window-ms", str(limits.window_ms), "--rss-bytes", str(limits.rss_bytes)),
    ]
    code, output = run_child("trial", [str(path), *options], limits, cancelled)
    if code != 0:
        raise TrialError(_reason(code, output))


def run_child(
    module: str, arguments: Sequence[str], limits: Limits, cancelled: Callable[[], bool]
) -> tuple[int, bytes]:
    """Run a module beside this one as a process; return its exit code and what it said.

    Raises:
        TrialError: it took longer than the limits allow.
        InterruptedTrialError: `cancelled()` became true.
    """
    # -P: the agent's working directory must not be able to shadow a module.
    command = [sys.executable, "-P", "-m", f"foreshock_agent.update.{module}", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
    ) as child:
        output = _wait(child, limits, cancelled)
    return child.returncode, output


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


def examine(path: Path, channels: Sequence[str], limits: Limits) -> dict[str, object]:
    """Load a model file for these channels, repeat its golden windows, measure what it takes.

    Raises:
        ForeshockError: the model must not run here.
    """
    import onnxruntime  # noqa: F401, PLC0415 - its own memory is not the model's

    from foreshock_wire.model import Model  # noqa: PLC0415 - after the limits are set

    before = _rss_bytes()
    model = Model.load(path, available=channels)
    model.self_test()
    window_ms = _window_ms(model)
    if not window_ms <= limits.window_ms:
        raise TrialError(
            f"it takes {window_ms:.1f} ms for a window, {limits.window_ms:g} ms are allowed"
        )
    rss_bytes = max(0, _rss_bytes() - before)
    if rss_bytes > limits.rss_bytes:
        raise TrialError(
            f"it takes {rss_bytes >> 20} MiB of memory, {limits.rss_bytes >> 20} MiB are allowed"
        )
    return {"sha256": model.sha256, "window_ms": round(window_ms, 3), "rss_bytes": rss_bytes}


def _window_ms(model: Model) -> float:
    """Return the 95th percentile over the golden windows, each alone and with its explanation.

    Raises:
        TrialError: the model says nothing of the windows that it should know.
    """
    import numpy as np  # noqa: PLC0415 - after the limits are set

    golden = model.spec.golden
    assert golden is not None  # noqa: S101 - the self-test looked
    # A window without a single value may have no score; a model that scores none is no use.
    if not np.isfinite(golden.margin).any():
        raise TrialError("it gives no score (NaN) for any of its golden windows")
    windows = golden.windows
    took_ms: list[float] = []
    until_s = time.perf_counter() + MEASURE_S
    for at in range(MEASURED):
        window = windows[at % len(windows)][np.newaxis]
        # The processor's time: how busy the gateway is says nothing about the model.
        began_s = time.thread_time()
        model.run(window, explain=True)
        took_ms.append(1e3 * (time.thread_time() - began_s))
        if time.perf_counter() > until_s:
            break
    return float(np.percentile(took_ms, 95))


def _rss_bytes() -> int:
    """Return this process's resident memory: as it is on Linux, elsewhere the most it was."""
    import resource  # noqa: PLC0415 - POSIX only, and only in the child

    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit(wall_s: int, cpu_s: int, memory_bytes: int) -> None:
    import resource  # noqa: PLC0415 - POSIX only, and only in the child

    # The parent may be killed too: then the kernel ends this process.
    signal.alarm(wall_s + 5)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    limit_memory(memory_bytes)


def limit_memory(memory_bytes: int) -> None:
    """Let this process have no more address space than this."""
    import resource  # noqa: PLC0415 - POSIX only, and only in a child

    # macOS has no enforceable RLIMIT_AS, and a container may have set a lower limit.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def main() -> int:
    """Be the child process."""
    limits = Limits()
    parser = argparse.ArgumentParser(prog="python -m foreshock_agent.update.trial")
    parser.add_argument("file", type=Path)
    parser.add_argument("--channels", required=True, type=lambda text: text.split(","))
    parser.add_argument("--wall-s", type=int, default=limits.wall_s)
    parser.add_argument("--cpu-s", type=int, default=limits.cpu_s)
    parser.add_argument("--memory-bytes", type=int, default=limits.memory_bytes)
    parser.add_argument("--window-ms", type=float, default=limits.window_ms)
    parser.add_argument("--rss-bytes", type=int, default=limits.rss_bytes)
    options = parser.parse_args()
    allowed = Limits(window_ms=options.window_ms, rss_bytes=options.rss_bytes)
    _limit(options.wall_s, options.cpu_s, options.memory_bytes)
    try:
        answer: dict[str, object] = {"ok": True, **examine(options.file, options.channels, allowed)}
    except (ForeshockError, OSError, MemoryError) as error:
        answer = {"ok": False, "reason": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
