"""What happened to the machines of a history: failures, repairs, services, and how far it is told.

Pure. A history vouches for all its machines: one without a failure did not fail in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_trainer.history.lives import id_of, names_of
from foreshock_trainer.history.plan import FailureKind, HistoryError
from foreshock_trainer.history.propose import machine_column, time_column
from foreshock_trainer.history.times import UNREADABLE, guess, utc_ns
from foreshock_trainer.labels import Kind, Label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from foreshock_trainer.history.lives import Lives
    from foreshock_trainer.history.plan import FailureRule, Plan

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

UNNAMED: Final = "failure"
"""The mode of a failure of which no more is known."""
MODE_COLUMNS: Final = ("failure", "mode", "component", "comp", "cause", "type")


def labels_of(
    lives: Lives, plan: Plan, table: pa.Table, lists: Mapping[str, pa.Table]
) -> tuple[Label, ...]:
    """Return what happened, by machine and time.

    Args:
        lives: the rows of the history.
        plan: how it is read.
        table: the file's columns.
        lists: the tables of failures and of maintenance that the plan names, by file.

    Raises:
        HistoryError: a column or a list is not what the plan says.
    """
    failures = list(_failures(lives, plan, table, lists))
    told = [*failures]
    if plan.maintenance:
        told += _listed(lives, plan, lists[plan.maintenance], Kind.MAINTENANCE)
    last = {one.machine: one.time_ns for one in sorted(failures, key=lambda one: one.time_ns)}
    for name, rows in lives.spans():
        begin, end = (int(ns) for ns in lives.time_ns[rows][[0, -1]])
        told.append(Label(name, begin - lives.step_ns, Kind.INSTALLED))
        told.append(Label(name, max(end, last.get(name, end)), Kind.OBSERVED_UNTIL))
    return tuple(sorted(dict.fromkeys(told), key=lambda one: (one.machine, one.time_ns, one.kind)))


def _failures(
    lives: Lives, plan: Plan, table: pa.Table, lists: Mapping[str, pa.Table]
) -> Iterator[Label]:
    rule = plan.failures
    if rule.kind is FailureKind.LIST:
        failures = _listed(lives, plan, lists[rule.file], Kind.FAILURE)
        yield from failures
        yield from _running_again(lives, failures)
    elif rule.kind is FailureKind.AT_THE_END:
        for name, rows in lives.spans():
            yield Label(name, int(lives.time_ns[rows][-1]) + lives.step_ns, Kind.FAILURE, UNNAMED)
    else:
        down = _down(table, rule)[lives.row]
        for name, rows in lives.spans():
            yield from _runs(name, lives.time_ns[rows], down[rows])


def _running_again(lives: Lives, failures: list[Label]) -> Iterator[Label]:
    """Yield a repair at a machine's first row after each failure: it sends, so it runs again."""
    rows_of = dict(lives.spans())
    for failure in failures:
        time_ns = lives.time_ns[rows_of[failure.machine]]
        at = np.searchsorted(time_ns, failure.time_ns, side="right")
        if at < len(time_ns):
            yield Label(failure.machine, int(time_ns[at]), Kind.REPAIRED)


def _down(table: pa.Table, rule: FailureRule) -> Bool:
    """Return the rows bool[N] in which a machine is down."""
    column = table[rule.column]
    if rule.kind is FailureKind.REMAINING:
        left = column.cast(pa.float64()).to_numpy()
        return np.asarray(left <= 0)
    told = pc.is_in(column.cast(pa.string()), pa.array(rule.values))
    return np.asarray(told.to_numpy(), np.bool_)


def _runs(name: str, time_ns: Int64, down: Bool) -> Iterator[Label]:
    """Yield a failure where a run of down rows begins, and the repair where it ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], down, [False]]).astype(np.int8)))
    for begin, end in edges.reshape(-1, 2):
        yield Label(name, int(time_ns[begin]), Kind.FAILURE, UNNAMED)
        if end < len(time_ns):
            yield Label(name, int(time_ns[end]), Kind.REPAIRED)


def _listed(lives: Lives, plan: Plan, table: pa.Table, kind: Kind) -> list[Label]:
    """Return the events of a list; a machine that the history does not know is left out."""
    column, known = machine_column(table), {name for name, _ in lives.spans()}
    time = time_column(table)
    if time is None or (column is None and plan.machine):
        raise HistoryError(
            f"a list of {kind} needs a column of machines and one of times, like machine,time: it "
            f"has {', '.join(table.column_names)}"
        )
    names, machine = (
        names_of(table[column]) if column else ((plan.only,), np.zeros(len(table), np.int64))
    )
    when = utc_ns(table[time], guess(time, table[time], plan.time_format.zone))
    modes = _modes(table, {column, time})
    return [
        Label(names[m], at, kind, mode or UNNAMED)
        for m, at, mode in zip(machine.tolist(), when.tolist(), modes, strict=True)
        if m >= 0 and at != UNREADABLE and names[m] in known
    ]


def _modes(table: pa.Table, used: set[str | None]) -> list[str]:
    for name in table.column_names:
        if name not in used and name.strip().lower() in MODE_COLUMNS:
            return [id_of(text or "") for text in table[name].cast(pa.string()).to_pylist()]
    return [""] * len(table)
