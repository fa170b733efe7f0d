"""From a file to figures: read, propose, put into a lake, train, write the page. Resumable.

`propose` says what would be done; `run` does it. Everything is written below a folder that is named
by what was asked: the same question goes on where it stopped, another one begins beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from foreshock_trainer.datasets.fetch import put
from foreshock_trainer.history import propose as guess
from foreshock_trainer.history.happenings import labels_of
from foreshock_trainer.history.into_lake import put_history
from foreshock_trainer.history.lives import Lives, lives_of
from foreshock_trainer.history.plan import (
    Cut,
    FailureKind,
    FailureRule,
    HistoryError,
    Plan,
    fingerprint,
)
from foreshock_trainer.history.tables import read, sum_of
from foreshock_trainer.history.times import given
from foreshock_trainer.history.times import guess as guess_time
from foreshock_trainer.labels import Kind, Label
from foreshock_trainer.lake import Lake
from foreshock_trainer.page import page
from foreshock_trainer.retrain import retrain
from foreshock_trainer.settings import RetrainSettings, parse_channel
from foreshock_trainer.splits import split_machines
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from foreshock_trainer.examples import Progress
    from foreshock_trainer.history.plan import Sensor, TimeFormat
    from foreshock_trainer.history.propose import LeftOut

FEWEST: Final = 10
"""Fewer failures give figures that say next to nothing: it is told."""
LAKE, TRACKING, PLAN, RESULT, PAGE = "lake", "models", "plan.json", "report.json", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person said about a file; None and "" leave it to the proposal."""

    file: Path
    machine: str | None = None
    machine_name: str | None = None
    time: str | None = None
    time_format: str = ""
    time_zone: str = "UTC"
    step_s: float = 3600.0
    sensors: tuple[Sensor, ...] = ()
    without: tuple[str, ...] = ()
    failure: tuple[str, tuple[str, ...]] | None = None
    failures: Path | None = None
    run_to_failure: bool = False
    maintenance: Path | None = None
    period_s: float | None = None
    length: int | None = None
    horizon_h: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan with what it finds in the file; `key` names it among other plans and files."""

    plan: Plan
    cut: Cut
    left_out: tuple[LeftOut, ...]
    lives: Lives
    labels: tuple[Label, ...]
    key: str

    @property
    def failed(self) -> dict[str, int]:
        """How often each machine failed."""
        counts = {name: 0 for name, _ in self.lives.spans()}
        for label in self.labels:
            if label.kind is Kind.FAILURE:
                counts[label.machine] += 1
        return counts

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "plan": self.plan.as_json(),
            "cut": asdict(self.cut),
            "left_out": [asdict(one) for one in self.left_out],
            "counts": asdict(self.lives.counts),
            "machines": len(self.failed),
            "failures": sum(self.failed.values()),
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import left: the page, and the result as `retrain --json` tells it."""

    page: Path
    lake: Path
    tracking: Path
    result: dict[str, Any]
    readings: int
    resumed: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "page": str(self.page),
            "lake": str(self.lake),
            "tracking": str(self.tracking),
            "resumed": self.resumed,
            "readings": self.readings,
            "result": self.result,
        }


def proposal(asked: Asked) -> Proposal:
    """Read a file and say what it seems to hold.

    Raises:
        HistoryError: what is needed is not there, or not clear; says which option tells it.
    """
    table = read(asked.file)
    lists = {str(file): read(file) for file in (asked.failures, asked.maintenance) if file}
    machine, time = _machine(asked, table), _time(asked, table)
    failures = _failure_rule(asked, table)
    used = {machine, time, failures.column} - {""}
    chosen, left = guess.sensors(table, used, asked.without)
    plan = Plan(
        machine=machine,
        only=asked.machine_name or "",
        time=time,
        time_format=_time_format(asked, time, table),
        sensors=_named(asked, table) or chosen,
        failures=failures,
        maintenance=str(asked.maintenance or ""),
    )
    if not plan.sensors:
        raise HistoryError(f"{asked.file} has no column of numbers that could be a sensor")
    lives = lives_of(table, plan)
    labels = labels_of(lives, plan, table, lists)
    cut = _cut(asked, lives, labels)
    files = {"history": asked.file, "failures": asked.failures, "maintenance": asked.maintenance}
    sums = {name: sum_of(file) for name, file in files.items() if file}
    return Proposal(plan, cut, left, lives, labels, fingerprint(plan, cut, sums))


def refuse_too_little(found: Proposal) -> None:
    """Raise unless training, validation and test machines all hold a failure.

    Raises:
        HistoryError: says what there is too little of.
        SplitError: there are too few machines to split.
    """
    failed = found.failed
    if not sum(failed.values()):
        raise HistoryError(
            "no machine failed in this history: a model cannot learn from that. Name the column of "
            "failures with --failure, a list of them with --failures, or say --run-to-failure"
        )
    split = split_machines(failed)
    for name in ("train", "validation", "test"):
        machines = getattr(split, name)
        if not sum(failed[machine] for machine in machines):
            raise HistoryError(
                f"too few failures: {sum(failed.values())} on {len(failed)} machines, and none of "
                f"the {len(machines)} {name} machines ({', '.join(machines[:5])}) ever failed. "
                "Bring a longer history, or more machines"
            )


