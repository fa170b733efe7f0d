"""SKAB: a water pump bench, about one row a second, with anomalies that people made (valve 1).

Katser, Kozitsin: Skoltech Anomaly Benchmark (SKAB), 2020. Of its three parts this is one, with the
record that is free of anomalies.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import DataError, DataFile, DataSet, Part, Sheet
from foreshock_trainer.datasets.files import content

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]

FREE: Final = "anomaly-free/anomaly-free.csv"
VALVE_FILES: Final = 16
CHANNELS: Final = (
    "accelerometer_1_g",
    "accelerometer_2_g",
    "current_a",
    "pressure_bar",
    "temperature_degc",
    "thermocouple_degc",
    "voltage_v",
    "flow_l_per_min",
)
FLOW: Final = CHANNELS.index("flow_l_per_min")
VALIDATION_SHARE: Final = 0.2
EMBARGO_ROWS: Final = 60


def read_records(folder: Path) -> tuple[Float64, list[tuple[Float64, Bool]]]:
    """Return the anomaly-free record float64[N, 8], and valve 1's files with their flags.

    Raises:
        DataError: a file is missing or altered.
    """
    free = _values(_rows(folder, FREE))
    valves = [_rows(folder, _valve(i)) for i in range(VALVE_FILES)]
    return free, [(_values(rows), _flags(rows, "anomaly")) for rows in valves]


def read_sheet(folder: Path, subset: str, seed: int) -> Sheet:
    """Return every second: trained on what is free of anomalies, tested on valve 1.

    Raises:
        DataError: a file is missing or altered.
    """
    del subset, seed  # there are none, and no lots are drawn
    names = [FREE, *(_valve(i) for i in range(VALVE_FILES))]
    files = [_rows(folder, name) for name in names]
    counts = [len(rows) for rows in files]
    values = np.concatenate([_values(rows) for rows in files])
    flags = {
        name: np.concatenate([_flags(rows, name) for rows in files])
        for name in ("anomaly", "changepoint")
    }
    part = np.full(len(values), Part.TEST, dtype="<U10")
    part[: counts[0]] = _parts_of_free(counts[0])
    return Sheet(
        columns={
            "record": np.repeat(names, counts),
            "time": np.array([row["datetime"] for rows in files for row in rows]),
            **{name: values[:, i] for i, name in enumerate(CHANNELS)},
            **flags,
        },
        part=part,
        answers=tuple(flags),
        group="record",
        time="time",
        rule=f"test: the {VALVE_FILES} files of valve 1; the anomaly-free record trains, and its "
        f"last {VALIDATION_SHARE:.0%} validates",
        embargo=f"{EMBARGO_ROWS} rows between training and validation stand in neither",
        by_group=False,
    )


def _parts_of_free(count: int) -> npt.NDArray[np.str_]:
    part = np.full(count, Part.TRAIN, dtype="<U10")
    begin = count - round(VALIDATION_SHARE * count)
    part[begin - EMBARGO_ROWS : begin] = Part.NONE
    part[begin:] = Part.VALIDATION
    return part


def _valve(number: int) -> str:
    return f"valve1/{number}.csv"


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    file = next(file for file in SKAB.files if file.name == name)
    rows = list(csv.DictReader(io.StringIO(content(folder, file).decode()), delimiter=";"))
    if not rows or len(rows[0]) < 1 + len(CHANNELS):
        raise DataError(f"{name} has not the {1 + len(CHANNELS)} columns of SKAB")
    return rows


def _values(rows: list[dict[str, str]]) -> Float64:
    """Return the columns after the time, in the file's order, which is that of `CHANNELS`."""
    return np.array([list(row.values())[1 : 1 + len(CHANNELS)] for row in rows], np.float64)


def _flags(rows: list[dict[str, str]], name: str) -> Bool:
    return np.array([float(row.get(name, 0.0)) > 0 for row in rows])


SKAB: Final = DataSet(
    name="skab",
    title="Skoltech Anomaly Benchmark: a water pump bench, anomaly-free and valve 1",
    page="https://github.com/waico/SKAB",
    download="https://github.com/waico/SKAB/archive/refs/heads/master.zip",
    licence="GPL-3.0",
    protocol=(
        "Learnt on the anomaly-free record alone, limits included; judged on every second of the "
        "16 files of valve 1. It is one of three parts: not comparable with the leaderboard."
    ),
    tries=53,
    files=(
        DataFile(
            "anomaly-free/anomaly-free.csv",
            814_703,
            "7641a8742957100ef424dd97adfb3eeab27d4d180645fe2b3c49b7f7146ae9a6",
        ),
        DataFile(
            "valve1/0.csv",
            110_346,
            "16af3f71313a23dd33d9b7b8065d836d05c3f9257588881cc7fbe07c076d9dc8",
        ),
        DataFile(
            "valve1/1.csv",
            110_330,
            "fe4493bf805baef4e6dfb864094275d8cc2ea80a16b3735e2752b18b6aefd812",
        ),
        DataFile(
            "valve1/2.csv",
            103_507,
            "90492413469261886c8896c327241448df5da73fd7739cabfec8dd82de3c0ce4",
        ),
        DataFile(
            "valve1/3.csv",
            110_534,
            "cb6afea108eddfd8447307e405f86bbb764b8d8e9130d7849a46e1303e19b8b2",
        ),
        DataFile(
            "valve1/4.csv",
            105_634,
            "983aed9dc09991a57911091373c580e1b86d06aa983cd51678f108fd8d709654",
        ),
        DataFile(
            "valve1/5.csv",
            111_575,
            "78974991ec87b7f9b9b6b2944f4b525468a9beb36c59b06cd7650d9a15eca14a",
        ),
        DataFile(
            "valve1/6.csv",
            111_676,
            "97469c0e0c9c0e0ee5d30794f1f36c6785df5816a112a8b16c59637e8c894685",
        ),
        DataFile(
            "valve1/7.csv",
            105_941,
            "ca2c9c6d6fa302c642acec6fbedac495bd12fececeee0a755d45a54e340e0f30",
        ),
        DataFile(
            "valve1/8.csv",
            110_305,
            "0c4afb92248b5b35b4c9d734a91ed8318346901f04579074903730569e60416c",
        ),
        DataFile(
            "valve1/9.csv",
            110_586,
            "2aa1ae1b2ff505caecda24802b877dc686924bbbeeb7e7db4faa261efb5ed5bd",
        ),
        DataFile(
            "valve1/10.csv",
            110_623,
            "ee16be8e4b870c779491e3d1dc9e0ecbfaf29eb013e032abff7a33f2cbbfe2ad",
        ),
        DataFile(
            "valve1/11.csv",
            110_166,
            "89660fae4ed5c918db014409bbbc29f498fd99c7e956fab2620d18dea700a973",
        ),
        DataFile(
            "valve1/12.csv",
            110_061,
            "90adfa9bc86d4556e6a4ce734436fd5685af79c189cd9828f8df75a7f468ce07",
        ),
        DataFile(
            "valve1/13.csv",
            110_455,
            "d6cb6a97437215d3066a87e1fcc5fa4e68017629c043c5315920e3cf1060841c",
        ),
        DataFile(
            "valve1/14.csv",
            110_181,
            "5f0bb9bc33c5e6c259263e32e25915c4d24c82b0a94554d48808626da05c1d71",
        ),
        DataFile(
            "valve1/15.csv",
            111_352,
            "75cc86ab25d7091eee024739fa06d048753480d5d7d1507077231cab4f1b7a7e",
        ),
    ),
    sheet=read_sheet,
)
