"""What a window becomes: the registry of features, and the graph of the ones a model uses.

A new feature is one small function (`formulas`, `spectrum`) and one line in `REGISTRY`. A feature
reads one channel only; that is what lets the explanation mix blocks of features instead of raw
windows (docs/adr/0003).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, argument, build

from foreshock_converter import formulas, spectrum
from foreshock_converter.blocks import Block, cells_of, finite, integers, scalar, zero_or_nan
from foreshock_converter.derived import derived_cells
from foreshock_converter.errors import UnsupportedModelError
from foreshock_wire.derived import Derived, derived_problems
from foreshock_wire.errors import ChannelMismatchError
from foreshock_wire.spec import Channel, ModelSpec, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import onnx
    import onnxruntime as ort
    from spox import Var

    Float32 = npt.NDArray[np.float32]

CHUNK: Final = 512
"""Windows per call in `extract`: the intermediates of 48 x 5 cells stay in the L2 cache."""
SENSORS: Final = frozenset({Role.MEASURED, Role.DERIVED})
CONTEXT: Final = frozenset({Role.CONTEXT})


@dataclass(frozen=True, slots=True)
class Feature:
    """A named formula over one channel.

    `unit` is told in terms of the channel's own; `group` is a name for several features;
    `samples` is the shortest window in which it says something that `last` does not.
    """

    name: str
    formula: Callable[[Block], Var]
    unit: str = "{unit}"
    group: str = "time"
    samples: int = 2
    roles: frozenset[Role] = SENSORS


REGISTRY: Final = (
    Feature("mean", formulas.mean),
    Feature("std", formulas.std),
    Feature("min", formulas.lowest),
    Feature("max", formulas.highest),
    Feature("last", formulas.last, samples=1, roles=SENSORS | CONTEXT),
    Feature("slope", formulas.slope, "{unit}/h"),
    Feature("rms", formulas.rms),
    Feature("peak_to_peak", formulas.peak_to_peak),
    Feature("skew", formulas.skew, "1"),
    Feature("kurtosis", formulas.kurtosis, "1"),
    Feature("crest", formulas.crest, "1"),
    Feature("lag1", formulas.lag1, "1"),
    Feature("zero_crossings", formulas.zero_crossings, "1"),
    Feature("roughness", formulas.roughness),
    Feature("rise", formulas.rise),
    Feature("missing", formulas.missing, "cells"),
    *(
        Feature(f"band{n}", spectrum.band(n), "({unit})^2", "spectral", samples=16)
        for n in range(len(spectrum.OCTAVES) - 1)
    ),
    Feature("centroid", spectrum.centroid, "Hz", "spectral", samples=16),
    *(
        Feature(f"envelope{n}", spectrum.envelope_band(n), "1", "envelope", samples=64)
        for n in range(len(spectrum.ENVELOPE_OCTAVES) - 1)
    ),
    Feature("sum", formulas.summed, roles=CONTEXT),
)
"""Every feature, in the order of its columns inside a channel's block."""
DEFAULT_CHOICE: Final = ("time", "context")
"""Spectral features earn their cost on vibration only, so they are asked for."""
GROUPS: Final = ("context", *dict.fromkeys(feature.group for feature in REGISTRY))
"""What a choice may name as a whole; a context channel's features are the group `context`."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What a window becomes inside a graph.

    `features` float32[N, F]; `unscored` float32[N, 1] is NaN where no measured channel has a
    reading and 0 elsewhere: added to an output, it takes away what is no score.
    """

    features: Var
    unscored: Var


