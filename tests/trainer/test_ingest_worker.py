"""The worker through its broker's and its lake's troubles; delivery counts are in other files."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from foreshock.brokers import EmbeddedBroker
from foreshock_trainer import worker as workers
from foreshock_trainer.worker import IngestWorker
from foreshock_wire.broker import BrokerAddress
from foreshock_wire.messages import UpAck
from foreshock_wire.topics import Down, Gateway, Stream, down, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreshock_trainer.lake import Lake
    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

AT = Gateway("works", "gw-1")
DEADLINE_S = 60
RESEND_S = 0.5


@pytest.fixture
def broker(tmp_path: Path) -> EmbeddedBroker:
    """A broker that is not running yet, and that forgets every session when it restarts."""
    return EmbeddedBroker(tmp_path / "broker")


@pytest.fixture
def worker(broker: EmbeddedBroker, lake: Lake) -> Iterator[IngestWorker]:
    """A worker at work in a thread."""
    made = IngestWorker(lake, BrokerAddress(broker.host, broker.port), tuple(range(16)))
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(DEADLINE_S)
    broker.stop()
    assert not thread.is_alive()


def send_until_acknowledged(broker: EmbeddedBroker, payload: bytes) -> UpAck:
    """Do as a gateway does, on a connection of its own."""
    heard: list[UpAck] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: heard.append(UpAck.from_bytes(message.payload))
    client.connect(broker.host, broker.port)
    client.subscribe(down(AT, Down.ACK), qos=1)
    deadline_s, resend_s = time.monotonic() + DEADLINE_S, 0.0
    while not heard:
        now_s = time.monotonic()
        assert now_s < deadline_s, "no acknowledgement"
        if now_s >= resend_s:
            client.publish(uplink(AT, Stream.READINGS), payload, qos=1)
            resend_s = now_s + RESEND_S
        client.loop(0.05)
    client.disconnect()
    return heard[0]


def test_a_worker_outlives_its_broker(
    broker: EmbeddedBroker, worker: IngestWorker, lake: Lake, make_readings: Make
) -> None:
    """It starts before the broker does, and subscribes anew at one that has forgotten it."""
    broker.start()
    first = send_until_acknowledged(broker, make_readings("e1", 1, 5).to_bytes())
    broker.kill()
    broker.start()
    second = send_until_acknowledged(broker, make_readings("e1", 6, 5).to_bytes())
    assert (first.seq, second.seq) == (5, 10)
    assert lake.readings()["seq"].to_pylist() == list(range(1, 11))
    assert worker.counters()["connects"] == 2


def test_a_worker_outlives_nonsense(
    broker: EmbeddedBroker, worker: IngestWorker, lake: Lake, make_readings: Make
) -> None:
    broker.start()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    send_until_acknowledged(broker, make_readings("e1", 1, 5).to_bytes())
    client.connect(broker.host, broker.port)
    client.publish(uplink(AT, Stream.READINGS), b"\x00" * 100, qos=1)
    deadline_s = time.monotonic() + DEADLINE_S
    while not worker.counters()["quarantined"]:
        assert time.monotonic() < deadline_s
        client.loop(0.05)
    client.disconnect()
    send_until_acknowledged(broker, make_readings("e1", 6, 5).to_bytes())
    assert len(lake.quarantine()) == 1
    assert len(lake.readings()) == 10


def test_a_worker_outlives_a_lake_that_fails(
    broker: EmbeddedBroker,
    worker: IngestWorker,
    lake: Lake,
    make_readings: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LAKE_DELAY_S", 0.2)
    broker.start()
    send_until_acknowledged(broker, make_readings("e1", 1, 5).to_bytes())
    log = Path(lake.root, "readings", "_delta_log")
    away = log.rename(log.with_name("away"))
    log.write_text("not a folder")
    heal = threading.Thread(target=heal_after_an_error, args=(worker, away, log))
    heal.start()
    second = send_until_acknowledged(broker, make_readings("e1", 6, 5).to_bytes())
    heal.join()
    assert second.seq == 10
    assert lake.readings()["seq"].to_pylist() == list(range(1, 11))
    assert worker.counters()["lake_errors"] > 0


def heal_after_an_error(worker: IngestWorker, away: Path, log: Path) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not worker.counters()["lake_errors"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    log.unlink()
    away.rename(log)
