"""The finished file against the permanent test machines, and against the champion there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.evaluate import Report, numbers, report
from foreshock_trainer.gate import Contest, Verdict, judge
from foreshock_trainer.study import Seen, Single, Study, study
from foreshock_wire.errors import ModelError
from foreshock_wire.model import Model, Outputs

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.baselines import SingleThreshold
    from foreshock_trainer.examples import Examples
    from foreshock_trainer.tracking import Version

    Float32 = npt.NDArray[np.float32]

CHUNK: Final = 512


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's verdict, and the figures of the test machines behind it.

    `test` is as a gateway sees them, and `study` their long form; `clean` is without mixed windows,
    `champion` the champion's on the same windows as `test`.
    """

    verdict: Verdict
    test: Report
    clean: Report
    champion: Report | None
    study: Study

    def figures(self) -> dict[str, float]:
        """Return every figure by name, prefixed with its group."""
        brief = self.study.brief()
        groups = {
            "test": self.test.flat() | brief["calibration"],
            "test_clean": self.clean.flat(),
            "champion": self.champion.flat() if self.champion else {},
            "test_lead_band": numbers(asdict(self.study.band)),
            "test_lead_interval": brief["lead_interval"],
            "test_single": numbers(asdict(self.study.single.figures)) if self.study.single else {},
        }
        return {
            f"{group}_{name}": value
            for group, seen in groups.items()
            for name, value in seen.items()
        }


@dataclass(frozen=True, slots=True)
class _Champion:
    """The champion's scores of the test windows; `problem` says why there are none."""

    margin: Float32 | None = None
    limit: float = 0.0
    problem: str | None = None


def judged(
    data: bytes,
    test: Examples,
    champion: Version | None,
    *,
    single: SingleThreshold | None,
    stride_ns: int,
    parity_ok: bool,
    seed: int,
) -> Judged:
    """Score the test windows with the file itself, and let the gate decide.

    Args:
        data: the model file.
        test: the examples of the permanent test machines.
        champion: what the fleet runs now, if anything.
        single: the fixed-threshold baseline, chosen on validation machines.
        stride_ns: the time that one window stands for.
        parity_ok: the file gives what the estimators give.
        seed: of the gate's bootstrap.
    """
    model = Model.load(data)
    said = outputs(model, test.windows)
    margin, limit = said.margin, model.spec.threshold_margin
    seen = report(test.scored(margin), limit, stride_ns)
    clean = report(test.take(~test.mixed).scored(margin[~test.mixed]), limit, stride_ns)
    other = _scored_by(champion, test) if champion else _Champion()
    verdict = judge(
        Contest(test.machine, test.label, margin, other.margin),
        seen.window,
        failures=seen.event.failures,
        parity_ok=parity_ok,
        seed=seed,
    )
    if other.problem:
        reasons = (*verdict.reasons, other.problem)
        verdict = replace(verdict, passed=False, reasons=reasons)
    theirs = (
        None if other.margin is None else report(test.scored(other.margin), other.limit, stride_ns)
    )
    return Judged(verdict, seen, clean, theirs, _study(model, test, said, single, seed))


def outputs(model: Model, windows: Float32) -> Outputs:
    """Return what a model says of windows float32[N, T, C], run in chunks."""
    starts = range(0, max(len(windows), 1), CHUNK)
    parts = [model.run(windows[i : i + CHUNK]) for i in starts]
    columns = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Outputs))
    return Outputs(*columns)


def _study(
    model: Model, test: Examples, said: Outputs, single: SingleThreshold | None, seed: int
) -> Study:
    spec = model.spec
    quantiles = spec.lead_time_quantiles
    seen = Seen(
        scored=test.scored(said.margin),
        probability=said.probability,
        lead_time_h=said.lead_time,
        lead_level=quantiles[-1] - quantiles[0] if quantiles else 0.0,
        threshold=spec.threshold_margin,
        limit=spec.threshold,
        horizon_h=spec.horizon_h,
    )
    baseline = (
        Single(single.text(spec.features), single.figures(said.features, test.label))
        if single
        else None
    )
    return study(seen, test.machines, baseline, seed=seed)


def _scored_by(champion: Version, test: Examples) -> _Champion:
    try:
        model = Model.load(champion.path)
        return _Champion(outputs(model, test.windows).margin, model.spec.threshold_margin)
    except (ModelError, OSError) as error:
        return _Champion(
            problem=f"it cannot be compared with champion version {champion.number} ({error}): "
            "if it shall replace it all the same, register it under another --name"
        )
