"""The uplink against a lake that loses, delays and refuses, over a real broker.

The lake keeps what the trainer's own rule of exactly once lets through.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.items import LakeAcked, StoreTask
from foreshock_agent.settings import UplinkSettings
from foreshock_agent.uplink.budget import DayBudget
from foreshock_agent.uplink.outbox import Outbox
from foreshock_agent.uplink.uplink import PATIENCE, Uplink
from foreshock_trainer.inbox import Inbox, StreamKey, Upload
from foreshock_wire import topics
from foreshock_wire.batch import Readings, Scores, decode
from foreshock_wire.messages import RecordBatch, UpAck
from foreshock_wire.topics import Down, Stream
from tests.agent.process import Agent
from tests.agent.rig import AT, Bench, Client, Ledger, healthy, online, wait_for, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import paho.mqtt.client as mqtt

    from foreshock.brokers import Broker

SLOTS = 150


def upload_of(message: mqtt.MQTTMessage) -> Upload:
    at, stream = topics.parse_uplink(message.topic)
    payload = bytes(message.payload)
    if stream is Stream.READINGS:
        return Upload(at, stream, decode(payload, Readings))
    if stream is Stream.SCORES:
        return Upload(at, stream, decode(payload, Scores))
    return Upload(at, stream, RecordBatch.from_bytes(payload))


@dataclass
class Lake:
    """Decides by the trainer's rule; `mood` says what it does with each answer."""

    client: Client
    mood: Callable[[], str] = lambda: "answer"
    marks: dict[StreamKey, int] = field(default_factory=dict)
    got: dict[StreamKey, list[int]] = field(default_factory=dict)
    uploads: int = 0
    late: list[UpAck] = field(default_factory=list)

    def serve(self) -> None:
        """Take everything that has come."""
        while not self.client.messages.empty():
            self.take(upload_of(self.client.messages.get()))

    def take(self, upload: Upload) -> None:
        mood = self.mood()
        self.uploads += 1
        if mood == "deaf":
            return
        inbox = Inbox(lambda key: self.marks.get(key, 0))
        inbox.offer(upload)
        for one in inbox.accepted:
            self.got.setdefault(one.key, []).extend(range(one.first_seq, one.last_seq + 1))
        self.marks |= inbox.marks
        answers = [ack for _, ack in inbox.answers()]
        if mood == "mute":
            return
        if mood == "late":
            self.late += answers
            return
        if mood == "asks":
            mark = answers[0].seq
            answers = [answers[0].model_copy(update={"expected": mark + 1})]
        for ack in answers + self.late:
            self.client.publish(topics.down(AT, Down.ACK), ack.to_bytes())
        self.late.clear()

    def holds(self, stream: Stream) -> list[int]:
        return sorted(len(seqs) for key, seqs in self.got.items() if key.stream == stream)


def moods(seed: int) -> Callable[[], str]:
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    weights = [5, 1, 1, 1, 1]
    return lambda: dice.choices(["answer", "deaf", "mute", "late", "asks"], weights)[0]


def filled(folder: Path) -> Ledger:
    """Leave three epochs behind, each with readings and scores; nothing was sent yet."""
    for part in range(3):
        bench = Bench(folder)
        bench.take(*[healthy(1, part * SLOTS + slot) for slot in range(SLOTS)])
        bench.close()
    return Ledger.read(bench.settings.database)


@pytest.mark.needs("mosquitto")
def test_whatever_the_lake_does_each_record_arrives_once_and_in_order(
    tmp_path: Path, local: Broker, cloud: Broker
) -> None:
    before = filled(tmp_path)
    agent = Agent(write_settings(tmp_path, local_port=local.port, cloud_port=cloud.port))
    with Client(cloud.port, "foreshock/v1/up/#") as client, agent:
        lake = Lake(client, moods(1))

        def served() -> bool:
            lake.serve()
            return not agent.pending

        wait_for(served, "the outbox to be empty", 60)
        assert agent.stop() == 0
    for key, seqs in lake.got.items():
        assert seqs == list(range(1, len(seqs) + 1)), key
    assert sum(lake.holds(Stream.READINGS)) == before.accounts["readings.stored"]
    assert sum(lake.holds(Stream.SCORES)) == len(before.scores)
    assert len(lake.holds(Stream.READINGS)) == 3
    assert agent.ledger.broken == []
    assert agent.ledger.accounts["readings.delivered"] == before.accounts["readings.stored"]
    assert agent.ledger.scores == []


@pytest.mark.needs("mosquitto")
def test_a_cloud_that_was_away_gets_all_when_it_returns(
    tmp_path: Path, local: Broker, cloud: Broker
) -> None:
    filled(tmp_path)
    cloud.stop()
    agent = Agent(write_settings(tmp_path, local_port=local.port, cloud_port=cloud.port))
    with agent, Client(local.port, topics.status(AT)) as plant:
        wait_for(lambda: online(plant), "the agent's birth")
        plant.publish_all(("plant/pump-2/sample", healthy(2, slot)) for slot in range(50))
        total = (3 * SLOTS + 50) * 2
        wait_for(lambda: agent.stored == total, "the readings, offline")
        cloud.start()
        with Client(cloud.port, "foreshock/v1/up/#") as client:
            lake = Lake(client)

            def served() -> bool:
                lake.serve()
                return not agent.pending

            wait_for(served, "the outbox to be empty", 60)
            assert sum(lake.holds(Stream.READINGS)) == total
    assert agent.ledger.broken == []


