"""What a replay shows of each machine, gathered while it runs, in memory that does not grow."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_agent.judging.scoring import RULE
from foreshock_wire.batch import FLAG_FUTURE
from foreshock_wire.messages import AlarmState
from foreshock_wire.pages.thinned import Thinned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foreshock_agent.desk.replay import Asked, Judged
    from foreshock_agent.desk.replay_text import Tally
    from foreshock_wire.batch import Readings
    from foreshock_wire.messages import Alarm

EPISODES: Final = 50
"""So many alarms of a machine are kept: its newest."""


@dataclass(slots=True)
class Episode:
    """An alarm as it was raised, and when it was over (UTC, ns); None where it stands."""

    alarm: Alarm
    over_ns: int | None = None

    @property
    def raised_ns(self) -> int:
        """When it was raised."""
        raised_ns = self.alarm.raised_ns
        return self.alarm.time_ns if raised_ns is None else raised_ns


@dataclass(slots=True)
class MachineStory:
    """One machine: its channels and its risk over time, and its alarms."""

    channels: defaultdict[str, Thinned] = field(default_factory=lambda: defaultdict(Thinned))
    risk: Thinned = field(default_factory=Thinned)
    risk_max: float = 0.0
    windows: int = 0
    by_limits: int = 0
    raised: int = 0
    state: AlarmState = AlarmState.NORMAL
    episodes: deque[Episode] = field(default_factory=lambda: deque(maxlen=EPISODES))

    def note(self, one: Judged) -> None:
        """Take a window."""
        score = one.score
        self.windows += 1
        self.by_limits += score.model == RULE
        self.state = one.state
        self.risk.add(np.array([score.due.window.end_ns]), np.array([score.probability]))
        self.risk_max = max(self.risk_max, score.probability)  # NaN is not greater
        if one.alarm is not None:
            self._changed(one.alarm)

    def _changed(self, alarm: Alarm) -> None:
        if alarm.state is AlarmState.UNACKNOWLEDGED:
            self.raised += 1
            self.episodes.append(Episode(alarm))
        elif self.episodes and self.episodes[-1].alarm.episode == alarm.episode:
            self.episodes[-1].over_ns = alarm.time_ns
        else:
            self.episodes.append(Episode(alarm, alarm.time_ns))


class Story:
    """All machines that are asked for; `ahead` counts readings from beyond the gateway's time."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.machines: defaultdict[str, MachineStory] = defaultdict(MachineStory)
        self.ahead = 0

    def note(self, one: Judged) -> None:
        """Take a window as it was judged."""
        self.machines[one.score.due.machine].note(one)

    def hear(self, batch: Readings) -> None:
        """Take readings, of the machines that are asked for."""
        ahead = (batch.flags & FLAG_FUTURE) > 0
        self.ahead += int(ahead.sum())
        inside = (batch.time_ns > self._asked.from_ns) & (batch.time_ns <= self._asked.to_ns)
        heard = batch.where(inside & ~ahead)
        tracks = heard.machine.astype(np.int64) * len(batch.channels) + heard.channel
        order = np.argsort(tracks, kind="stable")
        found, first = np.unique(tracks[order], return_index=True)
        for track, rows in zip(found.tolist(), np.split(order, first[1:]), strict=False):
            machine, channel = divmod(track, len(batch.channels))
            curve = self.machines[batch.machines[machine]].channels[batch.channels[channel]]
            curve.add(heard.time_ns[rows], heard.value[rows])


@dataclass(frozen=True, slots=True)
class Side:
    """One judgement of what is stored: by which model, None for the limits, and its alarm limit."""

    name: str
    model: str | None
    threshold: float | None
    story: Story
    tally: Tally
    units: Mapping[str, str] = field(default_factory=dict)
