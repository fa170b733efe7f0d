"""Is the candidate worse than the champion on the same gateways? A sequential test. Pure.

The unit is a device-block: in each metric the candidate was worse (+1), the same (0) or better (-1)
than the champion on the same windows. With a bet of size `l` on "worse", a block multiplies the
capital by `1 + l (x - margin)`: if the candidate is worse in no more than `margin` of the blocks
(beyond those in which it is better), capital cannot be expected to grow, and by Ville's inequality
it ever reaches `1 / alpha` with probability `alpha` at most, however often one looks. Source:
Waudby-Smith & Ramdas (2024), Estimating means of bounded random variables by betting, sections 3
and 4; the bets here are a fixed mixture, so that neither the order nor the time at which blocks
arrive matters. docs/adr/0015 has what this assumes, and what else was considered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from foreshock_wire.updates import TrialTerms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_wire.trials import LiveHealth, ModelFigures

Margin = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)]

BETS: Final = (0.1, 0.2, 0.4, 0.6, 0.9)
"""Shares of the largest bet that cannot lose everything in one block."""

LATENCY_RATIO: Final = 1.5
LATENCY_FLOOR_US: Final = 1000.0
"""Slower means by half as much again and by a millisecond: below that is the machine's noise."""


class Metric(StrEnum):
    """What is compared; the last two are known from labels only."""

    ALARMS = "alarms"
    ERRORS = "errors"
    LATENCY = "latency"
    FALSE_ALARMS = "false_alarms"
    MISSED = "missed"


UNLABELLED: Final = (Metric.ALARMS, Metric.ERRORS, Metric.LATENCY)
LABELLED: Final = (Metric.FALSE_ALARMS, Metric.MISSED)


class HealthGate(BaseModel):
    """What a candidate has to hold on live data.

    `alpha` bounds the chance that an equally good model is ever taken back: half of it is for the
    metrics that need no labels, half for those that do. `beta` bounds the chance that a model which
    is worse by a margin is ever called non-inferior. A margin is a share of device-blocks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    block_s: Annotated[float, Field(ge=0.1, le=30 * 86_400, allow_inf_nan=False)] = 3600.0
    shadow_blocks: Annotated[int, Field(ge=0, le=10_000)] = 6
    trial_blocks: Annotated[int, Field(ge=0, le=10_000)] = 18
    alpha: Level = 0.05
    beta: Level = 0.1
    margin: Margin = 0.05

    @property
    def terms(self) -> TrialTerms:
        """Return what the gateways are told of it."""
        return TrialTerms(
            block_s=self.block_s, shadow_blocks=self.shadow_blocks, trial_blocks=self.trial_blocks
        )


# One block --------------------------------------------------------------------------------------


def compare(block: LiveHealth) -> dict[Metric, int]:
    """Return in which metrics the candidate was worse (1), the same (0) or better (-1)."""
    old, new = block.champion, block.candidate
    found = {
        Metric.ALARMS: _sign(new.alarms, old.alarms),
        Metric.ERRORS: _sign(new.errors, old.errors),
        Metric.LATENCY: _slower(new.latency_us, old.latency_us),
    }
    if _is_labelled(old) or _is_labelled(new):
        found[Metric.FALSE_ALARMS] = _sign(new.false_alarms, old.false_alarms)
        found[Metric.MISSED] = _sign(new.missed, old.missed)
    return found


def _sign(new: int, old: int) -> int:
    return (new > old) - (new < old)


def _slower(new: float | None, old: float | None) -> int:
    if new is None or old is None:
        return 0
    return int(_is_slower(new, old)) - int(_is_slower(old, new))


def _is_slower(one: float, other: float) -> bool:
    return one > max(LATENCY_RATIO * other, other + LATENCY_FLOOR_US)


def _is_labelled(figures: ModelFigures) -> bool:
    return bool(figures.confirmed or figures.false_alarms or figures.missed)


# Many blocks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """In how many device-blocks the candidate was worse, the same, better."""

    worse: int = 0
    same: int = 0
    better: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks were counted."""
        return self.worse + self.same + self.better

    @property
    def excess(self) -> float:
        """By how many more of the blocks it was worse than better, as a share."""
        return (self.worse - self.better) / self.blocks if self.blocks else 0.0


Tallies = Mapping[Metric, Tally]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the tallies say; each but `non_inferior` is a capital that began at 1.

    `worse` is by metric, `unlabelled` and `labelled` are the means over their metrics, which a gate
    compares with `2 / alpha`. `non_inferior` is the least over the metrics without labels.
    """

    worse: Mapping[Metric, float]
    unlabelled: float
    labelled: float
    non_inferior: float


def evidence(gate: HealthGate, tallies: Tallies) -> Evidence:
    """Weigh the tallies."""
    worse = {metric: capital(tallies.get(metric, Tally()), gate.margin) for metric in Metric}
    return Evidence(
        worse,
        _mean([worse[metric] for metric in UNLABELLED]),
        _mean([worse[metric] for metric in LABELLED]),
        min(non_inferior_capital(tallies.get(m, Tally()), gate.margin) for m in UNLABELLED),
    )


# A block changes one tally of a rollout; the others are weighed again at every step.
@lru_cache(4096)
def capital(tally: Tally, margin: float) -> float:
    """Return what bets on "worse by more than the margin" have come to."""
    return _mean([_grown(tally, margin, share / (1 + margin)) for share in BETS])


@lru_cache(4096)
def non_inferior_capital(tally: Tally, margin: float) -> float:
    """Return what bets on "worse by less than the margin" have come to."""
    mirrored = Tally(tally.better, tally.same, tally.worse)
    return _mean([_grown(mirrored, -margin, share / (1 - margin)) for share in BETS])


def _grown(tally: Tally, margin: float, bet: float) -> float:
    log = (
        tally.worse * math.log1p(bet * (1 - margin))
        + tally.same * math.log1p(-bet * margin)
        + tally.better * math.log1p(-bet * (1 + margin))
    )
    # Beyond what a float holds more evidence says no more.
    return math.exp(min(log, 600.0))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# The gate ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a rollout's model on live data; `blocks` counts all metrics' units."""

    tallies: Tallies = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """How many device-blocks were counted."""
        return self.tallies.get(Metric.ALARMS, Tally()).blocks


def why_worse(gate: HealthGate, health: Health) -> str:
    """Say in which way the model is worse, or nothing while that is not shown."""
    found = evidence(gate, health.tallies)
    for group, metrics, name in (
        (found.unlabelled, UNLABELLED, "without labels"),
        (found.labelled, LABELLED, "by labels"),
    ):
        if group >= 2 / gate.alpha:
            metric = max(metrics, key=lambda one: found.worse[one])
            return f"the model is worse than the champion, {name}: {_told(metric, health)}"
    return ""


def _told(metric: Metric, health: Health) -> str:
    tally = health.tallies[metric]
    return (
        f"more {metric.replace('_', ' ')} in {tally.worse} of {tally.blocks} device-blocks, "
        f"fewer in {tally.better}"
    )


def is_non_inferior(gate: HealthGate, health: Health) -> bool:
    """Say whether the model was shown to be worse by less than the margin, in every metric."""
    return evidence(gate, health.tallies).non_inferior >= 1 / gate.beta
