"""Another process that opens and closes the database takes nothing from the agent that runs on it.

POSIX drops all of a process's locks on a file when it closes any descriptor of it. Without its
locks the agent is no longer seen: whoever closes the database then thinks itself the last, and
removes the log under it (sqlite.org/howtocorrupt, 2.2).
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from tests.agent.rig import Bench, healthy

if TYPE_CHECKING:
    from pathlib import Path

WRITES = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("ROLLBACK")
db.close()
"""


def test_a_writer_that_comes_and_goes_leaves_the_log_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    log = bench.settings.database.with_name(bench.settings.database.name + "-wal")
    bench.take(*(healthy(1, slot) for slot in range(5)))
    before = log.stat().st_ino
    subprocess.run([sys.executable, "-c", WRITES, str(bench.settings.database)], check=True)
    assert log.stat().st_ino == before
    bench.take(*(healthy(1, slot) for slot in range(5, 10)))
    query = "SELECT value FROM accounts WHERE name = 'readings.stored'"
    with closing(sqlite3.connect(f"file:{bench.settings.database}?mode=ro", uri=True)) as db:
        assert db.execute(query).fetchone() == (20,)
    bench.close()
