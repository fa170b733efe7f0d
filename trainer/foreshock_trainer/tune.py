"""Nested tuning: settings and features chosen on inner folds, their worth told by outer ones.

The permanent test machines take no part. The others stand in outer folds; for each, a study of its
own chooses settings by inner folds of the remaining machines, a model is trained as `fit` always
does, and the machines outside judge it. What comes out is what this way of choosing is worth. A
last study over all of the machines makes the choice itself. In an inner fold three groups of
machines take part: one learns (and ranks the features), one ends the training, one scores.

The studies live in one SQLite file (`study_file`). A trial's sampler is seeded with the number of
trials before it, so that a tuning that was killed and goes on chooses what an unbroken one would
have.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import optuna
import xgboost as xgb
from optuna.trial import TrialState

from foreshock_trainer.evaluate import numbers, pr_auc, window_figures
from foreshock_trainer.fit import fault_head, margin_of, threshold
from foreshock_trainer.gathered import feature_graph, gather
from foreshock_trainer.selection import best, ranked
from foreshock_trainer.splits import folds_of, refuse_overlap
from foreshock_trainer.study_file import StudyFile, TuneError, held
from foreshock_trainer.tuned import Tuned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_trainer.examples import Progress
    from foreshock_trainer.fit_settings import FitSettings
    from foreshock_trainer.gathered import Gathered
    from foreshock_trainer.settings import LearnSettings
    from foreshock_trainer.splits import Split

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

SHARES: Final = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Of the features, to be kept."""
BINS: Final = (256, 512, 1024)
MOST_ROUNDS: Final = 600
RANKING_ROUNDS: Final = 100
CHOICE: Final = "choice"
"""The study that chooses; the others only say what choosing is worth."""
ROUNDS: Final = "rounds"
"""What a trial remembers beside its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSettings:
    """How long to look: trials of each study, and the folds outside and inside.

    `study` is the SQLite file.
    """

    study: Path
    trials: int = 20
    outer: int = 3
    inner: int = 3

    @property
    def total(self) -> int:
        """How many trials that makes."""
        return self.trials * (self.outer + 1)


@dataclass(frozen=True, slots=True)
class Step:
    """A trial is done: how many of how many, in which study, and that study's best so far."""

    done: int
    total: int
    study: str
    best: float


def tune(
    learn: LearnSettings,
    how: TuneSettings,
    say: Callable[[Step], object] = lambda _: None,
    progress: Progress | None = None,
) -> Tuned:
    """Choose settings and features on all machines but the test machines, and say their worth.

    `say` is told each trial that is done, `progress` each machine that has been read.

    Raises:
        ForeshockError: the lake cannot train that many models, or the study file belongs to
            another question, or to a tuning that is running.
    """
    with xgb.config_context(nthread=1), held(how.study):
        gathered = gather(learn, progress)
        file = StudyFile(how.study, _asked(learn, how, gathered))
        search = Search(gathered, learn.training, how, file, say)
        machines = (*gathered.split.train, *gathered.split.validation)
        outer = folds_of(machines, how.outer)
        judged = [_worth(search, f"outer-{i}", fold) for i, fold in enumerate(outer, start=1)]
        chosen = search.choice(CHOICE, machines)
    return Tuned(
        fit=chosen.fit,
        features=tuple(gathered.names[i] for i in chosen.columns),
        tries=how.total,
        tries_of_choice=how.trials,
        inner_pr_auc=chosen.pr_auc,
        nested=_pooled(gathered, judged) | {"folds": float(how.outer)},
        graph=_sizes(learn, gathered, chosen.columns),
        provenance={**gathered.provenance, "seed": str(learn.seed)},
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """What a study came to: fields of `FitSettings`, columns int64[K], and its best score."""

    fit: dict[str, Any]
    columns: Ints
    pr_auc: float


@dataclass(frozen=True, slots=True)
class Search:
    """Studies over the same examples, in one file."""

    gathered: Gathered
    base: FitSettings
    how: TuneSettings
    file: StudyFile
    say: Callable[[Step], object] = lambda _: None

    def choice(self, name: str, machines: tuple[str, ...]) -> Choice:
        """Return what a study of these machines chooses; trials that are in the file stay.

        Raises:
            TuneError: the file holds studies of another question.
        """
        inner = [_Inner.of(self, split) for split in folds_of(machines, self.how.inner)]
        study = self.file.study(name)
        done = len(_complete(study))
        while done < self.how.trials:
            # The sampler starts anew for each trial: going on is then the same as never stopping.
            study.sampler = optuna.samplers.TPESampler(seed=self.base.seed * 100_003 + done)
            trial = study.ask()
            pr_auc, rounds = self._tried(inner, trial)
            trial.set_user_attr(ROUNDS, rounds)
            study.tell(trial, pr_auc)
            done += 1
            self.say(self._step(study, name, done))
        return self._chosen(study, machines)

    def _tried(self, inner: list[_Inner], trial: optuna.Trial) -> tuple[float, int]:
        """Return the mean PR-AUC over the inner folds, and the middle number of rounds."""
        fit, share = _suggested(trial)
        settings = replace(self.base, **fit)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            seen = list(pool.map(lambda fold: fold.score(self.gathered, settings, share), inner))
        scores, rounds = zip(*seen, strict=True)
        return float(np.mean(scores)), int(np.median(rounds))

    def _step(self, study: optuna.Study, name: str, done: int) -> Step:
        before = self.how.outer if name == CHOICE else int(name.rpartition("-")[2]) - 1
        return Step(before * self.how.trials + done, self.how.total, name, study.best_value)

    def _chosen(self, study: optuna.Study, machines: tuple[str, ...]) -> Choice:
        trial = study.best_trial
        fit, share = _suggested(optuna.trial.FixedTrial(trial.params))
        fit |= {"rounds": trial.user_attrs[ROUNDS], "patience": 0}
        columns = best(self.ranking(self.gathered.of(machines)), share, self.measured)
        return Choice(fit, columns, study.best_value)

    def ranking(self, rows: Bool) -> Ints:
        """Return the columns by their gain in a booster on these rows (bool[N]) alone."""
        settings = replace(self.base, rounds=RANKING_ROUNDS, patience=0)
        features, label = self.gathered.features, self.gathered.examples.label
        return ranked(fault_head(features, label, rows, rows, settings))

    @property
    def measured(self) -> Bool:
        """Which columns are of a measured channel, bool[F]."""
        return self.gathered.measured


@dataclass(frozen=True, slots=True)
class _Inner:
    """Rows bool[N] that train, stop and score, and the ranking by those that train."""

    train: Bool
    stop: Bool
    judge: Bool
    ranking: Ints

    @classmethod
    def of(cls, search: Search, split: Split) -> _Inner:
        refuse_overlap(split.train, split.validation, split.test)
        train, stop, judge = map(search.gathered.of, (split.train, split.validation, split.test))
        label = search.gathered.examples.label
        if not all((label & rows).any() for rows in (train, stop, judge)):
            raise TuneError(
                f"one of the {search.how.inner} inner folds holds no failure: record more "
                "machines, or give fewer --inner and --outer"
            )
        return cls(train, stop, judge, search.ranking(train))

    def score(self, gathered: Gathered, settings: FitSettings, share: float) -> tuple[float, int]:
        """Return the PR-AUC on the judging machines, and how many rounds it took."""
        features = gathered.features[:, best(self.ranking, share, gathered.measured)]
        label = gathered.examples.label
        head = fault_head(features, label, self.train, self.stop, settings)
        margin = margin_of(head, features[self.judge])
        return pr_auc(label[self.judge], margin), head.num_boosted_rounds()


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _suggested(trial: optuna.trial.BaseTrial) -> tuple[dict[str, Any], float]:
    """Return the settings that a trial stands for, and its share of the features."""
    fit = {
        "rounds": MOST_ROUNDS,
        "depth": trial.suggest_int("depth", 2, 7),
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "bins": trial.suggest_categorical("bins", BINS),
        "rows_per_tree": trial.suggest_float("rows_per_tree", 0.4, 1.0),
        "features_per_tree": trial.suggest_float("features_per_tree", 0.2, 1.0),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 100.0, log=True),
        "l2": trial.suggest_float("l2", 0.1, 30.0, log=True),
    }
    return fit, float(trial.suggest_categorical("features", SHARES))


