"""One data set, one protocol, one row of figures beside what idle answers get.

What was tried before is told in each row: `tries` counts the settings whose figures were looked at
on data that the row's figures come from, by anyone who made the row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.features import FeatureGraph
from foreshock_trainer.affiliation import affiliation, spans_of
from foreshock_trainer.baselines import single_threshold
from foreshock_trainer.calibrate import best_threshold
from foreshock_trainer.datasets.ai4i2020 import read_table
from foreshock_trainer.datasets.gearbox import LOADS, read_windows
from foreshock_trainer.datasets.skab import FLOW, read_records
from foreshock_trainer.evaluate import numbers, window_figures
from foreshock_wire.spec import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_trainer.evaluate import WindowFigures

    Bool = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.floating[Any]]
    Ints = npt.NDArray[np.int64]

TOLD: Final = (
    *("f1", "precision", "recall", "fpr", "accuracy", "balanced_accuracy", "roc_auc", "pr_auc"),
    *("always_no_accuracy", "always_yes_f1", "random_f1"),
)
ROUNDS: Final = 150
FOLDS: Final = 5
GEAR_LENGTH: Final = 512
HEALTHY_ROWS: Final = 400
"""What each SKAB file is compared with: its own beginning, as on the leaderboard."""
SMOOTHING: Final = 60
ALLOWED: Final = 0.12
"""Share of the anomaly-free record that may alarm; the limit follows from it alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a model came to on one data set."""

    data: str
    protocol: str
    tries: int
    seeds: int
    figures: dict[str, float]
    baselines: dict[str, float] = field(default_factory=dict)


def ai4i_rows(root: Path, *, quick: bool) -> list[Row]:
    """Return AI4I: stratified splits, with and without the documented rules as features."""
    table, rules = read_table(root)
    splits = 2 if quick else 20
    both = np.column_stack([table.features, rules])
    protocol = (
        f"{splits} stratified splits, 80 % training; the threshold from 4 inner folds of training; "
        "mean over the splits; no group or time is declared"
    )
    score = rules.sum(axis=1)
    alone = window_figures(table.label, score, score > 0)
    baselines = {"rules_alone_f1": alone.f1, "always_no_accuracy": alone.always_no_accuracy}
    asked = [("with the documented rules", both)]
    if not quick:
        asked.insert(0, ("physics only", table.features))
    return [
        Row(f"AI4I, {name}", protocol, 2, splits, _stratified(x, table.label, splits), baselines)
        for name, x in asked
    ]


def _stratified(features: Floats, label: Bool, splits: int) -> dict[str, float]:
    scores = [_one_split(features, label, seed) for seed in range(splits)]
    f1 = np.array([seen.f1 for seen in scores])
    return {
        "f1": float(f1.mean()),
        "f1_std": float(f1.std()),
        "precision": float(np.mean([seen.precision for seen in scores])),
        "recall": float(np.mean([seen.recall for seen in scores])),
        "fpr": float(np.mean([seen.fpr for seen in scores])),
    }


def _one_split(features: Floats, label: Bool, seed: int) -> WindowFigures:
    chance = np.random.default_rng(seed)
    test = _folds(label, FOLDS, chance) == 0
    x, y = features[~test], label[~test]
    inner = _folds(y, FOLDS - 1, chance)
    margin = np.zeros(len(y))
    for fold in range(FOLDS - 1):
        held = inner == fold
        margin[held] = raw_scores(booster(x[~held], y[~held], seed, exact=True), x[held])
    limit = best_threshold(margin, y, 1.0)
    score = raw_scores(booster(x, y, seed, exact=True), features[test])
    return window_figures(label[test], score, score >= limit)


def skab_rows(root: Path, *, quick: bool) -> list[Row]:
    """Return SKAB valve1: a drop of the flow, its limit from the anomaly-free record alone."""
    del quick  # it takes a second
    free, files = read_records(root)
    width = len(files[0][0])
    pieces = [free[i : i + width] for i in range(0, len(free) - width, 200)]
    limit = float(
        np.quantile(np.concatenate([_drop(p)[HEALTHY_ROWS:] for p in pieces]), 1 - ALLOWED)
    )
    protocol = (
        f"mean flow over {SMOOTHING} s against the file's first {HEALTHY_ROWS} s; the limit is "
        f"the {1 - ALLOWED:.0%} quantile of the anomaly-free record; 21 settings of Hotelling's T2 "
        "were judged on all files before, and how the channels shift in each, which is how the "
        "flow was chosen; then 32 settings on files 0-7, and this one on files 8-15; valve1 is one "
        "of three parts, so it is not comparable with the leaderboard"
    )
    groups = {
        "files 0-7 (looked at while choosing)": (files[:8], 53),
        "files 8-15": (files[8:], 22),
    }
    rows = []
    for name, (some, tries) in groups.items():
        label = np.concatenate([flags for _, flags in some])
        score = np.concatenate([_drop(values) for values, _ in some])
        seen = window_figures(label, score, score >= limit)
        near = affiliation(spans_of(score >= limit), spans_of(label), 0, len(label))
        figures = figures_of(seen) | {f"affiliation_{k}": v for k, v in asdict(near).items()}
        rows.append(Row(f"SKAB valve1, {name}", protocol, tries, 1, *parted(figures)))
    return rows


def _drop(values: Floats) -> Floats:
    """Return by how many of its own deviations the flow lies below the file's beginning."""
    flow = values[:, FLOW]
    total = np.concatenate([[0.0], np.cumsum(flow)])
    ends = np.arange(1, len(flow) + 1)
    begins = np.maximum(0, ends - SMOOTHING)
    smooth = (total[ends] - total[begins]) / (ends - begins)
    spread = max(float(flow[:HEALTHY_ROWS].std()), 0.3)
    drop = -(smooth - smooth[SMOOTHING:HEALTHY_ROWS].mean()) / spread
    drop[:HEALTHY_ROWS] = -np.inf
    return np.where(np.isfinite(drop), drop, -1e9)


