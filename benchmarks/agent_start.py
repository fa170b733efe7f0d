"""From the start of the process to its first score, by what waits to go up; and memory meanwhile.

`python -m benchmarks.agent_start [--quick] [--json]`. Agents that were filled through their broker
and killed are started again, in turns, each with one message waiting that ends a window. Beside the
seconds stand those of CPU, which other work on the machine changes less. In the end a centre comes
back and takes the largest backlog, while the agent's memory is watched.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from benchmarks.agent_centre import Centre
from benchmarks.agent_consumers import AT, CLOUD, Agent, Usage
from benchmarks.agent_ear import Ear
from benchmarks.agent_feed import Feeder, Pace
from benchmarks.agent_run import Flow
from benchmarks.agent_stream import CHANNELS, Form, model, window_to_come, write_frames
from foreshock.brokers import MosquittoBroker
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_wire import topics
from foreshock_wire.messages import Score
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE: Final = "m-000"
AHEAD: Final = 1_500
HEADER_BYTE: Final = 22
"""One that is the same in every database (sqlite.org/fileformat2, 1.3)."""
SETTLED_S: Final = 3.0
LOOK_S: Final = 0.02
KEEP_ALL: Final = """
[uplink]
max_bytes_per_s = 100000000
"""
"""The centre shall take the backlog as fast as it can."""


@dataclass(frozen=True, slots=True)
class Case:
    """How many machines an agent has, and how many readings wait in it."""

    machines: int
    backlog: int
    damaged: bool = False

    @property
    def name(self) -> str:
        """As the result names it."""
        state = ", damaged" if self.damaged else ""
        return f"{self.machines} machines, {self.backlog} waiting{state}"


FULL: Final = (
    *(Case(50, 0), Case(50, 1_000_000), Case(50, 10_000_000), Case(500, 0)),
    *(Case(50, 0, damaged=True), Case(50, 1_000_000, damaged=True)),
)
QUICK: Final = (Case(20, 0), Case(20, 200_000), Case(20, 200_000, damaged=True))
LEAST_STEPS: Final = 80
"""What an agent without a backlog has heard: enough for a window."""


@dataclass(slots=True)
class Gateway:
    """An agent with its brokers; the centre's is down unless somebody starts it."""

    case: Case
    local: MosquittoBroker
    cloud: MosquittoBroker
    agent: Agent
    steps: int = 0
    starts_s: list[float] = field(default_factory=list)
    starts_cpu_s: list[float] = field(default_factory=list)

    @classmethod
    def filled(cls, case: Case, folder: Path, scored_by: bytes) -> Self:
        """Let an agent hear what it shall have, and kill it."""
        local, cloud = MosquittoBroker(folder / "local"), MosquittoBroker(folder / "cloud")
        local.start()
        settings = CLOUD.format(port=cloud.port) + KEEP_ALL
        made = cls(case, local, cloud, Agent(folder / "agent", local.address, scored_by, settings))
        made._fill(folder)
        return made

    def _fill(self, folder: Path) -> None:
        least = LEAST_STEPS * self.case.machines * len(CHANNELS)
        readings = max(least, self.case.backlog)
        frames = write_frames(folder / "frames", Form.BINARY, readings, self.case.machines)
        self.steps = frames.readings // self.case.machines // len(CHANNELS)
        with ExitStack() as stack:
            if not self.case.backlog:
                stack.enter_context(self.cloud)
                stack.enter_context(Centre(self.cloud.port))
            stack.enter_context(self.agent)
            feeder = stack.enter_context(Feeder(self.local.address, frames, Pace(AHEAD)))
            for _ in Flow(self.agent, feeder, self.agent.pid, Form.BINARY).looks(frames.readings):
                pass
            if not self.case.backlog:
                self.agent.wait_for(lambda: not sum(self.agent.pending().values()))
            self.agent.kill()
        frames.path.unlink()
        if self.case.damaged:
            shutil.copytree(self._data, self._whole)

    @property
    def _data(self) -> Path:
        return self.agent.database.parent

    @property
    def _whole(self) -> Path:
        return self._data.with_name("whole")

    def _damage(self) -> None:
        """Put everything back as the kill left it, and flip a bit of the database's header."""
        shutil.rmtree(self._data)
        shutil.copytree(self._whole, self._data)
        with self.agent.database.open("r+b") as file:
            (byte,) = os.pread(file.fileno(), 1, HEADER_BYTE)
            os.pwrite(file.fileno(), bytes([byte ^ 1]), HEADER_BYTE)

    def start(self) -> None:
        """Start it with a message waiting, note when the score is heard, and kill it."""
        payload, end_ns, after = window_to_come(self.steps)
        if self.case.damaged:
            self._damage()
        else:
            self.steps = after
        with Ear(self.local.address, topics.any_score(AT)) as ear:
            ear.say(Form.JSON.topic.format(machine=MACHINE), payload)
            began_ns = time.monotonic_ns()
            self.agent.launch()
            topic = topics.score(AT, MACHINE)
            heard = ear.await_next(
                topic, lambda one: Score.from_bytes(one.payload).time_ns == end_ns
            )
            self.starts_cpu_s.append(Usage.of(self.agent.pid).cpu_s)
            self.starts_s.append((heard.at_ns - began_ns) / 1e9)
        self.agent.kill()
        if self.case.damaged and not Quarantine.of(self.agent.database).entries():
            raise AssertionError("the damage was not noticed")

    def close(self) -> None:
        """End the brokers."""
        self.local.stop()
        self.cloud.stop()


