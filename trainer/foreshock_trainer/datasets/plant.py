"""The simulated plant's place in the registry: no files, it is made where it is needed."""

from __future__ import annotations

from typing import Final

from foreshock_trainer.datasets.base import DataSet

PLANT: Final = DataSet(
    name="plant",
    title="The simulated plant: pumps, fans and compressors that wear, with the truth beside them",
    page="docs/plant.md",
    download=None,
    licence="MIT, as Foreshock",
    protocol=(
        "Recorded by `foreshock plant record --out DIR` (its parameters are frozen), taken into a "
        "lake by `foreshock trainer ingest --from DIR --lake LAKE`; permanent test machines by a "
        "hash of the id, and later time with an embargo of window + horizon."
    ),
    tries=0,
    files=(),
)
