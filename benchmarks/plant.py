"""How hard is the plant? F1 of the perfect observer, one threshold, logistic regression, XGBoost.

`python -m benchmarks.plant [--quick] [--json] [--seed N]...`: windows of 24 h every 2 h, positive
when a failure comes within 48 h; machines of training, validation and test are different ones.
Cuts are chosen on validation machines; the observer's in hindsight, which makes it a bound. The
last line of `--json` is one object; with several seeds its figures are means over them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any, Final, Protocol

import click
import numpy as np

from benchmarks.plant_observer import observe_all
from benchmarks.plant_windows import STATISTICS, Floats, Machines, Windows, labelled, simulate_many
from foreshock_plant.parameters import CHANNELS, MODES, SUDDEN, digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]

Figures = dict[str, float]
WHO: Final = ("always_no", "threshold", "logistic", "xgboost", "observer")
BY_SEED: Final = ("positives", "hours_between_failures", *(f"{who}_f1" for who in WHO))
"""Figures that `--json` tells for each seed beside their mean."""
LEVELS: Final = ("mean", "last", "min", "max")
"""Window statistics that a threshold on one sensor may watch."""


class Classifier(Protocol):
    """What scikit-learn and XGBoost classifiers have in common."""

    def fit(self, features: Floats, label: Bools) -> object:
        """Learn."""

    def predict_proba(self, features: Floats) -> Floats:
        """Return probabilities [n, 2]."""


@dataclass(frozen=True, slots=True)
class Size:
    """Machines per part (multiples of 3), hours of each life, particles of the observer."""

    train: int
    validation: int
    test: int
    hours: float
    particles: int


FULL: Final = Size(train=81, validation=60, test=60, hours=1500, particles=400)
QUICK: Final = Size(train=48, validation=24, test=9, hours=600, particles=120)


def figures(size: Size, seed: int) -> Figures:
    """Return all figures of one plant; `positives` is the share of positive test windows."""
    train, validation, test = (
        simulate_many(count, seed=seed * 10 + part, hours=size.hours)
        for part, count in enumerate((size.train, size.validation, size.test))
    )
    learn, choose, judge = labelled(train), labelled(validation), labelled(test)
    decided = {
        "always_no": np.zeros(len(judge.label), dtype=np.bool_),
        "threshold": single_threshold(choose, judge),
        "logistic": learned(logistic(), learn, choose, judge),
        "xgboost": learned(boosted(seed), learn, choose, judge),
        "observer": perfect_observer(test, judge, size.particles, seed),
    }
    found = _about(train, judge)
    for who, alarms in decided.items():
        found |= _named(who, decisions(judge.label, alarms) | by_mode(judge, alarms))
    return found


def by_mode(windows: Windows, decided: Bools) -> Figures:
    """Return the recall of each mode; NaN where it never came."""
    return {
        f"recall_{mode}": float(decided[own].mean()) if (own := windows.mode == mode).any() else nan
        for mode in (*MODES, SUDDEN)
    }


def decisions(label: Bools, decided: Bools) -> Figures:
    """Return F1, precision, recall, false-positive rate and accuracy."""
    hit, false = float(np.sum(label & decided)), float(np.sum(~label & decided))
    missed = float(np.sum(label & ~decided))
    return {
        "f1": 2 * hit / max(1.0, 2 * hit + false + missed),
        "precision": hit / max(1.0, hit + false),
        "recall": hit / max(1.0, hit + missed),
        "fpr": false / max(1.0, float(np.sum(~label))),
        "accuracy": float(np.mean(label == decided)),
    }


def best_cut(score: Floats, label: Bools) -> tuple[float, float]:
    """Return (F1, cut) of the best rule `score >= cut`."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    f1 = 2 * np.cumsum(label[order]) / (np.arange(1, len(order) + 1) + label.sum())
    f1[:-1][np.diff(ranked) == 0] = -1.0
    best = int(np.argmax(f1))
    return float(f1[best]), float(ranked[best])


def single_threshold(validation: Windows, test: Windows) -> Bools:
    """Decide by the best threshold on one level of one sensor, in either direction."""
    names = [(channel, statistic) for channel in CHANNELS for statistic in STATISTICS]
    rules = [
        (*best_cut(_column(validation, i, sign), validation.label), i, sign)
        for i, (_, statistic) in enumerate(names)
        if statistic in LEVELS
        for sign in (1.0, -1.0)
    ]
    _, cut, column, sign = max(rules)
    alarms: Bools = _column(test, column, sign) >= cut
    return alarms


