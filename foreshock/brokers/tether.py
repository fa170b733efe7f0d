"""Run a program for as long as standard input stays open: `tether.py PROGRAM [ARGUMENT ...]`.

For a broker that does not watch its standard input itself. Run as a script, with the standard
library only, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

KILL: Final = signal.SIGUSR1
"""Sent to us, it kills the program; SIGTERM is passed on. Either way we collect it and end."""


def tether(command: Sequence[str]) -> int:
    """Run `command` until it ends or standard input closes; return its exit code."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    signal.signal(KILL, lambda *_: program.kill())
    threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
    return program.wait()


def _end_with_stdin(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    program.terminate()


if __name__ == "__main__":
    sys.exit(tether(sys.argv[1:]))
