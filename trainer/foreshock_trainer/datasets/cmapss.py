"""NASA's C-MAPSS turbofan engines: run to failure for training, cut short for testing.

Saxena, Goebel, Simon, Eklund: Damage Propagation Modeling for Aircraft Engine Run-to-Failure
Simulation, PHM 2008; its table 2 has the sensors' names and units. A row is one flight cycle, which
counts as one hour here. The sensors are read in the middle of the cycle's hour. The cycle counter
counts a cycle when it is over: its reading is stamped with the end of that hour, as a real counter
would do it, and this is also what makes the window of a recording's last cycle due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import (
    DataError,
    DataFile,
    DataSet,
    Fleet,
    Life,
    Part,
    Sheet,
)
from foreshock_trainer.datasets.files import content
from foreshock_trainer.splits import is_validation_machine
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]

HOUR_NS: Final = 3_600_000_000_000
START_NS: Final = 1_704_067_200_000_000_000
"""2024-01-01T00:00:00Z: the recordings have no dates, and every engine begins then."""
HORIZON_H: Final = 30.0
VOUCHED: Final = ("htbleed",)
"""The bleed's enthalpy comes in whole numbers, and the highest is reached near failures alone."""
LENGTH: Final = 30
"""Cycles in a window: the shortest test engine has 31 (docs/adr/0010)."""
MODES: Final = {"FD001": "hpc_degradation", "FD003": "hpc_or_fan_degradation"}
CYCLE: Final = Channel("cycle", "cycles", Role.CONTEXT)
CHANNELS: Final = (
    Channel("altitude_setting", "1", Role.CONTEXT),
    Channel("mach_setting", "1", Role.CONTEXT),
    Channel("throttle_setting", "%", Role.CONTEXT),
    Channel("t2", "degR"),
    Channel("t24", "degR"),
    Channel("t30", "degR"),
    Channel("t50", "degR"),
    Channel("p2", "psi"),
    Channel("p15", "psi"),
    Channel("p30", "psi"),
    Channel("nf", "rpm"),
    Channel("nc", "rpm"),
    Channel("epr", "1"),
    Channel("ps30", "psi"),
    Channel("phi", "pps/psi"),
    Channel("nrf", "rpm"),
    Channel("nrc", "rpm"),
    Channel("bpr", "1"),
    Channel("farb", "1"),
    Channel("htbleed", "1"),
    Channel("nf_dmd", "rpm"),
    Channel("pcnfr_dmd", "rpm"),
    Channel("w31", "lbm/s"),
    Channel("w32", "lbm/s"),
    CYCLE,
)
"""The columns of the files after unit and cycle, and the cycle count last."""


def read_fleet(folder: Path, subset: str) -> Fleet:
    """Return the engines of a subset; the truth about the test engines is that of its RUL file.

    Raises:
        DataError: a file is missing, altered, or does not hold what it should.
    """
    train, test, left = _engines(folder, subset)
    return Fleet(
        channels=CHANNELS,
        train=tuple(_life(rows, f"{subset.lower()}-train", 0) for rows in train),
        test=tuple(
            _life(rows, f"{subset.lower()}-test", after)
            for rows, after in zip(test, left, strict=True)
        ),
        mode=MODES[subset],
        counter=CYCLE.id,
        vouched=VOUCHED,
        period_s=3600.0,
        horizon_h=HORIZON_H,
        length=LENGTH,
    )


def read_sheet(folder: Path, subset: str, seed: int) -> Sheet:
    """Return one row per cycle; answers are the cycles left, and whether 30 or fewer are.

    Raises:
        DataError: as for `read_fleet`.
    """
    del seed  # the official split draws no lots
    train, test, left = _engines(folder, subset)
    whole = np.concatenate([*train, *test])
    names = [_engine(rows, f"{subset.lower()}-train") for rows in train]
    names += [_engine(rows, f"{subset.lower()}-test") for rows in test]
    ends = [0] * len(train) + left
    counts = [len(rows) for rows in (*train, *test)]
    rul = np.concatenate([n - 1 + end - np.arange(n) for n, end in zip(counts, ends, strict=True)])
    parts = [Part.VALIDATION if is_validation_machine(n) else Part.TRAIN for n in names]
    parts[len(train) :] = [Part.TEST] * len(test)
    sensors = {one.id: whole[:, 2 + i] for i, one in enumerate(CHANNELS) if one is not CYCLE}
    return Sheet(
        columns={
            "machine": np.repeat(names, counts),
            "cycle": whole[:, 1].astype(np.int64),
            **sensors,
            "fails_within_30": rul <= HORIZON_H,
            "cycles_left": rul,
        },
        part=np.repeat(parts, counts),
        answers=("fails_within_30", "cycles_left"),
        group="machine",
        time="cycle",
        rule="test: the official test engines; validation: training engines by a hash of their id",
        embargo="none: no engine stands in two parts",
        by_group=True,
    )


