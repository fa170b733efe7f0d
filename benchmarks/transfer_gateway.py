"""A gateway that fetches one file and ends: `python -m benchmarks.transfer_gateway PORT FOLDER`.

The agent's own updater on the agent's own connection, as a process that can be killed. FOLDER holds
`root.json`; what it asks for and how far it is is printed line by line, as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from foreshock_agent.mqtt.link import PahoLink, Session
from foreshock_agent.settings import BrokerSettings
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trust import Trust
from foreshock_agent.update.updater import Updater
from foreshock_wire import topics
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import BlockRequest, DeviceState, Report

AT = Gateway("works", "gw-1")


class Fetcher:
    """The updater between its connection and the lines that it prints."""

    def __init__(self, port: int, folder: Path) -> None:
        self.done = threading.Event()
        self._link = PahoLink(
            BrokerSettings(port=port),
            Session(
                "foreshock-works-gw-1-up",
                filters=[
                    topics.down(AT, topics.Down.DESIRED),
                    *(topics.any_block(AT), topics.any_file(AT)),
                ],
                on_messages=self._take,
                on_connect=lambda _: self._updater.report(),
            ),
        )
        self._updater = Updater(
            AT,
            ModelStore(folder / "models"),
            Trust(folder / "metadata", folder / "root.json"),
            channels=["any"],
            publish=self._publish,
            swap=lambda _: None,
            # The file is as large as a model and none: what counts is that it arrives.
            self_test=lambda *_: None,
        )

    def run(self) -> None:
        """Fetch until the file is here and verified."""
        self._updater.start()
        self._link.start()
        self.done.wait()
        self._updater.stop()
        self._link.stop()

    def _publish(self, topic: str, payload: bytes) -> None:
        _, what = topics.parse_up(topic)
        if what is topics.Up.BLOCK:
            _say(asked=BlockRequest.from_bytes(payload).index)
        if what is topics.Up.REPORT:
            state = Report.from_bytes(payload).state
            _say(state=state)
            if state is DeviceState.VERIFIED:
                self.done.set()
        self._link.publish(topic, payload)

    def _take(self, deliveries: Any) -> bool:  # noqa: ANN401 - the link's
        for one in deliveries:
            if one.topic == topics.down(AT, topics.Down.DESIRED):
                self._updater.on_desired(one.payload)
            elif topics.is_file(one.topic):
                self._updater.on_file(one.topic, one.payload)
            else:
                self._updater.on_block(one.topic, one.payload)
        return True


def _say(**what: object) -> None:
    print(json.dumps({"at_s": time.monotonic(), **what}), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    Fetcher(int(sys.argv[1]), Path(sys.argv[2])).run()
