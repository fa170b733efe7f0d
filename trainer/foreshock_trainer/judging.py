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
    from foreshock_trainer.later import Later
    from foreshock_trainer.tracking import Version

    Float32 = npt.NDArray[np.float32]

CHUNK: Final = 512
LEARNT_UNTIL: Final = "learnt_until_ns"
"""Of a model's provenance: the end of the newest window that it learnt from, UTC ns."""


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
class Rival:
    """The champion, as far as it can be compared with: `problem` says why it cannot.

    `learnt_until_ns` is the end of the newest window that it learnt from, None where its file does
    not say.
    """

    version: Version | None = None
    model: Model | None = None
    learnt_until_ns: int | None = None
    problem: str | None = None

    @classmethod
    def of(cls, champion: Version | None) -> Rival:
        """Load the champion; without one there is nobody to beat."""
        if champion is None:
            return cls()
        try:
            model = Model.load(champion.path)
        except (ModelError, OSError) as error:
            return cls(champion, problem=_unlike(champion, error))
        until = model.spec.provenance.get(LEARNT_UNTIL)
        return cls(champion, model, int(until) if until else None)

    def scores(self, test: Examples) -> tuple[Float32 | None, str | None]:
        """Return its margins float32[N] of windows, or None and why there are none."""
        if self.version is None or self.model is None:
            return None, self.problem
        try:
            return outputs(self.model, test.windows).margin, None
        except ModelError as error:
            return None, _unlike(self.version, error)


def _unlike(champion: Version, error: Exception) -> str:
    return (
        f"it cannot be compared with champion version {champion.number} ({error}): "
        "if it shall replace it all the same, register it under another --name"
    )


def judged(
    data: bytes,
    test: Examples,
    rival: Rival,
    *,
    later: Later | None,
    single: SingleThreshold | None,
    stride_ns: int,
    parity_ok: bool,
    seed: int,
) -> Judged:
    """Score the test windows with the file itself, and let the gate decide.

    Args:
        data: the model file.
        test: the examples of the permanent test machines.
        rival: the champion.
        later: the challenger's twin after both cut-offs, its rows among `test`; None: no such time.
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
    theirs, problem = rival.scores(test)
    verdict = judge(
        Contest(test.machine, test.label, margin, theirs),
        seen.window,
        failures=seen.event.failures,
        parity_ok=parity_ok,
        seed=seed,
        later=_since(test, later, theirs),
        later_failures=later.failures if later else 0,
    )
    if problem:
        verdict = replace(verdict, passed=False, reasons=(*verdict.reasons, problem))
    champion = None
    if theirs is not None and rival.model is not None:
        champion = report(test.scored(theirs), rival.model.spec.threshold_margin, stride_ns)
    return Judged(verdict, seen, clean, champion, _study(model, test, said, single, seed))


def _since(test: Examples, later: Later | None, theirs: Float32 | None) -> Contest | None:
    """Return the contest of the windows after both cut-offs."""
    if later is None or theirs is None:
        return None
    rows = later.rows
    return Contest(test.machine[rows], test.label[rows], later.margin, theirs[rows])


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
