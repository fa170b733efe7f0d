"""A long life in a short time: does the agent's memory grow?

`python -m benchmarks.agent_soak [--quick] [--hours 2] [--accelerate 20] [--json]`. A hundred
machines with five sensors at 1 Hz say `--accelerate` times as much as they would, in batches of a
hundred readings, while a centre takes all of it; so many hours of their time pass. The slope of the
resident memory after a warm-up is told in MiB an hour that the process lives, and a day of the
machines' time.
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
import numpy as np

from benchmarks.agent_centre import Centre
from benchmarks.agent_consumers import CLOUD, Agent, Usage
from benchmarks.agent_feed import Feeder, Pace
from benchmarks.agent_stream import CHANNELS, Form, model, write_frames
from foreshock.brokers import MosquittoBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]

MACHINES: Final = 100
PER_S: Final = MACHINES * len(CHANNELS)
LOOK_S: Final = 1.0
WARM_UP: Final = 0.2
"""Share of the run in which memory may still grow to what the work needs."""


class Look(NamedTuple):
    """A moment: seconds since the start, resident bytes, readings stored."""

    at_s: float
    rss: int
    stored: int


def measure(folder: Path, *, hours: float, accelerate: float) -> dict[str, float]:
    """Let so many hours of the machines' time pass; the result is what `--json` prints."""
    readings = round(PER_S * hours * 3600)
    frames = write_frames(folder / "life", Form.JSON, readings, MACHINES, at_once=1)
    pace = Pace(per_s=PER_S * accelerate / Form.JSON.readings_a_message)
    with ExitStack() as stack:
        enter = stack.enter_context
        local = enter(MosquittoBroker(folder / "local"))
        cloud = enter(MosquittoBroker(folder / "cloud"))
        enter(Centre(cloud.port))
        uplink = CLOUD.format(port=cloud.port)
        agent = enter(Agent(folder / "agent", local.address, model(), uplink))
        feeder = enter(Feeder(local.address, frames, pace))
        looks = list(_looks(agent, feeder))
    return _figures(looks, hours)


def _looks(agent: Agent, feeder: Feeder) -> Iterator[Look]:
    began_s = time.monotonic()
    while feeder.running:
        time.sleep(LOOK_S)
        agent.check()
        yield Look(time.monotonic() - began_s, Usage.of(agent.pid).rss, agent.readings())


def _figures(looks: list[Look], hours: float) -> dict[str, float]:
    steady = looks[round(len(looks) * WARM_UP) :]
    at_s = np.array([look.at_s for look in steady])
    mib = np.array([look.rss for look in steady]) / 2**20
    an_hour = _slope(at_s, mib) * 3600
    machine_days = hours / 24 * (at_s[-1] - at_s[0]) / looks[-1].at_s
    return {
        "seconds": round(looks[-1].at_s),
        "machine_hours": hours,
        "stored": looks[-1].stored,
        "rss_first_mib": round(float(mib[0]), 1),
        "rss_last_mib": round(float(mib[-1]), 1),
        "rss_most_mib": round(float(mib.max()), 1),
        "slope_mib_per_hour": round(an_hour, 2),
        "slope_mib_per_machine_day": round(an_hour * (at_s[-1] - at_s[0]) / 3600 / machine_days, 3),
    }


def _slope(at_s: Float64, mib: Float64) -> float:
    """Return the median slope between all pairs of moments (Theil and Sen), in MiB a second."""
    some = np.linspace(0, len(at_s) - 1, min(len(at_s), 300)).astype(int)
    first, second = np.triu_indices(len(some), 1)
    t, m = at_s[some], mib[some]
    return float(np.median((m[second] - m[first]) / (t[second] - t[first])))


@click.command(epilog="Example: python -m benchmarks.agent_soak --hours 2 --accelerate 20 --json")
@click.option("--quick", is_flag=True, help="A tenth of an hour at twenty times the speed.")
@click.option("--hours", default=2.0, show_default=True, help="Of the machines' time.")
@click.option("--accelerate", default=20.0, show_default=True, help="How much faster it passes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, hours: float, accelerate: float, as_json: bool) -> None:
    """Measure whether the agent's memory grows."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), hours=0.1 if quick else hours, accelerate=accelerate)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
