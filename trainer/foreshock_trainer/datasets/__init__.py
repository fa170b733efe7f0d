"""Real data sets behind one registry: where they come from, what they hold, how they are judged.

In: files that a user downloads from their origin (`foreshock trainer data fetch`), checked by their
sums. Out: recorded telemetry with work orders, as gateways would have uploaded it, and rows in
their official split (`export`). None is part of Foreshock. Open `base` for what an entry says, then
`cmapss`; `files` verifies, `fetch` downloads.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from foreshock_trainer.datasets.ai4i2020 import AI4I
from foreshock_trainer.datasets.azure_pdm import AZURE
from foreshock_trainer.datasets.base import DataError
from foreshock_trainer.datasets.cmapss import CMAPSS
from foreshock_trainer.datasets.files import require
from foreshock_trainer.datasets.gearbox import GEARBOX
from foreshock_trainer.datasets.plant import PLANT
from foreshock_trainer.datasets.skab import SKAB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataSet, Fleet, Sheet

REGISTRY: Final[Mapping[str, DataSet]] = MappingProxyType(
    {one.name: one for one in (CMAPSS, AI4I, AZURE, SKAB, GEARBOX, PLANT)}
)
"""Every data set that is known, by name; a new one is one entry here."""


def data_set(name: str) -> DataSet:
    """Return an entry of the registry.

    Raises:
        DataError: there is none of this name.
    """
    if name not in REGISTRY:
        raise DataError(f"no data set is called {name!r}: known are {', '.join(REGISTRY)}")
    return REGISTRY[name]


def read_fleet(entry: DataSet, folder: Path, subset: str | None) -> Fleet:
    """Return the machines of a subset (None: the first) from verified files.

    Raises:
        DataError: the data set holds no machines over time, or a file is not as published.
    """
    chosen = entry.subsets[0] if subset is None else subset
    if entry.fleet is None:
        raise DataError(f"{entry.name} is no record of machines over time: it cannot be replayed")
    require(entry, folder, chosen)
    return entry.fleet(folder, chosen)


def read_sheet(entry: DataSet, folder: Path, subset: str | None, seed: int = 0) -> Sheet:
    """Return the rows of a subset (None: the first) in their official split, from verified files.

    Raises:
        DataError: the data set is not one of files, or a file is not as published.
    """
    chosen = entry.subsets[0] if subset is None else subset
    require(entry, folder, chosen)
    if entry.sheet is None:
        raise DataError(f"{entry.name} has no official split")
    return entry.sheet(folder, chosen, seed)
