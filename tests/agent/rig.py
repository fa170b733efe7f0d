"""What the agent's tests are made of: settings, a pipeline on a real store, a client."""

from __future__ import annotations

import json
import queue
import sqlite3
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_agent.judging.scoring import Scorer
from foreshock_agent.mqtt.link import Delivery, Outgoing
from foreshock_agent.pipeline import Outside, Pipeline
from foreshock_agent.settings import Settings, load
from foreshock_agent.sources import Sources
from foreshock_agent.store.accounts import broken_laws
from foreshock_agent.store.chunks import stored_readings
from foreshock_agent.store.keeper import Keeper
from foreshock_agent.store.store import Store
from foreshock_agent.uplink.outbox import pending_records
from foreshock_wire import topics
from foreshock_wire.messages import Status
from foreshock_wire.topics import Gateway, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from foreshock_agent.items import Item
    from foreshock_wire.batch import Readings
    from foreshock_wire.model import Model

AT: Final = Gateway("works", "gate-1")
MINUTE_NS: Final = 60_000_000_000
BEGIN_NS: Final = 1_704_067_200_000_000_000
DEADLINE_S: Final = 60.0

TOML: Final = """\
site = "works"
gateway = "gate-1"
data_dir = "{folder}/data"
channels = ["temperature", "pressure"]

[local]
port = {local_port}
reconnect_max_s = 1
{local}

{cloud}
[[sources]]
topic = "plant/{{machine}}/sample"
adapter = "json_object"

[[sources]]
topic = "plain/{{machine}}/{{channel}}"
adapter = "number"

[windows]
period_s = 60
length = 8
stride = 2
{windows}

[commit]
{commit}

[uplink]
batch_records = {batch_records}
resend_s = 0.2
resend_max_s = 0.5

[alarms]
off_delay_s = 600

{extra}
"""


COMMIT: Final = "interval_s = 0.2\nmessages = 10"


def write_settings(
    folder: Path,
    *,
    local_port: int = 1883,
    cloud_port: int | None = None,
    local: str = "",
    windows: str = "",
    commit: str = COMMIT,
    batch_records: int = 100,
    extra: str = "",
) -> Path:
    """Write an agent's settings; `extra` is appended, the others stand in their sections."""
    folder.mkdir(parents=True, exist_ok=True)
    cloud = "" if cloud_port is None else f"[cloud]\nport = {cloud_port}\nreconnect_max_s = 1\n"
    path = folder / "agent.toml"
    path.write_text(
        TOML.format(
            folder=folder,
            local_port=local_port,
            cloud=cloud,
            local=local,
            windows=windows,
            commit=commit,
            batch_records=batch_records,
            extra=extra,
        )
    )
    return path


def sample(slot: int, **channels: float) -> bytes:
    """Return a sensor message of the minute `slot`."""
    return json.dumps({"t": BEGIN_NS + slot * MINUTE_NS, **channels}).encode()


def healthy(machine: int, slot: int) -> bytes:
    """Return a message whose values depend on nothing but the machine and the minute."""
    rng = np.random.default_rng([machine, slot])
    return sample(slot, temperature=50 + rng.normal(), pressure=60 + rng.normal())


def uneven(machine: int, slots: int = 160) -> list[bytes]:
    """Windows of every severity with missing cells; out of order, and some of them very late."""
    from foreshock_converter.sample import synthetic_windows  # noqa: PLC0415 - imports XGBoost

    windows, _, _ = synthetic_windows(slots // 8, 2, 8, seed=10 + machine)
    sent = _samples(np.concatenate(list(windows)))
    held_up = np.where(np.arange(slots) % 17 == 3, 9.0, 0.0)
    late = np.random.default_rng(machine).exponential(0.8, slots) + held_up
    return [sent[slot] for slot in np.argsort(np.arange(slots) + late)]


def alarming(model: Model) -> list[bytes]:
    """Return the messages of the window that the model finds worst, and one that makes it due."""
    from foreshock_converter.sample import synthetic_windows  # noqa: PLC0415 - imports XGBoost

    windows, _, _ = synthetic_windows(400, 2, 8, seed=1)
    worst = windows[int(np.argmax(model.run(windows).margin))]
    return _samples([*worst, worst[-1]])


def _samples(rows: Iterable[Iterable[float]]) -> list[bytes]:
    names = ("temperature", "pressure")
    return [
        sample(slot, **{n: float(v) for n, v in zip(names, row, strict=True) if not np.isnan(v)})
        for slot, row in enumerate(rows)
    ]


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.05)


class TestClock:
    """Time as the test says it is; 2026 at first."""

    __test__ = False

    def __init__(self) -> None:
        self.utc_ns = 1_780_000_000_000_000_000
        self.seconds = 0.0
        self.boot = "first"
        self.booted_ns = self.utc_ns - 600_000_000_000

    def now_ns(self) -> int:
        """Return UTC nanoseconds."""
        return self.utc_ns

    def monotonic_s(self) -> float:
        """Return seconds for timers."""
        return self.seconds

    def boot_ns(self) -> int:
        """Return nanoseconds since boot: a test that moves this clock sets no clock."""
        return self.utc_ns - self.booted_ns