@dataclass(frozen=True)
class FeatureGraph:
    """The features of windows with these channels, as the very sub-graph that the model holds.

    `length` is T; `period_s` the sampling period in seconds. `choice` names what is computed:
    groups (`time`), features (`rms`), or columns (`vibration.rms`). Columns stand channel by
    channel: measured, derived, context.

    Raises:
        UnsupportedModelError: the choice names what is not there, or leaves no measured channel;
            a derived channel's parent is not there.
    """

    channels: tuple[Channel, ...]
    length: int
    period_s: float
    derived: tuple[Derived, ...] = ()
    choice: tuple[str, ...] = DEFAULT_CHOICE

    def __post_init__(self) -> None:
        ids = [channel.id for channel in self.channels]
        if problem := next(derived_problems(self.derived, ids), None):
            raise UnsupportedModelError(problem)
        for channel in self.channels:
            if channel.role is Role.DERIVED:
                raise UnsupportedModelError(
                    f"channel {channel.id!r} is derived, so no window holds it: name it and its "
                    "parents among the spec's derived channels instead"
                )
        for entry in self.choice:
            self._check(entry)
        if not any(channel.role is Role.MEASURED for channel, _ in self.columns):
            raise UnsupportedModelError(
                "a model needs a measured channel with a feature: context alone has no sensor"
            )

    @classmethod
    def of(cls, spec: ModelSpec) -> FeatureGraph:
        """Return the graph of a model's features; of `DEFAULT_CHOICE` when it names none."""
        choice = spec.features or DEFAULT_CHOICE
        return cls(spec.channels, spec.length, spec.period_s, spec.derived, choice)

    @cached_property
    def sources(self) -> tuple[Channel, ...]:
        """What has features: measured, derived and context channels, in this order."""
        derived = tuple(Channel(one.id, one.unit, Role.DERIVED) for one in self.derived)
        return (*self.of_role(Role.MEASURED), *derived, *self.of_role(Role.CONTEXT))

    @cached_property
    def columns(self) -> tuple[tuple[Channel, Feature], ...]:
        """Which channel and which feature each column holds."""
        return tuple(
            (channel, feature)
            for channel in self.sources
            for feature in REGISTRY
            if self._is_chosen(channel, feature)
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns by name, such as `vibration.rms`."""
        return tuple(_column(channel, feature) for channel, feature in self.columns)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The columns' units."""
        return tuple(feature.unit.format(unit=channel.unit) for channel, feature in self.columns)

    def of_role(self, role: Role) -> tuple[Channel, ...]:
        """Return the window's channels of one role."""
        return tuple(channel for channel in self.channels if channel.role is role)

    def apply(self, window: Var) -> Computed:
        """Compute the features of `window` float32[N, T, C] inside a graph."""
        cells = cells_of(window, self.length)
        measured = self._picked(cells, self.of_role(Role.MEASURED))
        sensors = self.block([measured, *derived_cells(cells, self.channels, self.derived)])
        parts = [self.flat(sensors, [c for c in self.sources if c.role in SENSORS])]
        context = self.of_role(Role.CONTEXT)
        if any(channel in context for channel, _ in self.columns):
            parts.append(self.flat(self.block([self._picked(cells, context)]), context))
        counts = sensors.count
        if self.derived:
            several = len(self.of_role(Role.MEASURED))
            counts = op.slice(counts, integers(0), integers(several), integers(1))
        readings = op.reduce_max(counts, integers(1), keepdims=0)
        features = op.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        return Computed(features, zero_or_nan(op.div(readings, readings)))

    def block(self, cells: Sequence[Var]) -> Block:
        """Return the cells float32[N, c, T'] of some channels, one after the other, as a block."""
        joined = op.concat(cells, axis=1) if len(cells) > 1 else cells[0]
        return Block(joined, length=self.length, period_s=self.period_s)

    def flat(self, block: Block, channels: Sequence[Channel]) -> Var:
        """Compute the chosen features float32[N, columns] of a block that holds these channels."""
        used = [f for f in REGISTRY if any(self._is_chosen(c, f) for c in channels)]
        stacked = op.concat([feature.formula(block) for feature in used], axis=2)
        table = op.reshape(stacked, integers(-1, len(channels) * len(used)))
        chosen = np.flatnonzero([self._is_chosen(c, f) for c in channels for f in used])
        if len(chosen) < len(channels) * len(used):
            table = op.gather(table, op.const(chosen), axis=1)
        # One NaN for all: which of its bits arithmetic sets depends on N.
        return op.where(finite(table), table, scalar(np.nan))

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

    def _is_chosen(self, channel: Channel, feature: Feature) -> bool:
        names = _names(channel, feature)
        return feature.samples <= self.length and not names.isdisjoint(self.choice)

    def _check(self, entry: str) -> None:
        """Raise unless this entry of the choice is a group, or names what can be computed."""
        if entry in GROUPS:
            return
        known = [f for channel in self.sources for f in REGISTRY if entry in _names(channel, f)]
        if not known:
            raise UnsupportedModelError(
                f"no feature is called {entry!r}: choose a group ({', '.join(GROUPS)}), a feature "
                "such as rms, or a column such as vibration.rms of a channel that there is"
            )
        if known[0].samples > self.length:
            raise UnsupportedModelError(
                f"{entry!r} needs {known[0].samples} samples, the window has {self.length}"
            )

    def _picked(self, cells: Var, channels: Sequence[Channel]) -> Var:
        if len(channels) == len(self.channels):
            return cells
        places = [self.channels.index(channel) for channel in channels]
        return op.gather(cells, op.const(np.array(places)), axis=1)

    def size(self) -> tuple[int, int]:
        """Return how many operators the graph of the features has, and its bytes as a file."""
        graph = self._alone()
        return len(graph.graph.node), graph.ByteSize()

    def _alone(self) -> onnx.ModelProto:
        window = argument(Tensor(np.float32, ("N", self.length, len(self.channels))))
        return build({"window": window}, {"features": self.apply(window).features})

    def _run(self, chunk: Float32) -> Float32:
        feed = {"window": np.ascontiguousarray(chunk, dtype=np.float32)}
        return cast("Float32", self._session.run(["features"], feed)[0])

    @cached_property
    def _session(self) -> ort.InferenceSession:
        import onnxruntime as ort  # noqa: PLC0415 - the registry is readable without the runtime

        window = argument(Tensor(np.float32, ("N", self.length, len(self.channels))))
        graph = build({"window": window}, {"features": self.apply(window).features})
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return ort.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _names(channel: Channel, feature: Feature) -> frozenset[str]:
    """By which entries of a choice this feature of this channel is chosen."""
    if channel.role not in feature.roles:
        return frozenset()
    group = "context" if channel.role is Role.CONTEXT else feature.group
    return frozenset((group, feature.name, _column(channel, feature)))


def _column(channel: Channel, feature: Feature) -> str:
    return f"{channel.id}.{feature.name}"
