"""A replay of what is stored says what the pipeline said, in every bit, and what it would say."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.items import LakeAcked
from foreshock_agent.settings import load
from foreshock_agent.store.seals import SCORES
from foreshock_agent.update.store import ModelStore
from foreshock_wire import topics
from foreshock_wire.messages import Alarm
from foreshock_wire.model import Model
from foreshock_wire.times import rfc3339
from foreshock_wire.topics import Stream
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    BEGIN_NS,
    MINUTE_NS,
    Bench,
    Client,
    healthy,
    online,
    sample,
    uneven,
    wait_for,
    write_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from foreshock.brokers import Broker

IN_2033 = 5_000_000
"""A minute from the future: the pipeline keeps it out of the windows."""


def fed(folder: Path, model_bytes: bytes) -> Bench:
    bench = Bench(folder, Model.load(model_bytes))
    ModelStore(bench.settings.models).install(model_bytes)
    bench.take(sample(IN_2033, temperature=50.0), machine="pump-0")
    for turn in zip(*map(uneven, range(3)), strict=True):
        for machine, payload in enumerate(turn):
            bench.step(bench.delivery(payload, f"pump-{machine}"))
        bench.clock.seconds += 0.1
    bench.commit()
    return bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, model_bytes: bytes) -> Iterator[Bench]:
    """Three machines that alarmed; the store is open, as a running agent has it."""
    bench = fed(tmp_path_factory.mktemp("gateway"), model_bytes)
    yield bench
    bench.close()


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["replay", "--config", str(config), *options])


def told(config: Path, *options: str) -> dict[str, Any]:
    done = run(config, "--json", *options)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def config_of(bench: Bench) -> Path:
    return bench.settings.data_dir.parent / "agent.toml"


def rows(bench: Bench, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(bench.settings.database)) as db:
        return db.execute(query).fetchall()


def test_scores_and_alarms_are_those_that_the_pipeline_stored(bench: Bench) -> None:
    report = told(config_of(bench), "--check", "--all")
    stored = rows(bench, "SELECT machine, time_ns, margin, probability FROM scores ORDER BY 1, 2")
    judged = {(one["machine"], one["time_ns"]): one for one in report["judged"]}
    assert len(stored) > 200
    for machine, time_ns, margin, probability in stored:
        one = judged[machine, time_ns]
        assert (one["margin"], one["probability"], one["check"]) == (margin, probability, "equal")
    assert report["checks"]["equal"] == report["windows"] == len(stored)

    bodies = rows(bench, "SELECT body FROM records WHERE stream = 'alarms' ORDER BY seq")
    alarms = [Alarm.from_bytes(body) for (body,) in bodies]
    assert {alarm.state for alarm in alarms} >= {"unacknowledged"}
    assert len(alarms) > 6
    replayed = [Alarm.from_bytes(json.dumps(one)) for one in report["alarms"]]
    key = lambda alarm: (alarm.machine, alarm.time_ns)  # noqa: E731 - of two sorts
    assert sorted(replayed, key=key) == sorted(alarms, key=key)


def test_a_person_reads_when_why_and_what_to_do(bench: Bench) -> None:
    said = run(config_of(bench), "--machine", "pump-1")
    assert said.exit_code == 0
    assert "pump-1: ALARM (episode 1), p = " in said.stdout
    assert "; because of " in said.stdout
    assert "what to do: " in said.stdout
    assert "pump-0" not in said.stdout
    assert "equal to the stored scores" in said.stdout


def test_a_stretch_is_judged_as_part_of_the_whole(bench: Bench) -> None:
    begin, end = (rfc3339(BEGIN_NS + minute * MINUTE_NS) for minute in (60, 90))
    whole = told(config_of(bench), "--all")["judged"]
    part = told(config_of(bench), "--all", "--check", "--from", begin, "--to", end)["judged"]
    bounds = BEGIN_NS + 60 * MINUTE_NS, BEGIN_NS + 90 * MINUTE_NS
    assert part == [one for one in whole if bounds[0] < one["time_ns"] <= bounds[1]]
    assert len(part) > 20


def test_another_model_and_other_settings_are_tried(
    bench: Bench, tmp_path: Path, other_model_bytes: bytes
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(other_model_bytes)
    report = told(config_of(bench), "--model", str(other))
    assert report["by"] == Model.load(other_model_bytes).sha256
    assert report["checks"]["other_model"] == report["windows"]

    patient = tmp_path / "patient.toml"
    text = config_of(bench).read_text()
    patient.write_text(text.replace("off_delay_s = 600", "on_delay_s = 1e8\noff_delay_s = 600"))
    report = told(config_of(bench), "--settings", str(patient), "--check")
    assert (report["raised"], report["checks"]["equal"]) == (0, report["windows"])


def test_without_a_model_the_limits_judge(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra="[limits.temperature]\nhigh = 10\n")
    bench.take(*(healthy(1, slot) for slot in range(12)))
    report = told(config_of(bench), "--check")
    assert (report["by"], report["raised"], report["checks"]["equal"]) == ("rule", 1, 4)
    bench.close()


def changed_copy(bench: Bench, copy: Path, change: Callable[[sqlite3.Connection], None]) -> Path:
    there = str(config_of(bench).parent)
    shutil.copytree(there, copy)
    config = copy / "agent.toml"
    config.write_text(config.read_text().replace(there, str(copy)))
    with closing(sqlite3.connect(load(config).database)) as db, db:
        change(db)
    return config


def change_a_margin(db: sqlite3.Connection) -> None:
    row = next(SCORES.read(db, "WHERE machine = 'pump-1' ORDER BY time_ns DESC"))
    db.execute("DELETE FROM scores WHERE rowid = ?", (row.rowid,))
    at = SCORES.columns.index("margin")
    SCORES.put(db, [(*row.values[:at], np.nextafter(row.values[at], 9.0), *row.values[at + 1 :])])


def add_a_score(db: sqlite3.Connection, model: str | None = None) -> None:
    row = next(SCORES.read(db, "WHERE machine = 'pump-1' ORDER BY time_ns DESC"))
    one = dict(zip(SCORES.columns, row.values, strict=True))
    one |= {"seq": one["seq"] + 1000, "time_ns": one["time_ns"] - MINUTE_NS}
    SCORES.put(db, [tuple((one | {"model": model or one["model"]}).values())])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (change_a_margin, "1 windows have another score now"),
        (add_a_score, "1 stored scores belong to no window"),
    ],
)
def test_one_other_bit_or_one_score_too_many_is_told(
    bench: Bench, tmp_path: Path, harm: Callable[[sqlite3.Connection], None], says: str
) -> None:
    config = changed_copy(bench, tmp_path / "copy", harm)
    done = run(config, "--check")
    assert done.exit_code == 1
    assert says in done.stderr
    assert run(config).exit_code == 0


def test_windows_that_another_model_cut_are_no_fault(bench: Bench, tmp_path: Path) -> None:
    config = changed_copy(bench, tmp_path / "copy", partial(add_a_score, model="f" * 64))
    assert told(config, "--check")["checks"]["equal"] > 200


def test_what_was_deleted_since_is_not_held_against_anything(
    tmp_path: Path, model_bytes: bytes
) -> None:
    """Readings of the first half are trimmed: windows at the border would lack some of them."""
    bench = fed(tmp_path, model_bytes)
    half = "SELECT max(last_seq) FROM chunks WHERE n <= (SELECT max(n) / 2 FROM chunks)"
    seq = rows(bench, half)[0][0]
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, seq))
    while bench.trim(95 * MINUTE_NS):
        pass
    bench.commit()
    assert rows(bench, "SELECT count(*) FROM chunks WHERE kept")[0][0]
    report = told(config_of(bench), "--check")
    assert report["checks"]["partial"]
    assert report["checks"]["equal"] > 100
    assert not report["checks"]["differs"]

    scores = rows(bench, "SELECT max(seq) FROM scores")[0][0]
    bench.step(LakeAcked(bench.store.epoch, Stream.SCORES, scores))
    bench.commit()
    done = run(config_of(bench), "--check")
    assert (done.exit_code, "no stored score could be held" in done.stderr) == (1, True)
    bench.close()


def test_beside_an_agent_that_runs_and_was_killed(
    tmp_path: Path, local: Broker, model_bytes: bytes
) -> None:
    """Two lives of a process, by a real broker: the second one begins from a snapshot."""
    config = write_settings(tmp_path, local_port=local.port, extra="[health]\nport = 0\n")
    agent = Agent(config)
    agent.install(model_bytes)
    sent = [(f"plant/pump-{m}/sample", one) for m in range(3) for one in uneven(m)]
    with Client(local.port, topics.status(AT)) as client:
        for half, scores in ((sent[:240], 60), (sent[240:], 150)):
            with agent:
                wait_for(lambda: online(client), "the agent's birth")
                client.publish_all(half)
                wait_for(partial(scored, agent, scores), f"{scores} scores")
                report = told(config, "--check")
                assert report["checks"]["equal"] == report["windows"] >= scores


def scored(agent: Agent, least: int) -> bool:
    return len(agent.ledger.scores) >= least


def test_nonsense_is_named(bench: Bench, tmp_path: Path) -> None:
    assert "no readings of pump-9" in str(run(config_of(bench), "--machine", "pump-9").exception)
    assert "is not RFC 3339" in run(config_of(bench), "--from", "yesterday").stderr
    config = write_settings(tmp_path)
    assert "has the agent run" in str(run(config).exception)
