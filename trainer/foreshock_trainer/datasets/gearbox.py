"""A gearbox on a test bench: four accelerometers, a healthy and a broken tooth, three loads."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import DataFile, DataSet, Part, Sheet
from foreshock_trainer.datasets.files import content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

LOADS: Final = (0, 20, 40)
CHANNELS: Final = ("a1", "a2", "a3", "a4")
VALIDATION_SHARE: Final = 0.2
EMBARGO_ROWS: Final = 512
TEST_LOAD: Final = 40


def read_windows(folder: Path, length: int) -> tuple[Float32, Bool, Ints]:
    """Return windows float32[N, T, 4] that do not overlap, broken bool[N], and load int[N].

    Raises:
        DataError: a file is missing or altered.
    """
    windows, broken, load = [], [], []
    for state, percent, rows in _records(folder):
        count = len(rows) // length
        windows.append(rows[: count * length].reshape(count, length, -1))
        broken += [state == "b"] * count
        load += [percent] * count
    return np.concatenate(windows), np.array(broken), np.array(load)


def read_sheet(folder: Path, subset: str, seed: int) -> Sheet:
    """Return every sample; one load is left out for the test.

    Raises:
        DataError: a file is missing or altered.
    """
    del subset, seed  # there are none, and no lots are drawn
    records = list(_records(folder))
    counts = [len(rows) for _, _, rows in records]
    values = np.concatenate([rows for _, _, rows in records])
    load = np.repeat([percent for _, percent, _ in records], counts)
    return Sheet(
        columns={
            "record": np.repeat([f"{state}{percent}" for state, percent, _ in records], counts),
            "sample": np.concatenate([np.arange(count) for count in counts]),
            "load_percent": load,
            **{name: values[:, i] for i, name in enumerate(CHANNELS)},
            "broken": np.repeat([state == "b" for state, _, _ in records], counts),
        },
        part=np.concatenate([_parts(percent, len(rows)) for _, percent, rows in records]),
        answers=("broken", "record"),
        group="record",
        time="sample",
        rule=f"test: {TEST_LOAD} % load; of the other records the last {VALIDATION_SHARE:.0%} "
        "validates",
        embargo=f"{EMBARGO_ROWS} samples between training and validation stand in neither",
        by_group=False,
    )


def _parts(percent: int, count: int) -> npt.NDArray[np.str_]:
    if percent == TEST_LOAD:
        return np.full(count, Part.TEST, dtype="<U10")
    part = np.full(count, Part.TRAIN, dtype="<U10")
    begin = count - round(VALIDATION_SHARE * count)
    part[begin - EMBARGO_ROWS : begin] = Part.NONE
    part[begin:] = Part.VALIDATION
    return part


def _records(folder: Path) -> Iterator[tuple[str, int, Float32]]:
    """Yield state (h or b), load in percent, and float32[N, 4] of each file."""
    for state in "hb":
        for percent in LOADS:
            name = f"{state}30hz{percent}.csv"
            file = next(file for file in GEARBOX.files if file.name == name)
            lines = io.StringIO(content(folder, file).decode())
            yield state, percent, np.loadtxt(lines, delimiter=",", skiprows=1, dtype=np.float32)


GEARBOX: Final = DataSet(
    name="gearbox",
    title="Gearbox fault diagnosis: vibration at 30 Hz, healthy and with a broken tooth",
    page="https://www.kaggle.com/datasets/brjapon/gearbox-fault-diagnosis",
    download=None,
    licence="CC BY-SA, as its page has it",
    protocol=(
        "Leave one load out: trained on two loads, judged on the third, in windows that do not "
        "overlap."
    ),
    tries=2,
    files=(
        DataFile(
            "h30hz0.csv",
            3_091_787,
            "13f3e9c67771d5f2b8aa7318903b0bb27e3f13c7d25944267b24f7fae2427ffe",
        ),
        DataFile(
            "h30hz20.csv",
            3_765_949,
            "d98998e2dca537ebc6017cde54f623345fc871b0dea832e8062d31106af60ad1",
        ),
        DataFile(
            "h30hz40.csv",
            3_465_828,
            "3c577c3392754bf5b80792112e7b66c597f53e6a8c23876537ee9eb1ed0bbefd",
        ),
        DataFile(
            "b30hz0.csv",
            3_075_743,
            "e043099ac475cae4747b4fb0fd2c879f604b2a4005107bafe4df50b1bc94d423",
        ),
        DataFile(
            "b30hz20.csv",
            3_973_449,
            "15bc522b76f07bba34a51d2eeea516f699a7ad2b1930442761aa67115d8c136e",
        ),
        DataFile(
            "b30hz40.csv",
            3_260_847,
            "70203aa7837c93ff3ce8825fa33c047e1243a48ea4db56b8e973f2b48cd01454",
        ),
    ),
    sheet=read_sheet,
)