def gearbox_rows(root: Path, *, quick: bool) -> list[Row]:
    """Return the gearbox: trained on two loads, judged on the third."""
    windows, broken, load = read_windows(root, GEAR_LENGTH)
    channels = tuple(Channel(f"a{i}", "g") for i in range(1, 5))
    graph = FeatureGraph(channels, GEAR_LENGTH, 1 / 5000, choice=("time", "spectral", "envelope"))
    features = graph.extract(windows)
    loads = LOADS[:1] if quick else LOADS
    rows = []
    for held in loads:
        test = load == held
        seen, single = _judged(features, broken, ~test, test)
        protocol = (
            f"leave one load out: {held} % load is judged; windows of {GEAR_LENGTH} samples that "
            "do not overlap; the threshold is a probability of one half"
        )
        figures = figures_of(seen)
        told, idle = parted(figures)
        rows.append(Row(f"gearbox, load {held} %", protocol, 2, 1, told, idle | single))
    return rows


def _judged(
    features: Floats, label: Bool, train: Bool, test: Bool
) -> tuple[WindowFigures, dict[str, float]]:
    score = raw_scores(booster(features[train], label[train], 0), features[test])
    rule = single_threshold(features[train], label[train], 0.05)
    single = {} if rule is None else {"single_f1": rule.figures(features[test], label[test]).f1}
    return window_figures(label[test], score, score >= 0), single


def _folds(label: Bool, count: int, chance: np.random.Generator) -> Ints:
    """Deal each class out to the folds, int[N]."""
    fold = np.zeros(len(label), np.int64)
    for kind in (True, False):
        rows = chance.permutation(np.flatnonzero(label == kind))
        fold[rows] = np.arange(len(rows)) % count
    return fold


def booster(
    features: Floats,
    label: Bool,
    seed: int,
    *,
    exact: bool = False,
    rounds: int = ROUNDS,
    more: Mapping[str, float] = MappingProxyType({}),
) -> xgb.Booster:
    """Train a small XGBoost classifier on rows float[N, F] with labels bool[N]."""
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "exact" if exact else "hist",
        "max_depth": 5 if exact else 4,
        "eta": 0.1,
        "subsample": 0.8,
        "colsample_bytree": 0.8 if exact else 0.5,
        "seed": seed,
        "nthread": 1,
    }
    return xgb.train(parameters | dict(more), xgb.DMatrix(features, label, nthread=1), rounds)


def raw_scores(trained: xgb.Booster, features: Floats) -> Floats:
    """Return the margins float[N] of rows float[N, F]."""
    margin: Floats = trained.predict(xgb.DMatrix(features, nthread=1), output_margin=True)
    return margin


def figures_of(seen: WindowFigures) -> dict[str, float]:
    """Return the figures that rows tell, by name."""
    return {name: value for name, value in numbers(asdict(seen)).items() if name in TOLD}


def parted(figures: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the figures, and those of idle answers."""
    idle = ("always_no_accuracy", "always_yes_f1", "random_f1")
    return (
        {name: value for name, value in figures.items() if name not in idle},
        {name: figures[name] for name in idle if name in figures},
    )
