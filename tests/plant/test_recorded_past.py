from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_plant.cli import cli
from foreshock_plant.machine import simulate
from foreshock_plant.recorder import record
from foreshock_plant.sensor_faults import MAX_SKEW_NS
from foreshock_wire.batch import Readings, decode
from foreshock_wire.errors import ForeshockError
from foreshock_wire.recorded import READINGS_PER_FILE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("past")
    record(out, machines=22, hours=700, seed=4, progress=lambda _: None)
    return out


def batches(folder: Path) -> list[Readings]:
    return [decode(file.read_bytes(), Readings) for file in sorted(folder.glob("*.fsb"))]


def test_each_gateways_readings_are_counted_from_one_without_holes(past: Path) -> None:
    gateways = sorted((past / "history").iterdir())
    assert [gateway.name for gateway in gateways] == ["history-1", "history-2"]
    for gateway in gateways:
        found = batches(gateway)
        assert {batch.epoch for batch in found} == {"history4"}
        assert found[0].first_seq == 1
        for before, after in pairwise(found):
            assert after.first_seq == before.last_seq + 1
        assert all(len(batch) <= READINGS_PER_FILE for batch in found)


def lies(past: Path) -> list[dict[str, str]]:
    with (past / "faults.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ns(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp()) * 10**9


def test_each_reading_is_there_once_in_order_of_arrival_with_its_true_value_or_a_told_lie(
    past: Path,
) -> None:
    batch = batches(past / "history" / "history-1")[0]
    keys = set(zip(batch.machine, batch.channel, batch.time_ns, strict=True))
    assert len(keys) == len(batch)
    assert (np.diff(batch.received_ns) >= 0).all()
    life = simulate(batch.machines[0], seed=4, hours=700)
    told = [row for row in lies(past) if row["machine"] == life.machine]
    assert {"stuck", "spikes", "clock_skew"} & {row["fault"] for row in told}
    own = np.flatnonzero(batch.machine == 0)
    for row in told:
        known = (batch.time_ns[own] >= ns(row["begin"]) - MAX_SKEW_NS) & (
            batch.time_ns[own] < ns(row["end"]) + MAX_SKEW_NS
        )
        if row["channel"]:
            known &= batch.channel[own] == batch.channels.index(row["channel"])
        own = own[~known]
    assert len(own) > 1000
    step = np.searchsorted(life.time_ns, batch.time_ns[own])
    true = life.values[step, batch.channel[own]]
    np.testing.assert_allclose(batch.value[own], true, atol=6e-5, rtol=1e-6)


def test_what_sensors_and_links_lied_about_is_told(past: Path) -> None:
    rows = lies(past)
    assert set(rows[0]) == {"machine", "channel", "fault", "begin", "end", "size"}
    begins = [row["begin"] for row in rows]
    assert begins == sorted(begins)
    told = {"drift", "stuck", "spikes", "dead_channel", "held_back", "clock_skew"}
    assert {row["fault"] for row in rows} == told
    for row in rows:
        assert ns(row["begin"]) < ns(row["end"])
        assert bool(row["channel"]) == (row["fault"] not in {"held_back", "clock_skew"})
        assert bool(row["size"]) == (row["fault"] != "dead_channel")


def test_work_orders_name_machine_time_kind_and_mode(past: Path) -> None:
    with (past / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"machine", "time", "kind", "mode", "detail"}
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert {time.utcoffset() for time in times} == {timedelta(0)}
    kinds = {row["kind"] for row in rows}
    assert kinds == {"installed", "maintenance", "failure", "repaired", "observed_until"}
    assert all(row["mode"] for row in rows if row["kind"] == "failure")


def test_truth_has_the_health_of_every_machine(past: Path) -> None:
    with np.load(past / "truth.npz") as truth:
        assert truth["health"].shape == (22, 1400)
        assert truth["severity"].shape == (22, len(truth["modes"]), 1400)
        assert truth["health"].min() == 0
        assert truth["health"].max() == 1


def test_a_recording_is_never_overwritten(past: Path) -> None:
    with pytest.raises(ForeshockError, match="already holds a recording"):
        record(past, machines=1, hours=10, seed=1, progress=lambda _: None)


def test_the_command_ends_with_one_json_object(tmp_path: Path) -> None:
    arguments = ["record", "--machines", "2", "--hours", "50", "--out", str(tmp_path / "h")]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["machines"] == 2
    assert summary["files"] == len(list(tmp_path.glob("h/*/*/*.fsb")))
