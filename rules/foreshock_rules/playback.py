"""What a gateway would have said of one machine's recorded readings, with any model.

Windows are cut and scores are judged as at the edge, from readings in the order in which the edge
saw them, so scores and alarms are the gateway's own, bit for bit. Operators' commands, and limits
that stand in for a model without a score, are not replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_rules.alarms import AlarmHead, Transition, judge
from foreshock_rules.windows import Window, windows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_rules.alarms import AlarmPolicy
    from foreshock_rules.windows import WindowSpec
    from foreshock_wire.messages import AlarmState
    from foreshock_wire.model import Model

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

AT_ONCE: Final = 256
"""Windows of one call of the model."""

_SAID: Final = ("margin", "probability", "novelty")


class Recorded(NamedTuple):
    """One machine's readings in order of arrival: `channel` int64[n] counts in some names.

    `time_ns` int64[n], `value` float32[n].
    """

    channel: Int64
    time_ns: Int64
    value: Float32

    def by(self, names: Sequence[str], wanted: Sequence[str]) -> Recorded:
        """Return the readings of the `wanted` channels, counted in these instead of `names`."""
        places = [wanted.index(name) if name in wanted else -1 for name in names]
        channel = np.array(places, np.int64)[self.channel]
        known = channel >= 0
        return Recorded(channel[known], self.time_ns[known], self.value[known])


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a machine's alarm, as the gateway would have published it."""

    time_ns: int
    episode: int
    state: AlarmState
    transition: Transition


@dataclass(frozen=True, slots=True)
class Played:
    """Each window's end and what the model said, the alarm's changes, and what raised it.

    `end_ns` int64[N]; `margin`, `probability`, `novelty` float32[N]; `raised` has the window of
    each episode, in their order.
    """

    end_ns: Int64
    margin: Float32
    probability: Float32
    novelty: Float32
    changes: tuple[Change, ...]
    raised: tuple[Window, ...]

    def episodes(self) -> list[tuple[int, int | None]]:
        """Return when each alarm was raised and cleared; None where it still stands."""
        cleared = {c.episode: c.time_ns for c in self.changes if c.transition is Transition.CLEARED}
        return [(one.end_ns, cleared.get(nth)) for nth, one in enumerate(self.raised, start=1)]

    def standing(self) -> Bool:
        """Say for each window whether the alarm stood once it was judged, bool[N]."""
        stands = np.zeros(len(self.end_ns), np.bool_)
        for raised, cleared in self.episodes():
            until = self.end_ns < cleared if cleared is not None else True
            stands |= (self.end_ns >= raised) & until
        return stands


def play(readings: Recorded, model: Model, cut: WindowSpec, policy: AlarmPolicy) -> Played:
    """Replay one machine; its readings' channels count in those of `cut`."""
    end_ns, windows = windows_of(cut, *readings)
    starts = range(0, max(len(windows), 1), AT_ONCE)
    parts = [model.run(windows[at : at + AT_ONCE]) for at in starts]
    margin, probability, novelty = (
        np.concatenate([getattr(part, name) for part in parts]) for name in _SAID
    )
    changes = _changes(end_ns, margin, policy)
    raised_ns = [c.time_ns for c in changes if c.transition is Transition.RAISED]
    places = np.searchsorted(end_ns, raised_ns).tolist()
    raised = (Window(int(end_ns[at]), windows[at].copy()) for at in places)
    return Played(end_ns, margin, probability, novelty, changes, tuple(raised))


def _changes(end_ns: Int64, margin: Float32, policy: AlarmPolicy) -> tuple[Change, ...]:
    changes = []
    head = AlarmHead()
    for at, value in zip(end_ns.tolist(), margin.tolist(), strict=True):
        head, transition = judge(head, policy, at, value if np.isfinite(value) else np.nan)
        if transition is not None:
            changes.append(Change(at, head.episode, head.state, transition))
    return tuple(changes)
