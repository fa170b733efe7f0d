from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock.cli import cli
from foreshock.picture.draw import ALARM, FAILED, draw, figure_of
from foreshock.picture.frame import frame_of, moved
from foreshock.picture.judged import JudgedLife, judged_life
from foreshock_agent.judging.scoring import Scorer
from foreshock_agent.mqtt.link import Delivery, Outgoing
from foreshock_agent.pipeline import Outside, Pipeline
from foreshock_agent.settings import Settings, SourceSettings, WindowSettings
from foreshock_agent.sources import Sources
from foreshock_agent.store.keeper import Keeper
from foreshock_agent.store.store import Store
from foreshock_converter.assemble import assemble
from foreshock_converter.sample import train
from foreshock_plant.machine import simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.recorder import record
from foreshock_plant.samples import samples
from foreshock_plant.sensor_faults import deliver, true_messages
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Alarm, AlarmState
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

MACHINE, SEED, HOURS, LATENESS_S = "pump-01", 1, 560.0, 3600.0


def played(model: Model) -> JudgedLife:
    return judged_life(model, MACHINE, seed=SEED, hours=HOURS, lateness_s=LATENESS_S)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose limit is such that its alarm stands when the machine fails."""
    parts = train()
    known = (parts.heads, parts.calibration, parts.novelty)
    life = played(Model.load(assemble(parts.spec, *known, windows=parts.windows)))
    before = life.played.end_ns <= life.failures[0].time_ns
    limit = float(life.played.probability[before][-1]) - 1e-4
    spec = replace(
        parts.spec, threshold=limit, threshold_margin=float(parts.calibration.margin(limit))
    )
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(assemble(spec, *known, windows=parts.windows))
    return path


@pytest.fixture(scope="module")
def judged(model_file: Path) -> JudgedLife:
    return played(Model.load(model_file))


@dataclass
class TestClock:
    __test__ = False
    seconds: float = 0.0
    boot: str = ""

    def now_ns(self) -> int:
        return 1_780_000_000_000_000_000

    def monotonic_s(self) -> float:
        return self.seconds

    def boot_ns(self) -> int:
        return 0


def hear(folder: Path, model: Model) -> list[Outgoing]:
    """Send a life, copies and all, through the agent's own pipeline on a real store."""
    said: list[Outgoing] = []
    clock = TestClock()
    settings = Settings(
        site="works",
        gateway="gw-1",
        data_dir=folder,
        channels=CHANNELS,
        sources=(SourceSettings(topic="plant/{machine}/sample"),),
        windows=WindowSettings(lateness_s=LATENESS_S),
    )
    messages, _ = deliver(true_messages([simulate(MACHINE, seed=SEED, hours=HOURS)]), seed=SEED)
    with closing(Store(settings.database, clock.now_ns())) as store:
        pipeline = Pipeline(
            settings=settings,
            store=store,
            keeper=Keeper(store, settings, clock),
            sources=Sources(settings.sources, settings.max_message_bytes),
            scorer=Scorer(settings, model),
            clock=clock,
            outside=Outside(lambda _: None, said.extend, lambda: None),
        )
        for packet, sample in enumerate(samples(messages), 1):
            pipeline.step(
                [Delivery(sample.topic, sample.payload, packet, 1, dup=False, connection=1)]
            )
        clock.seconds += 60
        pipeline.step([])
    return said


def test_windows_scores_and_alarms_are_those_of_the_agent_bit_for_bit(
    model_file: Path, judged: JudgedLife, tmp_path: Path
) -> None:
    said = hear(tmp_path, Model.load(model_file))
    with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
        rows = db.execute("SELECT time_ns, probability FROM scores ORDER BY seq").fetchall()
    assert [end for end, _ in rows] == judged.played.end_ns.tolist()
    assert [score for _, score in rows] == judged.played.probability.tolist()
    alarms = [Alarm.from_bytes(one.payload) for one in said if one.topic.endswith("/alarm")]
    raised = [one for one in alarms if one.state is AlarmState.UNACKNOWLEDGED]
    cleared = [one.time_ns for one in alarms if one not in raised]
    assert raised
    expected = [one.alarm for one in judged.episodes]
    unlike = {"trigger_received_ns": None}
    assert [one.model_copy(update=unlike) for one in raised] == [
        one.model_copy(update=unlike) for one in expected
    ]
    assert cleared == [one.cleared_ns for one in judged.episodes if one.cleared_ns]


