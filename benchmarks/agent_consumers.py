"""Whoever takes readings from the broker: processes of their own, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from benchmarks.agent_ear import Ear, Heard
from benchmarks.agent_stream import CHANNELS, LENGTH, STRIDE, Form
from foreshock_agent.store.chunks import stored_readings
from foreshock_agent.store.database import connect
from foreshock_agent.update.store import ModelStore
from foreshock_agent.uplink.outbox import pending_records
from foreshock_wire import topics
from foreshock_wire.broker import BrokerAddress
from foreshock_wire.messages import Status
from foreshock_wire.topics import Gateway, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

AT: Final = Gateway("works", "gate-1")
START_TIMEOUT_S: Final = 180.0
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
ROOT: Final = Path(__file__).parent.parent

SETTINGS: Final = """\
site = "works"
gateway = "gate-1"
data_dir = "{folder}/data"
channels = {channels}

[local]
{local}

[windows]
period_s = 1
length = {length}
stride = {stride}

[commit]
messages = 1000

{sources}
{extra}
"""
CLOUD: Final = """\
[cloud]
port = {port}
"""
SOURCE: Final = """\
[[sources]]
topic = "{topic}"
adapter = "{adapter}"
"""
ADAPTERS: Final = {
    Form.SINGLE: "json_object",
    Form.JSON: "json_batch",
    Form.BINARY: "foreshock_batch",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: CPU seconds, bytes written to disk; and holds: RSS bytes."""

    cpu_s: float
    written: int
    rss: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process (Linux: proc(5))."""
        proc = Path("/proc") / str(pid)
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        written = next(
            int(line.split()[1])
            for line in (proc / "io").read_text().splitlines()
            if line.startswith("write_bytes")
        )
        resident = int((proc / "statm").read_text().split()[1])
        ticks = int(fields[11]) + int(fields[12])
        return cls(ticks / TICKS_A_SECOND, written, resident * PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a consumer holds in the end: how many readings, how many of them twice; and its scores.

    `scores` are (machine, time): of the same consumer they can be compared between runs.
    """

    readings: int
    doubled: int
    scores: frozenset[tuple[str, int]]


class Consumer(ABC):
    """A process that takes the stream; its folder outlives it. A context manager that ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._child: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._child is not None  # noqa: S101 - asked while it runs
        return self._child.pid

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it."""

    def environment(self) -> dict[str, str]:
        """Return the environment in which it runs: with bytecode, as an installer leaves it."""
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}

    @abstractmethod
    def readings(self) -> int:
        """Return how many readings it has dealt with (by its own idea of that)."""

    @abstractmethod
    def kept(self) -> Kept:
        """Return what it holds; asked when it does not run."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it hears the broker."""

    def launch(self) -> None:
        """Start it, and return at once."""
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=self.environment(),
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._child is None:
            return
        self._child.send_signal(how)
        self._child.wait(START_TIMEOUT_S)
        if self._child.stdout:
            self._child.stdout.close()

    def check(self) -> None:
        """Raise if it is gone.

        Raises:
            ChildProcessError: with the end of its log.
        """
        if self._child is None or self._child.poll() is not None:
            text = (self.folder / "log").read_text()[-2000:]
            raise ChildProcessError(f"{self.folder.name} ended by itself: {text}")

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Poll until it is so.

        Raises:
            TimeoutError: it takes too long.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            self.check()
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.folder.name} does not come up")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None and self._child.poll() is None:
            self.kill()


