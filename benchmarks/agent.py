"""The agent under load, beside what others would run in its place; every figure of real processes.

    feeder -> Mosquitto -> consumer (the agent, or a peer)

`python -m benchmarks.agent [--quick] [--json]`. All consumers take the same stream from the same
broker, in turns; each round gives one ratio, and the median of the rounds is told with its spread.
In one more run each is killed in the middle and started again: what it lost then, it lost for good.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import psutil

from benchmarks.agent_consumers import ROOT, Agent, Consumer, Script
from benchmarks.agent_run import Run, killed, steady
from benchmarks.agent_stream import Form, Frames, model, windows_due, write_frames
from foreshock.brokers import MosquittoBroker
from foreshock_wire.broker import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.agent_consumers import Kept

OURS: Final = "agent"
BARE: Final = "bare_subscriber"
THINGSBOARD, BYTEWAX = "thingsboard_gateway", "bytewax"
FOREIGN: Final = (THINGSBOARD, BYTEWAX)
FOREIGN_LOCK: Final = ROOT / "benchmarks" / "peers" / "requirements.txt"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: rounds, readings a run and its longest time, and readings before a kill."""

    rounds: int
    machines: int
    single: int
    bulk: int
    limit_s: float
    killed: int
    peers: tuple[str, ...]


APPENDS, APPENDED_BYTES = 300, 4_096
KILLED_MACHINES: Final = 4
SLOW: Final = {"plain_durable": 5}
"""Peers that get a stream shorter by this factor, of one machine, when they are killed."""


