"""Which channels of a fleet are worth a column: a rule on training machines only (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.datasets.base import Fleet

    Float32 = npt.NDArray[np.float32]

CONSTANT_SHARE: Final = 0.95
"""A channel that has one and the same value in this share of its readings says nothing."""


def constant(fleet: Fleet) -> tuple[int, ...]:
    """Return the channels that do not vary on the training machines."""
    return tuple(i for i, values in enumerate(_by_channel(fleet)) if not varies(values))


def _by_channel(fleet: Fleet) -> list[Float32]:
    channel = np.concatenate([life.channel for life in fleet.train])
    value = np.concatenate([life.value for life in fleet.train])
    return [value[channel == i] for i in range(len(fleet.channels))]


def varies(values: npt.NDArray[np.floating[Any]]) -> bool:
    """Say whether a channel's values [N] are not one and the same nearly everywhere."""
    _, counts = np.unique(values, return_counts=True)
    return bool(len(values)) and bool(counts.max() < CONSTANT_SHARE * len(values))
