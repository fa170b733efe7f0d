"""A simulated life as a gateway would have judged it: windows, scores and alarms, bit for bit.

The readings go through the same rules as on a gateway, in order of arrival, each once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_agent.advice import alarm_of
from foreshock_agent.scoring import Due, Score, alarm_policy
from foreshock_agent.settings import AlarmSettings
from foreshock_plant.machine import simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.physics import levels, to_units
from foreshock_plant.sensor_faults import deliver, true_messages
from foreshock_rules.alarms import AlarmHead, Transition, judge
from foreshock_rules.windows import Windower, WindowSpec
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from foreshock_plant.machine import Event, Life
    from foreshock_plant.sensor_faults import Messages, Stretch
    from foreshock_rules.alarms import Judgement
    from foreshock_wire.messages import Alarm
    from foreshock_wire.model import Model

    Floats = npt.NDArray[np.floating[Any]]
    Int64 = npt.NDArray[np.int64]

SECOND_NS: Final = 1_000_000_000
AT: Final = Gateway("works", "gw-1")
"""The gateway that the machine is taken to be wired to."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One alarm, and when it was cleared (None: it stood at the end)."""

    alarm: Alarm
    cleared_ns: int | None = None

    @property
    def raised_ns(self) -> int:
        """Event time of the window that raised it."""
        return self.alarm.raised_ns or self.alarm.time_ns


@dataclass(frozen=True, slots=True)
class JudgedLife:
    """A life, what was delivered of it, and what the gateway said.

    `units` by channel; `messages` in order of arrival, copies left out; `healthy` float64[K, 5] is
    what the machine would have read without wear, noise and offsets; `end_ns` int64[W] and
    `probability` float64[W] (of a failure within `horizon_h`) are the scored windows.
    """

    life: Life
    units: Mapping[str, str]
    horizon_h: float
    threshold: float
    messages: Messages
    stretches: tuple[Stretch, ...]
    healthy: Floats
    end_ns: Int64
    probability: Floats
    episodes: tuple[Episode, ...]

    @property
    def failures(self) -> tuple[Event, ...]:
        """The failures, in order of time."""
        return tuple(event for event in self.life.events if event.kind == "failure")

    def warning_of(self, failure: Event) -> Episode | None:
        """Return the alarm that stood when the machine failed, if one did."""
        for episode in self.episodes:
            over_ns = math.inf if episode.cleared_ns is None else episode.cleared_ns
            if episode.raised_ns < failure.time_ns <= over_ns:
                return episode
        return None


def judged_life(
    model: Model, machine: str, *, seed: int, hours: float, lateness_s: float
) -> JudgedLife:
    """Simulate a machine and judge what would have arrived of it.

    Raises:
        ChannelMismatchError: the model reads channels that the plant does not have.
        ForeshockError: the id names no class of the plant.
    """
    model.check_channels(CHANNELS)
    life = simulate(machine, seed=seed, hours=hours)
    delivered, stretches = deliver(true_messages([life]), seed=seed)
    messages = delivered.take(np.flatnonzero(~delivered.copy))
    scores = _scores(model, list(_due(messages, _cut(model, lateness_s))))
    return JudgedLife(
        life=life,
        units={channel.id: channel.unit for channel in model.spec.channels},
        horizon_h=model.spec.horizon_h,
        threshold=model.spec.threshold,
        messages=messages,
        stretches=stretches,
        healthy=_healthy(life),
        end_ns=np.array([score.due.window.end_ns for score in scores], dtype=np.int64),
        probability=np.array([score.probability for score in scores]),
        episodes=tuple(_episodes(model, scores)),
    )


def _scores(model: Model, due: list[Due]) -> list[Score]:
    if not due:
        return []
    outputs = model.run(np.stack([one.window.values for one in due]))
    return [
        Score(one, model.sha256, float(margin), float(probability))
        for one, margin, probability in zip(due, outputs.margin, outputs.probability, strict=True)
    ]


def _cut(model: Model, lateness_s: float) -> WindowSpec:
    spec = model.spec
    lateness_ns = round(lateness_s * SECOND_NS)
    return WindowSpec(
        spec.channel_ids, spec.period_ns, spec.length, spec.stride, spec.min_fill, lateness_ns
    )


def _due(messages: Messages, cut: WindowSpec) -> Iterator[Due]:
    """Yield the windows that become due, message by message as they arrive."""
    windower = Windower(cut)
    machine = messages.machines[0]
    columns = [(cut.channels.index(c), CHANNELS.index(c)) for c in CHANNELS if c in cut.channels]
    for i in range(len(messages)):
        for column, channel in columns:
            value = float(messages.values[i, channel])
            if not math.isnan(value):
                _, windows = windower.add(column, int(messages.time_ns[i]), value)
                yield from (Due(machine, one, int(messages.arrival_ns[i])) for one in windows)


def _episodes(model: Model, scores: list[Score]) -> Iterator[Episode]:
    settings = AlarmSettings()
    policy = alarm_policy(settings, model.spec.threshold_margin, settings.deadband)
    head, standing = AlarmHead(), None
    for score in scores:
        judgement = judge(head, policy, score.due.window.end_ns, score.margin)
        head = judgement.head
        if judgement.transition is Transition.RAISED:
            standing = _raised(model, score, judgement)
        elif judgement.transition is Transition.CLEARED and standing:
            yield replace(standing, cleared_ns=head.time_ns)
            standing = None
    if standing:
        yield standing


def _raised(model: Model, score: Score, judgement: Judgement) -> Episode:
    outputs = model.run(score.due.window.values[np.newaxis], explain=True)
    return Episode(alarm_of(AT, judgement.head, score, model.spec, outputs))


def _healthy(life: Life) -> Floats:
    unworn = np.zeros_like(life.severity)
    return to_units(levels(life.cls, life.load, life.ambient, unworn)).T
