"""The script that everybody writes first: paho, json, numpy, onnxruntime and SQLite.

A commit per reading (`sqlite`, and `wal` with the better journal), no reading stored at all
(`none`), or ThingsBoard Gateway's event storage (`thingsboard`). Scores are stored in all of them.
It prints "READINGS SCORES" ten times a second: what it has dealt with so far.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire.broker import BrokerAddress

NANOSECOND = 1_000_000_000
OUTPUTS = ["margin", "probability", "novelty"]


class Storage(Protocol):
    """Where readings go."""

    def put(self, machine: str, time_ns: int, values: dict[str, float]) -> None:
        """Take the readings of one message."""

    def count(self) -> int:
        """Return how many readings were dealt with."""


class NoStorage:
    """Readings that are only looked at."""

    def __init__(self) -> None:
        self._count = 0

    def put(self, _machine: str, _time_ns: int, values: dict[str, float]) -> None:
        """Count them."""
        self._count += len(values)

    def count(self) -> int:
        """Return how many came."""
        return self._count


class CommitEach(NoStorage):
    """A row and a commit for every reading."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__()
        self._db = db

    def put(self, machine: str, time_ns: int, values: dict[str, float]) -> None:
        """Store and commit each."""
        for channel, value in values.items():
            self._db.execute(
                "INSERT INTO readings VALUES (?, ?, ?, ?)", (machine, channel, time_ns, value)
            )
            self._db.commit()
        super().put(machine, time_ns, values)


class ThingsBoard:
    """ThingsBoard Gateway's SQLite event storage, with the settings that it comes with."""

    def __init__(self, folder: Path) -> None:
        import logging  # noqa: PLC0415 - with the storage that wants it

        from thingsboard_gateway.storage.sqlite.sqlite_event_storage import (  # noqa: PLC0415
            SQLiteEventStorage,
        )

        log = logging.getLogger("storage")
        log.trace = lambda *_, **__: None  # type: ignore[attr-defined]
        settings = {"data_file_path": f"{folder}/", "max_db_amount": 10}
        self._storage = SQLiteEventStorage(settings, log, threading.Event())
        self._file = folder / "data.db"

    def put(self, machine: str, time_ns: int, values: dict[str, float]) -> None:
        """Hand them to the storage's own thread, which commits later."""
        ts = time_ns // 1_000_000
        row = {"deviceName": machine, "telemetry": [{"ts": ts, "values": values}]}
        self._storage.put(json.dumps(row))

    def count(self) -> int:
        """Return how many rows are committed: a message of one reading is a row."""
        db = sqlite3.connect(self._file)
        try:
            return int(db.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])
        finally:
            db.close()


class Windows:
    """The last `length` steps of each machine, and a score every `stride` steps."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        spec = json.loads(self._session.get_modelmeta().custom_metadata_map["foreshock.spec"])
        self._column = {channel["id"]: at for at, channel in enumerate(spec["channels"])}
        self._length, self._stride = spec["length"], spec["stride"]
        self._machines: dict[str, deque[tuple[int, list[float]]]] = {}

    @staticmethod
    def load(model: Path) -> ort.InferenceSession:
        """Open the model file, for one thread."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        return ort.InferenceSession(str(model), options)

    def add(self, machine: str, time_ns: int, values: dict[str, float]) -> list[float] | None:
        """Take readings; return a score (margin, probability, novelty) if a window ended."""
        steps = self._machines.setdefault(machine, deque(maxlen=self._length))
        score = None
        if not steps or steps[-1][0] != time_ns:
            ended = time_ns // NANOSECOND % self._stride == 0
            if ended and len(steps) == self._length:
                score = self._score(np.array([[row for _, row in steps]], np.float32))
            steps.append((time_ns, [float("nan")] * len(self._column)))
        for channel, value in values.items():
            steps[-1][1][self._column[channel]] = value
        return score

    def _score(self, window: Any) -> list[float]:  # noqa: ANN401 - an array
        feed = {"window": window, "explain": np.array(False)}  # noqa: FBT003 - the model's input
        return [float(output[0]) for output in self._session.run(OUTPUTS, feed)]


class Script:
    """All of it, as paho's callbacks."""

    def __init__(self, folder: Path, model: Path, store: str) -> None:
        self._db = sqlite3.connect(folder / "plain.db", check_same_thread=False)
        if store == "wal":
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
        for table in ("readings (machine, channel, t, value)", "scores (machine, t, m, p, n)"):
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        self.storage: Storage = NoStorage()
        if store in {"sqlite", "wal"}:
            self.storage = CommitEach(self._db)
        elif store == "thingsboard":
            self.storage = ThingsBoard(folder / "storage")
        self._windows = Windows(Windows.load(model))
        self.scores = 0
        self.ready = threading.Event()

    def subscribed(self, *_: object) -> None:
        """The broker has confirmed it: nothing passes us by any more."""
        self.ready.set()

    def connected(self, client: mqtt.Client, *_: object) -> None:
        """Subscribe to every machine."""
        client.subscribe("single/+/sample", qos=1)

    def received(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        """Store a message's readings, and score the window that they ended."""
        machine = message.topic.split("/")[1]
        body = json.loads(message.payload)
        time_ns = body.pop("t")
        self.storage.put(machine, time_ns, body)
        score = self._windows.add(machine, time_ns, body)
        if score is None:
            return
        self._db.execute("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", (machine, time_ns, *score))
        self._db.commit()
        client.publish(f"scores/{machine}", json.dumps({"t": time_ns, "margin": score[0]}))
        self.scores += 1


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--store", choices=["sqlite", "wal", "none", "thingsboard"], required=True)
    options = parser.parse_args()
    script = Script(options.folder, options.model, options.store)
    broker: BrokerAddress = options.broker
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id="plain",
        clean_session=False,
        transport=broker.transport,
    )
    client.on_connect = script.connected
    client.on_subscribe = script.subscribed
    client.on_message = script.received
    client.connect(broker.place, broker.port)
    client.loop_start()
    script.ready.wait()
    while True:
        print(script.storage.count(), script.scores, flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
