"""A backtest says what a real pipeline said of the same readings, bit for bit; and compares."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_agent.settings import AlarmSettings
from foreshock_agent.uplink.outbox import Outbox
from foreshock_converter.sample import CHANNELS, tiny_model
from foreshock_trainer.backtest import BacktestError, Question, backtest
from foreshock_trainer.cli import cli
from foreshock_trainer.contest import Comparison, Stretch, Tally, tally
from foreshock_trainer.evaluate import HOURS_PER_MONTH, NS_PER_HOUR
from foreshock_trainer.examples import tracks
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.label_files import add_labels
from foreshock_trainer.lake import Lake
from foreshock_trainer.outcomes import Event
from foreshock_trainer.playback import EdgeSettings, play
from foreshock_trainer.splits import is_test_machine
from foreshock_wire.model import Model
from foreshock_wire.times import rfc3339
from foreshock_wire.topics import Stream, uplink
from tests.agent.rig import AT, BEGIN_NS, MINUTE_NS, Bench, uneven

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_agent.uplink.outbox import Parcel

EDGE = EdgeSettings(off_delay_s=600)
IDS = [f"pump-{i}" for i in range(1, 40)]
TESTS = tuple(filter(is_test_machine, IDS))[:2]
MACHINES = (*TESTS, *[name for name in IDS if not is_test_machine(name)][:4])
NAMES = ("temperature", "pressure")


class Ran(NamedTuple):
    lake: Lake
    model: Path
    other: Path


def parcels(bench: Bench) -> list[Parcel]:
    outbox = Outbox(bench.settings.database)
    found = []
    for stream in Stream:
        after: dict[str, int] = {}
        while parcel := outbox.next_parcel(stream, after, 100):
            after[parcel.epoch] = parcel.last_seq
            found.append(parcel)
    outbox.close()
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("backtest")
    paths = folder / "a.onnx", folder / "b.onnx"
    for seed, path in enumerate(paths, start=1):
        path.write_bytes(tiny_model(CHANNELS[:2], length=8, stride=2, period_s=60.0, seed=seed))
    turns = [
        (m, one)
        for at in zip(*map(uneven, range(6)), strict=True)
        for m, one in zip(MACHINES, at, strict=True)
    ]
    # The second half by another process, which rebuilds its windows from the store.
    for half in (turns[: len(turns) // 2], turns[len(turns) // 2 :]):
        bench = Bench(folder / "gateway", Model.load(paths[0]))
        for machine, payload in half:
            bench.step(bench.delivery(payload, machine))
        bench.commit()
        found = parcels(bench)
        bench.close()
    lake = Lake(folder / "lake", create=True)
    Ingest(lake).take([Message(uplink(AT, p.stream), p.payload, 1) for p in found])
    return Ran(lake, *paths)


def test_scores_and_alarms_are_those_that_the_gateway_stored(ran: Ran) -> None:
    model = Model.load(ran.model)
    scores = ran.lake.scores().to_pylist()
    alarms = ran.lake.alarms().to_pylist()
    assert len(alarms) > 2 * len(MACHINES)
    assert {row["model"] for row in scores} == {model.sha256}
    late = ran.lake.readings(columns=("flags",))["flags"].to_numpy()
    assert np.count_nonzero(late) > 20

    for track in tracks(ran.lake, MACHINES, NAMES):
        played = play(track, NAMES, model, EDGE)
        mine = [row for row in scores if row["machine"] == track.machine]
        assert played.end_ns.tolist() == [row["time_ns"] for row in mine]
        for name, values in (("probability", played.probability), ("novelty", played.novelty)):
            assert values.tobytes() == np.array([r[name] for r in mine], np.float32).tobytes()
        said = [(c.time_ns, c.episode, str(c.state)) for c in played.changes]
        changes = [row for row in alarms if row["machine"] == track.machine]
        assert said == [(row["time_ns"], row["episode"], row["state"]) for row in changes]


def test_the_defaults_are_the_agents() -> None:
    ours = {k: v for k, v in asdict(EdgeSettings()).items() if k != "lateness_s"}
    assert ours == AlarmSettings().model_dump()


HOUR = NS_PER_HOUR


def failure(hour: float, mode: str = "bearing") -> Event:
    return Event(int(hour * HOUR), "failure", mode)


def events(*more: Event) -> list[Event]:
    return [Event(0, "installed"), *more, Event(1000 * HOUR, "observed_until")]


def judged(episodes: list[tuple[float, float | None]], *more: Event, until: float = 1000) -> Tally:
    in_ns = [(int(a * HOUR), None if b is None else int(b * HOUR)) for a, b in episodes]
    return tally("m", in_ns, events(*more), Stretch(0, int(until * HOUR), 48 * HOUR), 0)


@pytest.mark.parametrize(
    ("episode", "more", "fate"),
    [
        ((60, 70), [failure(100)], "true"),
        ((52, None), [failure(100)], "true"),
        ((40, 60), [failure(100)], "early"),
        ((40, None), [failure(100)], "early"),
        ((30, 45), [failure(100)], "false"),
        ((30, 45), [], "false"),
        ((60, None), [Event(80 * HOUR, "maintenance"), failure(100)], "averted"),
        ((60, None), [failure(80), Event(90 * HOUR, "repaired")], "true"),
        ((60, None), [Event(70 * HOUR, "confirmed"), Event(80 * HOUR, "maintenance")], "confirmed"),
        ((60, None), [Event(80 * HOUR, "repaired", "bearing")], "confirmed"),
        ((60, None), [Event(70 * HOUR, "false_alarm"), Event(80 * HOUR, "maintenance")], "false"),
        ((60, None), [Event(70 * HOUR, "false_alarm"), failure(100)], "true"),
        ((60, 65), [Event(70 * HOUR, "confirmed")], "false"),
        ((960, None), [Event(970 * HOUR, "confirmed")], "confirmed"),
        ((960, None), [], "open"),
        ((952, None), [], "false"),
    ],
)
def test_what_became_of_an_alarm(
    episode: tuple[float, float | None], more: list[Event], fate: str
) -> None:
    seen = judged([episode], *more).as_json()
    names = ("true", "false", "early", "confirmed", "averted", "open")
    assert {name: seen[name] for name in names} == dict.fromkeys(names, 0) | {fate: 1}


@pytest.mark.parametrize(
    ("episodes", "more", "lead_h"),
    [
        ([(60, 70), (90, None)], [failure(100)], 40),
        ([(10, None)], [failure(100)], 48),
        ([(10, 51)], [failure(100)], None),
        ([(101, None)], [failure(100)], None),
        ([(40, None)], [failure(50), Event(70 * HOUR, "repaired"), failure(100)], 30),
        ([(40, 60)], [failure(50), Event(70 * HOUR, "repaired"), failure(100)], None),
    ],
)
def test_how_long_before_a_failure_the_alarm_stood(
    episodes: list[tuple[float, float | None]], more: list[Event], lead_h: float | None
) -> None:
    seen = judged(episodes, *more)
    assert seen.foretold["m", 100 * HOUR, "bearing"] == lead_h


def test_only_what_lies_in_the_stretch_counts() -> None:
    seen = judged([(60, None), (160, None)], failure(100), failure(200), until=120)
    assert (seen.true, len(seen.foretold)) == (1, 1)


def test_two_models_side_by_side_by_hand() -> None:
    keys = [("m", i, "") for i in range(4)]
    a = Tally(
        false=5,
        hours=HOURS_PER_MONTH,
        foretold=dict(zip(keys, [10.0, None, 20, None], strict=True)),
    )
    b = Tally(
        false=2, hours=HOURS_PER_MONTH, foretold=dict(zip(keys, [16.0, 5, 22, None], strict=True))
    )

    seen = Comparison(a, b).as_json()

    assert seen["false_alarms_fewer"] == 3
    assert seen["earlier_h_p50"] == 4
    assert (seen["foretold_by_both"], seen["foretold_by_a_only"], seen["foretold_by_b_only"]) == (
        2,
        0,
        1,
    )
    assert seen["a"]["false_alarms_per_machine_month"] == 5
    assert seen["b"]["recall"] == 0.75


def test_the_command_sets_two_models_side_by_side(ran: Ran, tmp_path: Path) -> None:
    at = rfc3339(BEGIN_NS + 100 * MINUTE_NS)
    rows = [f"{name},{at},failure,bearing,\n" for name in MACHINES[1:4]]
    labels = tmp_path / "labels.csv"
    labels.write_text("machine,time,kind,mode,detail\n" + "".join(rows))
    with pytest.raises(BacktestError, match="has work orders"):
        backtest(ran.lake, Model.load(ran.model), Model.load(ran.other), Question())
    add_labels(Lake(ran.lake.root, create=True), labels)
    arguments = ["backtest", "--lake", str(ran.lake.root), "--off-delay-s", "600", "--json"]
    arguments += ["--horizon-h", "1", "--model", str(ran.model), "--model", str(ran.other)]

    held_out = CliRunner().invoke(cli, arguments)
    everyone = CliRunner().invoke(cli, [*arguments, "--all-machines"])
    later = CliRunner().invoke(cli, [*arguments, "--all-machines", "--from", at])

    assert held_out.exit_code == 0, held_out.output
    told = json.loads(held_out.stdout)
    assert (told["machines"], told["left_out"]) == ([MACHINES[1]], [MACHINES[0]])
    assert "false alarms per machine-month" in held_out.stderr
    told = json.loads(everyone.stdout)
    assert set(told["machines"]) == set(MACHINES[1:4])
    assert told["a"]["failures"] == told["b"]["failures"] == 3
    assert 0 < told["a"]["share_of_time_in_alarm"] < 1
    assert told["a"] != told["b"]
    assert json.loads(later.stdout)["a"]["failures"] == 0


def test_one_model_is_no_comparison(ran: Ran) -> None:
    done = CliRunner().invoke(cli, ["backtest", "--lake", "x", "--model", str(ran.model)])
    assert done.exit_code == 2
    assert "--model twice" in done.stderr
