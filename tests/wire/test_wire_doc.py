"""docs/wire.md tells the contract as it is: every topic, message, column and limit."""

from __future__ import annotations

import re
from pathlib import Path

from foreshock_wire import batch, ids, topics
from foreshock_wire.topics import Down, Gateway, Stream, Up
from tests.wire.samples import MESSAGES, SHA

DOC = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
AT = Gateway("north", "gw-1")


def made() -> set[str]:
    return {
        topics.halt(),
        topics.status(AT),
        topics.score(AT, "m1"),
        topics.alarm(AT, "m1"),
        topics.alarm_command(AT, "m1"),
        topics.block(AT, SHA, 3),
        topics.file(AT, "timestamp.json", 3),
        *(topics.uplink(AT, stream) for stream in Stream),
        *(topics.down(AT, what) for what in Down),
        *(topics.up(AT, what) for what in Up),
    }


def test_the_topics_are_those_of_the_code() -> None:
    told = set(re.findall(r"^\| `(foreshock/\S+)` \|", DOC, flags=re.MULTILINE))
    example = {"site": "north", "gateway": "gw-1", "machine": "m1", "sha256": SHA, "index": "3"}
    example["name"] = "timestamp.json"
    example["shard"] = str(ids.shard_of("gw-1"))
    assert {topic.format(**example) for topic in told} == made()
    assert ids.ID_PATTERN in DOC
    assert f"modulo {ids.SHARDS}" in DOC


def test_every_message_is_named() -> None:
    section = DOC.partition("## Control messages")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z]\w+)`", section))
    assert named == {type(sample).__name__ for sample in MESSAGES.values()}


def test_the_columns_are_those_of_the_code() -> None:
    for kind in (batch.Readings, batch.Scores):
        row = next(line for line in DOC.splitlines() if line.startswith(f"| {kind.kind} "))
        _, name, tables, columns, _ = row.split("|")
        assert name.split()[1] == kind.__name__.lower()
        assert re.findall(r"`(\w+)`", tables) == list(kind.tables.values())
        told = re.findall(r"`(\w+)` (\w)(\d+)", columns)
        real = [(n, k.kind, str(k.itemsize * 8)) for n, k in kind.columns.items()]
        assert told == real
    assert f"at most {batch.MAX_BODY_BYTES >> 20} MiB" in DOC
