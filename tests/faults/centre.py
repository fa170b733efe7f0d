"""The lab's centre: ingest as a process, and a fleet of one gateway that is told what to run."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foreshock_fleet.blocks import BlockService
from foreshock_wire import topics
from foreshock_wire.topics import Down, Up
from foreshock_wire.updates import BlockRequest, FileRequest, Report
from tests.agent.centre import BLOCK, Signing
from tests.agent.rig import AT, Client

if TYPE_CHECKING:
    from pathlib import Path

    import paho.mqtt.client as mqtt

    from foreshock.brokers import MosquittoBroker


class Centre:
    """The ingest worker as a process, and the models that a gateway may be told to run."""

    def __init__(self, folder: Path, broker: MosquittoBroker) -> None:
        self.lake = folder / "lake"
        self._log = folder / "worker.log"
        self._broker = broker
        self._child: subprocess.Popen[bytes] | None = None
        self._counter = 0
        self.signing = Signing(folder / "fleet", datetime.now(UTC))
        self.state: str | None = None
        self._client = Client(broker.port, *map(topics.any_up, (Up.BLOCK, Up.FILE, Up.REPORT)))
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
        """Release a model and tell the gateway, signed, to run it."""
        self._counter += 1
        self.signing.release(model)
        directive = self.signing.directive(model, self._counter, at=AT)
        self._client.publish(topics.down(AT, Down.DESIRED), directive.to_bytes(), retain=True)

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        at, what = topics.parse_up(message.topic)
        if what is Up.REPORT:
            self.state = Report.from_bytes(message.payload).state
            return
        blocks = BlockService(self.signing.repository, lambda _: BLOCK)
        answer = (
            blocks.answer(at, BlockRequest.from_bytes(message.payload))
            if what is Up.BLOCK
            else blocks.answer_file(at, FileRequest.from_bytes(message.payload))
        )
        assert answer is not None
        self._client.publish(*answer)

    def close(self) -> None:
        """Leave nothing behind."""
        self._client.__exit__()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()