def run(
    found: Proposal,
    out: Path,
    *,
    vouched: tuple[str, ...] = (),
    say: Callable[[str], object] = lambda _: None,
    progress: Progress | None = None,
    rows: Callable[[int], object] = lambda _: None,
) -> Imported:
    """Put the history into a lake below `out`, train on it, and write the page of its figures.

    Raises:
        ForeshockError: it holds too little, the split leaks, or a folder cannot be written.
    """
    refuse_too_little(found)
    folder = out / found.key
    result, lake = folder / RESULT, folder / LAKE
    if result.exists():
        known = json.loads(result.read_text(encoding="utf-8"))
        return Imported(folder / PAGE, lake, folder / TRACKING, known, 0, resumed=True)
    put(folder / PLAN, json.dumps(found.as_json(), indent=2).encode())
    channels = tuple(parse_channel(sensor.channel) for sensor in found.plan.sensors)
    ids = [channel.id for channel in channels]
    readings = put_history(Lake(str(lake), create=True), found.lives, ids, found.labels, rows)
    say(f"{readings:,} readings are new in the lake")
    settings = RetrainSettings(
        lake=str(lake),
        tracking=folder / TRACKING,
        channels=channels,
        vouched=vouched,
        promote=True,
        **asdict(found.cut),
    )
    outcome = retrain(settings, say, progress)
    for line in outcome.lines():
        say(line)
    put(folder / PAGE, page(outcome).encode())
    put(result, json.dumps(outcome.as_json(), indent=2).encode())
    return Imported(
        folder / PAGE, lake, folder / TRACKING, outcome.as_json(), readings, resumed=False
    )


def _machine(asked: Asked, table: pa.Table) -> str:
    if asked.machine_name:
        check_id(asked.machine_name, "machine")
        return ""
    name = asked.machine or guess.machine_column(table)
    if name is None:
        raise HistoryError(
            f"{asked.file} has no column that looks like a machine's name (there are "
            f"{', '.join(table.column_names)}): name it with --machine, or say --machine-name NAME "
            "if the file is all of one machine"
        )
    return _there(name, table, "--machine")


def _time(asked: Asked, table: pa.Table) -> str:
    name = asked.time or guess.time_column(table)
    if name is None:
        raise HistoryError(
            f"{asked.file} has no column that looks like a time (there are "
            f"{', '.join(table.column_names)}): name it with --time; a counter of cycles will do"
        )
    return _there(name, table, "--time")


def _time_format(asked: Asked, time: str, table: pa.Table) -> TimeFormat:
    if asked.time_format:
        return given(asked.time_format, asked.time_zone, asked.step_s)
    found = guess_time(time, table[time], asked.time_zone)
    return given("counter", "UTC", asked.step_s) if found.kind == "counter" else found


def _failure_rule(asked: Asked, table: pa.Table) -> FailureRule:
    if asked.failures:
        return FailureRule(FailureKind.LIST, file=str(asked.failures))
    if asked.run_to_failure:
        return FailureRule(FailureKind.AT_THE_END)
    if asked.failure:
        column, values = asked.failure
        values = values or guess.down_values(table[_there(column, table, "--failure")])
        if not values:
            raise HistoryError(
                f"which values of {column!r} mean down? say --failure {column}=VALUE"
            )
        return FailureRule(FailureKind.FLAG, _there(column, table, "--failure"), values)
    if found := guess.failure_rule(table):
        return found
    raise HistoryError(
        f"{asked.file} has no column that tells of failures: name it with --failure COLUMN=VALUE, "
        "give a list of machine,time with --failures FILE, or say --run-to-failure if every "
        "machine's last row is its failure"
    )


def _named(asked: Asked, table: pa.Table) -> tuple[Sensor, ...]:
    for sensor in asked.sensors:
        _there(sensor.column, table, "--sensor")
    return asked.sensors


def _there(name: str, table: pa.Table, option: str) -> str:
    if name not in table.column_names:
        raise HistoryError(f"{option} {name!r} is no column: there are {table.column_names}")
    return name


def _cut(asked: Asked, lives: Lives, labels: tuple[Label, ...]) -> Cut:
    begin = {name: int(lives.time_ns[rows][0]) for name, rows in lives.spans()}
    lived = []
    for label in labels:
        if label.kind is Kind.FAILURE and label.time_ns > begin[label.machine]:
            lived.append((label.time_ns - begin[label.machine]) / 1e9)
            begin[label.machine] = label.time_ns
    found = guess.cut(lives.step_ns / 1e9, lived, asked.horizon_h)
    return Cut(
        asked.period_s or found.period_s,
        asked.length or found.length,
        found.stride,
        found.horizon_h,
    )
