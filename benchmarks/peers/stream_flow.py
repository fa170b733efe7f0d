"""The same windows and model as a dataflow of bytewax, fed by paho; no reading is stored.

It prints "READINGS SCORES" ten times a second, as `plain.py` does.
"""

from __future__ import annotations

import argparse
import json
import queue
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import bytewax.operators as op
import paho.mqtt.client as mqtt
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.peers.plain import Windows
from foreshock_wire.broker import BrokerAddress

AT_ONCE = 500
COUNT = {"readings": 0, "scores": 0}

Sample = tuple[int, dict[str, float]]


class Messages(DynamicSource[Any], StatelessSourcePartition[Any]):  # type: ignore[misc]
    """What the broker delivers, a list at a time."""

    def __init__(self, broker: BrokerAddress) -> None:
        self._broker = broker
        self._queue: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()

    def build(self, _step_id: str, _index: int, _count: int) -> Messages:
        """Connect, and return when the subscription is confirmed."""
        subscribed = threading.Event()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="flow",
            clean_session=False,
            transport=self._broker.transport,
        )
        client.on_connect = lambda client, *_: client.subscribe("single/+/sample", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: self._queue.put(message)
        client.connect(self._broker.place, self._broker.port)
        client.loop_start()
        subscribed.wait()
        threading.Thread(target=_tell, daemon=True).start()
        return self

    def next_batch(self) -> list[mqtt.MQTTMessage]:
        """Return what came."""
        return [self._queue.get() for _ in range(min(AT_ONCE, self._queue.qsize()))]


class Scores(DynamicSink[Any], StatelessSinkPartition[Any]):  # type: ignore[misc]
    """The scores, committed a list at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "plain.db"

    def build(self, _step_id: str, _index: int, _count: int) -> Scores:
        """Open the database, with the tables that `plain.py` has."""
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        for table in ("readings (machine, channel, t, value)", "scores (machine, t, m, p, n)"):
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        return self

    def write_batch(self, items: list[tuple[str, list[float]]]) -> None:
        """Store them."""
        rows = [(machine, *score) for machine, score in items]
        self._db.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", rows)
        self._db.commit()
        COUNT["scores"] += len(rows)


def decoded(message: mqtt.MQTTMessage) -> tuple[str, Sample]:
    """Return (machine, (time, values))."""
    body = json.loads(message.payload)
    return message.topic.split("/")[1], (body.pop("t"), body)


def flow_of(broker: BrokerAddress, folder: Path, model: Path) -> Dataflow:
    """Return the dataflow: decode, windows of each machine with their scores, store."""

    def advance(windows: Windows | None, sample: Sample) -> tuple[Windows, list[list[float]]]:
        windows = windows or Windows(shared)
        score = windows.add("", *sample)
        COUNT["readings"] += len(sample[1])
        return windows, [] if score is None else [[sample[0], *score]]

    shared = Windows.load(model)
    flow = Dataflow("foreshock")
    samples = op.map("decode", op.input("messages", flow, Messages(broker)), decoded)
    op.output("scores", op.stateful_flat_map("windows", samples, advance), Scores(folder))
    return flow


def _tell() -> None:
    while True:
        print(COUNT["readings"], COUNT["scores"], flush=True)
        time.sleep(0.1)


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args()
    run_main(flow_of(options.broker, options.folder, options.model))


if __name__ == "__main__":
    main()
