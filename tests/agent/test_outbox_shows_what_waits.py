from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.items import LakeAcked, StoreTask
from foreshock_agent.store.worth import Span
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, healthy

if TYPE_CHECKING:
    from pathlib import Path


def test_records_bytes_and_the_oldest_of_each_stream(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra="[limits.temperature]\nhigh = 10\n")
    for slot in range(12):
        bench.take(healthy(1, slot))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 10))
    bench.commit()
    command = ["outbox", "--config", str(tmp_path / "agent.toml")]
    report = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    assert report["readings"]["records"] == 2 * 12 - 10
    assert report["readings"]["oldest_ns"] == BEGIN_NS + 5 * MINUTE_NS
    assert report["readings"]["bytes"] > 0
    assert report["scores"]["records"] == 4
    names, times, margin = len("pump-1" + "rule"), 2 * 8, 8
    assert report["scores"]["bytes"] == 4 * (names + times + margin)
    assert report["alarms"]["records"] == 1
    assert report["alarms"]["oldest_ns"] >= BEGIN_NS
    assert report["events"] == {"records": 0, "bytes": 0, "oldest_ns": None}
    said = CliRunner().invoke(cli, command).stdout
    assert "2024-01-01T00:05:00Z" in said
    bench.close()


def test_single_records_are_shown_in_the_order_in_which_they_go_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra="[limits.temperature]\nhigh = 10\n")
    for slot in range(12):
        bench.take(healthy(1, slot))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 10))
    bench.commit()
    bench.step(StoreTask(lambda store: store.drop_span(Stream.SCORES, Span(1, 1, 2, 0), "full")))
    bench.commit()
    command = ["outbox", "--config", str(tmp_path / "agent.toml"), "--records"]
    report = json.loads(CliRunner().invoke(cli, [*command, "--json", "--limit", "3"]).stdout)

    readings = report["readings"]["next"]
    assert [one["seq"] for one in readings] == [11, 12, 13]
    assert {(one["machine"], one["epoch"]) for one in readings} == {("pump-1", bench.store.epoch)}
    assert readings[0]["time_ns"] == BEGIN_NS + 5 * MINUTE_NS
    gap, first, second = report["scores"]["next"]
    assert (gap["seq"], gap["last_seq"], gap["dropped"]) == (1, 2, "full")
    assert (first["seq"], first["model"], second["seq"]) == (3, "rule", 4)
    assert report["events"]["next"] == []

    said = CliRunner().invoke(cli, [*command, "--stream", "alarms"]).stdout
    assert len(said.splitlines()) == 2
    assert "machine=pump-1" in said
    assert "state=unacknowledged" in said
    bench.close()
