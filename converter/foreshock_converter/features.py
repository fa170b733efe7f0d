"""What a window becomes: one small function and one registry line per feature.

A feature reads one channel only; that is what lets the explanation mix blocks of features instead
of raw windows (docs/adr/0003). Missing cells do not count; a feature that cannot be computed,
or that overflows, is NaN.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, argument, build

from foreshock_converter.blocks import Block, finite_or_nan, following, scalar, total
from foreshock_converter.errors import UnsupportedModelError
from foreshock_wire.errors import ChannelMismatchError
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import onnxruntime as ort
    from spox import Var

    Float32 = npt.NDArray[np.float32]

CHUNK: Final = 512
"""Windows per call in `extract`: the intermediates of 48 x 5 cells stay in the L2 cache."""


def mean(block: Block) -> Var:
    """Arithmetic mean, summed above the lowest reading so that large offsets keep their digits."""
    return op.add(block.lowest, block.mean_offset)


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
    order = block.times(np.arange(1, block.length + 1, dtype=np.float32))
    position = op.mul(block.present, order)
    newest = op.reduce_max(position, op.const(np.array([-1])), keepdims=1)
    is_newest = op.and_(block.is_present, op.equal(position, newest))
    return _unless_empty(block, total(op.where(is_newest, block.raw, scalar(0))))


def slope(block: Block) -> Var:
    """Least-squares slope per hour: cov(t, x) / var(t) over the readings there are."""
    ticks = block.times(np.arange(block.length, dtype=np.float32))
    centre = block.mean_over_present(op.mul(block.present, ticks))
    ticks_centred = block.where_present(op.sub(ticks, centre))
    rise = total(op.mul(ticks_centred, block.centred))
    run = total(op.mul(ticks_centred, ticks_centred))
    return op.div(op.div(rise, run), scalar(block.period_h))


def rms(block: Block) -> Var:
    """Root mean square, the severity measure of ISO 20816-1."""
    return op.sqrt(block.mean_square)


def peak_to_peak(block: Block) -> Var:
    """Greatest minus least reading."""
    return op.sub(block.highest, block.lowest)


def skew(block: Block) -> Var:
    """Third standardised moment; NaN for a sensor that does not move."""
    z = block.standardised
    return block.mean_over_present(op.mul(op.mul(z, z), z))


def kurtosis(block: Block) -> Var:
    """Fourth standardised moment (3 for a Gaussian); NaN for a sensor that does not move."""
    z = block.standardised
    square = op.mul(z, z)
    return block.mean_over_present(op.mul(square, square))


def crest(block: Block) -> Var:
    """Crest factor: greatest magnitude over the root mean square (ISO 13373-2)."""
    magnitude = op.max([op.abs(block.lowest), op.abs(block.highest)])
    return op.div(magnitude, rms(block))


def lag1(block: Block) -> Var:
    """Lag-1 autocorrelation over neighbouring pairs of readings (Box and Jenkins)."""
    products = op.mul(block.standardised, following(block.standardised))
    return op.div(total(op.mul(products, block.pairs)), total(block.pairs))


def roughness(block: Block) -> Var:
    """Mean absolute step between neighbouring readings."""
    steps = op.abs(op.sub(following(block.value), block.value))
    return op.div(total(op.mul(steps, block.pairs)), total(block.pairs))


def rise(block: Block) -> Var:
    """Mean of the last quarter minus mean of the first quarter."""
    quarter = max(1, block.length // 4)
    early, late = np.zeros((2, block.length), np.float32)
    early[:quarter] = 1
    late[-quarter:] = 1
    return op.sub(_part_mean(block, late), _part_mean(block, early))


def missing(block: Block) -> Var:
    """How many of the T cells hold no reading, an exact integer."""
    return op.sub(scalar(block.length), block.count)


def summed(block: Block) -> Var:
    """Sum of the readings: counters and event counts per window."""
    return _unless_empty(block, total(block.value))


def _part_mean(block: Block, part: npt.NDArray[np.float32]) -> Var:
    weights = op.mul(block.present, block.times(part))
    return op.div(total(op.mul(block.offset, weights)), total(weights))


def _unless_empty(block: Block, x: Var) -> Var:
    return op.where(op.greater(block.count, scalar(0)), x, scalar(np.nan))


@dataclass(frozen=True, slots=True)
class Feature:
    """A named formula over one channel: `unit` is told in terms of the channel's own."""

    name: str
    formula: Callable[[Block], Var]
    unit: str = "{unit}"
    roles: frozenset[Role] = frozenset({Role.MEASURED})


