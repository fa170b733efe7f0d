"""The cells of a window as tensors, with the sums that most features share.

Every tensor is float32[N, C, T'] or float32[N, C, 1], and sums run over the last axis: over a
middle one onnxruntime 1.32 gives other bits for N=1 than for N>1. T' is T padded with missing cells
to a multiple of four.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op

if TYPE_CHECKING:
    from spox import Var

LANES: Final = 4
"""A reduced axis is a multiple of this long, so that its bits do not depend on N."""
LARGEST: Final = float(np.finfo(np.float32).max)
RELATIVE_VARIANCE_FLOOR: Final = 1e-10
"""Below this share of the mean square, a variance is float32 residue and not a signal."""
SECONDS_PER_HOUR: Final = 3600.0


def scalar(value: float) -> Var:
    """Return a float32 constant."""
    return op.const(np.float32(value))


def finite(x: Var) -> Var:
    """Return bool: neither NaN nor infinite (a NaN compares false)."""
    return op.less_or_equal(op.abs(x), scalar(LARGEST))


def finite_or_nan(x: Var) -> Var:
    """Return `x` with NaN for what overflowed."""
    return op.where(finite(x), x, scalar(np.nan))


def total(x: Var) -> Var:
    """Sum over the last axis, kept with length one."""
    return op.reduce_sum(x, op.const(np.array([-1])), keepdims=1)


def following(x: Var) -> Var:
    """Shift one cell back in time, zero after the end: cell t holds what t + 1 held."""
    return op.pad(x, op.const(np.array([0, 0, -1, 0, 0, 1])))


class Block:
    """The cells of some channels, missing ones marked, and what is commonly derived from them.

    Args:
        window: float32[N, T, C], NaN or infinite where a reading is missing.
        length: T.
        period_s: the sampling period in seconds.
    """

    def __init__(self, window: Var, *, length: int, period_s: float) -> None:
        self.length = length
        self.period_h = period_s / SECONDS_PER_HOUR
        self.padded = -(-length // LANES) * LANES
        pads = op.const(np.array([0, 0, 0, 0, 0, self.padded - length]))
        by_channel = op.transpose(window, perm=[0, 2, 1])
        filled = self.padded == length
        self.raw = by_channel if filled else op.pad(by_channel, pads, scalar(np.nan))

    def times(self, values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Var:
        """Return a constant with one value per cell, zero in the padding."""
        return op.const(np.pad(values, (0, self.padded - self.length)).astype(np.float32))

    def where_present(self, x: Var, otherwise: float = 0.0) -> Var:
        """Keep `x` where there is a reading."""
        return op.where(self.is_present, x, scalar(otherwise))

    def mean_over_present(self, x: Var) -> Var:
        """Average `x`, which is zero in missing cells; NaN without readings."""
        return op.div(total(x), self.count)

    @cached_property
    def is_present(self) -> Var:
        """bool[N, C, T']: the cell holds a reading."""
        return finite(self.raw)

    @cached_property
    def present(self) -> Var:
        """`is_present` as 0 and 1."""
        return op.cast(self.is_present, to=np.float32)

    @cached_property
    def count(self) -> Var:
        """How many readings there are, an exact integer."""
        return total(self.present)

    @cached_property
    def value(self) -> Var:
        """The readings, zero where missing."""
        return self.where_present(self.raw)

    @cached_property
    def lowest(self) -> Var:
        """The least reading; NaN without readings."""
        least = op.reduce_min(
            self.where_present(self.raw, LARGEST), op.const(np.array([-1])), keepdims=1
        )
        return op.where(op.greater(self.count, scalar(0)), least, scalar(np.nan))

    @cached_property
    def highest(self) -> Var:
        """The greatest reading; NaN without readings."""
        greatest = op.reduce_max(
            self.where_present(self.raw, -LARGEST), op.const(np.array([-1])), keepdims=1
        )
        return op.where(op.greater(self.count, scalar(0)), greatest, scalar(np.nan))

    @cached_property
    def offset(self) -> Var:
        """Readings above the lowest one, zero where missing: a stuck sensor is exactly zero."""
        return self.where_present(op.sub(self.raw, self.lowest))

    @cached_property
    def mean_offset(self) -> Var:
        """The mean above the lowest reading."""
        return self.mean_over_present(self.offset)

    @cached_property
    def centred(self) -> Var:
        """Deviations from the mean, zero where missing."""
        return self.where_present(op.sub(self.offset, self.mean_offset))

    @cached_property
    def variance(self) -> Var:
        """The population variance, two passes; NaN on overflow."""
        return finite_or_nan(self.mean_over_present(op.mul(self.centred, self.centred)))

    @cached_property
    def mean_square(self) -> Var:
        """The mean of squared readings; NaN on overflow, or ratios to it would be zero."""
        return finite_or_nan(self.mean_over_present(op.mul(self.value, self.value)))

    @cached_property
    def standardised(self) -> Var:
        """Deviations in standard deviations; NaN when the variance is float32 residue."""
        floor = op.mul(self.mean_square, scalar(RELATIVE_VARIANCE_FLOOR))
        moves = op.greater(self.variance, floor)
        return op.div(self.centred, op.where(moves, op.sqrt(self.variance), scalar(np.nan)))

    @cached_property
    def pairs(self) -> Var:
        """1 where this cell and the next one both hold a reading."""
        return op.mul(self.present, following(self.present))
