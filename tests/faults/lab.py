"""A gateway and a centre of real processes, under load, and everything that can be done to them.

    plant -> Mosquitto -> cable -> AGENT -> cable -> Mosquitto -> INGEST -> lake

`Lab` owns them; `check` holds after every disturbance, `finish` compares what the plant published
with what stands in the lake, and the scores with those of a pipeline that nobody interrupted.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from foreshock.brokers import MosquittoBroker
from foreshock_agent.mqtt.link import Delivery
from foreshock_trainer.lake import Lake
from foreshock_wire import topics
from foreshock_wire.model import Model
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    BEGIN_NS,
    Bench,
    Client,
    Ledger,
    chunks,
    online,
    wait_for,
    write_settings,
)
from tests.faults.books import Books
from tests.faults.cable import Cable
from tests.faults.centre import Centre
from tests.faults.machines import COUNT, METER, STATE, Key, Message, Plant, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

COMMIT_S: Final = 0.4

EXTRA: Final = """\
[retention]
keep_delivered_h = 100000

[[sources]]
topic = "junk/{machine}/sample"
"""

Score = tuple[Any, ...]
"""(machine, window end in ns, model, margin, probability, novelty)."""


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
            f"{self.scores} scores equal; the broker's own: {self.brokers_loss} lost after its "
            f"PUBACK, {self.brokers_repeats} repeated after ours"
        )


class Lab:
    """The processes, the cables between them, and the dice; a context manager."""

    def __init__(
        self,
        folder: Path,
        model: bytes,
        seed: int,
        say: Callable[[str], None],
        *,
        broker_extra: str = "",
        client: str = "direct",
    ) -> None:
        self.folder, self.model, self.seed = folder, model, seed
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice
        self.tally = Tally()
        self._say = say
        self._broker_extra, self._client = broker_extra, client
        self._stack = ExitStack()
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        local_folder = self.folder / "local-broker"
        self.local = enter(MosquittoBroker(local_folder, extra=self._broker_extra))
        self.cloud = enter(MosquittoBroker(self.folder / "cloud-broker"))
        self.cable = enter(Cable(self.local.port))
        self.uplink = enter(Cable(self.cloud.port))
        config = settings(self.folder / "gate-1", self.cable.port, self.uplink.port, self._client)
        self.agent = Agent(config)
        self.agent.install(self.model)
        self._books, self._heard = Books(self.agent.settings.database), 0
        self.centre = Centre(self.folder, self.cloud)
        self._stack.callback(self.centre.close)
        shutil.copy(self.centre.signing.root, self.agent.settings.root_of_trust)
        enter(self.agent)
        self.watcher = enter(Client(self.local.port, topics.status(AT)))
        self.centre.start()
        wait_for(lambda: online(self.watcher), "the agent's birth")
        client = enter(Client(self.local.port))
        self.plant = Plant(client, random.Random(self.seed + 1))  # noqa: S311 - a test's dice
        self._stack.callback(self.plant.leave)
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
        time.sleep(self.dice.uniform(0, COMMIT_S))

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
        acknowledged = self.cable.heard.acknowledged[self._heard :]
        self._heard += len(acknowledged)
        self._books.look()
        lost = set(keys(acknowledged)) - self._books.keys
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
        while not self._commit_unheard():
            self.load()
        self.agent.kill()
        self._let_through()
        self.check()
        self.agent.start()

    def _commit_unheard(self) -> bool:
        """Hold the agent's words back over a commit; false if it gave the connection up before.

        (A machine that is very busy may not come to a commit while a connection is thought alive.)
        """
        connects, goal = self.cable.connects, self.agent.stored
        self.cable.hold_back()
        wait_for(
            lambda: self.agent.stored > goal or self.cable.connects > connects,
            "a commit, or a new connection",
        )
        if self.cable.connects == connects:
            return True
        self._let_through()
        return False

    def _let_through(self) -> None:
        """Let everything flow again, on new connections."""
        self.cable.cut()
        self.cable.thaw()

    def kill_broker(self) -> None:
        """Kill the machines' broker; what the watcher knows of the agent is from before."""
        self.local.kill()
        self.watcher.latest.clear()

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
        while before := self.agent.pending:
            wait_for(partial(self._pending_below, before), "the lake to take more")
        assert self.agent.stop() == 0
        assert self.centre.stop() == 0
        self.check()
        return self.agent.ledger

    def _pending_below(self, count: int) -> bool:
        return self.agent.pending < count

    def _wait_until_still(self) -> None:
        """Wait until a message of ours, the last that the broker has for it, is stored."""
        key = ("end", "of", BEGIN_NS)
        end = json.dumps({"t": BEGIN_NS, "of": 0}).encode()
        self.watcher.publish_all([("plant/end/sample", end)])
        wait_for(lambda: key in self.stored_keys(), "the last message")

    def stored_keys(self) -> set[Key]:
        """Return the readings that the agent has committed so far."""
        self._books.look()
        return self._books.keys

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


def in_turn(*steps: Callable[[], object]) -> Callable[[], object]:
    """Return one disturbance made of several."""
    return lambda: [step() for step in steps]


def check_arrived(lab: Lab, others: Sequence[Message] = ()) -> None:
    """Hold the lake against what the plant and others published: each once, the meters' too."""
    expected = set(keys([*lab.plant.sent, *others]))
    counted = [float(payload) for topic, payload in lab.plant.sent if topic.endswith(COUNT)]
    lab.tally.readings = len(lab.rows)
    lab.tally.lost = len(expected - set(lab.arrived))
    lab.tally.doubled = lab.arrived.total() - len(lab.arrived)
    assert lab.arrived == dict.fromkeys(expected, 1)
    assert lab.metered(COUNT) == dict.fromkeys(counted, 1)
    assert lab.metered(STATE) == {1.0: len(counted)}


def settings(folder: Path, local_port: int, cloud_port: int, client: str) -> Path:
    """Write settings under which a dead connection is noticed within seconds."""
    return write_settings(
        folder,
        local_port=local_port,
        cloud_port=cloud_port,
        local=f'keepalive_s = 2\nclient = "{client}"',
        windows="lateness_s = 60",
        commit=f"interval_s = {COMMIT_S}\nmessages = 200",
        batch_records=1000,
        extra=EXTRA,
    )


def uninterrupted(folder: Path, model: bytes, messages: Sequence[Message]) -> list[tuple[Any, ...]]:
    """Return (machine, time, model, margin, probability, novelty) that the stream gives."""
    bench = Bench(folder, Model.load(model), extra=EXTRA, windows="lateness_s = 60")
    for part in chunks(messages, 100):
        bench.step(
            *(Delivery(topic, payload, 0, 0, dup=False, connection=1) for topic, payload in part)
        )
    bench.commit()
    scores = Ledger.read(bench.settings.database).scores
    bench.close()
    return scores
