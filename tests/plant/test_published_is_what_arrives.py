from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from foreshock.brokers import BROKERS, Broker, make_broker
from foreshock_plant.link import BrokerAddress
from foreshock_plant.machine import START_NS, machine_ids, simulate
from foreshock_plant.publisher import Plant
from foreshock_plant.samples import samples
from foreshock_plant.sensor_faults import Stretch, deliver, true_messages
from foreshock_wire.errors import ForeshockError
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_S = 30.0
KINDS = [
    pytest.param(kind, marks=[pytest.mark.needs("mosquitto")] if kind == "mosquitto" else [])
    for kind in BROKERS
]


@dataclass
class Listener:
    """A subscriber of its own: what a broker really delivered, in order."""

    heard: list[tuple[str, str]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def listen(self, broker: Broker) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener")
        client.on_subscribe = lambda *_: self.ready.set()
        client.on_message = self._on_message
        client.connect(broker.host, broker.port)
        client.loop_start()
        client.subscribe("plant/+/sample", qos=1)
        assert self.ready.wait(DEADLINE_S)
        return client

    def _on_message(self, _client: mqtt.Client, _data: object, message: Any) -> None:  # noqa: ANN401
        self.heard.append((message.topic, message.payload.decode()))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def published(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "published.jsonl").read_text().splitlines()]


def fault_rows(out: Path) -> list[tuple[str, ...]]:
    with (out / "faults.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def rows_of(stretches: tuple[Stretch, ...]) -> list[tuple[str, ...]]:
    assert stretches
    return [
        (
            *(one.machine, one.channel, one.fault, rfc3339(one.begin_ns), rfc3339(one.end_ns)),
            "" if np.isnan(one.size) else f"{one.size:g}",
        )
        for one in stretches
    ]


def address(broker: Broker, gateway: str = "gw-1") -> BrokerAddress:
    return BrokerAddress("works", gateway, broker.host, broker.port)


def plant(out: Path, *brokers: BrokerAddress, speed: float = 1e5) -> Plant:
    return Plant(brokers, machines=4, hours=60, hours_per_s=speed, seed=8, out=out)


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with make_broker(request.param, tmp_path / "broker") as running:
        yield running


def test_the_log_equals_what_a_subscriber_received(broker: Broker, tmp_path: Path) -> None:
    listener = Listener()
    client = listener.listen(broker)
    done = plant(tmp_path / "out", address(broker)).run()
    log = [(line["topic"], line["payload"]) for line in published(tmp_path / "out")]
    wait_until(lambda: len(listener.heard) >= len(log))
    client.disconnect()
    client.loop_stop()
    assert done.unacknowledged == 0
    assert done.messages == len(log)
    assert Counter(listener.heard) == Counter(log)
    for topic in {topic for topic, _ in log}:
        heard = [payload for name, payload in listener.heard if name == topic]
        assert heard == [payload for name, payload in log if name == topic]


def test_the_log_is_the_delivery_sequence_and_says_what_each_message_held(
    broker: Broker, tmp_path: Path
) -> None:
    plant(tmp_path, address(broker)).run()
    lives = [simulate(name, seed=8, hours=60) for name in machine_ids(4)]
    delivered, stretches = deliver(true_messages(lives), seed=8)
    expected = [s.payload.decode() for s in samples(delivered)]
    log = published(tmp_path)
    assert [line["payload"] for line in log] == expected
    for line in log:
        held = json.loads(line["payload"])
        assert held.pop("t") == line["time_ns"]
        assert list(held) == line["channels"]
        assert line["gateway"] == "gw-1"
    assert fault_rows(tmp_path) == rows_of(stretches)


@pytest.mark.needs("mosquitto")
def test_a_dead_broker_holds_up_its_own_machines_only_and_nothing_is_skipped(
    tmp_path: Path,
) -> None:
    with (
        make_broker("mosquitto", tmp_path / "one") as alive,
        make_broker("mosquitto", tmp_path / "two") as dies,
    ):
        dies.stop()
        running = plant(tmp_path / "out", address(alive), address(dies, "gw-2"), speed=1000)
        thread = threading.Thread(target=running.run)
        thread.start()
        log = tmp_path / "out" / "published.jsonl"
        lives = [simulate(name, seed=8, hours=60) for name in machine_ids(4)[::2]]
        share = len(deliver(true_messages(lives), seed=8).messages)
        wait_until(lambda: log.exists() and log.read_text().count('"gw-1"') == share)
        assert '"gw-2"' not in log.read_text()
        dies.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    lives = [simulate(name, seed=8, hours=60) for name in machine_ids(4)]
    everything, stretches = deliver(true_messages(lives), seed=8)
    assert len(published(tmp_path / "out")) == len(everything)
    assert fault_rows(tmp_path / "out") == rows_of(stretches)


def test_sigterm_ends_it_with_whole_files(broker: Broker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from foreshock_plant.cli import cli; cli()", "run"]
    command += ["--broker", f"works/gw-1={broker.address}", "--out", str(out), "--json"]
    listener = Listener()
    client = listener.listen(broker)
    with subprocess.Popen(
        [*command, "--machines", "3", "--speed", "10"], stdout=subprocess.PIPE, env=os.environ
    ) as child:
        wait_until(lambda: len(listener.heard) > 50)
        child.send_signal(signal.SIGTERM)
        stdout, _ = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0
    summary = json.loads(stdout.splitlines()[-1])
    log = published(out)
    assert summary["messages"] == len(log)
    assert summary["unacknowledged"] == 0
    wait_until(lambda: len(listener.heard) >= len(log))
    client.disconnect()
    client.loop_stop()
    assert Counter(listener.heard) == Counter((line["topic"], line["payload"]) for line in log)
    with (out / "events.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-3:]
    assert {row["kind"] for row in last} == {"observed_until"}
    assert last[0]["time"] == summary["until"] < "2024-01-20"


def test_events_are_written_when_they_happen(broker: Broker, tmp_path: Path) -> None:
    running = Plant(
        [address(broker)], machines=12, hours=200, hours_per_s=200, seed=3, out=tmp_path
    )
    thread = threading.Thread(target=running.run)
    thread.start()
    wait_until((tmp_path / "events.csv").exists)
    wait_until(lambda: "observed_until" in (tmp_path / "events.csv").read_text())
    thread.join(DEADLINE_S)
    with (tmp_path / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lives = [simulate(name, seed=3, hours=200) for name in machine_ids(12)]
    true = Counter(event.kind for life in lives for event in life.events)
    assert Counter(row["kind"] for row in rows) == true
    assert min(line["time_ns"] for line in published(tmp_path)) >= START_NS


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "published.jsonl").touch()
    with pytest.raises(ForeshockError, match="already holds a run"):
        plant(tmp_path, BrokerAddress("works", "gw-1", "127.0.0.1", 1)).run()


@pytest.mark.parametrize("text", ["127.0.0.1:1883", "works/gw=host", "a/b/c=h:1", "=h:1"])
def test_a_wrong_broker_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ForeshockError, match="SITE/GATEWAY=HOST:PORT"):
        BrokerAddress.parse(text)
