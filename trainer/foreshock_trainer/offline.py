"""The gateways' scores, and the same readings scored again without them: window for window.

Nothing of the agent is used here: `playback` cuts the lake's readings by the shared rules, and the
model file scores them. Equal means the same windows, the same decisions and the same bits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from foreshock_trainer.examples import tracks
from foreshock_trainer.playback import play

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from foreshock_trainer.lake import Lake
    from foreshock_trainer.playback import EdgeSettings
    from foreshock_wire.model import Model
    from foreshock_wire.spec import ModelSpec

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of windows, by machine and time: `machine` int64[N] indexes `machines`.

    `end_ns` int64[N]; `probability` and `margin` float32[N], `margin` NaN where it is not known.
    `repeated` rows of the same window, and rows of `other_model`s, were left out.
    """

    machines: tuple[str, ...]
    machine: Int64
    end_ns: Int64
    probability: Float32
    margin: Float32
    repeated: int = 0
    other_model: int = 0

    def __len__(self) -> int:
        return len(self.end_ns)

    def alarms(self, spec: ModelSpec) -> Bool:
        """Return the decisions bool[N]: on margins where they are known, else on probabilities."""
        known = ~np.isnan(self.margin)
        by_margin = self.margin >= spec.threshold_margin
        return np.where(known, by_margin, self.probability >= spec.threshold)

    def keys(self) -> list[tuple[str, int]]:
        """Return (machine, window end) of each row."""
        names = [self.machines[i] for i in self.machine]
        return list(zip(names, self.end_ns.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class ScoreParity:
    """What differs between the gateways' scores and those made without them; all 0 is equal.

    `missing` windows have no stored score, `extra` scores have no window, `repeated` stand twice,
    `other_model` were made by another model or by limits. `flips` are other decisions. Of
    `margins` that gateways published, and of all probabilities, `unequal_*` differ in any bit.
    """

    windows: int
    stored: int
    missing: int
    extra: int
    repeated: int
    other_model: int
    flips: int
    unequal_probabilities: int
    max_abs_probability: float
    margins: int
    unequal_margins: int

    def problems(self) -> list[str]:
        """Return what differs, in words."""
        words = {
            "missing": "windows have no score of a gateway",
            "extra": "scores of gateways have no window",
            "repeated": "scores stand more than once",
            "other_model": "scores were not made by the model",
            "flips": "decisions differ from those without MQTT",
            "unequal_probabilities": "probabilities differ from those without MQTT",
            "unequal_margins": "margins differ from those without MQTT",
        }
        found = [
            f"{count} {text}" for name, text in words.items() if (count := getattr(self, name))
        ]
        # Nothing is not proof: two empty sides would agree.
        return found if self.windows else ["no window was scored", *found]

    def as_json(self) -> dict[str, int | float]:
        """Return the counts by name."""
        return asdict(self)


def score_offline(lake: Lake, model: Model, machines: Sequence[str], edge: EdgeSettings) -> Scored:
    """Cut and score the lake's readings of machines as a gateway with these settings does."""
    channels = model.spec.channel_ids
    played = [play(track, channels, model, edge) for track in tracks(lake, machines, channels)]
    none = np.empty(0, np.float32)
    return Scored(
        tuple(machines),
        np.repeat(np.arange(len(played)), [len(one.end_ns) for one in played]),
        np.concatenate([np.empty(0, np.int64), *(one.end_ns for one in played)]),
        np.concatenate([none, *(one.probability for one in played)]),
        np.concatenate([none, *(one.margin for one in played)]),
    )


def stored_scores(
    lake: Lake, model: str, machines: Sequence[str], margins: Mapping[tuple[str, int], float]
) -> Scored:
    """Return the lake's scores of one model, once each.

    Args:
        lake: where the gateways' uploads are.
        model: SHA-256 of its file.
        machines: whose scores are wanted.
        margins: what gateways published, by (machine, window end).
    """
    table = lake.scores(machines, columns=("machine", "time_ns", "model", "probability"))
    index = {name: i for i, name in enumerate(machines)}
    name, by = table["machine"].to_pylist(), table["model"].to_pylist()
    machine = np.array([index[one] for one in name], np.int64)
    end_ns, probability = (table[key].to_numpy() for key in ("time_ns", "probability"))
    ours = np.flatnonzero(np.array([one == model for one in by], np.bool_))
    keys = np.stack([machine[ours], end_ns[ours]])
    first = ours[np.unique(keys, axis=1, return_index=True)[1]]
    known = [margins.get((name[row], int(end_ns[row])), np.nan) for row in first]
    return Scored(
        tuple(machines),
        machine[first],
        end_ns[first],
        probability[first],
        np.array(known, np.float32),
        repeated=len(ours) - len(first),
        other_model=len(table) - len(ours),
    )


def compare(offline: Scored, stored: Scored, spec: ModelSpec) -> ScoreParity:
    """Set both sides next to each other (pure)."""
    place = {key: row for row, key in enumerate(offline.keys())}
    pairs = [(place[key], row) for row, key in enumerate(stored.keys()) if key in place]
    ours, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
    margins = np.flatnonzero(~np.isnan(stored.margin[theirs]))
    told, due = stored.probability[theirs], offline.probability[ours]
    return ScoreParity(
        windows=len(offline),
        stored=len(stored),
        missing=len(offline) - len(pairs),
        extra=len(stored) - len(pairs),
        repeated=stored.repeated,
        other_model=stored.other_model,
        flips=_unequal(stored.alarms(spec)[theirs], offline.alarms(spec)[ours]),
        unequal_probabilities=_unequal(told, due),
        max_abs_probability=float(np.abs(told - due).max(initial=0.0)),
        margins=len(margins),
        unequal_margins=_unequal(stored.margin[theirs][margins], offline.margin[ours][margins]),
    )


def _unequal(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> int:
    return int(np.count_nonzero(a != b))
