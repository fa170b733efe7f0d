"""Two models on the same stretch of the lake, as the gateways would have run them.

Open `backtest`. By default only the permanent test machines are asked, which trained no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.contest import Comparison, Stretch, summed, tally
from foreshock_trainer.evaluate import NS_PER_HOUR
from foreshock_trainer.examples import Track, tracks, work_orders
from foreshock_trainer.playback import EdgeSettings, play
from foreshock_trainer.splits import is_test_machine
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_trainer.contest import Tally
    from foreshock_trainer.examples import WorkOrders
    from foreshock_trainer.lake import Lake
    from foreshock_wire.model import Model

ALWAYS: Final = (-(1 << 62), 1 << 62)
"""From and to, when nobody says otherwise."""


class BacktestError(ForeshockError):
    """There is nothing to compare the models on."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of two models.

    `from_ns` exclusive, `to_ns` inclusive, UTC; `horizon_h` how far ahead a failure counts, or None
    for the farther of the two models'; with `all_machines` those that trained a model are asked
    too, which flatters it.
    """

    from_ns: int = ALWAYS[0]
    to_ns: int = ALWAYS[1]
    horizon_h: float | None = None
    all_machines: bool = False
    edge: EdgeSettings = field(default_factory=EdgeSettings)

    def stretch(self, *models: Model) -> Stretch:
        """Return the stretch with its horizon."""
        horizon_h = self.horizon_h or max(model.spec.horizon_h for model in models)
        return Stretch(self.from_ns, self.to_ns, round(horizon_h * NS_PER_HOUR))


@dataclass(frozen=True, slots=True)
class Backtest:
    """What came of it: the machines asked, those without work orders, and the comparison."""

    machines: tuple[str, ...]
    unknown: tuple[str, ...]
    stretch: Stretch
    comparison: Comparison


def backtest(
    lake: Lake,
    a: Model,
    b: Model,
    question: Question,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Backtest:
    """Run both models over the lake.

    A gateway's alarm depends on all that came before, so each machine is replayed from its first
    reading; alarms and failures are counted in the stretch.

    Raises:
        BacktestError: no machine to ask.
    """
    stretch = question.stretch(a, b)
    orders = work_orders(lake)
    machines, unknown = _machines(lake, orders, question)
    channels = tuple(dict.fromkeys((*a.spec.channel_ids, *b.spec.channel_ids)))
    asked = _Asked(channels, question.edge, stretch, orders)
    tallies: dict[str, list[Tally]] = {"a": [], "b": []}
    for done, track in enumerate(tracks(lake, machines, channels), start=1):
        for side, model in (("a", a), ("b", b)):
            tallies[side].append(asked.of(track, model))
        progress(done, len(machines))
    comparison = Comparison(summed(tallies["a"]), summed(tallies["b"]))
    return Backtest(machines, unknown, stretch, comparison)


def _machines(
    lake: Lake, orders: WorkOrders, question: Question
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    there = lake.machines()
    asked = [name for name in there if question.all_machines or is_test_machine(name)]
    known = tuple(name for name in asked if name in orders.events)
    if not known:
        raise BacktestError(
            f"none of the {len(asked)} machines to ask has work orders ({len(there)} machines are "
            "in the lake; the hash of the id makes about a fifth of them test machines): add "
            "labels with `foreshock trainer labels add`, or ask all with --all-machines"
        )
    return known, tuple(name for name in asked if name not in orders.events)


@dataclass(frozen=True, slots=True)
class _Asked:
    channels: tuple[str, ...]
    edge: EdgeSettings
    stretch: Stretch
    orders: WorkOrders

    def of(self, track: Track, model: Model) -> Tally:
        played = play(track, self.channels, model, self.edge)
        seen = tally(
            track.machine,
            played.episodes(),
            self.orders.events[track.machine],
            self.stretch,
            track.newest_ns(self.orders.told_ns),
        )
        inside = (played.end_ns > self.stretch.from_ns) & (played.end_ns <= self.stretch.to_ns)
        stride_h = model.spec.stride * model.spec.period_s / 3600
        return replace(
            seen,
            hours=int(np.count_nonzero(inside)) * stride_h,
            alarm_hours=int(np.count_nonzero(inside & played.standing())) * stride_h,
        )
