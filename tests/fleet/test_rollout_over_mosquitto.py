"""Coordinator, block service and updaters as real processes on a real broker."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import paho.mqtt.publish as mqtt_publish
import pytest

from foreshock_fleet.coordinator import Coordinator
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.repository import Repository
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import Device, Release, open_state
from foreshock_wire import topics
from foreshock_wire.broker import BrokerAddress
from foreshock_wire.updates import Desired, ModelRef
from tests.fleet.conftest import EdgeProcess, Fleet, set_up_signing, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.brokers import MosquittoBroker

pytestmark = pytest.mark.needs("mosquitto")

Edges = Callable[[str], EdgeProcess]


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_two_models_one_after_the_other_reach_every_gateway(
    fleet: Fleet, edges: Edges, model_a: bytes, model_b: bytes
) -> None:
    fleet.serve()
    names = ["gw-1", "gw-2", "gw-3"]
    for name in names:
        edges(name)
    wait_until(lambda: sorted(fleet.gateways()) == names, "every gateway is known")
    for number, data in enumerate((model_a, model_b), start=1):
        assert fleet.publish(data) == sha_of(data)
        said = fleet.on_state("rollout", "create", "latest", "--wait", "--timeout", "60")
        assert (said["state"], said["committed"], said["rollout"]) == ("complete", names, number)
        models = {name: one.model for name, one in fleet.gateways().items()}
        assert models == dict.fromkeys(names, sha_of(data))


def test_a_gateway_that_reported_before_anybody_listened_becomes_known(
    fleet: Fleet, edges: Edges, broker: MosquittoBroker
) -> None:
    edges("gw-1")
    log = broker.log
    wait_until(lambda: "edge-north-gw-1" in log.read_text(), "the gateway is connected")
    fleet.serve()
    wait_until(lambda: "gw-1" in fleet.gateways(), "the gateway is known")


def test_a_silent_gateway_is_no_success(fleet: Fleet, edges: Edges, model_a: bytes) -> None:
    fleet.serve()
    edges("gw-1")
    gone = edges("gw-2")
    wait_until(lambda: len(fleet.gateways()) == 2, "both gateways are known")
    gone.kill()
    fleet.publish(model_a)
    said = fleet.on_state("rollout", "create", "--wait", "--timeout", "8", expect=4)
    assert (said["state"], said["committed"], said["silent"]) == ("active", ["gw-1"], ["gw-2"])
    gone.start()
    wait_until(fleet.complete, "it catches up")


def test_kill_nine_in_the_middle_of_a_download_and_it_completes_afterwards(
    broker: MosquittoBroker, edges: Edges, tmp_path: Path, model_a: bytes
) -> None:
    sha, served, open_gate = sha_of(model_a), [], threading.Event()

    class Gated(Repository):
        def block(self, sha256: str, index: int, block_bytes: int) -> bytes:
            served.append(index)
            if index == 30:
                open_gate.wait(60)
            return super().block(sha256, index, block_bytes)

    set_up_signing(tmp_path / "fleet")
    repository = Gated(tmp_path / "fleet" / "repository")
    repository.add(model_a)
    with InThread(broker, tmp_path / "fleet", repository) as coordinator:
        edge = edges("gw-1")
        coordinator.roll_out(sha, len(model_a), block_bytes=1024)
        have = edge.folder / f"{sha}.have"
        wait_until(lambda: have.exists() and have.read_bytes().count(1) == 30, "30 blocks came")
        edge.kill()
        assert not (edge.folder / f"{sha}.onnx").exists()
        before = set(served)
        served.clear()
        open_gate.set()
        edge.start()
        coordinator.wait_for_commit()
    assert (edge.folder / f"{sha}.onnx").read_bytes() == model_a
    assert before >= set(range(30))
    assert min(index for index in served if index != 30) > 30


def test_the_broker_goes_away_in_the_middle(
    broker: MosquittoBroker, edges: Edges, tmp_path: Path, model_a: bytes
) -> None:
    gone = threading.Event()

    class Interrupting(Repository):
        def block(self, sha256: str, index: int, block_bytes: int) -> bytes:
            if index >= 10 and not gone.is_set():
                broker.kill()
                (broker.folder / "mosquitto.db").unlink(missing_ok=True)
                gone.set()
                broker.start()
            return super().block(sha256, index, block_bytes)

    set_up_signing(tmp_path / "fleet")
    repository = Interrupting(tmp_path / "fleet" / "repository")
    repository.add(model_a)
    with InThread(broker, tmp_path / "fleet", repository) as coordinator:
        edges("gw-1")
        coordinator.roll_out(sha_of(model_a), len(model_a), block_bytes=1024)
        coordinator.wait_for_commit()
    assert gone.is_set()


def test_a_broker_that_forgot_what_it_retained_is_told_again(
    fleet: Fleet, edges: Edges, broker: MosquittoBroker, model_a: bytes
) -> None:
    fleet.serve()
    edge = edges("gw-1")
    wait_until(lambda: "gw-1" in fleet.gateways(), "the gateway is known")
    edge.kill()
    fleet.publish(model_a)
    fleet.on_state("rollout", "create")
    broker.kill()
    for file in broker.folder.glob("*.db"):
        file.unlink()
    broker.start()
    edge.start()
    wait_until(lambda: fleet.gateways()["gw-1"].model == sha_of(model_a), "it has the model")


def test_the_coordinator_is_killed_and_started_again(
    fleet: Fleet, edges: Edges, model_a: bytes
) -> None:
    fleet.serve()
    edges("gw-1")
    wait_until(lambda: "gw-1" in fleet.gateways(), "the gateway is known")
    fleet.publish(model_a)
    fleet.kill()
    assert fleet.on_state("rollout", "create")["silent"] == ["gw-1"]
    fleet.serve()
    wait_until(fleet.complete, "it completes")


def test_poison_messages_are_counted_and_disturb_nobody(
    fleet: Fleet, edges: Edges, broker: MosquittoBroker, model_a: bytes
) -> None:
    fleet.serve()
    poison = [
        ("foreshock/v1/north/gw-9/up/report", b"\xff\xfe"),
        ("foreshock/v1/north/gw-9/up/report", b"[" * 100_000),
        ("foreshock/v1/north/gw-9/up/report", b'{"v":1,"gateway":"gw-8"}'),
        ("foreshock/v1/NORTH/gw 9/up/report", b"{}"),
        ("foreshock/v1/north/gw-9/up/block", b'{"v":1,"sha256":"../../etc/passwd","index":0}'),
        ("foreshock/v1/north/gw-9/up/block", b'{"v":1,"sha256":"%s","index":-1}' % (b"a" * 64)),
        ("foreshock/v1/north/gw-9/up/block", b'{"v":1,"sha256":"%s","index":9}' % (b"a" * 64)),
        (
            "foreshock/v1/north/gw-9/up/block",
            b'{"v":1,"sha256":"%s","index":%d}' % (b"a" * 64, 10**30),
        ),
    ]
    mqtt_publish.multiple(
        [{"topic": topic, "payload": payload, "qos": 1} for topic, payload in poison],
        hostname=broker.host,
        port=broker.port,
    )
    edges("gw-1")
    wait_until(lambda: list(fleet.gateways()) == ["gw-1"], "only the honest gateway is known")
    fleet.publish(model_a)
    assert fleet.on_state("rollout", "create", "--wait")["state"] == "complete"


def test_a_hash_only_directive_is_refused_everywhere(
    fleet: Fleet, edges: Edges, broker: MosquittoBroker, model_a: bytes
) -> None:
    fleet.serve()
    edge = edges("gw-1")
    wait_until(lambda: "gw-1" in fleet.gateways(), "the gateway is known")
    sha = fleet.publish(model_a)
    ref = ModelRef(sha256=sha, size=len(model_a), block_bytes=131_072, name="m", version="1")
    unsigned = Desired(gateway="gw-1", counter=1, model=ref, site="north")
    topic = topics.down(topics.Gateway("north", "gw-1"), topics.Down.DESIRED)
    mqtt_publish.single(
        topic, unsigned.to_bytes(), qos=1, retain=True, hostname=broker.host, port=broker.port
    )
    refused = "not signed"
    wait_until(lambda: refused in fleet.gateways()["gw-1"].problem, "it tells why")
    assert fleet.gateways()["gw-1"].model is None
    assert not list(edge.folder.glob("*.onnx"))


class InThread:
    """A real coordinator in a thread of this test, for repositories that misbehave."""

    def __init__(self, broker: MosquittoBroker, folder: Path, repository: Repository) -> None:
        self._broker, self._folder, self._repository = broker, folder, repository
        self._coordinator: Coordinator | None = None
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        state = open_state(self._folder)
        where = BrokerAddress(self._broker.host, self._broker.port)
        keys = KeyFolder(self._folder / "keys")
        self._coordinator = Coordinator(where, state, self._repository, keys)
        self._coordinator.run(self._connected.set)
        state.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._connected.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._coordinator is not None
        self._coordinator.stop()
        self._thread.join()

    def devices(self) -> Sequence[Device]:
        with contextlib.closing(open_state(self._folder)) as state:
            return state.devices()

    def wait_for(self, holds: Callable[[Device], bool]) -> None:
        wait_until(lambda: any(holds(device) for device in self.devices()), "a device's state")

    def wait_for_commit(self) -> None:
        self.wait_for(lambda device: device.state == "committed")

    def roll_out(self, sha256: str, size: int, block_bytes: int = 131_072) -> None:
        self.wait_for(lambda _: True)
        keys = KeyFolder(self._folder / "keys")
        SignedRepository(self._repository).add_target(sha256, size, {}, keys, datetime.now(UTC))
        release = Release(sha256, size, block_bytes, "m", "1", "", published_ns=1)
        with contextlib.closing(open_state(self._folder)) as state:
            state.add_release(release, "test")
            state.start_rollout(sha256, "test", 2)
