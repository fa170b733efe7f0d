from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.ingest import MAX_QUARANTINED_BYTES, Ingest, Message
from foreshock_trainer.lake import Lake, LakeError
from foreshock_wire.batch import Readings, Scores
from foreshock_wire.messages import Gap, RecordBatch, UpAck, UpRecord
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    Make = Callable[[str, int, int], Readings]

AT = Gateway("works", "gw-1")
SHA = "ab" * 32


def message(stream: Stream, payload: bytes, at: Gateway = AT) -> Message:
    return Message(uplink(at, stream), payload, 42)


def told(answers: Sequence[tuple[Gateway, UpAck]]) -> dict[str, tuple[int, int | None]]:
    return {ack.stream: (ack.seq, ack.expected) for _, ack in answers}


def gap(stream: Stream, first: int, last: int) -> Message:
    body = Gap(epoch="e1", first_seq=first, last_seq=last, reason="retention")
    return message(stream, body.to_bytes())


def test_every_stream_reaches_its_table_and_is_answered(lake: Lake, make_readings: Make) -> None:
    scores = Scores(
        epoch="e1",
        first_seq=1,
        machines=["pump-1"],
        models=[SHA, "rule"],
        machine=np.zeros(2, np.uint16),
        model=np.array([0, 1], np.uint16),
        time_ns=np.array([10, 20]),
        scored_ns=np.array([11, 21]),
        probability=np.array([0.25, np.nan], np.float32),
        novelty=np.array([1.5, np.nan], np.float32),
    )
    alarm = {"machine": "pump-1", "time_ns": 20, "state": "acknowledged", "new": [1, {"x": None}]}
    event = {"machine": "pump-1", "time_ns": 5, "kind": "error", "mode": "E17"}
    answers = Ingest(lake).take(
        [
            message(Stream.READINGS, make_readings("e1", 1, 7).to_bytes()),
            message(Stream.SCORES, scores.to_bytes()),
            message(Stream.ALARMS, batch(1, alarm)),
            message(Stream.EVENTS, batch(1, event)),
        ]
    )
    assert told(answers) == {
        "alarms": (1, None),
        "events": (1, None),
        "scores": (2, None),
        "readings": (7, None),
    }
    assert lake.readings()["value"].to_pylist() == [1, 2, 3, 4, 5, 6, 7]
    assert lake.scores(columns=["model", "probability"]).to_pylist()[0] == {
        "model": SHA,
        "probability": 0.25,
    }
    assert lake.scores()["model"].to_pylist() == [SHA, "rule"]
    row = lake.alarms().to_pylist()[0]
    assert (row["machine"], row["state"], json.loads(row["body"])) == (
        "pump-1",
        "acknowledged",
        alarm,
    )
    assert lake.events()["mode"].to_pylist() == ["E17"]
    assert lake.events()["source"].to_pylist() == ["gateway"]


def batch(first: int, *bodies: Mapping[str, object]) -> bytes:
    records = tuple(
        UpRecord.model_validate({"seq": first + i, "body": dict(body)})
        for i, body in enumerate(bodies)
    )
    return RecordBatch(epoch="e1", records=records).to_bytes()


def test_a_body_that_fits_no_column_is_kept_whole(lake: Lake) -> None:
    odd = {"machine": 7, "time_ns": 1 << 70, "probability": "high", "episode": True, "mode": None}
    Ingest(lake).take([message(Stream.ALARMS, batch(1, odd))])
    row = lake.alarms().to_pylist()[0]
    assert json.loads(row["body"]) == odd
    assert [row[name] for name in ("machine", "time_ns", "probability", "episode")] == [None] * 4


def test_sending_again_adds_nothing_and_is_answered_again(lake: Lake, make_readings: Make) -> None:
    ingest = Ingest(lake)
    first = message(Stream.READINGS, make_readings("e1", 1, 5).to_bytes())
    overlapping = message(Stream.READINGS, make_readings("e1", 3, 5).to_bytes())
    for round_ in ([first], [first, first], [overlapping, first], [first, overlapping]):
        answers = ingest.take(round_)
    assert told(answers) == {"readings": (7, None)}
    assert lake.readings()["seq"].to_pylist() == list(range(1, 8))
    assert ingest.counters.repeats == 5
    assert ingest.counters.commits == 2


