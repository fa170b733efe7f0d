"""A recorded plant goes into a lake; what comes out is a model file that a gateway can run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime as ort
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from foreshock_plant.recorder import record
from foreshock_trainer.cli import cli
from foreshock_trainer.evaluate import NS_PER_HOUR
from foreshock_trainer.examples import examples_of
from foreshock_trainer.folder import ingest_folder
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.label_files import add_labels
from foreshock_trainer.lake import Lake
from foreshock_trainer.leaks import LeakError
from foreshock_trainer.retrain import retrain
from foreshock_trainer.settings import RetrainSettings
from foreshock_trainer.splits import split_machines
from foreshock_trainer.tracking import Tracking, TrackingError, resolve
from foreshock_wire.batch import Readings
from foreshock_wire.derived import parse_derived
from foreshock_wire.errors import ForeshockError
from foreshock_wire.model import Model
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from foreshock_trainer.result import Outcome


class Trained(NamedTuple):
    settings: RetrainSettings
    first: Outcome


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("centre")
    record(folder / "recorded", machines=45, hours=800, seed=3, progress=lambda _: None)
    ingest_folder(Lake(folder / "lake", create=True), folder / "recorded", progress=lambda _: None)
    settings = RetrainSettings(lake=str(folder / "lake"), tracking=folder / "models")
    return Trained(settings, retrain(replace(settings, promote=True)))


def test_the_registered_file_is_a_model_that_tests_itself_and_scores(trained: Trained) -> None:
    path = resolve("models:/foreshock@champion", trained.settings.tracking)

    model = Model.load(path)
    model.self_test()

    assert path.name == "model.onnx"
    assert model.sha256 == trained.first.sha256
    scored = model.run(model.spec.baseline[None], explain=True)
    assert scored.probability[0] < model.spec.threshold
    assert set(model.spec.modes) >= {"bearing_wear", "cooling_loss"}
    assert all(model.spec.advice_for(mode) for mode in model.spec.modes)
    assert scored.modes[0].sum() == pytest.approx(1, abs=1e-5)


def test_mlflow_reads_the_signature_the_curves_and_the_card(trained: Trained) -> None:
    from mlflow.models import Model as Described  # noqa: PLC0415 - seconds to import
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - seconds to import

    root, outcome = trained.settings.tracking, trained.first
    path = resolve("models:/foreshock/1", root)
    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")

    described = Described.load(str(path.parent))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    window = Model.load(path).spec.baseline[None]
    names = [node.name for node in session.get_outputs()]
    given = {"window": window, "explain": np.array(True)}  # noqa: FBT003 - the graph's input
    answers = dict(zip(names, session.run(names, given), strict=True))

    for schema, arrays in (
        (described.signature.inputs, given),
        (described.signature.outputs, answers),
    ):
        told = {one.name: one for one in schema.inputs}
        assert set(told) == set(arrays)
        for name, array in arrays.items():
            assert told[name].type == array.dtype
            assert len(told[name].shape) == array.ndim
            assert all(a in {-1, b} for a, b in zip(told[name].shape, array.shape, strict=True))

    roc = client.get_metric_history(outcome.run, "roc_recall_over_fpr")
    assert max(point.step for point in roc) == 1000
    assert max(point.value for point in roc) == 1
    assert [p.value for p in sorted(roc, key=lambda p: p.step)] == sorted(p.value for p in roc)
    told_of = client.get_model_version("foreshock", "1").description or ""
    assert f"F1 {outcome.test.window.f1:.3f}" in told_of
    assert f"always no {outcome.test.window.always_no_accuracy:.3f}" in told_of
    folder = Path(client.download_artifacts(outcome.run, "card.md", str(root)))
    assert folder.read_text() == told_of


def test_it_has_skill_on_machines_that_it_never_saw(trained: Trained) -> None:
    outcome = trained.first

    assert outcome.verdict.passed
    assert outcome.parity.ok
    assert outcome.test.window.pr_auc > 5 * outcome.test.window.prevalence
    assert outcome.test.window.f1 > 2 * outcome.test.window.always_yes_f1
    assert outcome.test.event.recall > 0.5
    assert outcome.aliases == ("challenger", "champion")
    later = outcome.as_json()["metrics_later"]
    assert 0 < later["windows"] < outcome.test.window.windows
    assert later["pr_auc"] > 2 * later["prevalence"]


def test_the_same_lake_gives_the_same_bytes_and_an_equal_challenger(trained: Trained) -> None:
    again = retrain(trained.settings)

    assert again.sha256 == trained.first.sha256
    assert again.verdict.difference_bound == 0
    assert again.champion == again.test
    assert (again.version, again.aliases) == (2, ("challenger",))
    tracking = Tracking(trained.settings.tracking)
    champion = tracking.champion("foreshock")
    assert champion is not None
    assert champion.number == 1
    assert tracking.promote("foreshock").number == 2


def test_lead_time_interval_and_alarms_are_of_test_machines_failures(trained: Trained) -> None:
    settings = trained.settings
    examples = examples_of(Lake(settings.lake), settings.cut, horizon_h=settings.horizon_h)
    test = split_machines(examples.machines).test
    rows = np.isin(np.array(examples.machines)[examples.machine], test)
    model = Model.load(resolve("models:/foreshock/1", settings.tracking))
    scored = model.run(examples.windows[rows])

    alarms = scored.margin >= model.spec.threshold_margin

    assert np.count_nonzero(alarms & examples.label[rows]) == round(
        trained.first.test.window.recall * trained.first.test.window.positives
    )
    lead = scored.lead_time[alarms]
    assert (np.diff(lead, axis=1) >= 0).all()
    assert (lead >= 0).all()


def test_windows_of_the_lake_are_exported_as_the_training_had_them(
    trained: Trained, tmp_path: Path
) -> None:
    settings, out = trained.settings, tmp_path / "windows"
    arguments = ["data", "export-lake", "--lake", settings.lake, "--out", str(out), "--json"]

    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)

    told, counts = json.loads(done.stdout.splitlines()[-1]), trained.first.counts
    parts = ("train", "validation", "test")
    assert sum(told["counts"][part]["rows"] for part in parts) == counts["windows"]
    assert [told["counts"][part]["groups"] for part in parts] == [
        counts[f"{part}_machines"] for part in parts
    ]
    test = pq.read_table(out / "test.parquet")
    assert pc.sum(test["fails_within_horizon"]).as_py() == trained.first.test.window.positives
    assert told["answers"] == ["fails_within_horizon", "lead_time_h", "mode"]


def test_a_refusal_is_no_error_and_the_json_says_why(trained: Trained, tmp_path: Path) -> None:
    settings, report = trained.settings, tmp_path / "report.json"
    # The champion reads windows of 48 samples, so a challenger of 24 cannot be compared with it.
    arguments = ["retrain", "--lake", settings.lake, "--tracking", str(settings.tracking)]
    html = tmp_path / "run.html"

    other = ["--length", "24", "--derived", "load=torque*motor_power*0.5:N.m.kW"]
    chosen = ["--features", "mean", "--features", "std", "--features", "vibration.kurtosis"]
    told = ["--report", str(report), "--html", str(html), "--json"]

    done = CliRunner().invoke(cli, [*arguments, *other, *chosen, *told])

    assert done.exit_code == 0, done.output
    assert "foreshock was not promoted because it cannot be compared with champion" in done.stderr
    outcome = json.loads(done.stdout)
    assert json.loads(report.read_text()) == outcome
    assert not outcome["verdict"]["passed"]
    assert (outcome["version"], outcome["alias"], outcome["promoted"]) == (None, None, False)
    assert outcome["baseline"]["always_no_f1"] == 0
    assert set(outcome["metrics"]) >= {"f1", "fpr", "roc_auc", "pr_auc", "event_recall"}
    assert outcome["single_threshold"]["f1"] < outcome["metrics"]["f1"]
    assert "refused by the gate" in html.read_text()
    whole = json.loads(html.with_suffix(".json").read_text())
    assert whole["metrics"] == outcome["metrics"]
    assert len(whole["curves"]["timelines"]) == outcome["counts"]["test_machines"]
    written = [json.loads(path.read_text()) for path in settings.tracking.rglob("spec.json")]
    (spec,) = (spec for spec in written if spec["length"] == 24)
    assert [one["id"] for one in spec["derived"]] == ["load"]
    assert len(spec["features"]) == 2 * 6 + 1
    assert "load.std" in spec["features"]
    assert "vibration.kurtosis" in spec["features"]


def test_what_is_not_registered_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no mlflow\.db"):
        resolve("models:/foreshock@champion", tmp_path)
    with pytest.raises(TrackingError, match="nobody"):
        resolve("models:/nobody@champion", trained.settings.tracking)
    with pytest.raises(TrackingError, match="NAME@ALIAS"):
        resolve("foreshock", trained.settings.tracking)


def test_the_page_of_a_run_is_its_artifact(trained: Trained) -> None:
    path = resolve("models:/foreshock/1", trained.settings.tracking)
    folder = path.parent.parent
    assert trained.first.sha256 in (folder / "page.html").read_text()
    whole = json.loads(json.dumps(trained.first.whole()))
    assert json.loads((folder / "figures.json").read_text()) == whole


def lake_with_status(source: Lake, root: Path) -> Lake:
    """Torque, and a status that somebody wrote back: 1 in the two days before each failure."""
    rows = source.readings(columns=("machine", "channel", "time_ns", "value"))
    torque = rows.filter(pc.equal(rows["channel"], "torque"))
    names, machine = np.unique(torque["machine"].to_pylist(), return_inverse=True)
    time_ns, value = torque["time_ns"].to_numpy(), torque["value"].to_numpy()
    soon = np.zeros(len(time_ns), np.float32)
    for event in source.events().to_pylist():
        left_h = (event["time_ns"] - time_ns) / NS_PER_HOUR
        of_it = (names[machine] == event["machine"]) & (event["kind"] == "failure")
        soon[of_it & (left_h >= 0) & (left_h <= 48)] = 1
    batch = Readings(
        epoch="e1",
        first_seq=1,
        machines=names.tolist(),
        channels=["torque", "status"],
        machine=np.repeat(machine, 2).astype(np.uint16),
        channel=np.tile([0, 1], len(machine)).astype(np.uint16),
        time_ns=np.repeat(time_ns, 2),
        received_ns=np.repeat(time_ns, 2),
        value=np.stack([value, soon], axis=1).ravel(),
        flags=np.zeros(2 * len(machine), np.uint8),
    )
    made = Lake(root, create=True)
    Ingest(made).take(
        [Message(uplink(Gateway("works", "gw-1"), Stream.READINGS), batch.to_bytes(), 1)]
    )
    return made


def test_a_channel_that_holds_the_answer_is_refused_unless_it_is_vouched_for(
    trained: Trained, tmp_path: Path
) -> None:
    settings = trained.settings
    lake_with_status(Lake(settings.lake), tmp_path / "lake")
    labels = Path(settings.lake).parent / "recorded" / "events.csv"
    add_labels(Lake(tmp_path / "lake", create=True), labels)
    arguments = ["retrain", "--lake", str(tmp_path / "lake"), "--tracking", str(tmp_path / "m")]
    arguments += ["--channel", "torque:N.m", "--channel", "status:1"]

    refused = CliRunner().invoke(cli, arguments)
    done = CliRunner().invoke(cli, [*arguments, "--vouch", "status", "--json"])

    assert isinstance(refused.exception, LeakError)
    assert "label among the features: 'status." in str(refused.exception)
    assert "torque" not in str(refused.exception)
    assert json.loads(done.stdout.splitlines()[-1])["metrics"]["roc_auc"] > 0.99


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ForeshockError, match="stride"):
        RetrainSettings(lake="lake", tracking=None, stride=0)  # type: ignore[arg-type]
    with pytest.raises(ForeshockError, match="'speed', which is none of"):
        RetrainSettings(
            lake="lake",
            tracking=None,  # type: ignore[arg-type]
            derived=(parse_derived("power=torque*speed:kW"),),
        )
