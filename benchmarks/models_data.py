"""Recorded data sets as their origins publish them, from a folder: columns and nothing else."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

LOADS: Final = (0, 20, 40)
SKAB_FLOW: Final = 7
"""The column of the volume flow rate."""
VALVE_FILES: Final = 16
AZURE_ERRORS: Final = 5
AZURE_COMPONENTS: Final = 4
_AZURE_BEGIN: Final = datetime.fromisoformat("2015-01-01T00:00:00")
_AZURE_HOURS: Final = 365 * 24


@dataclass(frozen=True, slots=True)
class Table:
    """Rows without group or time: `features` float64[N, F] by `names`, and `label` bool[N]."""

    features: Float64
    names: tuple[str, ...]
    label: Bool


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


def ai4i(root: Path) -> tuple[Table, Float64]:
    """Return AI4I 2020 with what physics says of a row, and its three documented rules.

    The rules are those of the data set's own description (heat dissipation, power, overstrain),
    float64[N, 3]; the failure-mode columns are answers and are not read.
    """
    with (root / "ai4i2020" / "ai4i2020.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    kind = np.array([("L", "M", "H").index(row["Type"]) for row in rows])
    air, process, speed, torque, wear = (
        np.array([float(row[name]) for row in rows])
        for name in (
            *("Air temperature [K]", "Process temperature [K]", "Rotational speed [rpm]"),
            *("Torque [Nm]", "Tool wear [min]"),
        )
    )
    power, warming, strain = torque * speed * 2 * np.pi / 60, process - air, wear * torque
    limit = np.array([11_000, 12_000, 13_000])[kind]
    columns = {
        "kind": kind,
        "air": air,
        "process": process,
        "speed": speed,
        "torque": torque,
        "wear": wear,
        "power": power,
        "warming": warming,
        "strain": strain,
        "strain_of_limit": strain / limit,
    }
    rules = (
        (warming < 8.6) & (speed < 1380),  # noqa: PLR2004 - as documented
        (power < 3500) | (power > 9000),  # noqa: PLR2004 - as documented
        strain > limit,
    )
    label = np.array([row["Machine failure"] == "1" for row in rows])
    features = np.column_stack(list(columns.values())).astype(np.float64)
    return Table(features, tuple(columns), label), np.column_stack(rules).astype(np.float64)


def skab(root: Path) -> tuple[Float64, list[tuple[Float64, Bool]]]:
    """Return SKAB's anomaly-free record float64[N, 8], and valve1's files with their flags."""
    free, _ = _skab_file(root / "skab" / "anomaly-free" / "anomaly-free.csv")
    files = [_skab_file(root / "skab" / "valve1" / f"{i}.csv") for i in range(VALVE_FILES)]
    return free, files


def _skab_file(path: Path) -> tuple[Float64, Bool]:
    table = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=range(1, 9))
    with path.open() as lines:
        header = lines.readline().strip().split(";")
    if "anomaly" not in header:
        return table, np.zeros(len(table), np.bool_)
    flags = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=[header.index("anomaly")])
    return table, flags > 0


def gearbox(root: Path, length: int) -> tuple[Float32, Bool, Ints]:
    """Return windows float32[N, T, 4] that do not overlap, broken bool[N], and load int[N]."""
    windows, broken, load = [], [], []
    for state in "hb":
        for percent in LOADS:
            path = root / "gearbox" / f"{state}30hz{percent}.csv.gz"
            with gzip.open(path, "rt") as lines:
                rows = np.loadtxt(lines, delimiter=",", skiprows=1, dtype=np.float32)
            count = len(rows) // length
            windows.append(rows[: count * length].reshape(count, length, -1))
            broken += [state == "b"] * count
            load += [percent] * count
    return np.concatenate(windows), np.array(broken), np.array(load)


def azure(root: Path) -> Days:
    """Return the Azure predictive-maintenance record by day; a day runs 07:00 to 06:00."""
    folder = root / "azure_pdm"
    with gzip.open(folder / "PdM_telemetry_DAILY_MEAN.csv.gz", "rt", newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    machine = np.array([int(row[0]) for row in rows])
    day = np.array([round(_hours(row[1])) // 24 for row in rows])
    end_h = day * 24.0 + 30
    failures = _events(folder / "PdM_failures.csv")
    errors = _events(folder / "PdM_errors.csv")
    services = _events(folder / "PdM_maint.csv")
    counts, since, lead = _empty(len(rows), AZURE_ERRORS), _empty(len(rows), AZURE_COMPONENTS), []
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
    return Days(machine, day, telemetry, counts, since, np.array(lead), end_h <= _AZURE_HOURS - 72)


def _empty(rows: int, columns: int) -> Float64:
    return np.zeros((rows, columns))


def _hours(text: str) -> float:
    return (datetime.fromisoformat(text) - _AZURE_BEGIN).total_seconds() / 3600


def _events(path: Path) -> dict[int, list[tuple[float, int]]]:
    """Return each machine's events in order: hour, and the number at the end of its name less 1."""
    with path.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    found: dict[int, list[tuple[float, int]]] = {}
    for when, machine, what in rows:
        found.setdefault(int(machine), []).append((_hours(when), int(what[-1]) - 1))
    return {name: sorted(events) for name, events in found.items()}
