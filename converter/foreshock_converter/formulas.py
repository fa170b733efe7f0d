"""Time-domain features: one small function per formula, over one channel at a time.

Missing cells do not count; what cannot be computed, or overflows, is NaN or infinite here and NaN
in the graph's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import scalar, total

if TYPE_CHECKING:
    from spox import Var

    from foreshock_converter.blocks import Block

LEAST_CROSSING: Final = -1e-4
"""Product of neighbouring standard scores that counts as a crossing: a reading that is the mean but
for its last bit stands on neither side."""


def mean(block: Block) -> Var:
    """Arithmetic mean, summed above one reading so that large offsets keep their digits."""
    return block.mean


def std(block: Block) -> Var:
    """Population standard deviation, two-pass (Chan, Golub, LeVeque 1983)."""
    return op.sqrt(block.variance)


def lowest(block: Block) -> Var:
    """Least reading."""
    return block.lowest


def highest(block: Block) -> Var:
    """Greatest reading."""
    return block.highest


def last(block: Block) -> Var:
    """Newest reading there is."""
    return block.last


def slope(block: Block) -> Var:
    """Least-squares slope per hour: cov(t, x) / var(t) over the readings there are."""
    ticks = block.centred_ticks
    run = op.mul(total(op.mul(ticks, ticks)), scalar(block.period_h))
    return op.div(total(op.mul(ticks, block.centred)), run)


def rms(block: Block) -> Var:
    """Root mean square, the severity measure of ISO 20816-1."""
    return op.sqrt(block.mean_square)


def peak_to_peak(block: Block) -> Var:
    """Greatest minus least reading."""
    return op.sub(block.highest, block.lowest)


def skew(block: Block) -> Var:
    """Third standardised moment; NaN for a sensor that does not move."""
    return block.mean_over_present(op.mul(block.standardised_square, block.standardised))


def kurtosis(block: Block) -> Var:
    """Fourth standardised moment (3 for a Gaussian); NaN for a sensor that does not move."""
    square = block.standardised_square
    return block.mean_over_present(op.mul(square, square))


def crest(block: Block) -> Var:
    """Crest factor: greatest magnitude over the root mean square (ISO 13373-2)."""
    magnitude = op.max([op.abs(block.lowest), op.abs(block.highest)])
    # An overflowing mean square makes this NaN, where dividing by its root would give zero.
    return op.mul(magnitude, op.div(op.sqrt(block.mean_square), block.mean_square))


def lag1(block: Block) -> Var:
    """Lag-1 autocorrelation over neighbouring pairs of readings (Box and Jenkins)."""
    mean_product = op.div(total(block.neighbour_products), block.pair_count)
    return op.div(mean_product, block.moving_variance)


def zero_crossings(block: Block) -> Var:
    """How often neighbouring readings lie on opposite sides of the mean, an exact integer."""
    limit = op.mul(block.moving_variance, scalar(LEAST_CROSSING))
    crossed = op.cast(op.less(block.neighbour_products, limit), to=np.float32)
    return op.add(total(crossed), block.shape_gate)


def roughness(block: Block) -> Var:
    """Mean absolute step between neighbouring readings."""
    steps = op.abs(op.sub(block.next_centred, block.centred))
    return op.div(total(op.mul(steps, block.pairs)), block.pair_count)


def rise(block: Block) -> Var:
    """Mean of the last quarter minus mean of the first quarter."""
    sums = op.matmul(block.centred, op.const(block.quarters))
    difference = op.const(np.array([[-1], [1]], np.float32))
    return op.matmul(op.div(sums, block.quarter_counts), difference)


def missing(block: Block) -> Var:
    """How many of the T cells hold no reading, an exact integer."""
    return op.sub(scalar(block.length), block.count)


def summed(block: Block) -> Var:
    """Sum of the readings: counters and event counts per window."""
    return total(op.mul(block.filled, block.present))
