"""Many gateways in one process, a hundred per connection, each with the agent's own updater.

`python -m benchmarks.fleet_gateways HOST PORT FOLDER FIRST COUNT`, started by `benchmarks.fleet`.
Their disks, signatures, blocks and transitions are real; the self-test runs in this process, for a
child per gateway would measure Python's start. `wake` on the standard input wakes who is silent,
its end ends all; the last line is one JSON object.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_agent.update.errors import InterruptedTrialError, TrialError
from foreshock_agent.update.fetch import Pacing
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trust import Trust
from foreshock_agent.update.updater import Updater
from foreshock_wire import topics
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock_agent.update.trial import Limits

PER_CONNECTION: Final = 100
SLOW_S: Final = 5.0
CHANNELS_FILE: Final = "channels.json"


def gateway(number: int) -> Gateway:
    """Return the address of a gateway; every tenth belongs to a site that no rollout selects."""
    return Gateway("spare" if number % 10 == 9 else "works", f"gw-{number}")  # noqa: PLR2004


def kind(number: int) -> str:
    """Return what is special about a gateway: of a hundred 5 are slow, 3 fail, 2 are silent."""
    if gateway(number).site == "spare":
        return "spare"
    place = number % 100
    if place in {3, 23, 43, 63, 83}:
        return "slow"
    return {15: "failing", 45: "failing", 75: "failing", 37: "silent", 87: "silent"}.get(
        place, "plain"
    )


class Simulated:
    """One gateway: the agent's updater with its own disk."""

    def __init__(self, number: int, folder: Path, publish: Callable[[str, bytes], None]) -> None:
        self.at, self._kind = gateway(number), kind(number)
        self._publish = publish
        self.awake, self.connected = True, False
        home = folder / "gateways" / self.at.gateway
        self.updater = Updater(
            self.at,
            ModelStore(home / "models"),
            Trust(home / "metadata", folder / "fleet" / "root.json"),
            channels=json.loads((folder / CHANNELS_FILE).read_text()),
            publish=self._send,
            swap=lambda _: None,
            pacing=Pacing(first_s=5.0, longest_s=20.0),
            session=f"{number:08x}",
            self_test=self._self_test,
        )

    def _send(self, topic: str, payload: bytes) -> None:
        if self.awake:
            self._publish(topic, payload)

    def _self_test(
        self, path: Path, _: Sequence[str], __: Limits, cancelled: Callable[[], bool]
    ) -> None:
        if self._kind == "failing":
            raise TrialError(f"self-test: {path.name[:12]} does not fit this machine")
        if self._kind == "slow" and threading.Event().wait(SLOW_S):
            return
        if cancelled():
            raise InterruptedTrialError("something newer came")

    def connect(self) -> None:
        """Say that this gateway is there; who is silent says it once."""
        self.updater.report()
        if self._kind == "silent" and not self.connected:
            self.awake = False
        self.connected = True

    def wake(self) -> None:
        """Hear and speak again."""
        if not self.awake:
            self.awake = True
            self.updater.report()

    def take(self, topic: str, payload: bytes) -> None:
        """Take what came for this gateway."""
        if not self.awake:
            return
        if topic == topics.down(self.at, topics.Down.DESIRED):
            self.updater.on_desired(payload)
        elif topics.is_file(topic):
            self.updater.on_file(topic, payload)
        else:
            self.updater.on_block(topic, payload)


class Connection:
    """The gateways of one MQTT connection."""

    def __init__(self, host: str, port: int, folder: Path, numbers: Sequence[int]) -> None:
        self.counts: Counter[str] = Counter()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"gateways-{numbers[0]}",
            clean_session=False,
            protocol=mqtt.MQTTv311,
        )
        self._by_root = {
            one.at.root: one for one in (Simulated(n, folder, self._publish) for n in numbers)
        }
        self.client.max_inflight_messages_set(200)
        self.client.reconnect_delay_set(1, 2)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.connect_async(host, port, keepalive=30)

    def start(self) -> None:
        """Begin to live."""
        for one in self._by_root.values():
            one.updater.start()
        self.client.loop_start()

    def wake(self) -> None:
        """Wake whoever is silent; the broker says again what it retained."""
        for one in self._by_root.values():
            one.wake()
        self._subscribe()

    def _publish(self, topic: str, payload: bytes) -> None:
        self.counts["up"] += 1
        self.client.publish(topic, payload, qos=1)

    def _on_connect(self, *_: Any) -> None:  # noqa: ANN401 - paho's
        self._subscribe()
        for one in self._by_root.values():
            one.connect()

    def _subscribe(self) -> None:
        for one in self._by_root.values():
            what = [
                topics.down(one.at, topics.Down.DESIRED),
                *(topics.any_block(one.at), topics.any_file(one.at)),
            ]
            self.client.subscribe([(topic, 1) for topic in what])

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:  # noqa: ANN401 - paho's
        self.counts["down"] += 1
        root = message.topic.partition("/down/")[0]
        self._by_root[root].take(message.topic, bytes(message.payload))


def main(arguments: Sequence[str]) -> None:
    """Be some gateways until the standard input ends."""
    logging.disable(logging.WARNING)
    host, port, folder, first, count = arguments
    numbers = range(int(first), int(first) + int(count))
    parts = [numbers[i : i + PER_CONNECTION] for i in range(0, len(numbers), PER_CONNECTION)]
    connections = [Connection(host, int(port), Path(folder), part) for part in parts]
    for one in connections:
        one.start()
    for line in sys.stdin:
        if line.strip() == "wake":
            for one in connections:
                one.wake()
    total: Counter[str] = sum((one.counts for one in connections), Counter())
    print(json.dumps(total), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
