"""A process that starts with this folder in PYTHONPATH has a wall clock that a test can set.

`WALL_CLOCK` names a file with the nanoseconds by which it is off. Nothing else of the process is
touched, and no other one. (libfaketime 0.9.10 cannot do this: it fakes the deadlines of
`clock_nanosleep` on the monotonic clock as well, so that every `time.sleep` hangs or fails. A time
namespace moves the clocks since boot, and never the wall clock.)
"""

import os
import time
from pathlib import Path

_offset = Path(os.environ["WALL_CLOCK"])
_time_ns = time.time_ns


def _moved_ns() -> int:
    return _time_ns() + int(_offset.read_text(encoding="ascii"))


time.time_ns = _moved_ns
time.time = lambda: _moved_ns() / 1e9
