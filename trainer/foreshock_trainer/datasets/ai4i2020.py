"""AI4I 2020: a milling machine, one row a product (UCI 601; no machine and no time is declared).

Matzka: Explainable Artificial Intelligence for Predictive Maintenance Applications, AI4I 2020, has
the three rules by which most of its failures were made.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import DataError, DataFile, DataSet, Part, Sheet
from foreshock_trainer.datasets.files import content

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]

KINDS: Final = ("L", "M", "H")
COLUMNS: Final = {
    "air_k": "Air temperature [K]",
    "process_k": "Process temperature [K]",
    "speed_rpm": "Rotational speed [rpm]",
    "torque_nm": "Torque [Nm]",
    "wear_min": "Tool wear [min]",
}
"""What is measured: our name, and the file's."""
LABEL: Final = "machine_failure"
MODES: Final = ("TWF", "HDF", "PWF", "OSF", "RNF")
TEST_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.16


@dataclass(frozen=True, slots=True)
class Table:
    """Rows without group or time: `features` float64[N, F] by `names`, and `label` bool[N]."""

    features: Float64
    names: tuple[str, ...]
    label: Bool


def read_table(folder: Path) -> tuple[Table, Float64]:
    """Return the rows with what physics says of each, and the three documented rules.

    The rules are those of the data set's own description (heat dissipation, power, overstrain),
    float64[N, 3]; the failure-mode columns are answers and are not read.

    Raises:
        DataError: the file is missing or altered.
    """
    rows = _rows(folder)
    kind = np.array([KINDS.index(row["Type"]) for row in rows])
    air, process, speed, torque, wear = _measured(rows).values()
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


def read_sheet(folder: Path, subset: str, seed: int) -> Sheet:
    """Return the rows as measured, in a stratified split drawn by `seed`.

    Raises:
        DataError: the file is missing or altered.
    """
    del subset  # there are none
    rows = _rows(folder)
    label = np.array([row["Machine failure"] == "1" for row in rows])
    modes = {mode.lower(): np.array([row[mode] == "1" for row in rows]) for mode in MODES}
    return Sheet(
        columns={
            "type": np.array([row["Type"] for row in rows]),
            **_measured(rows),
            LABEL: label,
            **modes,
        },
        part=stratified(label, seed),
        answers=(LABEL, *modes),
        group=None,
        time=None,
        rule=f"lots drawn within failures and within the others, seed {seed}: "
        f"{TEST_SHARE:.0%} test, {VALIDATION_SHARE:.0%} validation",
        embargo="none: the rows have no machine and no time",
        by_group=False,
    )


def stratified(label: Bool, seed: int) -> npt.NDArray[np.str_]:
    """Deal each class out to the parts."""
    chance = np.random.default_rng(seed)
    part = np.full(len(label), Part.TRAIN, dtype="<U10")
    for kind in (True, False):
        rows = chance.permutation(np.flatnonzero(label == kind))
        test = round(TEST_SHARE * len(rows))
        part[rows[:test]] = Part.TEST
        part[rows[test : test + round(VALIDATION_SHARE * len(rows))]] = Part.VALIDATION
    return part


def _rows(folder: Path) -> list[dict[str, str]]:
    text = content(folder, AI4I.files[0]).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows:
        raise DataError(f"{folder} holds no row of AI4I")
    return rows


def _measured(rows: list[dict[str, str]]) -> dict[str, Float64]:
    return {name: np.array([float(r[theirs]) for r in rows]) for name, theirs in COLUMNS.items()}


AI4I: Final = DataSet(
    name="ai4i2020",
    title="AI4I 2020 predictive maintenance: a simulated milling machine (UCI 601)",
    page="https://archive.ics.uci.edu/dataset/601/ai4i+2020+predictive+maintenance+dataset",
    download=(
        "https://archive.ics.uci.edu/static/public/601/ai4i+2020+predictive+maintenance+dataset.zip"
    ),
    licence="CC BY 4.0",
    protocol=(
        "20 stratified splits of the rows, which declare neither machine nor time; thresholds from "
        "inner folds of training. The columns of failure modes are answers: with them as features "
        "any figure is leakage."
    ),
    tries=2,
    files=(
        DataFile(
            "ai4i2020.csv",
            522_048,
            "dc6630cd9b1f0f853922fad78a1b6436570d3f1ec863f1dd5c4340ac56bc8a8e",
        ),
    ),
    sheet=read_sheet,
)