def _asked(learn: LearnSettings, how: TuneSettings, gathered: Gathered) -> str:
    question = {name: str(value) for name, value in asdict(learn).items()}
    folds = {"outer": str(how.outer), "inner": str(how.inner)}
    return json.dumps({**question, **gathered.provenance, **folds}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Worth:
    """Rows bool[N] of one outer fold; margins above the thresheld, tuned and untuned, float32."""

    rows: Bool
    tuned: Float32
    untuned: Float32


def _worth(search: Search, name: str, split: Split) -> _Worth:
    """Judge what a study chooses without these machines, beside the settings as they were."""
    gathered = search.gathered
    chosen = search.choice(name, (*split.train, *split.validation))
    rows = gathered.of(split.test)
    tuned = replace(search.base, **chosen.fit)
    every = np.arange(gathered.features.shape[1])
    return _Worth(
        rows,
        _above(gathered, split, chosen.columns, tuned),
        _above(gathered, split, every, search.base),
    )


def _above(gathered: Gathered, split: Split, columns: Ints, settings: FitSettings) -> Float32:
    features, label = gathered.features[:, columns], gathered.examples.label
    train, valid = gathered.of(split.train), gathered.of(split.validation)
    head = fault_head(features, label, train, valid, settings)
    limit = threshold(margin_of(head, features[valid]), label[valid], settings)
    above: Float32 = margin_of(head, features[gathered.of(split.test)]) - np.float32(limit)
    return above


def _pooled(gathered: Gathered, judged: list[_Worth]) -> dict[str, float]:
    """Return the figures over all outer folds: each machine judged once."""
    examples = gathered.examples
    label = np.concatenate([examples.label[fold.rows] for fold in judged])
    tuned = np.concatenate([fold.tuned for fold in judged])
    untuned = np.concatenate([fold.untuned for fold in judged])
    figures = numbers(asdict(window_figures(label, tuned, tuned >= 0)))
    plain = numbers(asdict(window_figures(label, untuned, untuned >= 0)))
    told = {f"untuned_{name}": plain[name] for name in ("f1", "fpr", "pr_auc") if name in plain}
    machines = sum(len(np.unique(examples.machine[fold.rows])) for fold in judged)
    return figures | told | {"machines": float(machines)}


def _sizes(learn: LearnSettings, gathered: Gathered, columns: Ints) -> dict[str, int]:
    """Return the graph's columns, operators and bytes, before and after."""
    kept = tuple(gathered.names[i] for i in columns)
    sizes: dict[str, int] = {}
    for when, settings in (("before", learn), ("after", replace(learn, features=kept))):
        graph = feature_graph(settings)
        nodes, size_bytes = graph.size()
        sizes |= {
            f"features_{when}": len(graph.names),
            f"nodes_{when}": nodes,
            f"bytes_{when}": size_bytes,
        }
    return sizes
