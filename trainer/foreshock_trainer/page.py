"""One HTML page for one run: what it came to, beside what idle answers would have got (pure).

The page is one file without script, font or picture from elsewhere; the same figures are in the
JSON beside it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Final

from foreshock_wire.pages.parts import badge, card, cards, document, facts, figure, note, section
from foreshock_wire.pages.svg import Axes, nice_ticks, runs, unbroken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_trainer.evaluate import WindowFigures
    from foreshock_trainer.result import Outcome
    from foreshock_trainer.study import Study, Timeline

TENTHS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
UNIT: Final = (0.0, 1.0)
TIMELINE_HEIGHT: Final = 118


def page(outcome: Outcome) -> str:
    """Return the page of a retraining."""
    title = f"{outcome.name} {outcome.sha256[:12]}"
    return document(
        title,
        _header(outcome),
        cards(_cards(outcome)),
        section("Beside idle answers", _baselines(outcome)),
        f'<section class="plots">{"".join(_plots(outcome))}</section>',
        section("Machine by machine", _timelines(outcome.study)),
        section("What it was made of", _facts(outcome)),
    )


def _header(outcome: Outcome) -> str:
    passed = outcome.verdict.passed
    said = badge("passed the gate", "good") if passed else badge("refused by the gate", "bad")
    version = f"version {outcome.version}, {' and '.join(outcome.aliases)}" if passed else ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in outcome.verdict.reasons)
    why = f"<ul class='reasons'>{reasons}</ul>" if reasons else ""
    return (
        f"<header><h1>{escape(outcome.name)} {said}</h1>"
        f"<p class='sub'>{escape(version)}<code>{outcome.sha256}</code></p>{why}</header>"
    )


def _cards(outcome: Outcome) -> Iterable[str]:
    window, event, study = outcome.test.window, outcome.test.event, outcome.study
    ends = study.intervals

    def between(name: str, style: str) -> str:
        low, high = ends[name]
        return f"95 % of resampled fleets: {low:{style}} to {high:{style}}"

    yield card("F1", f"{window.f1:.3f}", between("f1", ".3f"))
    yield card("false-positive rate", f"{window.fpr:.2%}", between("fpr", ".1%"))
    yield card("precision", f"{window.precision:.3f}", between("precision", ".3f"))
    yield card("recall", f"{window.recall:.3f}", between("recall", ".3f"))
    yield card(
        "failures foretold",
        f"{event.recall:.0%}",
        f"of {event.failures}; half of them {event.lead_time_h_p50:.0f} h ahead or more",
    )
    yield card(
        "false alarms per machine-month",
        f"{event.false_alarms_per_machine_month:.2f}",
        f"{event.false_alarms} in {event.machine_months:.1f} machine-months, "
        f"{event.early} of them just early",
    )
    low, high = study.band_h
    yield card(
        f"balanced accuracy, {low:g} to {high:g} h ahead",
        f"{study.band.balanced_accuracy:.1%}",
        f"accuracy {study.band.accuracy:.1%}, always-no {study.band.always_no_accuracy:.1%}",
    )
    yield card(
        "lead time inside its interval",
        f"{study.lead_coverage:.0%}",
        f"of the alarming windows before a failure; {study.lead_level:.0%} is what it says",
    )


def _baselines(outcome: Outcome) -> str:
    window, study = outcome.test.window, outcome.study
    rows = [_row("this model", window, "us")]
    if outcome.champion:
        rows.append(_row("the champion on the same windows", outcome.champion.window))
    if study.single:
        rows.append(_row(f"one threshold: {study.single.rule}", study.single.figures))
    rows += [
        _plain_row("as many alarms at random", window.random_f1, 0.5, window.prevalence),
        _plain_row("always yes", window.always_yes_f1, 0.5, window.prevalence),
        _plain_row(
            "always no", window.always_no_f1, 0.5, window.prevalence, window.always_no_accuracy
        ),
    ]
    head = "".join(
        f"<th>{name}</th>"
        for name in ("", "F1", "precision", "recall", "FPR", "balanced", "accuracy", "PR-AUC")
    )
    machines = outcome.counts["test_machines"]
    about = (
        f"{window.windows:,} windows of {machines} test machines that no training saw, "
        f"{window.positives:,} of them ({window.prevalence:.1%}) before a failure. The single "
        "threshold is the best of every feature, chosen on validation machines as the model's is."
    )
    return f"{note(about)}<div class='wide'><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _row(name: str, figures: WindowFigures, style: str = "") -> str:
    cells = (
        f"{figures.f1:.3f}",
        f"{figures.precision:.3f}",
        f"{figures.recall:.3f}",
        f"{figures.fpr:.2%}",
        f"{figures.balanced_accuracy:.3f}",
        f"{figures.accuracy:.3f}",
        f"{figures.pr_auc:.3f}",
    )
    return _cells(name, cells, style)


def _plain_row(
    name: str, f1: float, balanced: float, pr_auc: float, accuracy: float | None = None
) -> str:
    known = "" if accuracy is None else f"{accuracy:.3f}"
    return _cells(name, (f"{f1:.3f}", "", "", "", f"{balanced:.3f}", known, f"{pr_auc:.3f}"), "")


def _cells(name: str, cells: Iterable[str], style: str) -> str:
    told = "".join(f"<td>{'' if cell in {'nan', 'nan%'} else cell}</td>" for cell in cells)
    return f'<tr class="{style}"><th scope="row">{escape(name)}</th>{told}</tr>'


def _plots(outcome: Outcome) -> Iterable[str]:
    window, study = outcome.test.window, outcome.study
    yield figure("ROC", f"area {window.roc_auc:.3f}; at random .5", _roc(window, study))
    yield figure(
        "Precision over recall",
        f"area {window.pr_auc:.3f}; at random {window.prevalence:.3f}",
        _pr(window, study),
    )
    seen = study.calibration
    yield figure(
        "Calibration",
        f"Brier {seen.brier:.4f} (the constant {seen.brier_constant:.4f}), mean gap {seen.ece:.3f}",
        _calibration(study),
    )
    yield figure(
        "How early it warns",
        "share of windows that alarm, by the time left to the failure",
        _lead(study),
    )
    missed = sum(map(math.isnan, study.first_warning_h))
    yield figure(
        "First warning of each failure",
        f"{len(study.first_warning_h)} failures, {missed} of them without a warning (red)",
        _warnings(study),
    )
    yield figure(
        "What it saves",
        "cost against never warning (1), by what a missed window costs in false alarms; "
        "dashed: with hindsight's threshold; dotted: warning always",
        _costs(study),
    )


def _roc(window: WindowFigures, study: Study) -> str:
    axes = Axes(UNIT, UNIT, "false-positive rate", "recall", TENTHS, TENTHS)
    return axes.draw(
        axes.area(study.roc.x, study.roc.y, "c1"),
        axes.line(UNIT, UNIT, "soft dashed", "at random"),
        axes.line(study.roc.x, study.roc.y, "c1"),
        axes.dot(window.fpr, window.recall, "c2", "the model's threshold"),
        label="ROC curve",
    )


def _pr(window: WindowFigures, study: Study) -> str:
    axes = Axes(UNIT, UNIT, "recall", "precision", TENTHS, TENTHS)
    single = study.single
    return axes.draw(
        axes.area(study.pr.x, study.pr.y, "c1"),
        axes.rule(window.prevalence, "soft dashed", title="at random"),
        axes.line(study.pr.x, study.pr.y, "c1"),
        axes.dot(window.recall, window.precision, "c2", "the model's threshold"),
        axes.dot(single.figures.recall, single.figures.precision, "c3", single.rule)
        if single
        else "",
        label="precision over recall",
    )


def _calibration(study: Study) -> str:
    seen = study.calibration
    axes = Axes(UNIT, UNIT, "probability told", "failures seen", TENTHS, TENTHS)
    most = max(seen.windows, default=1)
    bins = list(zip(seen.predicted, seen.observed, seen.windows, strict=True))
    return axes.draw(
        *(
            axes.bar((int(p * 10) / 10, int(p * 10) / 10 + 0.1), 0.25 * n / most, "soft")
            for p, _, n in bins
            if p < 1
        ),
        axes.line(UNIT, UNIT, "soft dashed", "perfect"),
        axes.line(seen.predicted, seen.observed, "c1"),
        *(
            axes.dot(p, o, "c1", f"told {p:.2f}, seen {o:.2f}, {n:,} windows", 3.5)
            for p, o, n in bins
        ),
        label="calibration curve",
    )


def _lead(study: Study) -> str:
    end = study.lead_edges_h[-1]
    axes = Axes((0, end), UNIT, "hours to the failure", "", nice_ticks(end), TENTHS, percent_y=True)
    spans = zip(study.lead_edges_h, study.lead_edges_h[1:], strict=False)
    bars = [
        axes.bar(
            span, share, "c1" if span[1] <= study.band_h[1] else "soft", _lead_title(span, n, share)
        )
        for span, n, share in zip(spans, study.lead_windows, study.lead_recall, strict=True)
        if n
    ]
    horizon = axes.rule(study.band_h[1], "c2 dashed", upright=True, title="horizon")
    return axes.draw(*bars, horizon, label="recall by time to failure")


def _lead_title(span: tuple[float, float], windows: int, share: float) -> str:
    return f"{span[0]:g} to {span[1]:g} h: {share:.0%} of {windows:,} windows alarm"


def _warnings(study: Study) -> str:
    count, end = max(len(study.first_warning_h), 1), study.band_h[1]
    axes = Axes((0, count), (0, end), "failures", "hours ahead", (), nice_ticks(end))
    return axes.draw(
        *(_warning(axes, i, hours) for i, hours in enumerate(study.first_warning_h)),
        label="hours from the first warning to each failure",
    )


def _warning(axes: Axes, at: int, hours: float) -> str:
    if math.isnan(hours):
        return axes.bar((at, at + 1), axes.y[1] / 40, "bad", "no warning")
    return axes.bar((at, at + 1), hours, "c1", f"{hours:.0f} h ahead")


def _costs(study: Study) -> str:
    costs = study.costs
    axes = Axes(
        (costs.ratio[0], costs.ratio[-1]),
        (0, 1.5),
        "a missed window costs as much as ... false alarms",
        "cost",
        (1, 10, 100, 1000),
        (0, 0.5, 1, 1.5),
        log_x=True,
    )
    return axes.draw(
        axes.rule(1.0, "soft", title="never warning"),
        axes.line(costs.ratio, costs.always_yes, "soft dotted", "warning always"),
        axes.line(costs.ratio, costs.best, "c1 dashed", "with hindsight's threshold"),
        axes.line(costs.ratio, costs.model, "c1", "the model"),
        label="cost curve",
    )


def _timelines(study: Study) -> str:
    drawn = "".join(_timeline(line, study.limit) for line in study.timelines)
    about = (
        "The calibrated probability of each test machine over its time, those that failed most "
        "first. Shaded: an alarm stands; upright: a failure."
    )
    return f"{note(about)}<div class='lines'>{drawn}</div>"


def _timeline(line: Timeline, limit: float) -> str:
    end = (
        max(line.hours[-1], *line.failures_h, 1.0) if line.failures_h else max(line.hours[-1], 1.0)
    )
    axes = Axes(
        (0, end), UNIT, "", "", nice_ticks(end), (0, 0.5, 1), width=640, height=TIMELINE_HEIGHT
    )
    whole = unbroken(line.hours)
    alarms = [
        axes.band((line.hours[first + a], line.hours[first + b - 1]), "c2")
        for first, last in whole
        for a, b in runs(line.alarm[first:last])
    ]
    failures = [
        axes.rule(at, "bad", upright=True, title=f"failure at {at:g} h") for at in line.failures_h
    ]
    drawn = axes.draw(
        *alarms,
        axes.rule(limit, "soft dashed", title=f"threshold {limit:.2f}"),
        *(axes.line(line.hours[a:b], line.probability[a:b], "c1") for a, b in whole),
        *failures,
        label=f"probability of {line.machine}",
    )
    return figure(line.machine, "", drawn, "line-of")


def _facts(outcome: Outcome) -> str:
    return facts(
        {
            "counts": outcome.counts,
            "parity of the file": asdict(outcome.parity) | {"ok": outcome.parity.ok},
            "made from": outcome.provenance,
            "seconds": outcome.seconds,
        }
    )
