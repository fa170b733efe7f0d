"""What the health gate can see: the chance to stop a worse model within some device-blocks.

Computed by simulation of the gate itself, with a fixed seed: the same plan says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_fleet.health import BETS, UNLABELLED

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_fleet.health import HealthGate

RUNS: Final = 1000
SEED: Final = 20_240
DISAGREEMENT: Final = 0.1
"""Share of device-blocks in which two equally good models are taken to differ, each way half."""

POWER: Final = 0.9
STEP: Final = 0.01


@dataclass(frozen=True, slots=True)
class Power:
    """What a gate can see in `blocks` device-blocks.

    A model that is worse in `effect` more of the blocks than it is better is stopped with
    probability `power`; None when even one that is worse in every block would not be.
    """

    blocks: int
    effect: float | None
    power: float
    wrong_abort: float


def power_of(gate: HealthGate, blocks: int) -> Power:
    """Return the smallest effect on one metric that is seen with 90 % power."""
    low, high = 1, round(1 / STEP)
    if detection(gate, blocks, 1.0) < POWER:
        return Power(blocks, None, POWER, gate.alpha)
    while low < high:
        middle = (low + high) // 2
        if detection(gate, blocks, middle * STEP) >= POWER:
            high = middle
        else:
            low = middle + 1
    return Power(blocks, round(low * STEP, 4), POWER, gate.alpha)


def detection(gate: HealthGate, blocks: int, effect: float, runs: int = RUNS) -> float:
    """Return the share of runs in which a model that is worse by `effect` is stopped in time.

    The other metrics are taken to be the same in every block, which holds the gate back most.
    """
    if blocks <= 0:
        return 0.0
    random = np.random.default_rng(SEED)
    better = min(DISAGREEMENT / 2, (1 - effect) / 2)
    drawn = random.random((runs, blocks))
    outcome = np.where(drawn < better, -1.0, np.where(drawn < 2 * better + effect, 1.0, 0.0))
    others = (len(UNLABELLED) - 1) * _capital(np.zeros((1, blocks)), gate.margin)
    mean = (_capital(outcome, gate.margin) + others) / len(UNLABELLED)
    return float(np.mean(mean.max(axis=1) >= 2 / gate.alpha))


def _capital(outcome: npt.NDArray[np.float64], margin: float) -> npt.NDArray[np.float64]:
    """Return the capital float64[runs, blocks] after each block of outcomes of the same shape."""
    paths = [
        np.exp(np.cumsum(np.log1p(share / (1 + margin) * (outcome - margin)), axis=1))
        for share in BETS
    ]
    found: npt.NDArray[np.float64] = np.mean(paths, axis=0)
    return found
