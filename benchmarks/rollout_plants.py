"""Rollouts of simulated models over simulated gateways, by the fleet's real rules.

On each gateway champion and candidate judge the same windows, block by block. Gateways differ: each
has its own rate of alarms, and its own taste for the candidate, which alarms more on some and less
on others; heat waves raise all rates at once. What the candidate is like is said by `Candidate`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_fleet.events import Offered, RollbackBegan
from foreshock_fleet.health import Health, HealthGate, Tally, compare
from foreshock_fleet.plan import Plan
from foreshock_fleet.rollout import Member, Standing, apply, begin, step
from foreshock_wire.topics import Gateway
from foreshock_wire.trials import LiveHealth, ModelFigures
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from foreshock_fleet.events import Event, RolloutState

OLD, NEW = "a" * 64, "b" * 64
HOUR_NS: Final = 3600 * 10**9
WINDOWS: Final = 60
GATE: Final = HealthGate()
SEES: Final = 0.8
"""The champion's chance to see a fault."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the new model is like beside the old one.

    `alarms` multiplies its rate of false alarms and `latency` its time, `sees` is its chance to see
    a fault, `errors` that of an error in a block; `taste` is how differently gateways take it: the
    standard deviation of the logarithm of the rate.
    """

    alarms: float = 1.0
    sees: float = SEES
    taste: float = 0.3
    errors: float = 0.0
    latency: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """The gateways, which share of what happens is answered by somebody, and the plan."""

    gateways: int = 30
    answered: float = 0.0
    alarms_a_block: float = 0.1
    faults_a_block: float = 0.05
    waves: tuple[float, ...] = (8.0, 30.0)
    gate: HealthGate = GATE


@dataclass(frozen=True, slots=True)
class Ending:
    """How a rollout ended, after how many device-blocks, and on how many gateways."""

    state: RolloutState
    blocks: int
    offered: int
    reason: str


class Rehearsal:
    """One rollout; all that is drawn follows from `seed`."""

    def __init__(self, candidate: Candidate, setting: Setting, seed: int) -> None:
        self._candidate, self._setting = candidate, setting
        self._plan = Plan(waves=setting.waves, health=setting.gate)
        self._random = np.random.default_rng(seed)
        ats = [Gateway("north", f"gw-{number}") for number in range(setting.gateways)]
        rates = setting.alarms_a_block * self._random.gamma(2.0, 0.5, len(ats))
        taste = candidate.taste * self._random.standard_normal(len(ats))
        # Without the second term the average gateway would be given more alarms.
        fair = np.exp(taste - candidate.taste**2 / 2)
        others = rates * fair * candidate.alarms
        self._rates = dict(zip(ats, zip(rates, others, strict=True), strict=True))
        self._progress = begin(self._plan, [Member(at, OLD) for at in ats])
        self._blocks, self._now_ns = setting.gate.terms.blocks, 0

    def play(self) -> Ending:
        """Return how it ends."""
        for _ in range(self._blocks * self._progress.waves + 1):
            self._advance()
            heat = float(self._random.lognormal(-0.125, 0.5))
            for at in [one.at for one in self._progress.members if self._tries(one)]:
                self._tell(at, heat)
                self._advance()
            self._now_ns += HOUR_NS
        found = self._progress
        offered = sum(one.counter > 0 for one in found.members)
        return Ending(found.state, found.health.blocks, offered, found.reason)

    def _tries(self, one: Standing) -> bool:
        return one.counter > 0 and one.blocks < self._blocks

    def _advance(self) -> None:
        while due := step(self._plan, self._progress, self._now_ns):
            for event in due:
                self._take(event)

    def _take(self, event: Event) -> None:
        counters = {one.at: max(one.counter, one.back) + 1 for one in self._progress.members}
        self._progress = apply(self._progress, event, counters)
        if isinstance(event, RollbackBegan):
            self._replace(
                *(replace(one, back_state=DeviceState.COMMITTED) for one in self._reached())
            )
        if isinstance(event, Offered):
            self._replace(*(replace(one, state=DeviceState.SHADOW) for one in self._reached()))

    def _reached(self) -> list[Standing]:
        return [
            one for one in self._progress.members if (one.counter and not one.blocks) or one.back
        ]

    def _replace(self, *changed: Standing) -> None:
        by_at = {one.at: one for one in changed}
        members = tuple(by_at.get(one.at, one) for one in self._progress.members)
        self._progress = replace(self._progress, members=members)

    def _tell(self, at: Gateway, heat: float) -> None:
        """One block of one gateway comes in; after its last one it commits."""
        (one,) = (member for member in self._progress.members if member.at == at)
        if self._progress.state in {"rolling_back", "rolled_back"}:
            return
        told = self._block(one, heat)
        tallies = dict(self._progress.health.tallies)
        for metric, outcome in compare(told).items():
            tallies[metric] = _added(tallies.get(metric, Tally()), outcome)
        state = DeviceState.COMMITTED if told.block == self._blocks else DeviceState.TRIAL
        self._replace(replace(one, blocks=told.block, state=state))
        self._progress = replace(self._progress, health=Health(tallies))

    def _block(self, one: Standing, heat: float) -> LiveHealth:
        old_rate, new_rate = self._rates[one.at]
        faults = self._random.poisson(self._setting.faults_a_block)
        latency_us = float(200 * self._random.lognormal(0, 0.1))
        errors = int(self._random.random() < self._candidate.errors)
        slower_us = latency_us * self._candidate.latency
        return LiveHealth(
            gateway=one.at.gateway,
            counter=one.counter,
            block=one.blocks + 1,
            begin_ns=self._now_ns,
            end_ns=self._now_ns + HOUR_NS,
            phase="shadow",
            champion_sha256=OLD,
            candidate_sha256=NEW,
            champion=self._figures(old_rate * heat, SEES, faults, latency_us, 0),
            candidate=self._figures(
                new_rate * heat, self._candidate.sees, faults, slower_us, errors
            ),
        )

    def _figures(
        self, rate: float, sees: float, faults: int, latency_us: float, errors: int
    ) -> ModelFigures:
        wrong = int(self._random.poisson(rate))
        seen = int(self._random.binomial(faults, sees))
        answered = self._setting.answered
        return ModelFigures(
            windows=WINDOWS,
            errors=errors,
            alarms=wrong + seen,
            latency_us=latency_us,
            confirmed=int(self._random.binomial(seen, answered)),
            false_alarms=int(self._random.binomial(wrong, answered)),
            missed=int(self._random.binomial(faults - seen, answered)),
        )


def _added(tally: Tally, outcome: int) -> Tally:
    return Tally(
        tally.worse + (outcome > 0), tally.same + (outcome == 0), tally.better + (outcome < 0)
    )
