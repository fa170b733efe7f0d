"""A simulated life as a gateway would have judged it: windows, scores and alarms, bit for bit.

The readings go through the edge's own rules (`foreshock_trainer.playback`) in order of arrival,
each once; an alarm's reasons, mode and interval come from the agent's own composition of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_agent.judging.advice import alarm_of
from foreshock_agent.judging.scoring import Due, Score
from foreshock_plant.machine import simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.physics import levels, to_units
from foreshock_plant.sensor_faults import deliver, true_messages
from foreshock_rules.alarms import AlarmHead
from foreshock_trainer.examples import Track
from foreshock_trainer.playback import EdgeSettings, play
from foreshock_wire.messages import AlarmState
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_plant.machine import Event, Life
    from foreshock_plant.sensor_faults import Messages, Stretch
    from foreshock_rules.playback import Played
    from foreshock_wire.messages import Alarm
    from foreshock_wire.model import Model
    from foreshock_wire.spec import ModelSpec

    Floats = npt.NDArray[np.floating[Any]]

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
        return self.alarm.time_ns


@dataclass(frozen=True, slots=True)
class JudgedLife:
    """A life, what was delivered of it, and what the gateway said.

    `messages` in order of arrival, copies left out; `healthy` float64[K, 5] is what the machine
    would have read without wear, noise and offsets; `spec` is the model's.
    """

    life: Life
    messages: Messages
    stretches: tuple[Stretch, ...]
    healthy: Floats
    spec: ModelSpec
    played: Played
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
    """Simulate a machine and judge what would have arrived of it; the plant has all its channels.

    Raises:
        ForeshockError: the id names no class of the plant.
    """
    life = simulate(machine, seed=seed, hours=hours)
    delivered, stretches = deliver(true_messages([life]), seed=seed)
    messages = delivered.take(np.flatnonzero(~delivered.copy))
    track, edge = _track(messages, model.spec), EdgeSettings(lateness_s=lateness_s)
    played = play(track, model.spec.channel_ids, model, edge)
    return JudgedLife(
        life=life,
        messages=messages,
        stretches=stretches,
        healthy=_healthy(life),
        spec=model.spec,
        played=played,
        episodes=tuple(_episodes(model, machine, played)),
    )


def _track(messages: Messages, spec: ModelSpec) -> Track:
    values = messages.values[:, [CHANNELS.index(name) for name in spec.channel_ids]]
    row, column = np.nonzero(~np.isnan(values))
    return Track(
        messages.machines[0],
        column,
        messages.time_ns[row],
        values[row, column],
        messages.arrival_ns[row],
    )


def _episodes(model: Model, machine: str, played: Played) -> Iterator[Episode]:
    pairs = zip(played.raised, played.episodes(), strict=True)
    for number, (window, (raised_ns, cleared_ns)) in enumerate(pairs, start=1):
        at = int(np.searchsorted(played.end_ns, raised_ns))
        outputs = model.run(window.values[np.newaxis], explain=True)
        head = AlarmHead(AlarmState.UNACKNOWLEDGED, number, raised_ns, raised_ns=raised_ns)
        due = Due(machine, window, received_ns=raised_ns)
        said = float(played.margin[at]), float(played.probability[at])
        alarm = alarm_of(AT, head, Score(due, model.sha256, *said), model.spec, outputs)
        yield Episode(alarm, cleared_ns)


def _healthy(life: Life) -> Floats:
    unworn = np.zeros_like(life.severity)
    return to_units(levels(life.cls, life.load, life.ambient, unworn)).T
