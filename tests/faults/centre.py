"""The lab's centre: ingest as a process, and a fleet of one gateway that is told what to run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from foreshock_wire import topics
from foreshock_wire.messages import BlockRequest, Desired, ModelRef, Report
from foreshock_wire.model import Model
from foreshock_wire.topics import Down, Up
from tests.agent.rig import AT, Client

if TYPE_CHECKING:
    from pathlib import Path

    import paho.mqtt.client as mqtt

    from foreshock.brokers import MosquittoBroker

BLOCK_BYTES: Final = 16_384


class Centre:
    """The ingest worker as a process, and the models that a gateway may be told to run."""

    def __init__(self, folder: Path, broker: MosquittoBroker) -> None:
        self.lake = folder / "lake"
        self._log = folder / "worker.log"
        self._broker = broker
        self._child: subprocess.Popen[bytes] | None = None
        self._counter = 0
        self._models: dict[str, bytes] = {}
        self.state: str | None = None
        self._client = Client(broker.port, topics.any_up(Up.BLOCK), topics.any_up(Up.REPORT))
        self._client.paho.on_message = self._hear

    def start(self) -> None:
        """Start the worker."""
        command = ["-m", "foreshock", "trainer", "ingest", "--broker", self._broker.address]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, *command, "--lake", str(self.lake)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End the worker as a power cut would."""
        assert self._child is not None
        assert self._child.poll() is None, self._log.read_text()
        self._child.kill()
        self._child.wait()

    def stop(self) -> int:
        """End the worker in order; return its exit code."""
        assert self._child is not None
        self._child.terminate()
        return self._child.wait(30)

    def desire(self, model: bytes) -> None:
        """Tell the gateway to run this model."""
        self._counter += 1
        sha256 = Model.load(model).sha256
        self._models[sha256] = model
        ref = ModelRef(
            sha256=sha256,
            size=len(model),
            block_bytes=BLOCK_BYTES,
            name="m",
            version=str(self._counter),
        )
        desired = Desired(gateway=AT.gateway, counter=self._counter, model=ref)
        self._client.publish(topics.down(AT, Down.DESIRED), desired.to_bytes(), retain=True)

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        _, what = topics.parse_up(message.topic)
        if what is Up.REPORT:
            self.state = Report.from_bytes(message.payload).state
            return
        asked = BlockRequest.from_bytes(message.payload)
        at = asked.index * BLOCK_BYTES
        block = self._models[asked.sha256][at : at + BLOCK_BYTES]
        self._client.publish(topics.block(AT, asked.sha256, asked.index), block)

    def close(self) -> None:
        """Leave nothing behind."""
        self._client.__exit__()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