def lines(axis: Axes, colour: str) -> list[float]:
    """Where vertical lines of a colour stand."""
    return [
        float(np.asarray(one.get_xdata())[0])
        for one in axis.get_lines()
        if one.get_color() == colour and len(set(np.asarray(one.get_xdata()).tolist())) == 1
    ]


def test_what_is_drawn_comes_from_the_data(judged: JudgedLife) -> None:
    frame = frame_of(judged, None)
    assert frame.warning is not None
    axes = figure_of(judged, frame).axes
    assert len(axes) == len(CHANNELS) + 2
    alarm_h = (frame.warning.raised_ns - judged.failures[0].time_ns) / 3.6e12
    for axis in axes:
        assert 0.0 in lines(axis, FAILED)
        assert pytest.approx(alarm_h) in lines(axis, ALARM)
    risk = np.asarray(axes[-1].get_lines()[0].get_ydata())
    np.testing.assert_array_equal(risk[~np.isnan(risk)], judged.played.probability)
    health = np.asarray(axes[-2].get_lines()[0].get_ydata())
    on = judged.life.running
    np.testing.assert_array_equal(health[on], judged.life.health[on])
    for column, axis in enumerate(axes[: len(CHANNELS)]):
        drawn = np.asarray(axis.get_lines()[0].get_ydata())
        sent = judged.messages.values[:, column]
        assert set(drawn[~np.isnan(drawn)].tolist()) <= set(sent.astype(float).tolist())
        assert axis.get_ylabel().splitlines()[1] == judged.spec.channels[column].unit
    pushed = [one.channel for one in moved(frame.warning)]
    assert pushed
    assert pushed[0] == frame.warning.alarm.reasons[0].channel


def run(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["picture", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_command_writes_a_picture_and_tells_the_same_times(
    model_file: Path, judged: JudgedLife, tmp_path: Path, suffix: str, start: bytes
) -> None:
    out = tmp_path / f"life.{suffix}"
    arguments = ("--machine", MACHINE, "--seed", str(SEED), "--hours", str(HOURS))
    said = run("--model", str(model_file), *arguments, "--lateness-s", "3600", "--out", str(out))
    assert out.read_bytes().startswith(start)
    failure = judged.failures[0]
    warning = judged.warning_of(failure)
    assert warning is not None
    assert said["warned_h"] == (failure.time_ns - warning.raised_ns) / 3.6e12
    assert said["failure"] in said["failures_of_this_life"]
    assert said["alarm"] in said["alarms_of_this_life"]
    assert said["mode"] == failure.mode
    assert said["windows"] == len(judged.played.end_ns)
    draw(judged, frame_of(judged, None), tmp_path / f"again.{suffix}")
    assert (tmp_path / f"again.{suffix}").read_bytes() == out.read_bytes()


def test_the_failure_is_the_one_of_the_plants_own_work_orders(
    model_file: Path, tmp_path: Path
) -> None:
    record(tmp_path / "past", machines=1, hours=HOURS, seed=SEED, progress=lambda _: None)
    with (tmp_path / "past" / "events.csv").open(newline="") as file:
        failed = [row for row in csv.DictReader(file) if row["kind"] == "failure"]
    arguments = ("--machine", failed[0]["machine"], "--hours", str(HOURS))
    said = run("--model", str(model_file), *arguments, "--out", str(tmp_path / "life.svg"))
    assert said["failures_of_this_life"] == [row["time"] for row in failed]
    assert said["mode"] == failed[0]["mode"]


def test_a_whole_life_is_shown_on_request(judged: JudgedLife) -> None:
    frame = frame_of(judged, 0)
    assert (frame.begin_ns, frame.end_ns) == tuple(judged.life.time_ns[[0, -1]])
    assert frame.warned_h is None
    assert figure_of(judged, frame).get_suptitle().startswith(MACHINE)


def test_a_failure_that_is_not_there_is_named(judged: JudgedLife) -> None:
    with pytest.raises(ForeshockError, match=r"fails \d+ times.*no failure 99"):
        frame_of(judged, 99)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "life.jpg"), ".png or .svg"),
        (("--out", "/nowhere/life.png"), "/nowhere/life.png cannot be written"),
        (("--out", "life.png", "--machine", "turbine-01"), "names no class"),
        (("--out", "life.png", "--failure", "9"), "no failure 9"),
    ],
)
def test_a_users_error_is_one_line(
    model_file: Path, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    del tmp_path
    done = CliRunner().invoke(cli, ["picture", "--model", str(model_file), *arguments])
    assert done.exit_code == 1
    assert words in done.output
    assert done.output.startswith("error: ")