def learned(model: Classifier, train: Windows, validation: Windows, test: Windows) -> Bools:
    """Decide by a classifier, its cut chosen on validation machines."""
    model.fit(train.features, train.label)
    _, cut = best_cut(model.predict_proba(validation.features)[:, 1], validation.label)
    alarms: Bools = model.predict_proba(test.features)[:, 1] >= cut
    return alarms


def perfect_observer(machines: Machines, windows: Windows, particles: int, seed: int) -> Bools:
    """Decide by the particle filter, its cut chosen in hindsight."""
    said = observe_all(machines, particles=particles, seed=seed)[0]
    score = said[windows.machine, windows.end]
    _, cut = best_cut(score, windows.label)
    alarms: Bools = score >= cut
    return alarms


def logistic() -> Classifier:
    """Return a logistic regression on standardised features."""
    from sklearn.impute import SimpleImputer  # noqa: PLC0415 - the trainer's extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model: Classifier = make_pipeline(
        SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=2000)
    )
    return model


def boosted(seed: int) -> Classifier:
    """Return a plain XGBoost, the stand-in for our model."""
    from xgboost import XGBClassifier  # noqa: PLC0415 - the trainer's extra

    model: Classifier = XGBClassifier(
        n_estimators=300,
        max_depth=6,
        learning_rate=0.08,
        subsample=0.8,
        colsample_bytree=0.8,
        min_child_weight=5,
        tree_method="hist",
        n_jobs=1,
        random_state=seed,
    )
    return model


def mean_figures(many: Sequence[Figures]) -> Figures:
    """Return the mean of each figure."""
    found = {}
    for name in many[0]:
        values = [one[name] for one in many if not isnan(one[name])]
        found[name] = float(np.mean(values)) if values else nan
    return found


def _column(windows: Windows, column: int, sign: float) -> Floats:
    return np.nan_to_num(sign * windows.features[:, column], nan=-np.inf)


def _about(machines: Machines, windows: Windows) -> Figures:
    events = [e for life in machines.lives for e in life.events if e.kind == "failure"]
    hours = float(sum(life.running.sum() for life in machines.lives)) / 2
    return {
        "failures": float(len(events)),
        "windows": float(len(windows.label)),
        "positives": float(windows.label.mean()),
        "hours_between_failures": hours / max(1, len(events)),
        **{f"failures_{m}": float(sum(e.mode == m for e in events)) for m in (*MODES, SUDDEN)},
    }


def _named(who: str, values: Figures) -> Figures:
    return {f"{who}_{name}": value for name, value in values.items()}


def _print_table(found: Mapping[str, Any]) -> None:
    columns = ("f1", "precision", "recall", "fpr", "accuracy")
    modes = (*MODES, SUDDEN)
    print(f"{'':<10}" + "".join(f"{c:>14}" for c in (*columns, *modes)))
    for who in WHO:
        values = (found[f"{who}_{c}"] for c in (*columns, *(f"recall_{mode}" for mode in modes)))
        print(f"{who:<10}" + "".join(f"{value:>14.3f}" for value in values))


@click.command(epilog="Example: python -m benchmarks.plant --seed 1001 --seed 1002 --json")
@click.option("--quick", is_flag=True, help="Few machines: seconds instead of minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1001,), show_default=True)
def main(*, quick: bool, as_json: bool, seeds: tuple[int, ...]) -> None:
    """Measure how hard the plant is."""
    each = []
    for seed in seeds:
        each.append(figures(QUICK if quick else FULL, seed))
        if not as_json:
            print(f"\nseed {seed}: {each[-1]['positives']:.1%} positive windows")
            _print_table(each[-1])
    found = mean_figures(each)
    if as_json:
        plain = {name: None if isnan(value) else value for name, value in found.items()}
        by_seed = {name: [one[name] for one in each] for name in found if name in BY_SEED}
        print(json.dumps({"digest": digest(), "seeds": seeds, "by_seed": by_seed} | plain))
    elif len(seeds) > 1:
        print("\nmean")
        _print_table(found)


if __name__ == "__main__":
    main()