def _engines(folder: Path, subset: str) -> tuple[list[Float64], list[Float64], list[int]]:
    """Return the rows of training and of test engines, and the cycles left to the latter."""
    train, test, rul = (
        _table(folder, subset, f"{part}_{subset}.txt", columns)
        for part, columns in (("train", 26), ("test", 26), ("RUL", 1))
    )
    left = rul[:, 0].astype(np.int64).tolist()
    engines = _by_engine(test)
    if len(engines) != len(left):
        raise DataError(f"{subset}: {len(engines)} test engines, but {len(left)} rows in RUL file")
    return _by_engine(train), engines, left


def _engine(rows: Float64, prefix: str) -> str:
    return f"{prefix}-{int(rows[0, 0]):03d}"


def _table(folder: Path, subset: str, name: str, columns: int) -> Float64:
    file = next(file for file in CMAPSS.files_of(subset) if file.name == name)
    text = content(folder, file).decode("ascii")
    table = np.array([row.split() for row in text.splitlines()], dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != columns:  # noqa: PLR2004 - rows and columns
        raise DataError(f"{name} has not {columns} columns in every row")
    return table


def _by_engine(table: Float64) -> list[Float64]:
    borders = np.flatnonzero(np.diff(table[:, 0])) + 1
    return np.split(table, borders)


def _life(rows: Float64, prefix: str, cycles_left: int) -> Life:
    """Return one engine's readings: cycle by cycle the sensors, then the counter."""
    cycles, sensors = len(rows), rows.shape[1] - 2
    begin_ns = START_NS + np.arange(cycles, dtype=np.int64) * HOUR_NS
    time_ns = np.repeat(begin_ns[:, None], sensors + 1, axis=1)
    time_ns[:, :sensors] += HOUR_NS // 2
    time_ns[:, sensors] += HOUR_NS
    value = np.concatenate([rows[:, 2:], rows[:, 1:2]], axis=1)
    end_ns = START_NS + cycles * HOUR_NS
    return Life(
        machine=_engine(rows, prefix),
        channel=np.tile(np.arange(sensors + 1), cycles),
        time_ns=time_ns.reshape(-1),
        value=value.astype(np.float32).reshape(-1),
        end_ns=end_ns,
        failure_ns=end_ns + cycles_left * HOUR_NS,
    )


CMAPSS: Final = DataSet(
    name="cmapss",
    title="C-MAPSS turbofan engine degradation, FD001 and FD003 (NASA)",
    page="https://data.nasa.gov/dataset/cmapss-jet-engine-simulated-data",
    download=(
        "https://phm-datasets.s3.amazonaws.com/NASA/"
        "6.+Turbofan+Engine+Degradation+Simulation+Data+Set.zip"
    ),
    licence="public NASA data, as its page has it",
    protocol=(
        "The last recorded cycle of each official test engine: does it fail within 30 cycles? The "
        "answers are in the RUL file and are read for the evaluation only. Everything that is "
        "chosen is chosen on training engines, thresholds on those of them that validate."
    ),
    tries=10,
    files=(
        DataFile(
            "train_FD001.txt",
            3_515_356,
            "963b5e22825b34d8b21c69e1aeb4af3e647050eb672ee8834ba4b5d91d2de0f8",
            "FD001",
        ),
        DataFile(
            "test_FD001.txt",
            2_228_855,
            "3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851",
            "FD001",
        ),
        DataFile(
            "RUL_FD001.txt",
            429,
            "a19c8ec94931949d0485bdc35118206e9c81c4547b422efb9cf86f4ceddbceca",
            "FD001",
        ),
        DataFile(
            "train_FD003.txt",
            4_213_862,
            "2abbe9968cc5e8eb091980f51b20f62bb4127336d3482cb52071d53bf23329e2",
            "FD003",
        ),
        DataFile(
            "test_FD003.txt",
            2_826_651,
            "299babd63c8d987cef079c4a425429f33b3a34797d803bbe2ad48c29dbd0d790",
            "FD003",
        ),
        DataFile(
            "RUL_FD003.txt",
            428,
            "df1e0566306b174a2de41c67a3e7a51877889598b78643fc3e5685259091b7cb",
            "FD003",
        ),
    ),
    fleet=read_fleet,
    sheet=read_sheet,
)
