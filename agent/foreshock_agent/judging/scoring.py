"""Windows become scores: by the model, and by plain limits where it gives none.

A model that throws or gives NaN never stops the intake: the window is judged by the limits of the
settings, and the fault is counted.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_rules.alarms import AlarmPolicy
from foreshock_rules.drift import DriftSketch
from foreshock_rules.limits import Breach, Limit, breaches
from foreshock_rules.windows import Window, WindowSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_agent.settings import AlarmSettings, Settings
    from foreshock_rules.rings import DueWindows
    from foreshock_wire.model import Model, Outputs

    Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

RULE: Final = "rule"
"""Stands where a model's SHA-256 would, for a score made by limits."""

SECOND_NS: Final = 1_000_000_000

AT_ONCE: Final = 64
"""Windows of one call: more cost as much time each, and the runtime keeps the memory of most."""


class Due(NamedTuple):
    """A window that waits for its score; `received_ns` is when the reading came that ended it."""

    machine: str
    window: Window
    received_ns: int


def due_of(due: DueWindows, machines: Sequence[str], received_ns: Int64) -> list[Due]:
    """Return windows by their machines' names; `received_ns` int64[n] of the readings."""
    return [
        Due(machines[machine], Window(end_ns, values), at_ns)
        for machine, end_ns, at_ns, values in zip(
            due.machine.tolist(),
            due.end_ns.tolist(),
            received_ns[due.trigger].tolist(),
            due.values,
            strict=True,
        )
    ]


class Score(NamedTuple):
    """What is known of a window: `model` is a SHA-256 or RULE; NaN where nothing was said.

    Without a model and without limits nothing is known: that neither raises nor clears an alarm.
    """

    due: Due
    model: str
    margin: float
    probability: float = math.nan
    novelty: float = math.nan
    breaches: tuple[Breach, ...] = ()


class Scorer:
    """The model in use, if any, and the limits beside it."""

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        self.use(settings)
        self.model = model
        self.faults = 0
        self._drift: tuple[str, DriftSketch] | None = None

    def use(self, settings: Settings) -> None:
        """Judge by other limits and delays from now on, and cut windows by other rules."""
        self._settings = settings
        self._policy: tuple[Model | None, AlarmPolicy] | None = None
        self._limits = {
            name: Limit(limit.low, limit.high) for name, limit in settings.limits.items()
        }

    @property
    def window_spec(self) -> WindowSpec:
        """How windows are cut for the model in use, or by the settings while there is none."""
        cut = self._settings.windows
        lateness_ns = round(cut.lateness_s * SECOND_NS)
        if self.model is None:
            period_ns = round(cut.period_s * SECOND_NS)
            return WindowSpec(
                self._settings.channels,
                period_ns,
                cut.length,
                cut.stride,
                cut.min_fill,
                lateness_ns,
            )
        return WindowSpec.of_model(self.model.spec, lateness_ns)

    def policy(self, score: Score) -> AlarmPolicy:
        """Return the limits and delays by which a score is judged."""
        model = None if score.model == RULE else self.model
        if self._policy is None or self._policy[0] is not model:
            alarms = self._settings.alarms
            made = model_policy(alarms, model) if model else alarm_policy(alarms, 0.0, 0.0)
            self._policy = model, made
        return self._policy[1]

    def score(self, due: Sequence[Due]) -> list[Score]:
        """Score windows of any machines, many in one call of the model."""
        scores: list[Score] = []
        for start in range(0, len(due), AT_ONCE):
            part = due[start : start + AT_ONCE]
            outputs = self._run(np.stack([one.window.values for one in part]))
            if outputs is not None and self.model is not None:
                self._note_drift(self.model, outputs)
            scores += [self._scored(one, row, outputs) for row, one in enumerate(part)]
        return scores

    def drift(self) -> dict[str, float]:
        """Return how far features have gone from the model's reference, the largest only."""
        known, model = self._drift, self.model
        if known is None or model is None or known[0] != model.sha256:
            return {}
        return known[1].indices()

    def _note_drift(self, model: Model, outputs: Outputs) -> None:
        if outputs.features.shape[1] != len(model.spec.features):
            return
        if self._drift is None or self._drift[0] != model.sha256:
            sketch = DriftSketch(model.spec.features, model.spec.reference)
            self._drift = (model.sha256, sketch)
        self._drift[1].add(outputs.features)

    def explain(self, window: npt.NDArray[np.float32]) -> Outputs | None:
        """Run the model once more with the explanation, for a window float32[T, C] that alarms."""
        return self._run(window[np.newaxis], explain=True)

    def _scored(self, due: Due, row: int, outputs: Outputs | None) -> Score:
        if outputs is not None and self.model and math.isfinite(outputs.margin[row]):
            return Score(
                due,
                self.model.sha256,
                float(outputs.margin[row]),
                float(outputs.probability[row]),
                float(outputs.novelty[row]),
            )
        if not self._limits:
            return Score(due, RULE, math.nan)
        found = breaches(due.window.values, self.window_spec.channels, self._limits)
        return Score(due, RULE, 1.0 if found else -1.0, breaches=tuple(found))

    def _run(self, windows: npt.NDArray[np.float32], *, explain: bool = False) -> Outputs | None:
        if self.model is None:
            return None
        try:
            return self.model.run(windows, explain=explain)
        except Exception:  # the runtime raises bare C++ exception types
            self.faults += 1
            log.exception("model %s failed: limits stand in", self.model.sha256[:12])
            return None


def model_policy(settings: AlarmSettings, model: Model) -> AlarmPolicy:
    """Return the alarm policy of the settings around a model's threshold."""
    return alarm_policy(settings, model.spec.threshold_margin, settings.deadband)


def alarm_policy(settings: AlarmSettings, on_margin: float, deadband: float) -> AlarmPolicy:
    """Return the alarm policy of the settings around a margin."""
    return AlarmPolicy.around(
        on_margin,
        deadband=deadband,
        on_delay_s=settings.on_delay_s,
        off_delay_s=settings.off_delay_s,
        latching=settings.latching,
    )