def test_a_batch_above_the_mark_is_refused_and_not_stored(lake: Lake, make_readings: Make) -> None:
    ingest = Ingest(lake)
    answers = ingest.take([message(Stream.READINGS, make_readings("e1", 4, 2).to_bytes())])
    assert told(answers) == {"readings": (0, 1)}
    assert len(lake.readings()) == 0
    assert ingest.counters.refused == 1


def test_a_tombstone_moves_the_mark_and_is_told(lake: Lake, make_readings: Make) -> None:
    answers = Ingest(lake).take(
        [
            message(Stream.READINGS, make_readings("e1", 1, 2).to_bytes()),
            gap(Stream.READINGS, 3, 9),
            message(Stream.READINGS, make_readings("e1", 10, 1).to_bytes()),
            gap(Stream.ALARMS, 1, 4),
        ]
    )
    assert told(answers) == {"readings": (10, None), "alarms": (4, None)}
    assert lake.readings()["seq"].to_pylist() == [1, 2, 10]
    rows = lake.gaps().sort_by("stream").to_pylist()
    assert [(row["stream"], row["first_seq"], row["last_seq"], row["reason"]) for row in rows] == [
        ("alarms", 1, 4, "retention"),
        ("readings", 3, 9, "retention"),
    ]


def test_a_tombstone_is_told_once_although_its_mark_was_lost(
    lake: Lake, make_readings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if killed between the commit of the tombstone and that of the stream's mark."""
    append = Lake.append

    def dies(self: Lake, table: str, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        if table == Stream.READINGS:
            raise LakeError("killed")
        append(self, table, rows, transactions)

    uploads = [
        message(Stream.READINGS, make_readings("e1", 1, 2).to_bytes()),
        gap(Stream.READINGS, 3, 9),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "append", dies)
        with pytest.raises(LakeError, match="killed"):
            Ingest(lake).take(uploads)
    again = Lake(lake.root)
    answers = Ingest(again).take([*uploads, gap(Stream.READINGS, 3, 12)])
    assert told(answers) == {"readings": (12, None)}
    rows = lake.gaps().sort_by("first_seq").to_pylist()
    assert [(row["first_seq"], row["last_seq"]) for row in rows] == [(3, 9), (10, 12)]
    assert lake.readings()["seq"].to_pylist() == [1, 2]


NONSENSE: dict[str, Callable[[bytes], bytes]] = {
    "damaged": lambda good: good[:-1],
    "flipped": lambda good: good[:40] + bytes([good[40] ^ 1]) + good[41:],
    "empty": lambda _: b"",
    "text": lambda _: b"hello",
    "json": lambda _: b'{"epoch": "e1"}',
    "deep": lambda _: b"[" * 100_000,
    "backwards gap": lambda _: b'{"epoch":"e1","first_seq":5,"last_seq":1,"reason":""}',
}


@pytest.mark.parametrize("stream", [Stream.READINGS, Stream.ALARMS])
def test_nonsense_is_kept_once_with_its_reason_and_disturbs_nothing(
    lake: Lake, make_readings: Make, stream: Stream
) -> None:
    good = make_readings("e1", 1, 3).to_bytes()
    bad = [message(stream, make(good)) for make in NONSENSE.values()]
    bad.append(Message("foreshock/v1/up/0/works/gw-1/gossip", good, 42))
    ingest = Ingest(lake)
    for _ in range(2):
        answers = ingest.take([*bad, message(Stream.READINGS, good)])
        assert told(answers) == {"readings": (3, None)}
    Ingest(Lake(lake.root)).take(bad)
    kept = lake.quarantine().to_pylist()
    assert {(row["topic"], row["payload"]) for row in kept} == {
        (one.topic, one.payload[:MAX_QUARANTINED_BYTES]) for one in bad
    }
    assert len(kept) == len(bad)
    assert all(row["reason"] and row["received_ns"] == 42 for row in kept)
    assert {row["payload_bytes"] for row in kept} == {len(one.payload) for one in bad}
    assert ingest.counters.quarantined == 2 * len(bad)


def test_two_workers_on_one_shard_store_each_record_once(lake: Lake, make_readings: Make) -> None:
    one, two = Ingest(lake), Ingest(Lake(lake.root))
    for first in range(1, 40, 4):
        upload = message(Stream.READINGS, make_readings("e1", first, 4).to_bytes())
        assert told(one.take([upload])) == told(two.take([upload]))
        one, two = two, one
    assert lake.readings()["seq"].to_pylist() == list(range(1, 41))
    assert one.counters.conflicts + two.counters.conflicts > 0
