"""`foreshock agent run` as a process of its own, and what its database says meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Self

import psutil

from foreshock_agent.settings import load
from foreshock_agent.update.store import ModelStore
from foreshock_agent.uplink.outbox import pending_records
from tests.agent.rig import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType


class Agent:
    """`foreshock agent run` as a process that a test may kill."""

    def __init__(self, config: Path, **environ: str) -> None:
        self._environ = environ
        self.config = config
        self.settings = load(config)
        self._log = config.with_suffix(".log")
        self._child: subprocess.Popen[bytes] | None = None

    def install(self, model: bytes) -> str:
        """Commit a model as an update would have."""
        return ModelStore(self.settings.models).install(model)

    def start(self, before: Sequence[str] = ()) -> None:
        """Start it; `before` is a command that starts it and leaves it its process id."""
        with self._log.open("ab") as log:
            command = ["-m", "foreshock", "agent", "run", "--config", str(self.config)]
            self._child = subprocess.Popen(
                [*before, sys.executable, *command],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environ},
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def reload(self) -> None:
        """Ask it to read its settings again."""
        assert self._child is not None
        self._child.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """End it in order; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self._child is not None
        self._child.send_signal(how)
        try:
            return self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._child is not None
        return self._child.pid

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    @property
    def ledger(self) -> Ledger:
        """What its database holds."""
        return Ledger.read(self.settings.database)

    @property
    def stored(self) -> int:
        """How many readings it has committed; cheap enough to poll."""
        with closing(self._db()) as db:
            row = db.execute("SELECT value FROM accounts WHERE name = 'readings.stored'").fetchone()
        return int(row[0]) if row else 0

    @property
    def pending(self) -> int:
        """How many records wait to go up."""
        with closing(self._db()) as db:
            return sum(pending_records(db).values())

    def _db(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.settings.database}?mode=ro", uri=True, timeout=10)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def memory_bytes(self) -> int:
        """What it holds in memory now."""
        assert self._child is not None
        return int(psutil.Process(self._child.pid).memory_info().rss)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if error is not None:
            sys.stderr.write(self.log)
