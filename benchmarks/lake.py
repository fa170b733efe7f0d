"""Readings into the lake, and two queries on a small and on a large one.

`python -m benchmarks.lake [--quick] [--json]`. Batches go through the ingest's own path (decode,
marks, one transaction a round); the peer appends the same rows to a plain Delta table, in as many
commits, and promises nothing. The queries ask for the same machine and day in both lakes, in turns.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np
from deltalake import write_deltalake

from foreshock_trainer.audit import audit
from foreshock_trainer.inbox import Upload
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.lake import Lake
from foreshock_trainer.rows import rows_of
from foreshock_trainer.upkeep import keep_up
from foreshock_wire.batch import Readings
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY_NS: Final = 86_400 * 1_000_000_000
HOUR_NS: Final = 3_600 * 1_000_000_000
FIRST_DAY: Final = 19_800
GATEWAYS, MACHINES = 10, 100
CHANNELS: Final = ("temperature", "pressure", "vibration", "torque", "motor_power")
ROUNDS_A_DAY: Final = 20
ASKED: Final = "m-37"


def batches(day: int, rows: int) -> Iterator[list[tuple[Gateway, Readings]]]:
    """Yield the rounds of one day: a batch of each gateway, `rows` a day in all."""
    each = rows // (ROUNDS_A_DAY * GATEWAYS)
    mine = MACHINES // GATEWAYS
    for turn in range(ROUNDS_A_DAY):
        begin = (FIRST_DAY + day) * DAY_NS + turn * DAY_NS // ROUNDS_A_DAY
        at = begin + np.arange(each) * (DAY_NS // ROUNDS_A_DAY) // each
        chance = np.random.default_rng([day, turn])
        yield [
            (
                Gateway("works", f"gw-{gateway}"),
                Readings(
                    epoch="e1",
                    first_seq=(day * ROUNDS_A_DAY + turn) * each + 1,
                    machines=[f"m-{gateway * mine + i}" for i in range(mine)],
                    channels=list(CHANNELS),
                    machine=(np.arange(each) % mine).astype(np.uint16),
                    channel=(np.arange(each) // mine % len(CHANNELS)).astype(np.uint16),
                    time_ns=at,
                    received_ns=at + 1_000_000,
                    value=chance.normal(50, 3, each).astype(np.float32),
                    flags=np.zeros(each, np.uint8),
                ),
            )
            for gateway in range(GATEWAYS)
        ]


class Filled:
    """A lake that grows by days; `seconds` is the time that taking messages took."""

    def __init__(self, root: Path) -> None:
        self._clock_ns = 0
        self.lake = Lake(root, create=True, now_ns=lambda: self._clock_ns)
        self._ingest = Ingest(self.lake)
        self.rows = 0
        self.seconds = self.upkeep_s = 0.0

    def add_day(self, day: int, rows: int) -> None:
        """Take a day's messages in, and put the day's files in order."""
        for turn, sent in enumerate(batches(day, rows)):
            self._clock_ns = (FIRST_DAY + day) * DAY_NS + turn + 1
            messages = [Message(uplink(at, Stream.READINGS), one.to_bytes(), 1) for at, one in sent]
            self.seconds += _timed(partial(self._ingest.take, messages))
            self.rows += sum(len(one) for _, one in sent)
        now_ns = (FIRST_DAY + day + 1) * DAY_NS
        self.upkeep_s += _timed(lambda: keep_up(self.lake, now_ns=now_ns))

    def hour(self) -> int:
        """Ask for one machine's hour of the last day; return the number of rows."""
        return self._read(HOUR_NS)

    def day(self) -> int:
        """Ask for one machine's whole last day."""
        return self._read(DAY_NS)

    def _read(self, length_ns: int) -> int:
        begin = self._clock_ns // DAY_NS * DAY_NS
        rows = self.lake.readings(
            ASKED, since_ns=begin, until_ns=begin + length_ns, columns=("time_ns", "value")
        )
        return len(rows)


def plain_seconds(root: Path, rows: int) -> float:
    """Append a day's rows to a plain Delta table, in as many commits."""
    seconds = 0.0
    for sent in batches(0, rows):
        uploads = [Upload(at, Stream.READINGS, one) for at, one in sent]
        table = rows_of(Stream.READINGS, uploads).unify_dictionaries()
        seconds += _timed(partial(write_deltalake, str(root), table, mode="append"))
    return seconds


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def queries(lakes: dict[str, Filled], times: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each query on each lake, asked in turns."""
    spent: dict[str, dict[str, list[float]]] = {
        name: {"hour_ms": [], "day_ms": []} for name in lakes
    }
    for _ in range(times):
        for name, filled in lakes.items():
            spent[name]["hour_ms"].append(_timed(filled.hour) * 1000)
            spent[name]["day_ms"].append(_timed(filled.day) * 1000)
    return {
        name: {query: round(statistics.median(taken), 1) for query, taken in of.items()}
        for name, of in spent.items()
    }


def measure(folder: Path, *, quick: bool) -> dict[str, object]:
    """Fill a small and a large lake, and ask both."""
    a_day, days = (200_000, 5) if quick else (1_000_000, 20)
    # The first commit and query of a process import what they need, which is nobody's rate.
    Filled(folder / "first").add_day(0, ROUNDS_A_DAY * GATEWAYS)
    plain_seconds(folder / "first-plain", ROUNDS_A_DAY * GATEWAYS)
    small, large = Filled(folder / "small"), Filled(folder / "large")
    small.add_day(0, a_day)
    plain = plain_seconds(folder / "plain", a_day)
    for day in range(days):
        large.add_day(day, a_day)
    whole = all(account.whole for account in audit(large.lake))
    asked = queries({"small": small, "large": large}, 9 if quick else 15)
    return {
        "rows": {"small": small.rows, "large": large.rows},
        "readings_per_s": round(large.rows / large.seconds),
        "upkeep_s_per_million": round(large.upkeep_s / large.rows * 1e6, 2),
        "bytes_per_reading": round(_bytes(large.lake) / large.rows, 2),
        "whole": whole,
        "found": {"hour": large.hour(), "day": large.day(), "day_small": small.day()},
        "queries": asked,
        "ratios": {
            "time_against_plain_delta": round(small.seconds / plain, 2),
            "hour_large_against_small": round(
                asked["large"]["hour_ms"] / asked["small"]["hour_ms"], 2
            ),
            "day_large_against_small": round(
                asked["large"]["day_ms"] / asked["small"]["day_ms"], 2
            ),
        },
    }


def _bytes(lake: Lake) -> int:
    files = lake.table(Stream.READINGS).get_add_actions(flatten=True)
    return int(sum(files.column("size_bytes").to_pylist()))


@click.command(epilog="Example: python -m benchmarks.lake --quick --json")
@click.option("--quick", is_flag=True, help="0.2 and 1 million rows instead of 1 and 20.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure the ingest and two queries."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), quick=quick)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
