"""What a gateway would have said of recorded readings, with any model: the edge's rules, replayed.

Windows are cut, scored and judged by the same rules as at the edge, from readings in the order in
which the edge saw them; so scores and alarms are the gateway's own, bit for bit (a test holds them
against what a real pipeline stored). Operators' commands and the limits that stand in for a model
without a score are not replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_rules.alarms import AlarmHead, AlarmPolicy, Transition, judge
from foreshock_rules.windows import WindowSpec, windows_of
from foreshock_trainer.judging import outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_trainer.examples import Track
    from foreshock_wire.messages import AlarmState
    from foreshock_wire.model import Model

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What a gateway's settings say beside the model; the defaults are the agent's."""

    on_delay_s: float = 0.0
    off_delay_s: float = 4 * 3600.0
    deadband: float = 0.5
    latching: bool = False
    lateness_s: float = 0.0

    def cut(self, model: Model) -> WindowSpec:
        """Return how windows are cut for a model."""
        return WindowSpec.of_model(model.spec, round(self.lateness_s * SECOND_NS))

    def policy(self, model: Model) -> AlarmPolicy:
        """Return when alarms are raised and cleared."""
        on_margin = model.spec.threshold_margin
        return AlarmPolicy(
            on_margin,
            on_margin - self.deadband,
            round(self.on_delay_s * SECOND_NS),
            round(self.off_delay_s * SECOND_NS),
            self.latching,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a machine's alarm, as the gateway would have published it."""

    time_ns: int
    episode: int
    state: AlarmState
    transition: Transition


@dataclass(frozen=True, slots=True)
class Played:
    """One machine's replay: each window's end and what the model said, and the alarm's changes.

    `end_ns` int64[N]; `margin`, `probability`, `novelty` float32[N].
    """

    machine: str
    end_ns: Int64
    margin: Float32
    probability: Float32
    novelty: Float32
    changes: tuple[Change, ...]

    def episodes(self) -> list[tuple[int, int | None]]:
        """Return when each alarm was raised and cleared; None where it still stands."""
        raised = [c.time_ns for c in self.changes if c.transition is Transition.RAISED]
        cleared = {c.episode: c.time_ns for c in self.changes if c.transition is Transition.CLEARED}
        return [(at, cleared.get(number)) for number, at in enumerate(raised, start=1)]

    def standing(self) -> Bool:
        """Say for each window whether the alarm stood once it was judged, bool[N]."""
        stands = np.zeros(len(self.end_ns), np.bool_)
        for raised, cleared in self.episodes():
            until = self.end_ns < cleared if cleared is not None else True
            stands |= (self.end_ns >= raised) & until
        return stands


def play(track: Track, channels: Sequence[str], model: Model, edge: EdgeSettings) -> Played:
    """Replay one machine.

    Args:
        track: its readings in arrival order; `track.channel` indexes `channels`.
        channels: names; those that the model does not read are left out, as at the edge.
        model: what the gateway would have run.
        edge: the gateway's settings.
    """
    cut = edge.cut(model)
    column = np.array([_index(cut.channels, name) for name in channels], np.int64)[track.channel]
    known = column >= 0
    end_ns, windows = windows_of(cut, column[known], track.time_ns[known], track.value[known])
    said = outputs(model, windows)
    return Played(
        track.machine,
        end_ns,
        said.margin,
        said.probability,
        said.novelty,
        _changes(end_ns, said.margin, edge.policy(model)),
    )


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _changes(end_ns: Int64, margin: Float32, policy: AlarmPolicy) -> tuple[Change, ...]:
    changes = []
    head = AlarmHead()
    for at, value in zip(end_ns.tolist(), margin.tolist(), strict=True):
        head, transition = judge(head, policy, at, value if np.isfinite(value) else np.nan)
        if transition is not None:
            changes.append(Change(at, head.episode, head.state, transition))
    return tuple(changes)
