"""The finished file against the permanent test machines, and against the champion there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.evaluate import Report, report
from foreshock_trainer.gate import Contest, Verdict, judge
from foreshock_wire.errors import ModelError
from foreshock_wire.model import Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.examples import Examples
    from foreshock_trainer.tracking import Version

    Float32 = npt.NDArray[np.float32]

CHUNK: Final = 512


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's verdict, and the figures of the test machines behind it.

    `test` is as a gateway sees them, `clean` without mixed windows, `champion` the champion's on
    the same windows as `test`.
    """

    verdict: Verdict
    test: Report
    clean: Report
    champion: Report | None

    def figures(self) -> dict[str, float]:
        """Return every figure by name, prefixed with its group."""
        groups = {"test": self.test, "test_clean": self.clean, "champion": self.champion}
        return {
            f"{group}_{name}": value
            for group, seen in groups.items()
            if seen
            for name, value in seen.flat().items()
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
    stride_ns: int,
    parity_ok: bool,
    seed: int,
) -> Judged:
    """Score the test windows with the file itself, and let the gate decide.

    Args:
        data: the model file.
        test: the examples of the permanent test machines.
        champion: what the fleet runs now, if anything.
        stride_ns: the time that one window stands for.
        parity_ok: the file gives what the estimators give.
        seed: of the gate's bootstrap.
    """
    model = Model.load(data)
    margin, limit = margins(model, test.windows), model.spec.threshold_margin
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
    return Judged(verdict, seen, clean, theirs)


def margins(model: Model, windows: Float32) -> Float32:
    """Return a model's margins float32[N] of windows float32[N, T, C], in chunks."""
    parts = [model.run(windows[i : i + CHUNK]).margin for i in range(0, len(windows), CHUNK)]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _scored_by(champion: Version, test: Examples) -> _Champion:
    try:
        model = Model.load(champion.path)
        return _Champion(margins(model, test.windows), model.spec.threshold_margin)
    except (ModelError, OSError) as error:
        return _Champion(
            problem=f"it cannot be compared with champion version {champion.number} ({error}): "
            "if it shall replace it all the same, register it under another --name"
        )
