"""What a retraining came to, for programs (JSON) and for people (lines)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from foreshock_trainer.evaluate import numbers
from foreshock_trainer.tracking import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foreshock_converter.parity import ParityReport
    from foreshock_trainer.evaluate import Report, WindowFigures
    from foreshock_trainer.gate import Verdict
    from foreshock_trainer.study import Study


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a retraining came to.

    `version` is None when the gate refused; `sha256` is the file's; `test` holds the figures on the
    permanent test machines as a gateway sees them, `test_clean` those without mixed windows,
    `test_later` those across time (see `later`), `champion` those of the champion on the
    same windows as `test`; `study` is the long form of `test`; `provenance` says what the model was
    made of; `seconds` is the wall time of each step.
    """

    name: str
    run: str
    version: int | None
    aliases: tuple[str, ...]
    sha256: str
    model_bytes: int
    verdict: Verdict
    test: Report
    test_clean: Report
    test_later: WindowFigures | None
    validation_f1: float
    champion: Report | None
    study: Study
    parity: ParityReport
    provenance: Mapping[str, str]
    counts: Mapping[str, int]
    seconds: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as plain values, NaN left out."""
        window = self.test.window
        return {
            "name": self.name,
            "version": self.version,
            "alias": CHALLENGER if CHALLENGER in self.aliases else None,
            "promoted": CHAMPION in self.aliases,
            "sha256": self.sha256,
            "model_bytes": self.model_bytes,
            "run": self.run,
            "verdict": asdict(self.verdict),
            "metrics": self.test.flat(),
            "metrics_clean": self.test_clean.flat(),
            "metrics_later": numbers(asdict(self.test_later)) if self.test_later else None,
            "baseline": {
                "always_no_accuracy": window.always_no_accuracy,
                "always_no_f1": window.always_no_f1,
                "always_yes_f1": window.always_yes_f1,
                "constant_pr_auc": window.prevalence,
                "random_f1": window.random_f1,
            },
            **self.study.brief(),
            "validation_f1": self.validation_f1,
            "champion_metrics": self.champion.flat() if self.champion else None,
            "parity": asdict(self.parity) | {"ok": self.parity.ok},
            "counts": dict(self.counts),
            "seconds": dict(self.seconds),
        }

    def whole(self) -> dict[str, Any]:
        """Return the outcome with every curve of its page, as plain values."""
        return self.as_json() | {"curves": self.study.curves()}

    def lines(self) -> list[str]:
        """Return what a person wants to know, the verdict last."""
        return [self._per_window(), self._per_event(), self._across_time(), self._fate()]

    def _per_window(self) -> str:
        window = self.test.window
        return (
            f"on {self.counts['test_machines']} test machines: F1 {window.f1:.3f} "
            f"(always yes {window.always_yes_f1:.3f}), precision {window.precision:.3f}, "
            f"recall {window.recall:.3f}, FPR {window.fpr:.2%}, PR-AUC {window.pr_auc:.3f} "
            f"(constant {window.prevalence:.3f}), accuracy {window.accuracy:.3f} "
            f"(always no {window.always_no_accuracy:.3f})"
        )

    def _per_event(self) -> str:
        event = self.test.event
        return (
            f"failures foretold: {event.recall:.0%} of {event.failures}, half of them at least "
            f"{event.lead_time_h_p50:.0f} h ahead; "
            f"{event.false_alarms_per_machine_month:.2f} false alarms per machine-month, "
            f"{event.early} of {event.false_alarms} just early"
        )

    def _across_time(self) -> str:
        later = self.test_later
        if later is None:
            return "across time: the history is too short to hold failures on both sides of a cut"
        return (
            f"across time, a model of the past on these machines afterwards: F1 {later.f1:.3f}, "
            f"FPR {later.fpr:.2%}, PR-AUC {later.pr_auc:.3f} (constant {later.prevalence:.3f})"
        )

    def _fate(self) -> str:
        if self.version is None:
            return f"{self.name} was not promoted because {'; '.join(self.verdict.reasons)}"
        aliases = " and ".join(self.aliases)
        return f"{self.name} version {self.version} is {aliases}: {self.sha256}"
