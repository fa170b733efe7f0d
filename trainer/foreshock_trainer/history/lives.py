"""A table read as a plan says -> each machine's rows in order of time.

Pure. Bad rows are counted and left out, and disturb nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_trainer.history.plan import HistoryError
from foreshock_trainer.history.times import UNREADABLE, utc_ns
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_trainer.history.plan import Plan

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

GAP: Final = 10
"""A step this many times the usual one is a hole in a machine's record."""
LONGEST_ID: Final = 63
_FOREIGN: Final = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found: rows that were read, and rows and cells that were left out, by reason.

    Of rows with the same machine and time the first stays; `contradictions` are those of the
    `duplicates` that say something else. A gap is `GAP` usual steps long or longer.
    """

    rows: int
    unreadable_times: int
    nameless: int
    duplicates: int
    contradictions: int
    missing_cells: int
    gaps: int
    longest_gap_s: float


NOTHING: Final = Counts(0, 0, 0, 0, 0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Lives:
    """Rows by machine and time: `machine` int64[N] indexes `machines`; `time_ns` int64[N].

    `values` float32[N, C] by the plan's sensors, NaN where a cell is missing; `row` int64[N] is
    where each stood in the file.
    """

    machines: tuple[str, ...]
    machine: Int64
    time_ns: Int64
    values: Float32
    row: Int64
    counts: Counts = NOTHING

    def spans(self) -> Iterator[tuple[str, slice]]:
        """Yield each machine that has rows, with these."""
        borders = np.searchsorted(self.machine, np.arange(len(self.machines) + 1)).tolist()
        for i, name in enumerate(self.machines):
            if borders[i] < borders[i + 1]:
                yield name, slice(borders[i], borders[i + 1])

    def steps_ns(self) -> Int64:
        """Return the times between a machine's neighbouring rows."""
        steps: Int64 = np.diff(self.time_ns)[self.machine[1:] == self.machine[:-1]]
        return steps

    @property
    def step_ns(self) -> int:
        """The usual one of these, 0 when no machine has two rows."""
        steps = self.steps_ns()
        return int(np.median(steps)) if len(steps) else 0


def id_of(text: str) -> str:
    """Return a name as an id: lower case, other characters as hyphens."""
    return _FOREIGN.sub("-", text.strip().lower()).strip("-._")[:LONGEST_ID]


def names_of(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Int64]:
    """Return the ids of a machine column, sorted, and which one each row is of (-1: none).

    Raises:
        HistoryError: two different names become the same id, or one becomes none.
    """
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    given = encoded.dictionary.to_pylist()
    ids = [id_of(name) for name in given]
    if taken := [one for one, count in Counter(ids).items() if count > 1 or not one]:
        alike = ", ".join(repr(n) for n, i in zip(given, ids, strict=True) if i == taken[0])
        raise HistoryError(
            f"machines {alike} cannot be told apart as ids (a-z 0-9 _ . -): rename them in the file"
        )
    names = tuple(sorted(check_id(one, "machine") for one in ids))
    place = np.array([*(names.index(one) for one in ids), -1], np.int64)
    return names, place[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]


def lives_of(table: pa.Table, plan: Plan) -> Lives:
    """Return the rows that a table holds, without what happened.

    Raises:
        HistoryError: nothing is left, or a column is not what the plan says.
    """
    names, machine = _machines(table, plan)
    time_ns = utc_ns(table[plan.time], plan.time_format)
    timeless, nameless = time_ns == UNREADABLE, machine < 0
    good = np.flatnonzero(~timeless & ~nameless)
    order = good[np.lexsort((time_ns[good], machine[good]))]
    if not len(order):
        raise HistoryError(f"no row has a machine and a time: is {plan.time!r} the time?")
    values = np.column_stack([_floats(table, one.column) for one in plan.sensors])
    again = _as_before(machine[order]) & _as_before(time_ns[order])
    other = again & ~_same_values(values[order])
    kept = order[~again]
    found = Lives(names, machine[kept], time_ns[kept], values[kept], kept)
    steps = found.steps_ns()
    return replace(
        found,
        counts=Counts(
            rows=len(table),
            unreadable_times=int(timeless.sum()),
            nameless=int(nameless.sum()),
            duplicates=int(again.sum()),
            contradictions=int(other.sum()),
            missing_cells=int(np.isnan(found.values).sum()),
            gaps=int((steps > GAP * found.step_ns).sum()),
            longest_gap_s=float(steps.max(initial=0)) / 1e9,
        ),
    )


def _machines(table: pa.Table, plan: Plan) -> tuple[tuple[str, ...], Int64]:
    if plan.machine:
        return names_of(table[plan.machine])
    return (plan.only,), np.zeros(len(table), np.int64)


def _floats(table: pa.Table, name: str) -> Float32:
    """Return a column as float32, NaN where it is no finite number."""
    column = table[name]
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise HistoryError(f"column {name!r} holds {kind}, not numbers: leave it out (--without)")
    with np.errstate(over="ignore"):
        values = column.cast(pa.float64()).to_numpy().astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _as_before(values: Int64) -> Bool:
    same = np.zeros(len(values), np.bool_)
    same[1:] = values[1:] == values[:-1]
    return same


def _same_values(values: Float32) -> Bool:
    same = np.zeros(len(values), np.bool_)
    both = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    same[1:] = both.all(axis=1)
    return same
