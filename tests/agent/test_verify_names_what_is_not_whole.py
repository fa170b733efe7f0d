from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.damage import rescue
from foreshock_agent.damage.errors import StoreDamagedError
from foreshock_agent.uplink.outbox import Outbox
from foreshock_wire.topics import Stream
from tests.agent.rig import Bench, healthy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SCORES = 4


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for slot in range(12):
        made.take(healthy(1, slot))
    yield made
    made.close()


def verified(folder: Path) -> tuple[int, dict[str, object], str]:
    command = ["verify", "--config", str(folder / "agent.toml"), "--json"]
    result = CliRunner().invoke(cli, command)
    assert result.stdout, result.exception
    return result.exit_code, json.loads(result.stdout.splitlines()[-1]), result.output


def test_a_whole_store_is_said_to_be_whole_beside_the_agent(bench: Bench, tmp_path: Path) -> None:
    code, report, _ = verified(tmp_path)
    assert (code, report["problems"]) == (0, [])
    assert report["waiting"] == bench.store.accounts["readings.stored"] + SCORES


def test_what_the_lake_holds_waits_no_longer(bench: Bench, tmp_path: Path) -> None:
    bench.store.acked(bench.store.epoch, Stream.READINGS, 7)
    bench.store.commit()
    _, report, _ = verified(tmp_path)
    assert report["waiting"] == bench.store.accounts["readings.stored"] + SCORES - 7


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE chunks SET body = x'00' WHERE n = 3", "row 3 of chunks"),
        ("DELETE FROM chunks WHERE n = 5", "what follows seq 8"),
        ("UPDATE accounts SET value = value + 1 WHERE name = 'readings.stored'", "readings: "),
        ("UPDATE accounts SET value = 1 WHERE name = 'store.commits'", "went back to commit 1"),
    ],
)
def test_each_fault_is_named(bench: Bench, tmp_path: Path, statement: str, named: str) -> None:
    with closing(sqlite3.connect(bench.settings.database)) as db, db:
        assert db.execute(statement).rowcount == 1
    code, _, output = verified(tmp_path)
    assert code == 1
    assert named in output


def test_a_schema_that_is_no_text_any_more_is_told(tmp_path: Path) -> None:
    with closing(Bench(tmp_path)) as bench:
        database = bench.settings.database
    damaged = bytearray(database.read_bytes())
    name = damaged.index(b"tablechunkschunks") + len(b"table")
    statement = damaged.index(b"CREATE TABLE", name)
    damaged[name] = damaged[statement] = 0xF3
    database.write_bytes(damaged)
    result = CliRunner().invoke(cli, ["verify", "--config", str(tmp_path / "agent.toml")])
    assert isinstance(result.exception, StoreDamagedError)
    with rescue.readable(database) as readable:
        assert readable is not None
    with pytest.raises(StoreDamagedError):
        Outbox(database)