class Bare:
    """An uplink without threads or network: what it sends is in `sent`."""

    def __init__(self, bench: Bench) -> None:
        self.clock = bench.clock
        self.sent: list[bytes] = []
        self.posted: list[LakeAcked | StoreTask] = []
        self.outbox = Outbox(bench.settings.database)
        self.uplink = Uplink(
            AT,
            UplinkSettings(batch_records=10, resend_s=1, resend_max_s=4),
            outbox=lambda: self.outbox,
            publish=self._publish,
            post=self.posted.append,
            clock=self.clock,
            budget=DayBudget(None, bench.settings.uplink_spent, self.clock.now_ns),
        )

    def _publish(self, _topic: str, payload: bytes) -> bool:
        self.sent.append(payload)
        return True

    def serve(self) -> list[tuple[int, int]]:
        """Serve the readings once; return (first, last) of what was sent."""
        self.sent.clear()
        self.uplink._serve(Stream.READINGS, self.outbox)  # noqa: SLF001 - one turn of its thread
        batches = [decode(payload, Readings) for payload in self.sent]
        return [(batch.first_seq, batch.last_seq) for batch in batches]

    def answer(self, epoch: str, seq: int, expected: int | None = None) -> None:
        ack = UpAck(epoch=epoch, stream=Stream.READINGS, seq=seq, expected=expected)
        self.uplink.on_ack(ack.to_bytes())


def test_a_parcel_is_repeated_later_and_later_until_it_is_acknowledged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(20)])
    bare = Bare(bench)
    assert bare.serve() == [(1, 10)]
    assert bare.serve() == []
    pauses = []
    for _ in range(4):
        begin = bare.clock.seconds
        while not bare.serve():
            bare.clock.seconds += 0.1
        pauses.append(bare.clock.seconds - begin)
    assert 0.7 < pauses[0] < 1.4
    assert 3.0 < pauses[-1] < 5.0
    bare.uplink.reconnected()
    bare.clock.seconds += 0.6
    assert bare.serve() == [(1, 10)]
    bare.answer(bench.store.epoch, 10)
    assert bare.serve() == [(11, 20)]
    bare.answer(bench.store.epoch, 15)
    assert bare.serve() == []
    assert [acked.seq for acked in bare.posted if isinstance(acked, LakeAcked)] == [10, 15]
    bare.outbox.close()
    bench.close()


def test_a_lake_that_asks_for_an_earlier_record_gets_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(20)])
    bare = Bare(bench)
    bare.serve()
    bare.answer(bench.store.epoch, 10)
    assert bare.serve() == [(11, 20)]
    bare.answer(bench.store.epoch, 4, expected=5)
    assert bare.serve() == [(5, 14)]
    bare.outbox.close()
    bench.close()


def test_a_lake_that_asks_for_what_it_had_is_answered_after_a_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(20)])
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 10))
    bench.store.commit()
    bare = Bare(bench)
    for _ in range(PATIENCE + 1):
        assert bare.serve() == [(11, 20)]
        bare.answer(bench.store.epoch, 4, expected=5)
    assert bare.serve() == []
    bare.clock.seconds += 5
    assert bare.serve() == [(5, 10)]
    bare.answer(bench.store.epoch, 10)
    assert bare.serve() == [(11, 20)]
    bare.outbox.close()
    bench.close()


@pytest.mark.parametrize("expected", [None, 1 << 40])
def test_a_lake_cannot_acknowledge_what_it_was_never_sent(
    tmp_path: Path, expected: int | None
) -> None:
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(20)])
    bare = Bare(bench)
    bare.answer(bench.store.epoch, 1 << 40, expected)
    assert bare.serve() == [(1, 10)]
    bare.answer(bench.store.epoch, 1 << 40, expected)
    assert bare.serve() == [(11, 20)]
    for acked in bare.posted:
        bench.step(acked)
    bench.commit()
    accounts = Ledger.read(bench.settings.database).accounts
    assert (accounts["readings.delivered"], accounts["epochs.written_elsewhere"]) == (10, 1)
    bare.outbox.close()
    bench.close()


def test_an_answer_that_is_nonsense_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(20)])
    bare = Bare(bench)
    assert bare.serve() == [(1, 10)]
    for payload in (b"", b"{}", b'{"epoch": "e", "stream": "rumours", "seq": 3}', b"\xff"):
        bare.uplink.on_ack(payload)
    bare.answer("anotherepoch", 10)
    assert bare.serve() == []
    bare.answer(bench.store.epoch, 10)
    assert bare.serve() == [(11, 20)]
    for acked in bare.posted:
        bench.step(acked)
    bench.commit()
    assert Ledger.read(bench.settings.database).accounts["readings.delivered"] == 10
    assert Ledger.read(bench.settings.database).broken == []
    bare.outbox.close()
    bench.close()
