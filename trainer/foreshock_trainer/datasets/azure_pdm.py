"""Azure predictive maintenance: 100 machines for a year, with logs of errors, services, failures.

The telemetry here is a condensed copy of the published hourly file, which is too large to pass on:
its daily means, where a day runs from 07:00 to 06:00.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import DataFile, DataSet, Part, Sheet
from foreshock_trainer.datasets.files import content
from foreshock_trainer.splits import is_test_machine, is_validation_machine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

TELEMETRY: Final = ("volt", "rotate", "pressure", "vibration")
ERRORS: Final = 5
COMPONENTS: Final = 4
SOON_H: Final = 24.0
FARTHEST_H: Final = 72
"""A day counts when what follows for so long lies within the record."""
DAILY: Final = "PdM_telemetry_DAILY_MEAN.csv"
_BEGIN: Final = datetime.fromisoformat("2015-01-01T00:00:00")
_HOURS: Final = 365 * 24


@dataclass(frozen=True, slots=True)
class Days:
    """One row per machine and day; decisions fall when the day is over.

    `machine` int[N]; `day` int[N]; `telemetry` float64[N, 4]; `errors` float64[N, 5] of the day;
    `since_h` float64[N, 4] hours since each component was replaced; `lead_h` float64[N] hours to
    the next failure (inf: none); `known` bool[N]: the outcome lies within the record.
    """

    machine: Ints
    day: Ints
    telemetry: Float64
    errors: Float64
    since_h: Float64
    lead_h: Float64
    known: Bool


def read_days(folder: Path) -> Days:
    """Return the record by day.

    Raises:
        DataError: a file is missing or altered.
    """
    rows = _rows(folder, DAILY)
    machine = np.array([int(row[0]) for row in rows])
    day = np.array([round(_hours(row[1])) // 24 for row in rows])
    end_h = day * 24.0 + 30
    failures, errors, services = (
        _events(folder, f"PdM_{name}.csv") for name in ("failures", "errors", "maint")
    )
    counts, since = np.zeros((len(rows), ERRORS)), np.zeros((len(rows), COMPONENTS))
    lead = []
    for i, (name, at) in enumerate(zip(machine.tolist(), end_h.tolist(), strict=True)):
        for hour, what in errors.get(name, ()):
            counts[i, what] += at - 24 < hour <= at
        for hour, what in services.get(name, ()):
            if hour <= at:
                since[i, what] = at - hour
        lead.append(
            min((hour - at for hour, _ in failures.get(name, ()) if hour > at), default=np.inf)
        )
    telemetry = np.array([[float(value) for value in row[2:]] for row in rows])
    known = end_h <= _HOURS - FARTHEST_H
    return Days(machine, day, telemetry, counts, since, np.array(lead), known)


def read_sheet(folder: Path, subset: str, seed: int) -> Sheet:
    """Return the days, parted by machine.

    Raises:
        DataError: a file is missing or altered.
    """
    del subset, seed  # there are none, and no lots are drawn
    days = read_days(folder)
    names = np.array([f"azure-{number:03d}" for number in days.machine])
    part_of = {name: _part(name) for name in np.unique(names).tolist()}
    part = np.array([part_of[name] for name in names.tolist()])
    return Sheet(
        columns={
            "machine": names,
            "day": days.day,
            **{name: days.telemetry[:, i] for i, name in enumerate(TELEMETRY)},
            **{f"errors_{i + 1}": days.errors[:, i] for i in range(ERRORS)},
            **{f"since_service_{i + 1}_h": days.since_h[:, i] for i in range(COMPONENTS)},
            "fails_within_24h": days.lead_h <= SOON_H,
            "lead_h": days.lead_h,
        },
        part=np.where(days.known, part, Part.NONE),
        answers=("fails_within_24h", "lead_h"),
        group="machine",
        time="day",
        rule="test and validation machines by hashes of their ids",
        embargo=f"none between machines; days whose next {FARTHEST_H} h lie beyond the record are "
        "left out",
        by_group=True,
    )


def _part(machine: str) -> Part:
    if is_test_machine(machine):
        return Part.TEST
    return Part.VALIDATION if is_validation_machine(machine) else Part.TRAIN


def _rows(folder: Path, name: str) -> list[list[str]]:
    file = next(file for file in AZURE.files if file.name == name)
    return list(csv.reader(io.StringIO(content(folder, file).decode())))[1:]


def _hours(text: str) -> float:
    return (datetime.fromisoformat(text) - _BEGIN).total_seconds() / 3600


def _events(folder: Path, name: str) -> dict[int, list[tuple[float, int]]]:
    """Return each machine's events in order: hour, and the number at the end of its name less 1."""
    found: dict[int, list[tuple[float, int]]] = {}
    for when, machine, what in _rows(folder, name):
        found.setdefault(int(machine), []).append((_hours(when), int(what[-1]) - 1))
    return {name: sorted(events) for name, events in found.items()}


AZURE: Final = DataSet(
    name="azure_pdm",
    title="Microsoft Azure predictive maintenance: 100 machines for a year, by day",
    page="https://www.kaggle.com/datasets/arnabbiswas1/microsoft-azure-predictive-maintenance",
    download=None,
    licence="not stated by its page",
    protocol=(
        "Split by machine, one decision a day at its end, days of unknown outcome left out. Errors "
        "name a failure a day ahead; the sensors say nothing earlier than 48 h before one. "
        f"{DAILY} is a condensed copy of the published hourly telemetry."
    ),
    tries=14,
    files=(
        DataFile(
            "PdM_telemetry_DAILY_MEAN.csv",
            3_195_240,
            "99232e3b830689b425931964a829fde8c295b60e6c11d163d5e450dd23daee7b",
        ),
        DataFile(
            "PdM_failures.csv",
            24_336,
            "0c6c31a4fd52ef2df95ad7c44e8b0c8c32917bcef29ba5a1ba3ba45531ded3b7",
        ),
        DataFile(
            "PdM_errors.csv",
            129_077,
            "9c2a2a010ad77227e2bb0c94e7971bca78810790ddd1f28a8bee4f12c2f62370",
        ),
        DataFile(
            "PdM_maint.csv",
            104_903,
            "481ed4e155f609e6ca6130754d2c035453093902a507cce5b3f3e235995f1db6",
        ),
    ),
    sheet=read_sheet,
)
