"""What is stored, judged once more by the gateway's own rules; reads only, beside a running agent.

Readings are taken in the order in which they came; windows, scores and alarms are made by the
rings, the scorer and the judge of the pipeline. Operators' commands are not replayed, and each
machine begins without an alarm.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from foreshock_agent.clock import PLAUSIBLE_NS
from foreshock_agent.desk.stored_scores import Check, StoredScores
from foreshock_agent.judging.judge import Judge
from foreshock_agent.judging.scoring import RULE, SECOND_NS, Scorer, due_of
from foreshock_agent.judging.tracks import Tracks
from foreshock_agent.store.chunks import find, first_whole, rows_of
from foreshock_agent.store.database import looking
from foreshock_agent.update.store import ModelStore
from foreshock_rules.readings import future_of
from foreshock_rules.rings import NEVER, NO_CHANNEL, Rings
from foreshock_wire.batch import FLAG_FUTURE
from foreshock_wire.errors import ForeshockError
from foreshock_wire.model import Model

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_agent.judging.scoring import Due, Score
    from foreshock_agent.settings import Settings
    from foreshock_agent.store.chunks import ChunkDamagedError, Found, Rows
    from foreshock_wire.batch import Readings
    from foreshock_wire.messages import Alarm, AlarmState

    Int64 = npt.NDArray[np.int64]
    Hear = Callable[[Readings], None]

EVER_NS: Final = 1 << 62
"""Beyond every time there is; below every one with a minus."""


class ReplayError(ForeshockError):
    """There is nothing to replay, or nothing to replay it with."""


class Asked(NamedTuple):
    """Which windows are told: of these machines (of all, if none is named), by their end (UTC, ns).

    `from_ns` exclusive, `to_ns` inclusive.
    """

    machines: frozenset[str] = frozenset()
    from_ns: int = -EVER_NS
    to_ns: int = EVER_NS

    @classmethod
    def of(
        cls, machines: Iterable[str], from_ns: int | None = None, to_ns: int | None = None
    ) -> Self:
        """Return what somebody asks who may leave out all of it."""
        begin_ns = -EVER_NS if from_ns is None else from_ns
        return cls(frozenset(machines), begin_ns, EVER_NS if to_ns is None else to_ns)

    def about(self, machine: str, end_ns: int) -> bool:
        """Say whether a window is asked for."""
        named = not self.machines or machine in self.machines
        return named and self.from_ns < end_ns <= self.to_ns


@dataclass(frozen=True, slots=True)
class Judged:
    """A window as it was judged again: how the alarm stood then, and the alarm if it changed."""

    score: Score
    state: AlarmState
    alarm: Alarm | None
    check: Check


def installed(settings: Settings) -> Model | None:
    """Return the model that the agent runs; None where limits stand in.

    Raises:
        ModelError: its file cannot run.
        ReplayError: its file is not the one that was committed.
    """
    store = ModelStore(settings.models)
    if store.current_sha256 is None:
        return None
    path = store.path(store.current_sha256)
    model = Model.load(path)
    if model.sha256 != store.current_sha256:
        raise ReplayError(f"{path} is damaged: the agent goes on with the model before it")
    return model


@contextmanager
def opened(
    database: Path, settings: Settings, model: Model | None, asked: Asked, hear: Hear | None = None
) -> Iterator[Replay]:
    """Look at one moment of a database, which a running agent may go on writing.

    `hear` is given all readings of the machines that are asked for, chunk by chunk.

    Raises:
        NoStoreError: there is none.
        ReplayError: it has no readings of a machine that is asked for.
        StoreDamagedError: SQLite cannot read it.
    """
    with looking(database) as db:
        known = {name for (name,) in db.execute("SELECT machine FROM machines")}
        if unknown := asked.machines - known:
            raise ReplayError(f"no readings of {', '.join(sorted(unknown))} were ever stored here")
        yield Replay(db, settings, model, asked, hear)


class Replay:
    """One run over what is stored, a chunk at a time: its memory does not grow with the history."""

    def __init__(
        self,
        db: sqlite3.Connection,
        settings: Settings,
        model: Model | None,
        asked: Asked,
        hear: Hear | None,
    ) -> None:
        self._db = db
        self._hear = hear
        self._asked = asked
        self._max_ahead_ns = round(settings.max_ahead_s * SECOND_NS)
        self._scorer = Scorer(settings, model)
        self._judge = Judge(settings.at, self._scorer)
        self._tracks = Tracks()
        self._rings = Rings(self._scorer.window_spec)
        self._whole = _WholeSince(first_whole(db), self._rings.spec.history_ns)
        self._stored = StoredScores.read(db, asked.from_ns, asked.to_ns)

    @property
    def chunks(self) -> int:
        """How many chunks there are to read."""
        return int(self._db.execute("SELECT count(*) FROM chunks").fetchone()[0])

    @property
    def judged_by(self) -> str:
        """A model's SHA-256, or RULE."""
        return self._scorer.model.sha256 if self._scorer.model else RULE

    @property
    def machines(self) -> int:
        """How many machines were replayed so far."""
        return len(self._tracks.machines)

    def of_chunks(self) -> Iterator[list[Judged]]:
        """Judge chunk by chunk, in order of arrival; one that is damaged is left out."""
        for chunk in find(self._db, "n > 0 ORDER BY n", (), damaged=self._whole.broke):
            judged = map(self._judged, self._scorer.score(self._due(chunk)))
            yield [one for one in judged if self._is_asked(one.score)]

    def scores_without_a_window(self) -> int:
        """Return, after the run, how many stored scores belong to no window that was cut."""
        return self._stored.never_asked(
            self.judged_by,
            lambda machine, end_ns: (
                self._asked.about(machine, end_ns) and self._is_whole(machine, end_ns)
            ),
        )

    def _due(self, chunk: Found) -> list[Due]:
        batch = self._of_asked(chunk.readings)
        if self._hear is not None:
            self._hear(batch)
        rows, names = rows_of(batch, self._tracks), self._tracks.machines
        machine = self._tracks.machine[rows.track]
        channel = self._tracks.columns(self._rings.spec.channels)[rows.track]
        channel[(batch.flags & FLAG_FUTURE) > 0] = NO_CHANNEL
        self._rings.grow(len(names))
        self._begin_anew(rows.at(channel != NO_CHANNEL))
        _, due = self._rings.add(machine, channel, rows.time_ns, rows.value)
        self._whole.took(chunk.n, machine, self._rings.newest_ns[: len(names)])
        return due_of(due, names, rows.received_ns)

    def _begin_anew(self, rows: Rows) -> None:
        """Let machines begin anew where the pipeline did: they had run ahead by a wrong clock."""
        machine = self._tracks.machine[rows.track]
        newest_ns = self._rings.newest_ns[machine]
        ahead = future_of(newest_ns, rows.received_ns, self._max_ahead_ns, PLAUSIBLE_NS)
        self._rings.clear(machine[ahead])
        for name in {self._tracks.machines[number] for number in machine[ahead].tolist()}:
            self._judge.back_at(name, int(rows.received_ns[ahead].max()))

    def _of_asked(self, batch: Readings) -> Readings:
        if not self._asked.machines:
            return batch
        wanted = np.array([name in self._asked.machines for name in batch.machines])
        return batch.where(wanted[batch.machine])

    def _judged(self, score: Score) -> Judged:
        machine, end_ns = score.due.machine, score.due.window.end_ns
        alarm = self._judge.judge(score)
        stored = self._stored.check(score)
        check = stored if self._is_whole(machine, end_ns) else Check.PARTIAL
        return Judged(score, self._judge.state(machine), alarm, check)

    def _is_asked(self, score: Score) -> bool:
        return self._asked.about(score.due.machine, score.due.window.end_ns)

    def _is_whole(self, machine: str, end_ns: int) -> bool:
        spec = self._rings.spec
        since_ns = self._whole.since_ns(self._tracks.machine_number(machine))
        return end_ns - spec.length * spec.period_ns >= since_ns


