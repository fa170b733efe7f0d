"""An estimator that somebody brought: classes of which one is healthy, over features of ours.

Whatever it is, it gives a logit per class. The fault's margin is the logarithm of "any other class"
over "healthy"; the failure modes share what is left. So thresholds, explanation and alarms work as
with our own boosters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import LANES, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from spox import Var

    from foreshock_wire.spec import ModelSpec

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

LEAST_PROBABILITY: Final = 1e-5
"""Less counts as this: in float32 a margin beyond it would be noise."""
FAR_BELOW: Final = -1e30
"""The logit of a class that is not there."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """An estimator as it came, and the same as graph nodes.

    `logits` float32[N, F'] -> float64[N, K] asks the estimator itself; `nodes` builds them from a
    Var float32[N, F']. `needs` are the features without which it has no score; `thresholds` those
    of each feature, as far as they are known; `notes` what a person should know.
    """

    kind: str
    classes: int
    features: int
    logits: Callable[[Float32], Float64]
    nodes: Callable[[Var], Var]
    needs: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    thresholds: tuple[Float32, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """An estimator in its place: `columns` are its features in the graph, `healthy` its class."""

    estimator: Estimator
    columns: tuple[int, ...]
    healthy: int

    def scorer(self, spec: ModelSpec, names: Sequence[str]) -> BroughtScorer:
        """Return the scorer over the graph's features."""
        shift = np.zeros(len(spec.lead_time_quantiles), np.float32)
        return BroughtScorer(self, len(names), shift)

    @property
    def needs(self) -> tuple[int, ...]:
        """The graph's features without which there is no score."""
        return tuple(self.columns[i] for i in self.estimator.needs)

    @property
    def others(self) -> list[int]:
        """The classes that are faults."""
        return [i for i in range(self.estimator.classes) if i != self.healthy]

    def scores(self, features: Float32) -> Bools:
        """Return bool[N]: nothing is absent that it needs."""
        there: Bools = np.asarray(np.isfinite(features[:, self.needs]).all(axis=1))
        return there

    def margin(self, features: Float32) -> Float64:
        """Return the estimator's own log odds of a fault, float64[N]."""
        logits = self.estimator.logits(features[:, self.columns])
        odds: Float64 = np.logaddexp.reduce(logits[:, self.others], axis=1)
        return odds - logits[:, self.healthy]

    def mode_shares(self, features: Float32) -> Float64 | None:
        """Return how the faults share their probability, float64[N, M]; None for a single one."""
        others = self.estimator.logits(features[:, self.columns])[:, self.others]
        if others.shape[1] == 1:
            return None
        shares: Float64 = np.exp(others - np.logaddexp.reduce(others, axis=1, keepdims=True))
        return shares

    def lead_time_h(self, features: Float32, spec: ModelSpec) -> None:
        """A classifier has no lead times."""


@dataclass(frozen=True, slots=True)
class BroughtScorer:
    """`Brought` as graph nodes."""

    brought: Brought
    features: int
    shift: Float32
    failure_time: None = None

    @property
    def widths(self) -> dict[str, int]:
        """The fault's margin, and a logit per mode when there are several."""
        modes = len(self.brought.others)
        return {"fault": 1} | ({"modes": modes} if modes > 1 else {})

    @property
    def needs(self) -> tuple[int, ...]:
        """The features without which there is no score."""
        return self.brought.needs

    def nodes(self, rows: Var) -> Var:
        """Return the margin, then the modes' logits."""
        brought = self.brought
        own = op.gather(rows, op.const(np.array(brought.columns)), axis=1)
        logits = brought.estimator.nodes(own)
        healthy = op.gather(logits, op.const(np.array([brought.healthy])), axis=1)
        others = op.gather(logits, op.const(np.array(brought.others)), axis=1)
        if len(brought.others) == 1:
            return op.sub(others, healthy)
        return op.concat([op.sub(_any_of(others, len(brought.others)), healthy), others], axis=1)

    def thresholds(self) -> list[Float32]:
        """Return the sorted thresholds of each feature, as far as they are known."""
        found = [np.empty(0, np.float32) for _ in range(self.features)]
        for column, known in zip(
            self.brought.columns, self.brought.estimator.thresholds, strict=False
        ):
            found[column] = known
        return found


def log_of(probabilities: npt.ArrayLike) -> Float64:
    """Return logits float64 of probabilities, at least `LEAST_PROBABILITY` each."""
    return np.log(np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, 1))


def log_nodes(probabilities: Var) -> Var:
    """Return `log_of` inside a graph, float32."""
    single = op.cast(probabilities, to=np.float32)
    return op.log(op.clip(single, scalar(LEAST_PROBABILITY), scalar(1)))


def _any_of(logits: Var, width: int) -> Var:
    pads = op.const(np.array([0, 0, 0, -width % LANES]))
    padded = op.pad(logits, pads, scalar(FAR_BELOW))
    return op.reduce_log_sum_exp(padded, op.const(np.array([1])), keepdims=1)
