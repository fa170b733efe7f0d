"""What stands between rows of features and the outputs of the heads.

Everything else in a model file (features, explanation, calibration, novelty) is the same whatever
was trained; a `Predictor` gives its `Scorer` for the graph, and answers for itself as the oracle
that the graph is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from foreshock_converter.trees import thresholds_by_feature, tree_ensemble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from spox import Var

    from foreshock_converter.survival import FailureTime
    from foreshock_converter.trees import Forest
    from foreshock_wire.spec import ModelSpec

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Rows of features become columns: `fault` (a margin), `modes` (logits), `lead_time`."""

    @property
    def widths(self) -> Mapping[str, int]:
        """How many columns each head has, in their order; absent heads are absent."""

    @property
    def shift(self) -> Float32:
        """Hours added to each quantile, float32[Q]."""

    @property
    def failure_time(self) -> FailureTime | None:
        """The distribution around `lead_time` when that is a logarithm, else None: hours."""

    @property
    def needs(self) -> tuple[int, ...]:
        """Features without which it has no score; trees need none."""

    def nodes(self, rows: Var) -> Var:
        """Return float32[N, sum of widths] of `rows` float32[N, F]."""

    def thresholds(self) -> Sequence[Float32]:
        """Return the sorted thresholds of each of the F features, as far as they are known."""


class Predictor(Protocol):
    """What somebody trained: it gives a scorer, and predicts on its own."""

    def scorer(self, spec: ModelSpec, names: Sequence[str]) -> Scorer:
        """Return the scorer over features of these names."""

    def scores(self, features: Float32) -> Bools:
        """Return bool[N]: it has a score for this row of features float32[N, F]."""

    def margin(self, features: Float32) -> Float64:
        """Return the fault's margin float64[N]."""

    def mode_shares(self, features: Float32) -> Float64 | None:
        """Return probabilities of the failure modes float64[N, M]; None without that head."""

    def lead_time_h(self, features: Float32, spec: ModelSpec) -> Float64 | None:
        """Return quantiles float64[N, Q] in hours; None without that head."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Boosters by head, as one tree ensemble."""

    forests: Mapping[str, Forest]
    shift: Float32
    needs: tuple[int, ...] = ()

    @property
    def widths(self) -> dict[str, int]:
        """How many columns each head has."""
        return {name: forest.targets for name, forest in self.forests.items()}

    @property
    def failure_time(self) -> FailureTime | None:
        """The distribution around the lead time, for survival:aft."""
        lead_time = self.forests.get("lead_time")
        return lead_time.failure_time if lead_time else None

    def nodes(self, rows: Var) -> Var:
        """Return the margins of all heads."""
        return tree_ensemble(rows, list(self.forests.values()))

    def thresholds(self) -> Sequence[Float32]:
        """Return the sorted thresholds of each feature."""
        return thresholds_by_feature(list(self.forests.values()))
