"""What a quiet day costs: a hundred machines with five sensors at 1 Hz, and a centre.

`python -m benchmarks.agent_day [--quick] [--json] [--minutes 5]`. Real time: the agent gets 500
single readings a second for that long; CPU and bytes written are told for a day of the same.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from benchmarks.agent_centre import Centre
from benchmarks.agent_consumers import CLOUD, Agent, Usage
from benchmarks.agent_feed import Feeder, Pace
from benchmarks.agent_stream import CHANNELS, Form, model, write_frames
from foreshock.brokers import MosquittoBroker
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINES: Final = 100
PER_S: Final = MACHINES * len(CHANNELS)
WARM_UP_S: Final = 20
DAY_S: Final = 86_400
LOOK_S: Final = 1.0


class Look(NamedTuple):
    """A moment: what the agent had used, and the readings that it had stored."""

    at_s: float
    usage: Usage
    stored: int


def measure(folder: Path, *, minutes: float, extra: str = "") -> dict[str, object]:
    """Run a day's first minutes; the result is what `--json` prints."""
    seconds = WARM_UP_S + round(minutes * 60)
    frames = write_frames(folder / "day", Form.SINGLE, PER_S * seconds, MACHINES, at_once=1)
    with ExitStack() as stack:
        enter = stack.enter_context
        local = enter(MosquittoBroker(folder / "local"))
        cloud = enter(MosquittoBroker(folder / "cloud"))
        centre = enter(Centre(cloud.port))
        settings = CLOUD.format(port=cloud.port) + extra
        agent = enter(Agent(folder / "agent", local.address, model(), settings))
        feeder = enter(Feeder(local.address, frames, Pace(per_s=PER_S)))
        looks = list(_looks(agent, feeder))
        pending = agent.readings() - centre.records[Stream.READINGS]
    return _figures(looks) | {"pending_at_the_end": pending, "database": _database(agent)}


def _looks(agent: Agent, feeder: Feeder) -> Iterator[Look]:
    begin_s = time.monotonic()
    while feeder.running:
        time.sleep(LOOK_S)
        agent.check()
        if time.monotonic() - begin_s > WARM_UP_S:
            usage = Usage.of(agent.pid)
            yield Look(time.monotonic(), usage, agent.readings())


def _figures(looks: list[Look]) -> dict[str, object]:
    first, last = looks[0], looks[-1]
    seconds, stored = last.at_s - first.at_s, last.stored - first.stored
    written = last.usage.written - first.usage.written
    cpu_s = last.usage.cpu_s - first.usage.cpu_s
    return {
        "seconds": round(seconds),
        "readings_per_s": round(stored / seconds, 1),
        "cpu_percent": round(cpu_s / seconds * 100, 2),
        "cpu_us_per_reading": round(cpu_s / stored * 1e6, 1),
        "gb_per_day": round(written / seconds * DAY_S / 1e9, 2),
        "bytes_per_reading": round(written / stored, 1),
        "rss_mib": round(statistics.median(look.usage.rss for look in looks) / 2**20, 1),
        "most_rss_mib": round(max(look.usage.rss for look in looks) / 2**20, 1),
    }


def _database(agent: Agent) -> dict[str, float]:
    """Return how large it is, and how its pages are used."""
    with closing(sqlite3.connect(agent.database)) as db:
        pages, free, size = (
            db.execute(f"PRAGMA {what}").fetchone()[0]
            for what in ("page_count", "freelist_count", "page_size")
        )
    return {"mib": round(pages * size / 2**20, 2), "free_mib": round(free * size / 2**20, 2)}


@click.command(epilog="Example: python -m benchmarks.agent_day --minutes 5 --json")
@click.option("--quick", is_flag=True, help="Twenty seconds instead of five minutes.")
@click.option("--minutes", default=5.0, show_default=True, help="How long it is watched.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, minutes: float, as_json: bool) -> None:
    """Measure what a hundred machines cost a gateway in a day."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), minutes=1 / 3 if quick else minutes)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
