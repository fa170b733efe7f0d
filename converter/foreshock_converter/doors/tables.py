"""Windows from a file: a table with a column per channel, or an array that is cut already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    from foreshock_converter.doors.request import Request

    Float32 = npt.NDArray[np.float32]

MACHINE: Final = "machine"
"""A column of this name tells which rows follow each other."""


def read_windows(path: Path, request: Request) -> Float32:
    """Return windows float32[N, T, C] from a .csv, .parquet or .npy file.

    A table has a column per channel and rows in the order of time, `period_s` apart; with T=1 each
    row is a window.

    Raises:
        UnsupportedModelError: the file does not hold such windows.
    """
    shape = (request.length, len(request.channels))
    if path.suffix == ".npy":
        windows = np.load(path, allow_pickle=False)
        if windows.ndim != 3 or windows.shape[1:] != shape:  # noqa: PLR2004 - [N, T, C]
            raise UnsupportedModelError(
                f"{path} has shape {windows.shape}, windows are [N, {shape[0]}, {shape[1]}]"
            )
        cut: Float32 = windows.astype(np.float32)
        return cut
    table = _table(path)
    if lacking := [name for name in request.channels if name not in table]:
        raise UnsupportedModelError(
            f"{path} has no column {', '.join(lacking)}; it has {', '.join(map(str, table))}"
        )
    groups = (
        [part for _, part in table.groupby(MACHINE, sort=False)] if MACHINE in table else [table]
    )
    parts = [_cut(part[list(request.channels)], request, path) for part in groups]
    windows = np.concatenate(parts)
    if not len(windows):
        raise UnsupportedModelError(
            f"{path} has no {request.length} rows in a row: a window needs as many"
        )
    return windows


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - of the trainer

    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix not in readers:
        raise UnsupportedModelError(f"{path}: windows come as .csv, .parquet or .npy")
    try:
        table: pd.DataFrame = readers[path.suffix](path)
    except (ValueError, OSError) as error:
        raise UnsupportedModelError(f"{path} cannot be read: {error}") from None
    return table


def _cut(table: pd.DataFrame, request: Request, path: Path) -> Float32:
    try:
        cells = table.to_numpy(np.float32)
    except ValueError as error:
        raise UnsupportedModelError(f"{path}: a cell is no number ({error})") from None
    starts = range(0, len(cells) - request.length + 1, request.stride)
    windows = [cells[start : start + request.length] for start in starts]
    return np.array(windows, np.float32).reshape(-1, request.length, cells.shape[1])