class Agent(Consumer):
    """`foreshock agent run`."""

    def __init__(self, folder: Path, broker: str, model: bytes | None, extra: str = "") -> None:
        super().__init__(folder)
        self.config = folder / "agent.toml"
        self.database = folder / "data" / "agent.db"
        self._broker = broker
        self._db: sqlite3.Connection | None = None
        self.config.write_text(_settings(folder, broker, extra))
        if model is not None:
            ModelStore(folder / "data" / "models").install(model)

    def command(self) -> list[str]:
        """Return the command that a gateway runs."""
        return [sys.executable, "-m", "foreshock", "agent", "run", "--config", str(self.config)]

    def start(self) -> None:
        """Start it, and return when its birth is published, which follows its subscriptions."""
        with Ear(self._broker, topics.status(AT)) as ear:
            self.launch()
            self.wait_for(lambda: any(self._is_birth(heard) for heard in ear.heard))

    def _is_birth(self, heard: Heard) -> bool:
        return not heard.retained and Status.from_bytes(heard.payload).online

    def readings(self) -> int:
        """Return how many are committed."""
        return max(0, self._account("readings.stored"))

    def pending(self) -> dict[Stream, int]:
        """Return how many records of each stream the centre has not acknowledged."""
        with closing(connect(self.database, read_only=True)) as db:
            return pending_records(db)

    def _account(self, name: str) -> int:
        try:
            if self._db is None:
                uri = f"file:{self.database}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, timeout=10)
            asked = "SELECT value FROM accounts WHERE name = ?"
            found = self._db.execute(asked, (name,)).fetchone()
        except sqlite3.OperationalError:
            return -1
        return int(found[0]) if found else 0

    def kept(self) -> Kept:
        """Read the database as a killed process left it."""
        with closing(sqlite3.connect(self.database)) as db:
            found = [
                (batch.machines[machine], batch.channels[channel], time_ns)
                for batch in stored_readings(db)
                for machine, channel, time_ns in zip(
                    batch.machine.tolist(),
                    batch.channel.tolist(),
                    batch.time_ns.tolist(),
                    strict=True,
                )
            ]
            scores = frozenset(db.execute("SELECT machine, time_ns FROM scores"))
        return Kept(len(set(found)), len(found) - len(set(found)), scores)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._db is not None:
            self._db.close()
            self._db = None


class Script(Consumer):
    """A peer's script, which prints "READINGS SCORES" several times a second."""

    def __init__(self, folder: Path, command: list[str], packages: Path | None = None) -> None:
        super().__init__(folder)
        self._command = [*command, "--folder", str(folder)]
        self._packages = packages
        self._readings = 0
        self._hears = threading.Event()

    def command(self) -> list[str]:
        """Return what was given, with its folder."""
        return self._command

    def environment(self) -> dict[str, str]:
        """Return ours, and the folder of packages that only it needs."""
        added = {} if self._packages is None else {"PYTHONPATH": str(self._packages)}
        return super().environment() | added

    def start(self) -> None:
        """Start it, and return when it speaks, which follows its subscription."""
        self._hears.clear()
        self.launch()
        assert self._child is not None  # noqa: S101 - just started
        assert self._child.stdout is not None  # noqa: S101 - a pipe
        reader = threading.Thread(target=self._listen, args=(self._child.stdout,), daemon=True)
        reader.start()
        self.wait_for(self._hears.is_set)

    def _listen(self, lines: IO[str]) -> None:
        with suppress(ValueError):  # a line that the kill cut, or the closed pipe
            for line in lines:
                readings, _scores = map(int, line.split())
                self._readings = readings
                self._hears.set()

    def readings(self) -> int:
        """Return what it said last."""
        return self._readings

    def kept(self) -> Kept:
        """Read its database, and ThingsBoard's beside it if there is one."""
        with closing(sqlite3.connect(self.folder / "plain.db")) as db:
            scores = frozenset(db.execute("SELECT machine, t FROM scores"))
            found = db.execute("SELECT machine, channel, t FROM readings").fetchall()
        found += _telemetry(self.folder / "storage" / "data.db")
        return Kept(len(set(found)), len(found) - len(set(found)), scores)


def _telemetry(path: Path) -> list[tuple[str, str, int]]:
    """Return (machine, channel, ms) of each reading in a database of ThingsBoard Gateway."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        messages = [json.loads(text) for (text,) in db.execute("SELECT message FROM messages")]
    return [
        (message["deviceName"], channel, entry["ts"])
        for message in messages
        for entry in message["telemetry"]
        for channel in entry["values"]
    ]


def _settings(folder: Path, broker: str, extra: str) -> str:
    address = BrokerAddress.parse(broker)
    port = f"\nport = {address.port}" if address.transport == "tcp" else ""
    sources = [SOURCE.format(topic=form.topic, adapter=ADAPTERS[form]) for form in Form]
    return SETTINGS.format(
        folder=folder,
        channels=list(CHANNELS),
        local=f'host = "{address.host}"{port}',
        length=LENGTH,
        stride=STRIDE,
        sources="\n".join(sources),
        extra=extra,
    ).replace("'", '"')