class Bench:
    """A pipeline on a real store, with what it said to the world."""

    def __init__(
        self,
        folder: Path,
        model: Model | None = None,
        *,
        extra: str = "",
        windows: str = "",
        commit: str = COMMIT,
        batch_records: int = 100,
        utc_ns: int | None = None,
    ) -> None:
        config = write_settings(
            folder, windows=windows, commit=commit, batch_records=batch_records, extra=extra
        )
        self.settings: Settings = load(config)
        self.clock = TestClock()
        self.clock.utc_ns = self.clock.utc_ns if utc_ns is None else utc_ns
        self.acked: list[Delivery] = []
        self.published: list[Outgoing] = []
        self.store = Store(self.settings.database, self.clock.now_ns())
        self.scorer = Scorer(self.settings, model)
        self.free = self.settings.retention.min_free_bytes
        self.keeper = Keeper(self.store, self.settings, self.clock, free_bytes=lambda: self.free)
        self.pipeline = Pipeline(
            settings=self.settings,
            store=self.store,
            keeper=self.keeper,
            sources=Sources(self.settings.sources, self.settings.max_message_bytes),
            scorer=self.scorer,
            clock=self.clock,
            outside=Outside(self.acked.extend, self.published.extend, lambda: None),
        )
        self.machines = self.pipeline._machines  # noqa: SLF001 - to look at and to trim
        self._packet_id = 0

    def take(self, *payloads: bytes, machine: str = "pump-1") -> None:
        """Bring messages of one machine in, each in a step of its own, and commit."""
        for payload in payloads:
            self.step(self.delivery(payload, machine))
        self.commit()

    def delivery(self, payload: bytes, machine: str) -> Delivery:
        """Return a message as the broker would deliver it for the first time."""
        self._packet_id += 1
        topic = f"plant/{machine}/sample"
        return Delivery(topic, payload, self._packet_id, 1, dup=False, connection=1)

    def step(self, *items: Item) -> None:
        """Run one round of the pipeline."""
        self.pipeline.step(items)

    def commit(self) -> None:
        """Let the commit interval pass."""
        self.clock.seconds += 1.0
        self.step()

    def trim(self, keep_ns: int) -> bool:
        """Delete delivered readings, as far as a snapshot lets it."""
        self.store.begin()
        self.machines.save()
        return self.machines.trim(keep_ns)

    def close(self) -> None:
        """Leave as a killed process does: nothing more is committed."""
        self.store.close()


@dataclass(slots=True)
class Ledger:
    """What an agent's database holds, read by a connection of its own in one snapshot."""

    accounts: dict[str, int] = field(default_factory=dict)
    pending: dict[Stream, int] = field(default_factory=dict)
    readings: list[tuple[str, str, int]] = field(default_factory=list)
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    quarantined: int = 0

    @classmethod
    def read(cls, database: Path) -> Self:
        """Read it while the agent may be running."""
        db = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
        try:
            db.execute("BEGIN")
            return cls(
                dict(db.execute("SELECT name, value FROM accounts")),
                pending_records(db),
                [identity for batch in stored_readings(db) for identity in identities(batch)],
                list(
                    db.execute(
                        "SELECT machine, time_ns, model, margin, probability, novelty FROM scores "
                        "ORDER BY machine, epoch, seq"
                    )
                ),
                db.execute("SELECT count(*) FROM quarantine").fetchone()[0],
            )
        finally:
            db.close()

    @property
    def broken(self) -> list[str]:
        """Return the laws that do not hold."""
        return broken_laws(self.accounts, self.pending[Stream.READINGS])


def identities(batch: Readings) -> Iterator[tuple[str, str, int]]:
    """Yield (machine, channel, source time) of each reading of a batch."""
    columns = (batch.machine.tolist(), batch.channel.tolist(), batch.time_ns.tolist())
    for machine, channel, time_ns in zip(*columns, strict=True):
        yield batch.machines[machine], batch.channels[channel], time_ns


class Client:
    """A paho client that keeps what it received, newest payload by topic and all in order."""

    def __init__(self, port: int, *filters: str, client_id: str = "") -> None:
        self.messages: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
        self.retained: dict[str, bytes] = {}
        self.latest: dict[str, bytes] = {}
        self._filters = filters
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self.paho.on_connect = self._connected
        self.paho.on_message = self._received
        self.paho.reconnect_delay_set(1, 1)
        self.paho.max_inflight_messages_set(100)
        self.paho.connect_async("127.0.0.1", port, 30)
        self.paho.loop_start()
        wait_for(self.paho.is_connected, "a client's connection")

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        if self._filters:
            client.subscribe([(one, 1) for one in self._filters])

    def _received(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.latest[message.topic] = bytes(message.payload)
        if message.retain:
            self.retained[message.topic] = bytes(message.payload)
        self.messages.put(message)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> mqtt.MQTTMessageInfo:
        """Publish with QoS 1."""
        return self.paho.publish(topic, payload, qos=1, retain=retain)

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish with QoS 1 and wait until the broker has all."""
        for info in [self.publish(topic, payload) for topic, payload in messages]:
            info.wait_for_publish(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def online(client: Client) -> bool:
    """Say whether the agent's newest status is its birth."""
    payload = client.latest.get(topics.status(AT))
    return payload is not None and Status.from_bytes(payload).online


def health_port(client: Client) -> int:
    """Return where the agent says its health is served."""
    wait_for(lambda: online(client), "the agent's birth")
    port = Status.from_bytes(client.latest[topics.status(AT)]).health_port
    assert port is not None
    return port


def get(port: int, path: str) -> tuple[int, str]:
    """Return (status, body) of a GET on loopback."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut a sequence."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
