"""Real data sets behind one registry: where they come from, what they hold, how they are judged.

In: files that a user downloads from their origin (`foreshock trainer data fetch`), checked by their
sums. Out: recorded telemetry with work orders, as gateways would have uploaded it. None is part of
Foreshock. Open `base` for what an entry says, then `cmapss`; `files` verifies, `fetch` downloads.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from foreshock_trainer.datasets.base import DataError
from foreshock_trainer.datasets.cmapss import CMAPSS
from foreshock_trainer.datasets.files import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataSet, Fleet

REGISTRY: Final[Mapping[str, DataSet]] = MappingProxyType({one.name: one for one in (CMAPSS,)})
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
