"""The card of a model (pure): what it is for, what it was made of, what it is worth, where it ends.

After Mitchell and others, Model Cards for Model Reporting (2019). Markdown, an artifact of the run
and the description of the registered version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_trainer.result import Outcome
    from foreshock_trainer.settings import RetrainSettings


def card(outcome: Outcome, settings: RetrainSettings) -> str:
    """Return the card of a retraining.

    Whoever reads a figure here also reads what an idle answer gets, and how many machines say so.
    """
    sections = (
        (f"{outcome.name} {outcome.sha256[:12]}", _purpose(settings)),
        ("What it was made of", _origin(outcome, settings)),
        ("What it is worth", _worth(outcome)),
        ("Where it ends", _limits(outcome)),
        ("Verdict", _verdict(outcome)),
    )
    return "\n".join(f"## {name}\n\n{_list(lines)}" for name, lines in sections)


def _purpose(settings: RetrainSettings) -> Iterable[str]:
    channels = ", ".join(f"{channel.id} ({channel.unit})" for channel in settings.channels)
    yield (
        f"Says of a window of {settings.length} samples, {settings.period_s:g} s apart, how likely "
        f"the machine fails within {settings.horizon_h:g} h, in which mode, when, and which "
        "sensors say so."
    )
    yield f"Reads {channels}."
    yield "Advises people who maintain machines; it is no safety function and stops nothing."


def _origin(outcome: Outcome, settings: RetrainSettings) -> Iterable[str]:
    counts = outcome.counts
    yield (
        f"{counts['windows']:,} windows, {counts['positive_windows']:,} of them before a failure; "
        f"{counts['train_machines']} machines trained, {counts['validation_machines']} stopped, "
        f"calibrated and set the threshold, {counts['test_machines']} judged (a hash of the id "
        "decides, for ever)."
    )
    yield "; ".join(f"{name} {value}" for name, value in outcome.provenance.items()) + "."
    yield f"Lead times by {settings.fit.lead_time_head}; threshold by {_threshold(settings)}."
    if settings.tuned:
        told = ", ".join(f"{name} {value}" for name, value in settings.tuned.items())
        yield f"Settings and features by tuning: {told}."


def _threshold(settings: RetrainSettings) -> str:
    if settings.fit.miss_cost is not None:
        return f"the least cost, a missed window costing {settings.fit.miss_cost:g} false ones"
    return f"the best F1 under a false-positive rate of {settings.fit.max_fpr:.1%}"


def _worth(outcome: Outcome) -> Iterable[str]:
    window, event, study = outcome.test.window, outcome.test.event, outcome.study
    low, high = study.intervals["f1"]
    yield (
        f"F1 {window.f1:.3f} (95 % of machine resamples: {low:.3f} to {high:.3f}; always yes "
        f"{window.always_yes_f1:.3f}, at random {window.random_f1:.3f})."
    )
    if study.single:
        yield f"The best single threshold, {study.single.rule}: F1 {study.single.figures.f1:.3f}."
    yield (
        f"False-positive rate {window.fpr:.2%}; accuracy {window.accuracy:.3f} (always no "
        f"{window.always_no_accuracy:.3f}); PR-AUC {window.pr_auc:.3f} (constant "
        f"{window.prevalence:.3f})."
    )
    yield (
        f"{event.recall:.0%} of {event.failures} failures foretold; "
        f"{event.false_alarms_per_machine_month:.2f} false alarms per machine-month."
    )
    yield (
        f"The {study.lead_level:.0%} interval of the lead time held {study.lead_coverage:.1%} of "
        f"the failures; calibration error {study.calibration.ece:.3f}."
    )
    later = outcome.test_later
    if later is not None:
        yield f"The same training of the past, judged afterwards: F1 {later.f1:.3f}."


def _limits(outcome: Outcome) -> Iterable[str]:
    yield "These figures are of machines like those that judged; another plant is another question."
    yield "Failures that no sensor announces stay unannounced, and count as missed above."
    yield "A window with too few readings gets no score; one unlike the healthy ones is novel."
    if outcome.test.event.failures < 30:  # noqa: PLR2004 - a handful, by any rule of thumb
        yield f"Only {outcome.test.event.failures} failures judged it: the intervals are wide."


def _verdict(outcome: Outcome) -> Iterable[str]:
    verdict = outcome.verdict
    yield "passed the gate" if verdict.passed else f"refused: {'; '.join(verdict.reasons)}"
    if verdict.difference_bound is not None:
        yield f"PR-AUC less the champion's, lower 95 % bound: {verdict.difference_bound:+.3f}"
    if verdict.later_bound is not None:
        yield (
            f"the same on {verdict.later_failures} failures that are new to both models: "
            f"{verdict.later_bound:+.3f}"
        )


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