EVERY_ROLE: Final = frozenset({Role.MEASURED, Role.CONTEXT})

REGISTRY: Final = (
    Feature("mean", mean),
    Feature("std", std),
    Feature("min", lowest),
    Feature("max", highest),
    Feature("last", last, roles=EVERY_ROLE),
    Feature("slope", slope, "{unit}/h"),
    Feature("rms", rms),
    Feature("peak_to_peak", peak_to_peak),
    Feature("skew", skew, "1"),
    Feature("kurtosis", kurtosis, "1"),
    Feature("crest", crest, "1"),
    Feature("lag1", lag1, "1"),
    Feature("roughness", roughness),
    Feature("rise", rise),
    Feature("missing", missing, "cells"),
    Feature("sum", summed, roles=frozenset({Role.CONTEXT})),
)
"""Every feature, in the order of its columns inside a channel's block."""


@dataclass(frozen=True)
class FeatureGraph:
    """The features of windows with these channels, as the very sub-graph that the model holds.

    `length` is T; `period_s` the sampling period in seconds. Columns stand channel by channel,
    measured ones first, context ones after them.

    Raises:
        UnsupportedModelError: a channel's role has no features yet.
    """

    channels: tuple[Channel, ...]
    length: int
    period_s: float

    def __post_init__(self) -> None:
        for channel in self.channels:
            if not _features_of(channel.role):
                raise UnsupportedModelError(
                    f"channel {channel.id!r} is {channel.role}: only measured and context channels "
                    "are converted; give its parents as measured channels instead"
                )

    @cached_property
    def columns(self) -> tuple[tuple[Channel, Feature], ...]:
        """Which channel and which feature each column holds."""
        ordered = sorted(self.channels, key=lambda channel: channel.role is not Role.MEASURED)
        return tuple((channel, f) for channel in ordered for f in _features_of(channel.role))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns by name, such as `vibration.rms`."""
        return tuple(f"{channel.id}.{feature.name}" for channel, feature in self.columns)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The columns' units."""
        return tuple(feature.unit.format(unit=channel.unit) for channel, feature in self.columns)

    def apply(self, window: Var) -> Var:
        """Compute float32[N, F] from `window` float32[N, T, C] inside a graph."""
        roles = [role for role in Role if any(c.role is role for c in self.channels)]
        features = op.concat([self._of_role(window, role) for role in roles], axis=1)
        return finite_or_nan(features)

    def extract(self, windows: Float32, *, threads: int = 2) -> Float32:
        """Compute the features float32[N, F] of `windows` float32[N, T, C], in chunks.

        Raises:
            ChannelMismatchError: the windows have another shape than the graph's.
        """
        if windows.ndim != 3 or windows.shape[1:] != (self.length, len(self.channels)):  # noqa: PLR2004 - [N, T, C]
            raise ChannelMismatchError(
                f"windows have shape {windows.shape}, the features read [N, {self.length}, "
                f"{len(self.channels)}] of {', '.join(c.id for c in self.channels)}"
            )
        if not len(windows):
            return np.empty((0, len(self.names)), np.float32)
        chunks = [windows[start : start + CHUNK] for start in range(0, len(windows), CHUNK)]
        with ThreadPoolExecutor(max_workers=threads) as pool:
            return np.concatenate(list(pool.map(self._run, chunks)))

    def _of_role(self, window: Var, role: Role) -> Var:
        picked = [i for i, channel in enumerate(self.channels) if channel.role is role]
        if len(picked) < len(self.channels):
            window = op.gather(window, op.const(np.array(picked)), axis=2)
        block = Block(window, length=self.length, period_s=self.period_s)
        features = _features_of(role)
        stacked = op.concat([feature.formula(block) for feature in features], axis=2)
        return op.reshape(stacked, op.const(np.array([-1, len(picked) * len(features)])))

    def _run(self, chunk: Float32) -> Float32:
        feed = {"window": np.ascontiguousarray(chunk, dtype=np.float32)}
        return cast("Float32", self._session.run(["features"], feed)[0])

    @cached_property
    def _session(self) -> ort.InferenceSession:
        import onnxruntime as ort  # noqa: PLC0415 - the registry is readable without the runtime

        window = argument(Tensor(np.float32, ("N", self.length, len(self.channels))))
        graph = build({"window": window}, {"features": self.apply(window)})
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return ort.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _features_of(role: Role) -> tuple[Feature, ...]:
    return tuple(feature for feature in REGISTRY if role in feature.roles)
