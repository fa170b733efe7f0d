from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from foreshock.brokers import Broker, MosquittoBroker
from foreshock_converter.sample import CHANNELS as SAMPLE_CHANNELS
from foreshock_converter.sample import tiny_model
from foreshock_fleet.coordinator import repository_of
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import Device, open_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHANNELS = [channel.id for channel in SAMPLE_CHANNELS]


@pytest.fixture(scope="session")
def model_a() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture(scope="session")
def model_b() -> bytes:
    return tiny_model(seed=2)


@pytest.fixture
def broker(mosquitto_binary: str, tmp_path: Path) -> Iterator[Broker]:
    assert mosquitto_binary
    with MosquittoBroker(tmp_path / "cloud") as running:
        yield running


class Fleet:
    """The `foreshock fleet` commands on one folder, as real processes."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder, self.broker = folder, broker
        set_up_signing(folder)
        self.serving: subprocess.Popen[str] | None = None

    def command(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "foreshock", "fleet", *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        if expect and not done.stdout:
            return {"error": done.stderr}
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    def on_state(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        return self.command(*arguments, "--state", str(self.folder), expect=expect)

    def serve(self) -> None:
        self.serving = subprocess.Popen(
            [
                *(sys.executable, "-m", "foreshock", "fleet", "serve", "--json"),
                *("--broker", self.broker.address, "--state", str(self.folder)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.serving.stdout is not None
        assert json.loads(self.serving.stdout.readline()) == {"coordinating": self.broker.address}

    def kill(self) -> None:
        if self.serving is not None:
            self.serving.kill()
            self.serving.wait()
            assert self.serving.stdout is not None
            self.serving.stdout.close()
            self.serving = None

    def publish(self, data: bytes) -> str:
        file = self.folder.with_suffix(".onnx")
        file.write_bytes(data)
        return str(self.on_state("publish", str(file))["sha256"])

    def gateways(self) -> dict[str, Device]:
        with contextlib.closing(open_state(self.folder)) as state:
            return {device.at.gateway: device for device in state.devices()}

    def complete(self) -> bool:
        with contextlib.closing(open_state(self.folder)) as state:
            rollout = state.rollout()
            return rollout is not None and rollout.state == "complete"


def set_up_signing(folder: Path) -> None:
    """What `fleet keys init` does, without a process."""
    repository = SignedRepository(repository_of(folder))
    root_keys, keys = KeyFolder(folder / "root-keys"), KeyFolder(folder / "keys")
    repository.create(root_keys, keys, count=3, threshold=2, now=datetime.now(UTC))
    (folder / "root.json").write_bytes(repository.root_bytes())


@pytest.fixture
def fleet(tmp_path: Path, broker: Broker) -> Iterator[Fleet]:
    one = Fleet(tmp_path / "fleet", broker)
    yield one
    one.kill()


class EdgeProcess:
    """`edge.py` as a process that can be killed and started again."""

    def __init__(self, broker: Broker, gateway: str, folder: Path) -> None:
        self.gateway, self.folder = gateway, folder
        script = str(Path(__file__).with_name("edge.py"))
        root = folder.parent / "fleet" / "root.json"
        where = [broker.host, str(broker.port), "north", gateway, str(folder), str(root)]
        self._command = [sys.executable, script, *where, ",".join(CHANNELS)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._child = subprocess.Popen(self._command)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


@pytest.fixture
def edges(broker: Broker, tmp_path: Path) -> Iterator[Callable[[str], EdgeProcess]]:
    with contextlib.ExitStack() as stack:

        def make(gateway: str) -> EdgeProcess:
            edge = EdgeProcess(broker, gateway, tmp_path / gateway)
            edge.start()
            stack.callback(edge.kill)
            return edge

        yield make


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}"
        pause.wait(0.05)