def measure(folder: Path, cases: tuple[Case, ...], starts: int) -> dict[str, object]:
    """Fill, start and drain; the result is what `--json` prints."""
    scored_by = model()
    with ExitStack() as stack:
        gateways = []
        for number, case in enumerate(cases):
            click.echo(f"filling {case.name}", err=True)
            gateways.append(Gateway.filled(case, folder / str(number), scored_by))
            stack.callback(gateways[-1].close)
        for _ in range(starts):
            for gateway in gateways:
                gateway.start()
        click.echo("draining", err=True)
        idle = _idle_rss(gateways[0])
        drained = _drained(max(gateways, key=lambda one: one.case.backlog))
    told = {one.case.name: _told(one.starts_s) for one in gateways}
    cpu = {one.case.name: _told(one.starts_cpu_s) for one in gateways}
    return {
        "first_score_s": told,
        "first_score_cpu_s": cpu,
        "idle_rss_mib": _mib(idle),
        **drained,
    } | {"draining_above_idle_mib": round(drained["draining_rss_mib"] - _mib(idle), 1)}


def _idle_rss(gateway: Gateway) -> int:
    """Return what an agent holds that has nothing to send, connected on both sides."""
    with gateway.cloud, Centre(gateway.cloud.port), gateway.agent as agent:
        end_s = time.monotonic() + SETTLED_S
        looks = []
        while time.monotonic() < end_s:
            looks.append(Usage.of(agent.pid).rss)
            time.sleep(LOOK_S)
    return max(looks)


def _drained(gateway: Gateway) -> dict[str, Any]:
    with gateway.cloud, Centre(gateway.cloud.port) as centre, gateway.agent as agent:
        began_s = time.monotonic()
        looks = list(_while_pending(agent))
        seconds = time.monotonic() - began_s
    return {
        "draining_rss_mib": _mib(max(looks)),
        "draining_rss_median_mib": _mib(round(statistics.median(looks))),
        "drained_per_s": round(centre.records[Stream.READINGS] / seconds),
    }


def _while_pending(agent: Agent) -> Iterator[int]:
    while sum(agent.pending().values()):
        agent.check()
        yield Usage.of(agent.pid).rss
        time.sleep(LOOK_S)


def _told(values: list[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def _mib(size: int) -> float:
    return round(size / 2**20, 1)


@click.command(epilog="Example: python -m benchmarks.agent_start --quick --json")
@click.option("--quick", is_flag=True, help="0 and 200,000 waiting readings, three starts each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure how an agent starts on what waits in it, and what it holds while that goes up."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), QUICK if quick else FULL, 3 if quick else 10)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
