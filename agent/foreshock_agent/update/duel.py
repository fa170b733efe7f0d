"""Champion and candidate on the same windows, counted in blocks of machine time (pure).

Both are judged by the agent's own alarm rules, each with its own policy and its own heads, from the
same beginning; so what is compared is what an operator would have seen. Blocks do not overlap: one
ends when a window comes that ends after it, and what comes late counts where it comes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foreshock_rules.alarms import AlarmHead, Transition, judge
from foreshock_wire.messages import AlarmAnswer, AlarmState
from foreshock_wire.trials import ModelFigures

if TYPE_CHECKING:
    from foreshock_rules.alarms import AlarmPolicy

_STANDING = frozenset({AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED})


class Said(NamedTuple):
    """What a model said of a window: the margin, NaN for nothing usable, and the time it took."""

    margin: float
    latency_us: float


class Block(NamedTuple):
    """A finished block, in machine time (UTC, ns)."""

    begin_ns: int
    end_ns: int
    champion: ModelFigures
    candidate: ModelFigures
    differing: int


@dataclass(slots=True)
class _Side:
    """One model: its alarms, which go on through all blocks, and its figures in this one."""

    policy: AlarmPolicy
    heads: dict[str, AlarmHead] = field(default_factory=dict)
    windows: int = 0
    errors: int = 0
    alarms: int = 0
    confirmed: int = 0
    false_alarms: int = 0
    missed: int = 0
    latencies: list[float] = field(default_factory=list)

    def take(self, machine: str, end_ns: int, said: Said) -> bool:
        """Judge a window; return whether it is on the alarming side."""
        self.windows += 1
        self.errors += math.isnan(said.margin)
        if math.isfinite(said.latency_us):
            self.latencies.append(said.latency_us)
        head = self.heads.get(machine, AlarmHead())
        head, transition = judge(head, self.policy, end_ns, said.margin)
        self.heads[machine] = head
        self.alarms += transition is Transition.RAISED
        return said.margin >= self.policy.on_margin

    def answered(self, machine: str, kind: AlarmAnswer) -> None:
        """Take an operator's answer: an alarm that stands was right or not; none was a miss."""
        stands = self.heads.get(machine, AlarmHead()).state in _STANDING
        self.false_alarms += stands and kind is AlarmAnswer.FALSE_ALARM
        self.confirmed += stands and kind is not AlarmAnswer.FALSE_ALARM
        self.missed += not stands and kind is not AlarmAnswer.FALSE_ALARM

    def figures(self) -> ModelFigures:
        """Return the figures, and begin anew."""
        latency = float(np.percentile(self.latencies, 95)) if self.latencies else None
        figures = ModelFigures(
            windows=self.windows,
            errors=self.errors,
            alarms=self.alarms,
            latency_us=latency,
            confirmed=self.confirmed,
            false_alarms=self.false_alarms,
            missed=self.missed,
        )
        self.windows = self.errors = 0
        # One that goes on stands in the next block, too: else who always alarms does it once.
        self.alarms = sum(head.state in _STANDING for head in self.heads.values())
        self.confirmed = self.false_alarms = self.missed = 0
        self.latencies = []
        return figures


class Duel:
    """Takes windows in order of arrival and gives blocks of `block_ns`."""

    def __init__(self, champion: AlarmPolicy, candidate: AlarmPolicy, block_ns: int) -> None:
        self._champion, self._candidate = _Side(champion), _Side(candidate)
        self._block_ns = block_ns
        self._begin_ns: int | None = None
        self._differing = 0

    def take(self, machine: str, end_ns: int, champion: Said, candidate: Said) -> Block | None:
        """Take one window by both models; return the block that this ends, if it ends one."""
        finished = self._finished(end_ns)
        ours = self._champion.take(machine, end_ns, champion)
        theirs = self._candidate.take(machine, end_ns, candidate)
        self._differing += ours != theirs
        return finished

    def answered(self, machine: str, kind: AlarmAnswer) -> None:
        """Take an operator's answer to a machine's alarm."""
        self._champion.answered(machine, kind)
        self._candidate.answered(machine, kind)

    def _finished(self, now_ns: int) -> Block | None:
        begin_ns = self._begin_ns
        if begin_ns is None:
            self._begin_ns = now_ns
            return None
        passed = (now_ns - begin_ns) // self._block_ns
        if passed <= 0:
            return None
        # A plant that was silent for long has no empty blocks: the next one begins with the news.
        self._begin_ns = begin_ns + passed * self._block_ns
        differing, self._differing = self._differing, 0
        figures = self._champion.figures(), self._candidate.figures()
        return Block(begin_ns, begin_ns + self._block_ns, *figures, differing)
