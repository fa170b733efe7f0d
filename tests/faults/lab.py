"""A gateway and a centre of real processes, under load, and everything that can be done to them.

    plant -> Mosquitto -> cable -> AGENT -> cable -> Mosquitto -> INGEST -> lake

`Lab` owns them; `check` holds after every disturbance, `finish` compares what the plant published
with what stands in the lake, and the scores with those of a pipeline that nobody interrupted.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from foreshock.brokers import MosquittoBroker
from foreshock_agent.link import Delivery
from foreshock_trainer.lake import Lake
from foreshock_wire import topics
from foreshock_wire.messages import BlockRequest, Desired, ModelRef, Report
from foreshock_wire.model import Model
from foreshock_wire.topics import Down, Up
from tests.agent.rig import (
    AT,
    BEGIN_NS,
    Agent,
    Bench,
    Client,
    Ledger,
    chunks,
    healthy,
    online,
    wait_for,
    write_settings,
)
from tests.faults.cable import Cable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import paho.mqtt.client as mqtt

MACHINES: Final = 3
PAUSE_S: Final = 0.01
CHANNELS: Final = ("temperature", "pressure")
METER: Final = "meter"
COUNT, STATE = "count", "state"
"""Two channels without a time of their own: one never repeats itself, one always does."""

EXTRA: Final = """\
[retention]
keep_delivered_h = 100000
"""

Score = tuple[Any, ...]
"""(machine, window end in ns, model, margin, probability, novelty)."""

Key = tuple[str, str, int]
"""(machine, channel, source time in ns)."""


class Plant(threading.Thread):
    """Publishes minute after minute until it is told to stop.

    A tenth of the messages come twice, a tenth a minute late; and two meters send bare numbers.
    """

    def __init__(self, client: Client, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._dice = dice
        self.stopping = threading.Event()
        self.sent: list[tuple[str, bytes]] = []
        self.acknowledged = 0
        client.paho.on_publish = self._acknowledged

    def run(self) -> None:
        """Publish."""
        slot = 0
        held: list[tuple[str, bytes]] = []
        while not self.stopping.wait(PAUSE_S):
            now = [
                (f"plant/pump-{one}/sample", healthy(one, slot))
                for one in range(MACHINES)
                for _ in range(2 if self._dice.random() < 0.1 else 1)
            ]
            late = [one for one in now if self._dice.random() < 0.1]
            for topic, payload in [*(one for one in now if one not in late), *held]:
                self._publish(topic, payload)
            held = late
            if slot % 3 == 0:
                self._publish(f"plain/{METER}/{COUNT}", b"%d" % slot)
                self._publish(f"plain/{METER}/{STATE}", b"1")
            slot += 1
        for topic, payload in held:
            self._publish(topic, payload)

    def _publish(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))
        self._client.publish(topic, payload)  # without a connection it waits for one

    def _acknowledged(self, *_: object) -> None:
        self.acknowledged += 1

    def stop(self) -> None:
        """Stop, and wait until the broker has acknowledged everything."""
        self.stopping.set()
        self.join()
        wait_for(lambda: self.acknowledged >= len(self.sent), "the broker's PUBACKs")


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
            sha256=sha256, size=len(model), block_bytes=16_384, name="m", version=str(self._counter)
        )
        desired = Desired(gateway=AT.gateway, counter=self._counter, model=ref)
        self._client.publish(topics.down(AT, Down.DESIRED), desired.to_bytes(), retain=True)

    def _hear(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        _, what = topics.parse_up(message.topic)
        if what is Up.REPORT:
            self.state = Report.from_bytes(message.payload).state
            return
        asked = BlockRequest.from_bytes(message.payload)
        at = asked.index * 16_384
        block = self._models[asked.sha256][at : at + 16_384]
        self._client.publish(topics.block(AT, asked.sha256, asked.index), block)

    def close(self) -> None:
        """Leave nothing behind."""
        self._client.__exit__()
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()


@dataclass(slots=True)
class Tally:
    """What was done and what came of it, for the line at the end."""

    done: Counter[str] = field(default_factory=Counter)
    readings: int = 0
    lost: int = 0
    doubled: int = 0
    brokers_loss: int = 0
    brokers_repeats: int = 0
    scores: int = 0

    def __str__(self) -> str:
        done = ", ".join(f"{count} x {what}" for what, count in sorted(self.done.items()))
        return (
            f"{done}: {self.readings} readings, {self.lost} lost, {self.doubled} doubled, "
            f"{self.scores} scores equal; lost by the broker itself {self.brokers_loss} "
            f"(of which it had acknowledged all), repeated by it {self.brokers_repeats}"
        )


class Lab:
    """The processes, the cables between them, and the dice; a context manager."""

    def __init__(self, folder: Path, model: bytes, seed: int, say: Callable[[str], None]) -> None:
        self.folder, self.model, self.seed = folder, model, seed
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice
        self.tally = Tally()
        self._say = say
        self._stack = ExitStack()
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self.local = enter(MosquittoBroker(self.folder / "local-broker"))
        self.cloud = enter(MosquittoBroker(self.folder / "cloud-broker"))
        self.cable = enter(Cable(self.local.port))
        self.uplink = enter(Cable(self.cloud.port))
        self.agent = Agent(settings(self.folder / "gate-1", self.cable.port, self.uplink.port))
        self.agent.install(self.model)
        enter(self.agent)
        self.watcher = enter(Client(self.local.port, topics.status(AT)))
        self.centre = Centre(self.folder, self.cloud)
        self._stack.callback(self.centre.close)
        self.centre.start()
        wait_for(lambda: online(self.watcher), "the agent's birth")
        client = enter(Client(self.local.port))
        self.plant = Plant(client, random.Random(self.seed + 1))  # noqa: S311 - a test's dice
        self._stack.callback(self.plant.stopping.set)
        self.plant.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        took = f"{time.monotonic() - self._began_s:.0f} s"
        if error is None:
            self._say(f"{self.tally}; {took}")
        else:
            self._say(f"FAILED with --seed {self.seed} after {self.tally}; {took}")

    # What can be done to them ----------------------------------------------------------------

    def load(self) -> None:
        """Let some more readings be stored, then wait for a random moment of the commit cycle."""
        goal = self.agent.stored + self.dice.randrange(100)
        wait_for(lambda: self.agent.stored > goal, "the agent to store")
        time.sleep(self.dice.uniform(0, 1.0))

    def disturb(self, ways: Mapping[str, Callable[[], object]], times: int) -> None:
        """Disturb so often, each way once before one comes again; under load, and checked."""
        left: list[str] = []
        for _ in range(times):
            left = left or self.dice.sample(list(ways), len(ways))
            what = left.pop()
            self.load()
            ways[what]()
            self.tally.done[what] += 1
            self.check()

    def check(self) -> None:
        """What holds at any moment: the accounts, and that what was acknowledged is stored."""
        acknowledged = set(keys(self.cable.heard.acknowledged))
        ledger = self.agent.ledger
        assert ledger.broken == []
        lost = acknowledged - set(ledger.readings)
        assert not lost, f"acknowledged and not stored: {sorted(lost)[:5]}"
        assert self.cable.heard.stray_acks == 0, "acknowledged what was not delivered"

    def restart(self) -> None:
        """Kill the agent and start it again."""
        self.agent.kill()
        self.check()
        self.agent.start()

    def kill_in_start(self) -> None:
        """Kill the agent, and the next one before it has come far."""
        self.restart()
        time.sleep(self.dice.uniform(0, 1.5))
        self.restart()

    def kill_unacknowledged(self) -> None:
        """Kill the agent after commits whose acknowledgements never reached the broker."""
        self.cable.hold_back()
        goal = self.agent.stored
        wait_for(lambda: self.agent.stored > goal, "a commit")
        self.agent.kill()
        self.cable.cut()
        self.cable.thaw()
        self.check()
        self.agent.start()

    def kill_worker(self) -> None:
        """Kill the ingest worker and start it again."""
        self.centre.kill()
        self.centre.start()

    def kill_in_update(self, model: bytes) -> None:
        """Kill the agent at a random moment of a change to this model."""
        self.centre.state = None
        self.centre.desire(model)
        wait_for(lambda: self.centre.state, "the update to begin")
        time.sleep(self.dice.uniform(0, 2.0))
        self.restart()

    def until_noticed(self) -> None:
        """Wait until the agent has given its connection up and asks for a new one."""
        before = self.cable.connects
        wait_for(lambda: self.cable.connects > before, "the agent to notice")

    # The end ---------------------------------------------------------------------------------

    def drain(self) -> Ledger:
        """Stop the plant, let everything arrive, stop the processes in order; return the books."""
        self.plant.stop()
        # Retained and in the order of publication: behind it nothing is on its way to the agent.
        wait_for(lambda: online(self.watcher), "the agent's birth")
        self._wait_until_still()
        wait_for(lambda: self.agent.pending == 0, "the lake to have everything")
        assert self.agent.stop() == 0
        assert self.centre.stop() == 0
        self.check()
        return self.agent.ledger

    def _wait_until_still(self) -> None:
        """Wait until a message of ours, the last that the broker has for it, is stored."""
        key = ("end", "of", BEGIN_NS)
        end = json.dumps({"t": BEGIN_NS, "of": 0}).encode()
        self.watcher.publish_all([("plant/end/sample", end)])
        wait_for(lambda: key in self.agent.ledger.readings, "the last message")

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The lake's readings in the order of arrival."""
        columns = ["machine", "channel", "time_ns", "value"]
        found: list[dict[str, Any]] = Lake(self.centre.lake).readings(columns=columns).to_pylist()
        return [row for row in found if row["machine"] != "end"]

    @property
    def arrived(self) -> Counter[Key]:
        """How often each reading that has a time of its own is in the lake."""
        return Counter(
            (row["machine"], row["channel"], row["time_ns"])
            for row in self.rows
            if row["machine"] != METER
        )

    def metered(self, channel: str) -> Counter[float]:
        """How often each value of a meter is in the lake."""
        return Counter(
            row["value"]
            for row in self.rows
            if (row["machine"], row["channel"]) == (METER, channel)
        )

    def check_scores(self, expected: Mapping[str, Sequence[Score]]) -> int:
        """Hold the lake's scores against each model's calm run; return how many there are.

        Every window once and in order, with the probability that the model named gives it.
        """
        columns = ["machine", "time_ns", "model", "probability"]
        rows = Lake(self.centre.lake).scores(columns=columns).to_pylist()
        windows = [score[:2] for score in next(iter(expected.values()))]
        for machine in {machine for machine, _ in windows}:
            times = [row["time_ns"] for row in rows if row["machine"] == machine]
            assert times == [time_ns for name, time_ns in windows if name == machine]
        known = {
            (sha256, machine, time_ns): np.float32(probability)
            for sha256, scores in expected.items()
            for machine, time_ns, _, _, probability, _ in scores
        }
        for row in rows:
            assert row["probability"] == known[row["model"], row["machine"], row["time_ns"]]
        return len(rows)


