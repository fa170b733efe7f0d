"""What a candidate would have said of this gateway's own stored readings, beside the champion.

`python -m foreshock_agent.update.rehearsal …` is the child process that reads the database (and
changes nothing); `rehearse` is the parent. Windows are cut and judged by the rules of the edge.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sqlite3
import statistics
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_agent.store.chunks import find
from foreshock_agent.update.errors import TrialError
from foreshock_agent.update.trial import limit_memory, run_child
from foreshock_rules import playback
from foreshock_rules.alarms import AlarmPolicy
from foreshock_rules.playback import Recorded
from foreshock_rules.windows import WindowSpec
from foreshock_wire.batch import FLAG_FUTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreshock_agent.update.trial import Limits
    from foreshock_wire.batch import Readings
    from foreshock_wire.model import Model

log = logging.getLogger(__name__)

DAY_NS: Final = 86_400 * 10**9
DAYS: Final = 14
READINGS: Final = 4_000_000
"""How much history is played at most: enough for a judgement, little enough for a gateway."""

NICE: Final = 15
Episode = tuple[int, int]
"""When an alarm was raised, and cleared or last seen (machine time, ns)."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Both models on the same stretch: alarms of each, how many are of both, and hours earlier."""

    machines: int
    hours: float
    champion: int
    candidate: int
    shared: int
    earlier_h: float | None = None

    def text(self) -> str:
        """Return it for a person."""
        earlier = ""
        if self.earlier_h is not None and abs(self.earlier_h) >= 0.05:  # noqa: PLR2004 - minutes
            way = "earlier" if self.earlier_h > 0 else "later"
            earlier = f", {abs(self.earlier_h):.1f} h {way}"
        return (
            f"on {self.hours:.0f} h of its own history ({self.machines} machines): "
            f"{self.candidate} alarms where the champion has {self.champion} "
            f"({self.shared} of both{earlier})"
        )


def rehearse(
    database: Path,
    models: tuple[Path, Path],
    policies: tuple[AlarmPolicy, AlarmPolicy],
    limits: Limits,
    cancelled: Callable[[], bool],
) -> Rehearsed | None:
    """Play champion and candidate on what is stored; None where that says nothing.

    Raises:
        InterruptedTrialError: `cancelled()` became true.
    """
    arguments = [str(database), *map(str, models), *(json.dumps(asdict(one)) for one in policies)]
    options = ["--memory-bytes", str(limits.memory_bytes)]
    try:
        _, output = run_child("rehearsal", [*arguments, *options], limits, cancelled)
        # A child that failed has said nothing.
        return Rehearsed(**json.loads(output.splitlines()[-1]))
    except (TrialError, ValueError, TypeError, IndexError) as error:
        # It decides nothing: the live windows do.
        log.warning("the candidate was not played on the stored history: %s", error)
        return None


def play(database: Path, models: tuple[Model, Model], policies: list[AlarmPolicy]) -> Rehearsed:
    """Be the child: read the history machine by machine, and count."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        recorded = _recorded(db, models[0].spec.channel_ids)
    ours: dict[str, list[Episode]] = {}
    theirs: dict[str, list[Episode]] = {}
    span_ns = 0
    for machine, readings in recorded.items():
        ours[machine] = _episodes(models[0], policies[0], readings)
        theirs[machine] = _episodes(models[1], policies[1], readings)
        span_ns += int(readings.time_ns.max() - readings.time_ns.min())
    pairs = [pair for machine in recorded for pair in _pairs(ours[machine], theirs[machine])]
    earlier = [(one[0] - other[0]) / 3.6e12 for one, other in pairs]
    return Rehearsed(
        len(recorded),
        span_ns / 3.6e12,
        sum(map(len, ours.values())),
        sum(map(len, theirs.values())),
        len(pairs),
        statistics.median(earlier) if earlier else None,
    )


def _recorded(db: sqlite3.Connection, channels: tuple[str, ...]) -> dict[str, Recorded]:
    """Return each machine's newest readings of these channels, in order of arrival."""
    newest = db.execute("SELECT max(settled_ns) FROM chunks").fetchone()[0]
    parts: dict[str, list[Recorded]] = {}
    left = READINGS
    since_ns = (newest or 0) - DAYS * DAY_NS
    # What is damaged is the store's affair; here it is missing.
    chunks = find(db, "newest_ns >= ? ORDER BY n DESC", (since_ns,), damaged=lambda _: None)
    for chunk in chunks:
        for machine, readings in _of_chunk(chunk.readings, channels):
            parts.setdefault(machine, []).append(readings)
        left -= len(chunk.readings.value)
        if left <= 0:
            break
    return {machine: _joined(found[::-1]) for machine, found in parts.items()}


def _joined(parts: list[Recorded]) -> Recorded:
    return Recorded._make(np.concatenate(column) for column in zip(*parts, strict=True))


def _of_chunk(readings: Readings, channels: tuple[str, ...]) -> Iterator[tuple[str, Recorded]]:
    """Yield a chunk's readings by machine; windows hold none that came from the future."""
    settled = (readings.flags & FLAG_FUTURE) == 0
    for number, machine in enumerate(readings.machines):
        mine = settled & (readings.machine == number)
        all_channels = Recorded(
            readings.channel[mine], readings.time_ns[mine], readings.value[mine]
        )
        found = all_channels.by(readings.channels, channels)
        if len(found.value):
            yield machine, found


def _episodes(model: Model, policy: AlarmPolicy, readings: Recorded) -> list[Episode]:
    played = playback.play(readings, model, WindowSpec.of_model(model.spec, 0), policy)
    return [
        (raised_ns, int(played.end_ns[-1]) if cleared_ns is None else cleared_ns)
        for raised_ns, cleared_ns in played.episodes()
    ]


def _pairs(ours: list[Episode], theirs: list[Episode]) -> list[tuple[Episode, Episode]]:
    """Return alarms of both that stood at the same time, each in one pair at most."""
    free = list(theirs)
    pairs = []
    for one in ours:
        match = next((other for other in free if other[0] <= one[1] and one[0] <= other[1]), None)
        if match is not None:
            free.remove(match)
            pairs.append((one, match))
    return pairs


def main() -> int:
    """Be the child process."""
    from foreshock_wire.model import Model  # noqa: PLC0415 - after the limits are set

    parser = argparse.ArgumentParser(prog="python -m foreshock_agent.update.rehearsal")
    parser.add_argument("database", type=Path)
    parser.add_argument("models", type=Path, nargs=2)
    parser.add_argument("policies", type=json.loads, nargs=2)
    parser.add_argument("--memory-bytes", type=int, required=True)
    options = parser.parse_args()
    os.nice(NICE)
    limit_memory(options.memory_bytes)
    champion, candidate = (Model.load(path) for path in options.models)
    policies = [AlarmPolicy(**one) for one in options.policies]
    found = play(options.database, (champion, candidate), policies)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
