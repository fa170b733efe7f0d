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

from foreshock_agent.chunks import find
from foreshock_agent.update.errors import TrialError
from foreshock_agent.update.trial import limit_memory, run_child
from foreshock_rules.alarms import AlarmHead, AlarmPolicy, Transition, judge
from foreshock_rules.windows import WindowSpec, windows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from foreshock_agent.update.trial import Limits
    from foreshock_wire.batch import Readings
    from foreshock_wire.model import Model

    Track = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]

log = logging.getLogger(__name__)

DAY_NS: Final = 86_400 * 10**9
DAYS: Final = 14
READINGS: Final = 4_000_000
"""How much history is played at most: enough for a judgement, little enough for a gateway."""

AT_ONCE: Final = 256
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
        tracks = _tracks(db, models[0].spec.channel_ids)
    ours: dict[str, list[Episode]] = {}
    theirs: dict[str, list[Episode]] = {}
    span_ns = 0
    for machine, track in tracks.items():
        ours[machine] = _episodes(models[0], policies[0], track)
        theirs[machine] = _episodes(models[1], policies[1], track)
        span_ns += int(track[1].max() - track[1].min())
    pairs = [pair for machine in tracks for pair in _pairs(ours[machine], theirs[machine])]
    earlier = [(one[0] - other[0]) / 3.6e12 for one, other in pairs]
    return Rehearsed(
        len(tracks),
        span_ns / 3.6e12,
        sum(map(len, ours.values())),
        sum(map(len, theirs.values())),
        len(pairs),
        statistics.median(earlier) if earlier else None,
    )


def _tracks(db: sqlite3.Connection, channels: tuple[str, ...]) -> Mapping[str, Track]:
    """Return each machine's newest readings of these channels, in order of arrival."""
    newest = db.execute("SELECT max(newest_ns) FROM chunks").fetchone()[0]
    parts: dict[str, list[Track]] = {}
    left = READINGS
    since_ns = (newest or 0) - DAYS * DAY_NS
    # What is damaged is the store's affair; here it is missing.
    chunks = find(db, "newest_ns >= ? ORDER BY n DESC", (since_ns,), damaged=lambda _: None)
    for chunk in chunks:
        for machine, track in _of_chunk(chunk.readings, channels):
            parts.setdefault(machine, []).append(track)
        left -= len(chunk.readings.value)
        if left <= 0:
            break
    return {machine: _joined(found[::-1]) for machine, found in parts.items()}


def _joined(parts: list[Track]) -> Track:
    channel, time_ns, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return channel, time_ns, value


def _of_chunk(readings: Readings, channels: tuple[str, ...]) -> Iterator[tuple[str, Track]]:
    places = [channels.index(name) if name in channels else -1 for name in readings.channels]
    channel = np.array(places, np.int64)[readings.channel]
    for number, machine in enumerate(readings.machines):
        mine = (readings.machine == number) & (channel >= 0)
        if mine.any():
            yield machine, (channel[mine], readings.time_ns[mine], readings.value[mine])


def _episodes(model: Model, policy: AlarmPolicy, track: Track) -> list[Episode]:
    end_ns, windows = windows_of(WindowSpec.of_model(model.spec, 0), *track)
    head, found = AlarmHead(), list[Episode]()
    for at in range(0, len(windows), AT_ONCE):
        margins = model.run(windows[at : at + AT_ONCE]).margin
        for time_ns, margin in zip(end_ns[at : at + AT_ONCE].tolist(), margins, strict=True):
            head, transition = judge(head, policy, time_ns, float(margin))
            if transition is Transition.RAISED:
                found.append((time_ns, time_ns))
            elif transition is Transition.CLEARED:
                found[-1] = found[-1][0], time_ns
    if found and head.state.value in {"unacknowledged", "acknowledged"}:
        found[-1] = found[-1][0], int(end_ns[-1])
    return found


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