def check_arrived(lab: Lab) -> None:
    """Hold the lake against what the plant published: each reading once, the meters' too."""
    expected = set(keys(lab.plant.sent))
    counted = [float(payload) for topic, payload in lab.plant.sent if topic.endswith(COUNT)]
    lab.tally.readings = len(lab.rows)
    lab.tally.lost = len(expected - set(lab.arrived))
    lab.tally.doubled = lab.arrived.total() - len(lab.arrived)
    assert lab.arrived == dict.fromkeys(expected, 1)
    assert lab.metered(COUNT) == dict.fromkeys(counted, 1)
    assert lab.metered(STATE) == {1.0: len(counted)}


def settings(folder: Path, local_port: int, cloud_port: int | None = None) -> Path:
    """Write settings under which a dead connection is noticed within seconds."""
    return write_settings(
        folder,
        local_port=local_port,
        cloud_port=cloud_port,
        local="keepalive_s = 2",
        windows="lateness_s = 60",
        commit="interval_s = 1.0\nmessages = 200",
        extra=EXTRA,
    )


def keys(messages: Iterable[tuple[str, bytes]]) -> list[Key]:
    """Return the readings with a time of their own in these messages."""
    return [
        (topic.split("/")[1], channel, body["t"])
        for topic, payload in messages
        if topic.startswith("plant/")
        for body in [json.loads(payload)]
        for channel in body
        if channel != "t"
    ]


def uninterrupted(
    folder: Path, model: bytes, messages: Sequence[tuple[str, bytes]]
) -> list[tuple[Any, ...]]:
    """Return (machine, time, model, margin, probability, novelty) that the stream gives."""
    bench = Bench(folder, Model.load(model), extra=EXTRA, windows="lateness_s = 60")
    for part in chunks(messages, 100):
        bench.step(*(Delivery(*one, 0, 0, dup=False, connection=1) for one in part))
    bench.commit()
    scores = Ledger.read(bench.settings.database).scores
    bench.close()
    return scores
