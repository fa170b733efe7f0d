"""The lake behind a URL: two workers, doubled and re-ordered uploads, commits that fail: exact."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.audit import audit
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.labels import Kind, Label, labels_of, put_labels
from foreshock_trainer.lake import Lake, LakeError, StaleMarksError
from foreshock_trainer.tables import columns_of
from foreshock_trainer.upkeep import keep_up
from foreshock_wire.topics import Gateway, Stream, uplink
from tests.trainer.object_store import BUCKET, environment, s3_server, troubled_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreshock_wire.batch import Readings

SEED = 20_260_311
GATEWAYS, PARCELS, ROWS = 4, 6, 50
TROUBLED = 0.3


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def store(port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment(port).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}"


def empty_rows(table: str) -> object:
    return columns_of(table).empty_table()


def test_a_second_writer_hears_that_it_was_too_late(store: str) -> None:
    first, second = (Lake(f"{store}/late", create=True) for _ in range(2))
    for lake in (first, second):
        assert lake.transaction("events", "app") == 0
    first.append("events", empty_rows("events"), {"app": 3})
    with pytest.raises(StaleMarksError):
        second.append("events", empty_rows("events"), {"app": 2})
    assert second.transaction("events", "app") == 3


def test_labels_come_back_and_an_absent_lake_is_told(store: str) -> None:
    label = Label("pump-1", 5, Kind.FAILURE, "seal_leak")
    assert put_labels(Lake(f"{store}/labels", create=True), [label]) == 1
    assert labels_of(Lake(f"{store}/labels")) == [label]
    with pytest.raises(LakeError, match="there is no lake at s3://"):
        Lake(f"{store}/nowhere")


def test_counts_and_checksums_are_exact_though_commits_fail_and_answers_get_lost(
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    make_readings: Callable[[str, int, int], Readings],
) -> None:
    uploads = [
        (f"gw-{g}", make_readings("e", parcel * ROWS + 1, ROWS))
        for g in range(GATEWAYS)
        for parcel in range(PARCELS)
    ]
    root = f"s3://{BUCKET}/troubled"
    with troubled_way(port, TROUBLED, SEED) as (way, done):
        for name, value in environment(way).items():
            monkeypatch.setenv(name, value)
        Lake(root, create=True)
        with ThreadPoolExecutor(2) as workers:
            for worker in [workers.submit(send, root, uploads, SEED + n) for n in range(2)]:
                worker.result()
    assert done["refused"]
    assert done["lost"]
    for name, value in environment(port).items():
        monkeypatch.setenv(name, value)
    lake = Lake(root)
    check(lake)
    assert keep_up(lake, now_ns=2**62).busy_tables == 0
    check(Lake(root))


def send(root: str, uploads: list[tuple[str, Readings]], seed: int) -> None:
    """Be a worker of all gateways beside another: send until every upload is acknowledged."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, no secret
    ingest = Ingest(Lake(root))
    marks: dict[str, int] = {}
    while any(marks.get(name, 0) < batch.last_seq for name, batch in uploads):
        some = chance.choices(uploads, k=6)
        messages = [
            Message(uplink(Gateway("works", name), Stream.READINGS), batch.to_bytes(), 1)
            for name, batch in some
        ]
        try:
            answers = ingest.take(messages)
        except LakeError:
            continue
        marks |= {at.gateway: ack.seq for at, ack in answers}


def check(lake: Lake) -> None:
    assert all(account.whole for account in audit(lake))
    rows = lake.readings(columns=("gateway", "seq", "value"))
    assert len(rows) == GATEWAYS * PARCELS * ROWS
    names = np.array(rows["gateway"].to_pylist())
    for gateway in range(GATEWAYS):
        mine = names == f"gw-{gateway}"
        seq = np.arange(1, PARCELS * ROWS + 1)
        assert rows["seq"].to_numpy()[mine].tolist() == seq.tolist()
        assert rows["value"].to_numpy()[mine].tolist() == seq.tolist()
