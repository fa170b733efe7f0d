"""A gateway reduced to its updater: `python edge.py HOST PORT SITE GATEWAY FOLDER ROOT CHANNELS`.

It lives until it is killed. Tests that need the whole agent start the whole agent.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_agent.update.fetch import Pacing
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trust import Trust
from foreshock_agent.update.updater import Updater
from foreshock_wire import topics


class Edge:
    """One updater on a real connection."""

    def __init__(
        self,
        host: str,
        port: int,
        at: topics.Gateway,
        folder: Path,
        *,
        root: Path,
        channels: list[str],
    ) -> None:
        self.at = at
        self.store = ModelStore(folder)
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edge-{at.site}-{at.gateway}",
            clean_session=False,
            protocol=mqtt.MQTTv311,
        )
        self.updater = Updater(
            at,
            self.store,
            Trust(folder / "metadata", root),
            channels=channels,
            publish=self._publish,
            swap=lambda _: None,
            pacing=Pacing(first_s=0.5, longest_s=2.0),
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.connect_async(host, port)

    def start(self) -> None:
        self.updater.start()
        self.client.loop_start()

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.updater.stop()

    def _publish(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:  # noqa: ANN401
        filters = [
            *(topics.halt(), topics.down(self.at, topics.Down.DESIRED)),
            *(topics.any_block(self.at), topics.any_file(self.at)),
        ]
        client.subscribe([(topic, 1) for topic in filters])
        self.updater.report()

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:  # noqa: ANN401
        if message.topic == topics.down(self.at, topics.Down.DESIRED):
            self.updater.on_desired(message.payload)
        elif message.topic == topics.halt():
            self.updater.on_halt(message.payload)
        elif topics.is_file(message.topic):
            self.updater.on_file(message.topic, message.payload)
        else:
            self.updater.on_block(message.topic, message.payload)


if __name__ == "__main__":
    host, port, site, gateway, folder, root, channels = sys.argv[1:]
    at = topics.Gateway(site, gateway)
    edge = Edge(host, int(port), at, Path(folder), root=Path(root), channels=channels.split(","))
    edge.start()
    signal.pause()
