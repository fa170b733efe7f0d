"""How a model is trained: the numbers that `tune` chooses, and those that a person does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foreshock_wire.errors import ForeshockError


class LeadTimeHead(StrEnum):
    """What tells the time to a failure.

    `quantile`: quantile regression on windows before failures that came. `aft`: an accelerated
    failure time model (Wei 1992), which also learns from every window whose failure did not come
    within the horizon: for fleets that seldom fail.
    """

    QUANTILE = "quantile"
    AFT = "aft"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How the boosters are trained; chosen on validation machines (docs/adr/0005-honest-split.md).

    `patience` rounds without a better loss on the stopping machines end the training; 0 trains
    all `rounds`, as `tune` found them. The threshold has the best F1 under the false-positive
    rate `max_fpr`, or with a `miss_cost` the least cost, when a missed window costs that many
    false ones. `threads` is per head: any other number than 1 may change the last bits of the
    model.
    """

    rounds: int = 300
    patience: int = 25
    depth: int = 4
    learning_rate: float = 0.1
    bins: int = 512
    rows_per_tree: float = 0.7
    features_per_tree: float = 0.5
    min_child_weight: float = 10.0
    l2: float = 5.0
    mode_rounds: int = 60
    lead_time_rounds: int = 80
    lead_time_head: LeadTimeHead = LeadTimeHead.QUANTILE
    max_fpr: float = 0.05
    miss_cost: float | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.max_fpr <= 1:
            raise ForeshockError(f"max_fpr {self.max_fpr:g} must lie above 0 and at most at 1")
        if self.miss_cost is not None and not self.miss_cost > 0:
            raise ForeshockError(f"miss_cost {self.miss_cost:g} must be above 0 false alarms")

    def parameters(self, **more: object) -> dict[str, Any]:
        """Return what XGBoost is told, common to all heads."""
        return {
            "tree_method": "hist",
            "max_bin": self.bins,
            "max_depth": self.depth,
            "eta": self.learning_rate,
            "subsample": self.rows_per_tree,
            "colsample_bytree": self.features_per_tree,
            "min_child_weight": self.min_child_weight,
            "lambda": self.l2,
            "seed": self.seed,
            "nthread": self.threads,
        } | more
