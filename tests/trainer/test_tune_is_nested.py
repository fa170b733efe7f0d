"""Tuning: what it may read, that a kill changes nothing, that its file is what retrain takes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_plant.recorder import record
from foreshock_trainer import tune as tuning
from foreshock_trainer.cli import cli
from foreshock_trainer.fit import fault_head
from foreshock_trainer.fit_settings import FitSettings
from foreshock_trainer.folder import ingest_folder
from foreshock_trainer.gathered import gather
from foreshock_trainer.lake import Lake
from foreshock_trainer.selection import best, ranked
from foreshock_trainer.settings import LearnSettings
from foreshock_trainer.splits import is_test_machine
from foreshock_trainer.study_file import TuneError
from foreshock_trainer.tune import TuneSettings, tune
from foreshock_trainer.tuned import CHOSEN, Tuned, TunedError

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_trainer.gathered import Gathered
    from foreshock_trainer.tune import Step

TRIALS, OUTER, INNER = 3, 2, 2


class _KilledError(BaseException):
    """Stands for a kill between two trials: nothing may catch it."""


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> LearnSettings:
    folder = tmp_path_factory.mktemp("tuning")
    record(folder / "recorded", machines=70, hours=600, seed=11, progress=lambda _: None)
    ingest_folder(Lake(folder / "lake", create=True), folder / "recorded", progress=lambda _: None)
    return LearnSettings(
        lake=str(folder / "lake"), features=("mean", "std", "slope"), stride=8, seed=5
    )


@pytest.fixture(scope="module")
def unbroken(learn: LearnSettings, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tune(learn, how(tmp_path_factory.mktemp("study") / "whole.db"))


def how(study: Path) -> TuneSettings:
    return TuneSettings(study=study, trials=TRIALS, outer=OUTER, inner=INNER)


def test_every_try_is_counted_and_the_choice_stands_beside_what_it_is_worth(
    unbroken: Tuned,
) -> None:
    assert unbroken.tries == TRIALS * (OUTER + 1)
    assert unbroken.tries_of_choice == TRIALS
    assert set(unbroken.fit) == set(CHOSEN)
    assert unbroken.nested["windows"] > 0
    assert unbroken.nested["f1"] > unbroken.nested["always_yes_f1"]
    assert 0 < unbroken.nested["untuned_f1"] < 1
    assert len(unbroken.features) == unbroken.graph["features_after"]
    assert unbroken.graph["features_after"] <= unbroken.graph["features_before"]
    assert unbroken.graph["nodes_after"] <= unbroken.graph["nodes_before"]


def test_a_tuning_that_was_killed_goes_on_to_the_same_choice_and_shares_its_file_with_none(
    learn: LearnSettings, unbroken: Tuned, tmp_path: Path
) -> None:
    asked = how(tmp_path / "killed.db")

    def kill(step: Step) -> None:
        with pytest.raises(TuneError, match="another tuning runs"):
            tune(learn, asked)
        if step.done == TRIALS + 1:
            raise _KilledError

    with pytest.raises(_KilledError):
        tune(learn, asked, kill)
    with sqlite3.connect(asked.study) as database:  # a trial that nobody ended
        database.execute(
            "INSERT INTO trials (number, study_id, state) SELECT 99, max(study_id), 'RUNNING' "
            "FROM studies"
        )
    steps: list[Step] = []

    again = tune(learn, asked, steps.append)

    assert again == unbroken
    assert [step.done for step in steps] == list(range(TRIALS + 2, TRIALS * (OUTER + 1) + 1))


def test_a_study_of_another_question_is_refused(learn: LearnSettings, tmp_path: Path) -> None:
    asked = replace(how(tmp_path / "study.db"), trials=1)

    def stop(_: Step) -> None:
        raise _KilledError

    with pytest.raises(_KilledError):
        tune(learn, asked, stop)

    with pytest.raises(TuneError, match="another --study"):
        tune(replace(learn, horizon_h=24.0), asked)


def test_nothing_of_the_test_machines_reaches_a_tuning(
    learn: LearnSettings, unbroken: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(settings: LearnSettings, progress: object = None) -> Gathered:
        del progress
        gathered = gather(settings)
        examples = gathered.examples
        test = np.array([is_test_machine(name) for name in examples.machines])[examples.machine]
        assert 0 < np.count_nonzero(test) < len(test)
        gathered.features[test] = 1e6
        examples.label[test] = ~examples.label[test]
        return gathered

    monkeypatch.setattr(tuning, "gather", spoilt)

    assert tune(learn, how(tmp_path / "spoilt.db")) == unbroken


def test_the_command_writes_what_retrain_takes_and_repeats_from_its_study(
    learn: LearnSettings, tmp_path: Path
) -> None:
    out, study = tmp_path / "tuned.json", tmp_path / "study.db"
    lake = ["--lake", learn.lake, "--stride", "8", "--features", "mean", "--features", "std"]
    sizes = ["--trials", "2", "--outer", "2", "--inner", "2"]
    command = ["tune", *lake, *sizes, "--study", str(study), "--out", str(out), "--json"]

    first = CliRunner().invoke(cli, command)
    assert first.exit_code == 0, first.output
    written = out.read_bytes()
    assert json.loads(first.stdout)["tries"] == 6
    second = CliRunner().invoke(cli, command)
    assert (second.exit_code, out.read_bytes()) == (0, written)

    judged = CliRunner().invoke(
        cli,
        ["crossvalidate", *lake, "--folds", "2", "--tuned", str(out), "--miss-cost", "5", "--json"],
    )
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["metrics"]["f1"] > 0


def test_a_study_that_is_no_database_is_named(learn: LearnSettings, tmp_path: Path) -> None:
    study = tmp_path / "notes.txt"
    study.write_text("not a database, and long enough to be taken for none" * 100)

    for path in (study, study / "below.db"):
        with pytest.raises(TuneError, match=r"notes\.txt"):
            tune(learn, how(path))


def test_a_setting_that_is_no_number_is_refused(unbroken: Tuned, tmp_path: Path) -> None:
    path, whole = tmp_path / "tuned.json", unbroken.as_json()
    path.write_text(json.dumps(whole))
    assert Tuned.read(path) == unbroken

    for wrong in ("x", -1, 2.5, True):
        path.write_text(json.dumps(whole | {"fit": {**whole["fit"], "depth": wrong}}))
        with pytest.raises(TunedError, match="depth"):
            Tuned.read(path)


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"v": 1, "fit": {"depth": "x"}}'])
def test_a_file_that_no_tuning_wrote_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(text)

    with pytest.raises(TunedError, match=r"tuned\.json"):
        Tuned.read(path)


def test_the_ranking_finds_the_feature_that_tells_and_a_sensor_always_stays() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2000, 6)).astype(np.float32)
    label = features[:, 4] > 1
    rows = np.ones(len(label), np.bool_)
    ranking = ranked(fault_head(features, label, rows, rows, FitSettings(rounds=5, patience=0)))
    sensors = np.array([True, True, False, False, False, False])

    assert ranking[0] == 4
    assert sorted(ranking.tolist()) == list(range(6))
    assert best(ranking, 0.5, ~sensors).tolist() == sorted(ranking[:3].tolist())
    kept = best(np.array([4, 2, 3, 1, 0, 5]), 0.5, sensors)
    assert kept.tolist() == [1, 2, 4]
    assert best(np.array([4, 2, 3, 1, 0, 5]), 1.0, sensors).tolist() == list(range(6))
