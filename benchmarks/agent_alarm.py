"""From a reading to its alarm, at a thousand single readings a second, with fsync on.

`python -m benchmarks.agent_alarm [--quick] [--json]`. A hundred machines report; now and then a new
one says the reading that ends a window which the model finds faulty. From the moment when that
reading goes to the broker to the moment when a subscriber has the alarm: two passages through the
broker, the window, the model with its explanation and the commit are in it.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.agent_consumers import AT, Agent, Usage
from benchmarks.agent_ear import Ear
from benchmarks.agent_feed import Feeder, Pace
from benchmarks.agent_stream import Form, alarming, model, write_frames
from foreshock.brokers import MosquittoBroker
from foreshock_wire import topics

if TYPE_CHECKING:
    from collections.abc import Iterator

PER_S: Final = 1_000
MACHINES: Final = 100
PAUSE_S: Final = 0.107
"""Before each message; no multiple of anything that the agent does by the clock."""


def measure(folder: Path, alarms: int) -> dict[str, Any]:
    """Raise so many alarms under load; the result is what `--json` prints."""
    scored_by = model()
    before, last = alarming(scored_by)
    seconds = 10 + round(alarms * PAUSE_S * 3 * 2)
    frames = write_frames(folder / "load", Form.SINGLE, PER_S * seconds, MACHINES, at_once=1)
    with ExitStack() as stack:
        enter = stack.enter_context
        broker = enter(MosquittoBroker(folder / "broker"))
        agent = enter(Agent(folder / "agent", broker.address, scored_by))
        ear = enter(Ear(broker.address, topics.any_alarm(AT)))
        feeder = enter(Feeder(broker.address, frames, Pace(per_s=PER_S)))
        agent.wait_for(lambda: agent.readings() > PER_S)
        used, began_s = Usage.of(agent.pid), time.monotonic()
        took_ms = list(_alarms(ear, before, last, alarms))
        cpu_s = Usage.of(agent.pid).cpu_s - used.cpu_s
        share = cpu_s / (time.monotonic() - began_s)
        if not feeder.running:
            raise TimeoutError("the load ended before the last alarm: the machine is too busy")
    cuts = statistics.quantiles(took_ms, n=100, method="inclusive")
    return {
        "alarms": alarms,
        "readings_per_s": PER_S,
        **{f"p{at}_ms": round(cuts[at - 1], 1) for at in (50, 95, 99)},
        "most_ms": round(max(took_ms), 1),
        "cpu_percent": round(share * 100, 1),
    }


def _alarms(ear: Ear, before: list[bytes], last: bytes, count: int) -> Iterator[float]:
    """Raise alarms of one new machine after another; yield how long each took, in ms."""
    for number in range(count):
        machine = f"alarming-{number}"
        for payload in before:
            time.sleep(PAUSE_S)
            ear.say(Form.JSON.topic.format(machine=machine), payload)
        time.sleep(PAUSE_S)
        began_ns = time.monotonic_ns()
        ear.send(Form.SINGLE.topic.format(machine=machine), last)
        yield (ear.await_next(topics.alarm(AT, machine)).at_ns - began_ns) / 1e6


@click.command(epilog="Example: python -m benchmarks.agent_alarm --quick --json")
@click.option("--quick", is_flag=True, help="Twenty alarms instead of three hundred.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure how long an alarm takes under load."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), 20 if quick else 300)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
