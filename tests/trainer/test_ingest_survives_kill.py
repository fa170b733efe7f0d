"""The delivery guarantee, on a real broker, with a real worker that is killed again and again."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from paho.mqtt.enums import CallbackAPIVersion

from foreshock.brokers import MosquittoBroker
from foreshock_trainer.lake import Lake
from foreshock_wire.messages import Gap, RecordBatch, UpAck, UpRecord
from foreshock_wire.topics import Down, Gateway, Stream, down, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

SEED = 20_240_101
KILLS = 4
PARCELS = 24
ROWS = 7
GAP_PARCEL = 7
RESEND_S = 0.4
DEADLINE_S = 90
WORKER = "from foreshock_trainer.ingest_cli import ingest; ingest()"


@dataclass
class Sender:
    """One stream of a gateway: sends its parcels in order until each is acknowledged.

    It also does what links do: sends twice, lets an old copy arrive late, and now and then sends
    the next but one first. An old copy is older than what a worker's last round can have held, or
    it would bring back what that worker lost.
    """

    at: Gateway
    stream: Stream
    parcels: list[tuple[str, int, bytes]]
    chance: random.Random
    done: int = 0
    sent_s: float = 0.0
    promised: dict[str, int] = field(default_factory=dict)
    mixed: Counter[str] = field(default_factory=Counter)

    @property
    def finished(self) -> bool:
        return self.done == len(self.parcels)

    def hear(self, ack: UpAck) -> bool:
        assert ack.seq >= self.promised.get(ack.epoch, 0), "the lake lost what it acknowledged"
        self.promised[ack.epoch] = ack.seq
        self.mixed["refused"] += ack.expected is not None
        epoch, last, _ = self.parcels[min(self.done, len(self.parcels) - 1)]
        if self.finished or ack.epoch != epoch or ack.seq < last:
            return False
        self.done, self.sent_s = self.done + 1, 0.0
        return True

    def due(self) -> list[bytes]:
        now_s = time.monotonic()
        if self.finished or now_s - self.sent_s < RESEND_S:
            return []
        self.sent_s = now_s
        kind = self.chance.choices(["plain", "twice", "old", "early"], [6, 1, 1, 1])[0]
        self.mixed[kind] += 1
        at = self.done
        order = {
            "plain": [at],
            "twice": [at, at],
            "old": [max(0, at - self.chance.randint(3, 6)), at],
            "early": [min(at + 1, len(self.parcels) - 1), at],
        }[kind]
        return [self.parcels[i][2] for i in order]


class Worker:
    """The real command in a process of its own."""

    def __init__(self, address: str, lake: Path, log: Path, *options: str) -> None:
        self._log = log.open("ab")
        where = ["--broker", address, "--lake", str(lake)]
        self._command = [sys.executable, "-c", WORKER, *where, *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self._command, "--json"], stdout=subprocess.PIPE, stderr=self._log
        )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._log.close()


def telemetry(make: Make) -> list[tuple[str, int, bytes]]:
    """Two epochs of parcels; one parcel of the first is a tombstone."""
    parcels = []
    for epoch, count in (("zz9", PARCELS // 2), ("aa1", PARCELS // 2)):
        for i in range(count):
            first, last = i * ROWS + 1, (i + 1) * ROWS
            payload = make(epoch, first, ROWS).to_bytes()
            if (epoch, i) == ("zz9", GAP_PARCEL):
                gap = Gap(epoch=epoch, first_seq=first, last_seq=last, reason="retention")
                payload = gap.to_bytes()
            parcels.append((epoch, last, payload))
    return parcels


def alarms(count: int) -> list[tuple[str, int, bytes]]:
    return [
        (
            "e1",
            seq,
            RecordBatch(
                epoch="e1", records=(UpRecord(seq=seq, body={"machine": "pump-1", "n": seq}),)
            ).to_bytes(),
        )
        for seq in range(1, count + 1)
    ]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    # Without the option the broker holds an answer back by 40 ms, when the worker is long done.
    with MosquittoBroker(tmp_path / "broker", extra="set_tcp_nodelay true") as running:
        yield running


@pytest.fixture
def acks(broker: MosquittoBroker) -> Iterator[tuple[mqtt.Client, queue.Queue[tuple[str, bytes]]]]:
    """A connection that hears every answer to every gateway of the test."""
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gateways")
    client.on_connect = lambda client, *_: client.subscribe("foreshock/v1/+/+/down/ack", qos=1)
    client.on_message = lambda _c, _u, message: heard.put((message.topic, bytes(message.payload)))
    client.connect(broker.host, broker.port)
    client.loop_start()
    yield client, heard
    client.disconnect()
    client.loop_stop()


@pytest.mark.needs("mosquitto")
def test_a_killed_worker_loses_and_doubles_nothing(
    broker: MosquittoBroker,
    acks: tuple[mqtt.Client, queue.Queue[tuple[str, bytes]]],
    tmp_path: Path,
    make_readings: Make,
) -> None:
    client, heard = acks
    chance = random.Random(SEED)  # noqa: S311 - repeatable, no secret
    gateways = [Gateway("works", f"gw-{n}") for n in (1, 2, 3)]
    senders = {
        (at, stream): Sender(at, stream, parcels, chance)
        for at in gateways
        for stream, parcels in (
            (Stream.READINGS, telemetry(make_readings)),
            (Stream.ALARMS, alarms(PARCELS // 4)),
        )
    }
    worker = Worker(broker.address, tmp_path / "lake", tmp_path / "worker.log")
    try:
        until_all_acknowledged(client, heard, senders, worker, chance)
        worker.process.send_signal(signal.SIGTERM)
        final, _ = worker.process.communicate(timeout=20)
    finally:
        worker.close()
    assert worker.process.returncode == 0
    assert b'"readings"' in final.splitlines()[-1]
    mixed = sum((sender.mixed for sender in senders.values()), Counter())
    assert all(mixed[kind] for kind in ("twice", "old", "early", "refused"))
    for at in gateways:
        check(tmp_path / "lake", at)


def until_all_acknowledged(
    client: mqtt.Client,
    heard: queue.Queue[tuple[str, bytes]],
    senders: dict[tuple[Gateway, Stream], Sender],
    worker: Worker,
    chance: random.Random,
) -> None:
    """Send until all is acknowledged; kill the worker after a few answers, at a random moment."""
    of_topic = {down(at, Down.ACK): at for at, _ in senders}
    deadline_s = time.monotonic() + DEADLINE_S
    kills, answers, kill_after, kill_s = 0, 0, chance.randint(3, 14), None
    while not all(sender.finished for sender in senders.values()):
        assert time.monotonic() < deadline_s, {k: s.done for k, s in senders.items()}
        assert worker.process.poll() is None, "the worker ended by itself"
        for sender in senders.values():
            for payload in sender.due():
                client.publish(uplink(sender.at, sender.stream), payload, qos=1)
        try:
            topic, payload = heard.get(timeout=0.01)
        except queue.Empty:
            pass
        else:
            ack = UpAck.from_bytes(payload)
            answers += senders[of_topic[topic], Stream(ack.stream)].hear(ack)
        if kills < KILLS and answers >= kill_after and kill_s is None:
            # At the answer itself, which must be for nothing that is not stored; or anywhere.
            kill_s = time.monotonic() + (chance.uniform(0, 0.25) if kills % 2 else 0)
        if kill_s is not None and time.monotonic() >= kill_s:
            worker.kill()
            worker.start()
            kills, answers, kill_after, kill_s = kills + 1, 0, chance.randint(3, 14), None
    assert kills == KILLS


def check(lake: Path, at: Gateway) -> None:
    """Read the lake without our reader, and hold it against what was sent."""
    rows = DeltaTable(lake / "readings").to_pyarrow_dataset().to_table()
    mine = rows.filter(pa.compute.equal(rows["gateway"], at.gateway)).to_pylist()
    found = Counter((row["epoch"], row["seq"], row["value"]) for row in mine)
    last = PARCELS // 2 * ROWS
    expected = {(epoch, n, float(n)) for epoch in ("zz9", "aa1") for n in range(1, last + 1)}
    gone = range(GAP_PARCEL * ROWS + 1, (GAP_PARCEL + 1) * ROWS + 1)
    expected -= {("zz9", n, float(n)) for n in gone}
    assert set(found.values()) == {1}, "a reading is in the lake twice"
    assert set(found) == expected
    ours = Lake(lake)
    assert ours.mark(at.gateway, "zz9", Stream.READINGS) == last
    assert ours.mark(at.gateway, "aa1", Stream.READINGS) == last
    gaps = [row for row in ours.gaps().to_pylist() if row["gateway"] == at.gateway]
    assert [(row["first_seq"], row["last_seq"]) for row in gaps] == [(gone.start, gone.stop - 1)]
    changes = [row["seq"] for row in ours.alarms().to_pylist() if row["gateway"] == at.gateway]
    assert changes == list(range(1, PARCELS // 4 + 1))
