"""The cells of a window as tensors, with the sums that most features share.

Every tensor is float32[N, C, T'] or float32[N, C, 1], and sums run over the last axis: over a
middle one onnxruntime 1.32 gives other bits for N=1 than for N>1. T' is T padded with missing cells
to a multiple of four.

What shapes the formulas is the runtime's price list (docs/adr/0009): `Where` costs eight times a
`Mul`, a sum with several sets of weights is one `MatMul`, and at N=1 each operator costs the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar, cast

import numpy as np
import spox.opset.ai.onnx.v21 as op

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from spox import Var

    Kept = TypeVar("Kept")
    Float32 = npt.NDArray[np.float32]

LANES: Final = 4
"""A reduced axis is a multiple of this long, so that its bits do not depend on N."""
LARGEST: Final = float(np.finfo(np.float32).max)
RELATIVE_VARIANCE_FLOOR: Final = 1e-10
"""Below this share of the mean square, a variance is float32 residue and not a signal."""
SECONDS_PER_HOUR: Final = 3600.0


def scalar(value: float) -> Var:
    """Return a float32 constant."""
    return op.const(np.float32(value))


def integers(*values: int) -> Var:
    """Return an int64[n] constant: axes, shapes, sizes."""
    return op.const(np.array(values, np.int64))


def zero_or_nan(x: Var) -> Var:
    """Return 0 where `x` is finite and NaN where it is not."""
    return op.sub(x, x)


def finite_or_nan(x: Var) -> Var:
    """Return `x` with NaN for what is infinite."""
    return op.add(x, zero_or_nan(x))


def finite(x: Var) -> Var:
    """Return bool: neither NaN nor infinite (a NaN compares false)."""
    return op.less_or_equal(op.abs(x), scalar(LARGEST))


def total(x: Var) -> Var:
    """Sum over the last axis, kept with length one."""
    return op.reduce_sum(x, integers(-1), keepdims=1)


def following(x: Var) -> Var:
    """Shift one cell back in time, zero after the end: cell t holds what t + 1 held."""
    return op.pad(x, integers(0, 0, -1, 0, 0, 1))


def padded_length(length: int) -> int:
    """Return T', the next multiple of `LANES`."""
    return -(-length // LANES) * LANES


def cells_of(window: Var, length: int) -> Var:
    """Return float32[N, C, T'] of a window float32[N, T, C]: time last, padded with NaN."""
    by_channel = op.transpose(window, perm=[0, 2, 1])
    more = padded_length(length) - length
    return op.pad(by_channel, integers(0, 0, 0, 0, 0, more), scalar(np.nan)) if more else by_channel


class Block:
    """The cells of some channels, missing ones marked, and what is commonly derived from them.

    A channel without a reading is NaN in everything but `present` and `count`.

    Args:
        cells: float32[N, C, T'], NaN or infinite where a reading is missing.
        length: T.
        period_s: the sampling period in seconds.
    """

    def __init__(self, cells: Var, *, length: int, period_s: float) -> None:
        self.length = length
        self.padded = padded_length(length)
        self.period_s = period_s
        self.period_h = period_s / SECONDS_PER_HOUR
        self.raw = cells
        self._memo: dict[Callable[[Block], object], object] = {}

    def memo(self, formula: Callable[[Block], Kept]) -> Kept:
        """Return what `formula` makes of this block, computed once."""
        if formula not in self._memo:
            self._memo[formula] = formula(self)
        return cast("Kept", self._memo[formula])

    def times(self, values: Float32) -> Float32:
        """Return one value per cell and column float32[T', ...], zero in the padding."""
        more = [(0, self.padded - self.length), *[(0, 0)] * (values.ndim - 1)]
        return np.pad(values, more).astype(np.float32)

    def mean_over_present(self, x: Var) -> Var:
        """Average `x`, which is zero in missing cells; NaN without readings."""
        return op.div(total(x), self.count)

    @cached_property
    def ticks(self) -> Float32:
        """Each cell's place in time, float32[T']."""
        return self.times(np.arange(self.length, dtype=np.float32))

    @cached_property
    def quarters(self) -> Float32:
        """Which cells are in the first and in the last quarter, float32[T', 2]."""
        quarter = max(1, self.length // 4)
        first = np.arange(self.length) < quarter
        return self.times(np.stack([first, first[::-1]], axis=1).astype(np.float32))

    @cached_property
    def is_present(self) -> Var:
        """bool[N, C, T']: the cell holds a reading."""
        return finite(self.raw)

    @cached_property
    def present(self) -> Var:
        """`is_present` as 0 and 1."""
        return op.cast(self.is_present, to=np.float32)

    @cached_property
    def _counts(self) -> tuple[Var, Var, Var]:
        ones = self.times(np.ones(self.length, np.float32))
        weights = np.column_stack([ones, self.ticks, self.quarters])
        sums = op.matmul(self.present, op.const(weights))
        count, ticks, quarters = op.split(sums, integers(1, 1, 2), axis=2)
        return count, ticks, quarters

    @property
    def count(self) -> Var:
        """How many readings there are, an exact integer."""
        return self._counts[0]

    @property
    def quarter_counts(self) -> Var:
        """How many readings the first and the last quarter hold, float32[N, C, 2]."""
        return self._counts[2]

    @cached_property
    def last(self) -> Var:
        """The newest reading; NaN or infinite without readings."""
        place = op.const(self.times(np.arange(1, self.length + 1, dtype=np.float32)))
        newest = op.reduce_max(op.mul(self.present, place), integers(-1), keepdims=1)
        # Without a reading it is -1, the last cell, which is missing like the others.
        index = op.cast(op.sub(newest, scalar(1)), to=np.int64)
        return op.gather_elements(self.raw, index, axis=2)

    @cached_property
    def filled(self) -> Var:
        """The readings, and the newest one where they are missing."""
        return op.where(self.is_present, self.raw, self.last)

    @cached_property
    def lowest(self) -> Var:
        """The least reading."""
        return op.reduce_min(self.filled, integers(-1), keepdims=1)

    @cached_property
    def highest(self) -> Var:
        """The greatest reading."""
        return op.reduce_max(self.filled, integers(-1), keepdims=1)

    @cached_property
    def offset(self) -> Var:
        """Readings above the newest one, zero where missing: a stuck sensor is exactly zero."""
        return op.sub(self.filled, self.last)

    @cached_property
    def _mean_offset(self) -> Var:
        return self.mean_over_present(self.offset)

    @cached_property
    def mean(self) -> Var:
        """The arithmetic mean."""
        return op.add(self.last, self._mean_offset)

    @cached_property
    def centred(self) -> Var:
        """Deviations from the mean, zero where missing."""
        return op.mul(op.sub(self.offset, self._mean_offset), self.present)

    @cached_property
    def variance(self) -> Var:
        """The population variance, two passes; infinite on overflow."""
        return self.mean_over_present(op.mul(self.centred, self.centred))

    @cached_property
    def mean_square(self) -> Var:
        """The mean of squared readings; infinite on overflow."""
        return op.add(self.variance, op.mul(self.mean, self.mean))

    @cached_property
    def shape_gate(self) -> Var:
        """0 where the sensor moves; NaN where its variance is float32 residue, or overflows."""
        floor = op.mul(self.mean_square, scalar(RELATIVE_VARIANCE_FLOOR))
        # No logarithm of what is zero, negative or not a number: cheaper than a comparison.
        return zero_or_nan(op.log(op.sub(self.variance, floor)))

    @cached_property
    def moving_variance(self) -> Var:
        """The variance; NaN where it is no signal."""
        return op.add(self.variance, self.shape_gate)

    @cached_property
    def standardised(self) -> Var:
        """Deviations in standard deviations; NaN when the variance is no signal."""
        return op.div(self.centred, op.sqrt(self.moving_variance))

    @cached_property
    def standardised_square(self) -> Var:
        """Squares of `standardised`."""
        return op.mul(self.standardised, self.standardised)

    @cached_property
    def centred_ticks(self) -> Var:
        """Each cell's place above the mean place of the readings, zero where missing."""
        centre = op.div(self._counts[1], self.count)
        return op.mul(op.sub(op.const(self.ticks), centre), self.present)

    @cached_property
    def next_centred(self) -> Var:
        """`centred` of the next cell."""
        return following(self.centred)

    @cached_property
    def neighbour_products(self) -> Var:
        """Products of neighbouring deviations, zero unless both cells hold a reading."""
        return op.mul(self.centred, self.next_centred)

    @cached_property
    def pairs(self) -> Var:
        """1 where this cell and the next one both hold a reading."""
        return op.mul(self.present, following(self.present))

    @cached_property
    def pair_count(self) -> Var:
        """How many neighbouring pairs of readings there are, an exact integer."""
        return total(self.pairs)
