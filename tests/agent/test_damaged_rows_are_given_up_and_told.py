"""A damaged or missing row costs its own records, and the lake hears which: the stream goes on."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.damage.errors import StoreDamagedError
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.items import LakeAcked, StoreTask
from foreshock_agent.store.worth import Span
from foreshock_agent.uplink.outbox import Outbox
from foreshock_trainer.inbox import StreamKey
from foreshock_wire import topics
from foreshock_wire.messages import Status
from foreshock_wire.topics import Stream
from tests.agent.far_side import FarSide
from tests.agent.process import Agent
from tests.agent.rig import AT, Bench, Client, Ledger, healthy, online, wait_for, write_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock.brokers import Broker

SLOTS = 40


def filled(folder: Path) -> Bench:
    made = Bench(folder)
    for slot in range(SLOTS):
        made.take(healthy(1, slot))
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = filled(tmp_path)
    yield made
    made.close()


def damage(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        assert db.execute(statement).rowcount > 0


def lost(far: FarSide) -> Counter[tuple[Stream, str]]:
    return Counter((stream, reason) for (_, stream, _), reason in far.gaps.items())


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE chunks SET body = substr(body, 1, 60) WHERE n = 7", {Stream.READINGS: 2}),
        ("UPDATE chunks SET epoch = 77 WHERE n BETWEEN 3 AND 5", {Stream.READINGS: 6}),
        ("UPDATE chunks SET last_seq = last_seq + 1 WHERE n = 40", {Stream.READINGS: 2}),
        ("UPDATE chunks SET first_seq = 1 WHERE n = 1 OR n = 9", {Stream.READINGS: 2}),
        ("DELETE FROM chunks WHERE n IN (1, 20, 39, 40)", {Stream.READINGS: 8}),
        ("UPDATE scores SET probability = 0.5 WHERE seq = 4", {Stream.SCORES: 1}),
        ("UPDATE scores SET machine = 'pump-9' WHERE seq < 3", {Stream.SCORES: 2}),
        ("DELETE FROM scores WHERE seq > 5", {Stream.SCORES: 13}),
        ("UPDATE chunks SET kept = 1 WHERE n = 2", {Stream.READINGS: 2}),
    ],
)
def test_what_is_not_what_was_written_becomes_a_tombstone(
    bench: Bench, statement: str, expected: dict[Stream, int]
) -> None:
    held = dict.fromkeys(Stream, bench.store.accounts)
    assert held
    before = Ledger.read(bench.settings.database)
    damage(bench.settings.database, statement)
    far = FarSide()
    far.drain(bench)
    assert lost(far) == {(stream, "damaged"): count for stream, count in expected.items()}
    bench.trim(0)
    bench.store.commit()
    after = Ledger.read(bench.settings.database)
    for stream in Stream:
        waited = sum(1 for _, found, _ in (*far.records, *far.gaps) if found is stream)
        assert waited == before.pending[stream]
        assert after.pending[stream] == 0
        assert after.accounts.get(f"{stream}.dropped.damaged", 0) == expected.get(stream, 0)
    assert after.broken == []
    if "DELETE" not in statement:
        assert Quarantine.of(bench.settings.database).entries()


def test_only_what_the_lake_lacks_counts_as_lost(bench: Bench) -> None:
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 13))
    bench.commit()
    damage(bench.settings.database, "UPDATE chunks SET body = x'00' WHERE n BETWEEN 5 AND 8")
    far = FarSide()
    far.marks[StreamKey(AT.gateway, bench.store.epoch, Stream.READINGS)] = 13
    far.drain(bench)
    assert [seq for _, _, seq in sorted(far.gaps)] == [14, 15, 16]
    bench.trim(0)
    bench.store.commit()
    ledger = Ledger.read(bench.settings.database)
    assert ledger.accounts["readings.dropped.damaged"] == 3
    assert ledger.broken == []


def test_a_damaged_chunk_that_was_delivered_is_put_aside_by_the_trim(bench: Bench) -> None:
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * SLOTS))
    bench.commit()
    damage(bench.settings.database, "UPDATE chunks SET body = x'00' WHERE n = 4")
    bench.trim(0)
    bench.store.commit()
    entries = Quarantine.of(bench.settings.database).entries()
    assert [entry.what for entry in entries] == ["a row of chunks"]
    ledger = Ledger.read(bench.settings.database)
    assert len(ledger.readings) == 2
    assert ledger.broken == []


def test_a_cursor_that_is_not_what_was_written_is_not_believed(bench: Bench) -> None:
    damage(
        bench.settings.database,
        "UPDATE cursors SET next_seq = next_seq + 1 WHERE stream = 'readings'",
    )
    with (
        closing(Outbox(bench.settings.database)) as outbox,
        pytest.raises(StoreDamagedError, match="cursor"),
    ):
        outbox.next_parcel(Stream.READINGS, {}, 10)


@pytest.mark.needs("mosquitto")
def test_the_retained_status_says_what_bounds_and_damage_cost(
    tmp_path: Path, local: Broker
) -> None:
    bench = filled(tmp_path)
    bench.step(StoreTask(lambda store: store.drop_span(Stream.SCORES, Span(1, 1, 2, 0), "full")))
    bench.commit()
    bench.close()
    agent = Agent(write_settings(tmp_path, local_port=local.port))
    damage(agent.settings.database, "UPDATE chunks SET body = x'00' WHERE n BETWEEN 5 AND 8")
    with Client(local.port, topics.status(AT)) as client, agent:
        wait_for(lambda: online(client), "the agent's birth")
        births = [Status.from_bytes(client.messages.get(timeout=5).payload)]
        while births[-1].lost != {"readings.dropped.damaged": 8, "scores.dropped.full": 2}:
            births.append(Status.from_bytes(client.messages.get(timeout=30).payload))
        assert births[0].lost == {"scores.dropped.full": 2}
        assert agent.stop() == 0
    said = CliRunner().invoke(cli, ["status", "--config", str(agent.config)]).stdout
    assert re.search(
        r"^lost:\n  readings.dropped.damaged +8\n  scores.dropped.full +2$", said, re.MULTILINE
    )