class _WholeSince:
    """From when on the readings of each machine are all here: a store deletes older ones.

    All chunks from `first_n` on are here and whole. What was deleted came before them: it is taken
    to be older than `late_ns` after a machine's first readings in these chunks, which may be late
    themselves.
    """

    def __init__(self, first_n: int, late_ns: int) -> None:
        self._first_n = first_n
        self._late_ns = late_ns
        self._since_ns = np.empty(0, np.int64)

    def took(self, n: int, machine: Int64, newest_ns: Int64) -> None:
        """Note chunk `n` with readings of `machine`s, by number; `newest_ns` is where all are."""
        more = len(newest_ns) - len(self._since_ns)
        since_ns = EVER_NS if self._first_n > 1 else -EVER_NS
        self._since_ns = np.append(self._since_ns, np.full(more, since_ns))
        if n >= self._first_n:
            fresh = np.unique(machine[self._since_ns[machine] == EVER_NS])
            fresh = fresh[newest_ns[fresh] > NEVER]
            self._since_ns[fresh] = newest_ns[fresh] + self._late_ns

    def broke(self, damage: ChunkDamagedError) -> None:
        """Note a chunk that cannot be read."""
        self._first_n = damage.n + 1
        self._since_ns[:] = EVER_NS

    def since_ns(self, machine: int) -> int:
        """Return a machine's time."""
        return int(self._since_ns[machine]) if machine < len(self._since_ns) else EVER_NS