@dataclass(slots=True)
class Bench:
    """The folder, the running broker and the streams of one benchmark."""

    folder: Path
    broker: MosquittoBroker
    effort: Effort
    model: bytes
    address: str
    _streams: dict[tuple[Form, int, int], Frames] = field(default_factory=dict)
    _count: int = 0

    def fresh(self, name: str) -> Consumer:
        """Return a consumer with nothing in its folder and no session at the broker."""
        self._count += 1
        self.broker.stop()
        for kept in self.broker.folder.glob("mosquitto.db*"):
            kept.unlink()
        self.broker.start()
        folder = self.folder / f"{self._count}-{name}"
        if name == OURS:
            return Agent(folder, self.address, self.model)
        command = [*PEERS[name](self.folder / "model.onnx"), "--broker", self.address]
        return Script(folder, command, self.packages if name in FOREIGN else None)

    @property
    def packages(self) -> Path:
        """Where the packages lie that only peers need."""
        return self.folder / "packages"

    @property
    def broker_pid(self) -> int:
        """The broker's own process, below the one that ties its life to ours."""
        below = psutil.Process().children(recursive=True)
        return next(int(one.pid) for one in below if one.name() == "mosquitto")

    def stream(self, form: Form, readings: int, machines: int) -> Frames:
        """Return the stream of so many readings, made when it is first asked for."""
        key = (form, readings, machines)
        if key not in self._streams:
            path = self.folder / "-".join(map(str, key))
            self._streams[key] = write_frames(path, form, readings, machines)
        return self._streams[key]

    def steady(self, name: str, form: Form) -> Run:
        """Measure a fresh consumer."""
        effort = self.effort
        readings = effort.single if form is Form.SINGLE else effort.bulk
        frames = self.stream(form, readings, effort.machines)
        consumer = self.fresh(name)
        return steady(consumer, self.address, self.broker_pid, frames, effort.limit_s)

    def killed(self, name: str) -> tuple[Frames, Kept]:
        """Kill a fresh consumer in the middle of a stream, and start it again."""
        shorter = SLOW.get(name, 1)
        machines = KILLED_MACHINES if shorter == 1 else 1
        frames = self.stream(Form.SINGLE, self.effort.killed // shorter, machines)
        consumer = self.fresh(name)
        return frames, killed(consumer, self.address, self.broker_pid, frames)


def _plain(store: str) -> Callable[[Path], list[str]]:
    return lambda model: _module("plain", "--model", str(model), "--store", store)


def _module(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.peers.{name}", *options]


PEERS: Final[dict[str, Callable[[Path], list[str]]]] = {
    "plain_durable": _plain("sqlite"),
    "plain_durable_wal": _plain("wal"),
    "plain_volatile": _plain("none"),
    THINGSBOARD: _plain("thingsboard"),
    BYTEWAX: lambda model: _module("stream_flow", "--model", str(model)),
    BARE: lambda _model: _module("bare"),
}
"""By name, the command that takes the stream; the last does nothing, and shows the broker's end."""


QUICK: Final = Effort(
    rounds=1,
    machines=20,
    single=30_000,
    bulk=1_000_000,
    limit_s=1.0,
    killed=2_000,
    peers=("plain_durable", "plain_volatile"),
)
FULL: Final = Effort(
    rounds=3,
    machines=50,
    single=200_000,
    bulk=4_000_000,
    limit_s=6.0,
    killed=20_000,
    peers=tuple(PEERS),
)


def measure(bench: Bench) -> dict[str, object]:
    """Run everything; the result is what `--json` prints."""
    effort = bench.effort
    peers = [name for name in effort.peers if name not in FOREIGN or _installed(bench.packages)]
    rounds: dict[str, list[Run]] = {name: [] for name in (OURS, *peers)}
    for _ in range(effort.rounds):
        for name, runs in rounds.items():
            runs.append(bench.steady(name, Form.SINGLE))
            _say(f"{name}: {runs[-1].per_s:,.0f} readings/s")
    bulk = {form: _bulk(bench, form) for form in (Form.JSON, Form.BINARY)}
    lost = {name: _lost(bench, name) for name in rounds if name != BARE}
    ours = _median_run(rounds[OURS])
    ratios = {name: _ratio(rounds[OURS], runs) for name, runs in rounds.items() if name != OURS}
    return {
        "durable_single_per_s": round(ours.per_s),
        "ratio_vs_plain_durable": ratios["plain_durable"]["median"],
        "fsync_ms": round(fsync_ms(bench.folder), 3),
        "ratio_vs_plain_volatile": ratios["plain_volatile"]["median"],
        "cpu_us_per_reading": round(ours.cpu_us, 1),
        "batched_json_per_s": round(bulk[Form.JSON].per_s),
        "batched_binary_per_s": round(bulk[Form.BINARY].per_s),
        "rss_mib": round(max(ours.rss_mib, *(run.rss_mib for run in bulk.values())), 1),
        "bytes_per_reading": round(ours.bytes_written, 1),
        "machines": effort.machines,
        "rounds": effort.rounds,
        "single": {name: _told(_median_run(runs)) for name, runs in rounds.items()},
        "batched": {str(form): _told(run) for form, run in bulk.items()},
        "ratios": ratios,
        "after_a_kill": lost,
        "left_out": sorted(set(PEERS) - set(peers)),
    }


def fsync_ms(folder: Path) -> float:
    """Return what the disk takes to make 4 KiB more of a file durable: what a plain commit pays.

    All consumers' folders lie in this one.
    """
    took_ns: list[int] = []
    with (folder / "appended").open("ab", buffering=0) as file:
        for _ in range(APPENDS):
            file.write(bytes(APPENDED_BYTES))
            began_ns = time.perf_counter_ns()
            os.fsync(file.fileno())
            took_ns.append(time.perf_counter_ns() - began_ns)
    return statistics.median(took_ns) / 1e6


@cache
def _installed(packages: Path) -> bool:
    """Install what only peers need; say what is left out where that cannot be."""
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
    command = ["pip", "install", *options, "--target", str(packages), "-r", str(FOREIGN_LOCK)]
    done = subprocess.run(
        [sys.executable, "-m", "uv", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        _say(f"left out: {', '.join(FOREIGN)} ({done.stderr.strip().splitlines()[-1]})")
    return not done.returncode


def _bulk(bench: Bench, form: Form) -> Run:
    runs = []
    for _ in range(bench.effort.rounds):
        runs.append(bench.steady(OURS, form))
        _say(f"{OURS}, {form}: {runs[-1].per_s:,.0f} readings/s")
    return _median_run(runs)


def _lost(bench: Bench, name: str) -> dict[str, int]:
    """Compare what a killed consumer holds with what was published and what was to be scored."""
    frames, kept = bench.killed(name)
    due = windows_due(frames)
    _say(f"{name}, killed: {frames.readings - kept.readings} of {frames.readings} readings lost")
    return {
        "published": frames.readings,
        "readings_lost": frames.readings - kept.readings,
        "readings_doubled": kept.doubled,
        "windows": len(due),
        "windows_lost": len(due - kept.scores),
    }


def _ratio(ours: list[Run], theirs: list[Run]) -> dict[str, float]:
    """Return how many times as fast we are: one ratio a round."""
    found = [one.per_s / other.per_s for one, other in zip(ours, theirs, strict=True)]
    named = {"median": statistics.median(found), "least": min(found), "most": max(found)}
    return {name: round(value, 2) for name, value in named.items()}


def _median_run(runs: list[Run]) -> Run:
    columns = zip(*(asdict(run).values() for run in runs), strict=True)
    return Run(*map(statistics.median, columns))


def _told(run: Run) -> dict[str, float]:
    return {name: round(value, 2) for name, value in asdict(run).items()}


def _say(text: str) -> None:
    click.echo(text, err=True)


def benches(effort: Effort, over: str) -> Iterator[Bench]:
    """Yield a bench with its broker, reached over "tcp" or "unix"; both end with the loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "broker.sock"
        with MosquittoBroker(folder / "broker", extra=f"listener 0 {path}") as broker:
            address = f"{UNIX}{path}" if over == "unix" else broker.address
            bench = Bench(folder, broker, effort, model(), address)
            (folder / "model.onnx").write_bytes(bench.model)
            yield bench


@click.command(epilog="Example: python -m benchmarks.agent --quick --json")
@click.option("--quick", is_flag=True, help="Shorter streams, one round: about 30 seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--over",
    type=click.Choice(["tcp", "unix"]),
    default="tcp",
    show_default=True,
    help="How feeder and consumers reach the broker: all by its port, or all by its socket.",
)
def main(*, quick: bool, as_json: bool, over: str) -> None:
    """Measure the agent beside what others would run in its place."""
    for bench in benches(QUICK if quick else FULL, over):
        result = measure(bench) | {"over": over}
        print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
