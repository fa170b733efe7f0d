"""kill -9 at random moments under load on a real Mosquitto: nothing lost, nothing double.

The measure of the scores is the same stream through a pipeline that nobody interrupts.
"""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from foreshock_wire import topics
from foreshock_wire.model import Model
from tests.agent.rig import (
    AT,
    BEGIN_NS,
    MINUTE_NS,
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

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.brokers import Broker

MACHINES = 3
PAUSE_S = 0.01
KILLS = 5

Message = tuple[int, int, bytes]
"""(machine, slot, payload)."""


class Plant(threading.Thread):
    """Publishes minute after minute until it is told to stop; a tenth of the messages twice."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._chance = random.Random(7)  # noqa: S311 - a test's dice
        self.stopping = threading.Event()
        self.sent: list[Message] = []

    def run(self) -> None:
        slot = 0
        while not self.stopping.wait(PAUSE_S):
            for machine in range(MACHINES):
                payload = healthy(machine, slot)
                for _ in range(2 if self._chance.random() < 0.1 else 1):
                    self._client.publish(f"plant/pump-{machine}/sample", payload)
                    self.sent.append((machine, slot, payload))
            slot += 1

    @property
    def published(self) -> set[tuple[str, str, int]]:
        return {
            (f"pump-{machine}", channel, BEGIN_NS + slot * MINUTE_NS)
            for machine, slot, _ in self.sent
            for channel in ("temperature", "pressure")
        }


def uninterrupted(folder: Path, model: bytes, sent: list[Message]) -> list[tuple[Any, ...]]:
    bench = Bench(folder, Model.load(model))
    for part in chunks(sent, 100):
        bench.step(*(bench.delivery(payload, f"pump-{machine}") for machine, _, payload in part))
    bench.commit()
    scores = Ledger.read(bench.settings.database).scores
    bench.close()
    return scores


@pytest.mark.needs("mosquitto")
@pytest.mark.timeout(300)
def test_killed_five_times_under_load_it_has_stored_and_scored_all_once(
    tmp_path: Path, local: Broker, model_bytes: bytes
) -> None:
    dice = random.Random(20261123)  # noqa: S311 - a test's dice
    agent = Agent(write_settings(tmp_path / "gate-1", local_port=local.port))
    agent.install(model_bytes)
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        plant = Plant(client)
        plant.start()
        for _ in range(KILLS):
            goal = agent.stored + dice.randrange(60)
            wait_for(partial(lambda goal: agent.stored > goal, goal), "the agent to store")
            time.sleep(dice.uniform(0, 0.05))  # where in the commit cycle it dies
            agent.kill()
            assert agent.ledger.broken == []
            agent.start()
        plant.stopping.set()
        plant.join()
        wait_for(lambda: agent.stored >= len(plant.published), "all readings")
        assert agent.stop() == 0
    ledger = agent.ledger
    assert set(ledger.readings) == plant.published
    assert len(ledger.readings) == len(plant.published)
    assert ledger.broken == []
    assert ledger.accounts["readings.stored"] == len(plant.published)
    scores = uninterrupted(tmp_path / "uninterrupted", model_bytes, plant.sent)
    assert ledger.scores == scores
    assert len(scores) > MACHINES * 20


@pytest.mark.needs("mosquitto")
def test_what_came_while_the_agent_was_away_is_there_when_it_returns(
    tmp_path: Path, local: Broker
) -> None:
    agent = Agent(write_settings(tmp_path / "gate-1", local_port=local.port))
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        assert agent.stop() == 0
        wait_for(lambda: not online(client), "the agent's goodbye")
        client.publish_all([("plant/pump-1/sample", healthy(1, slot)) for slot in range(500)])
        agent.start()
        wait_for(lambda: agent.stored == 1000, "all readings")
        assert agent.stop() == 0
    assert agent.ledger.broken == []


@pytest.mark.needs("mosquitto")
def test_a_broker_that_restarts_in_order_costs_nothing(tmp_path: Path, local: Broker) -> None:
    agent = Agent(write_settings(tmp_path / "gate-1", local_port=local.port))
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        for part in range(3):
            client.publish_all(
                ("plant/pump-1/sample", healthy(1, part * 100 + slot)) for slot in range(100)
            )
            local.restart()
            wait_for(client.paho.is_connected, "the publisher's return")
        wait_for(lambda: agent.stored == 600, "all readings")
        assert agent.stop() == 0
    assert agent.ledger.broken == []


@pytest.mark.needs("mosquitto")
def test_poison_never_stops_the_stream(tmp_path: Path, local: Broker) -> None:
    poison = [
        b"",
        b"\xff\xfe",
        b"{" * 5000,
        b'{"t": NaN, "temperature": 1}',
        b'{"t": 1, "temperature": NaN}',
        b'{"t": 1e300, "Temp \\ud800": 1e999}',
        b'{"t": 5, "temperature": 1' + b"0" * 5000 + b"}",
        b"x" * 300_000,
    ]
    agent = Agent(write_settings(tmp_path / "gate-1", local_port=local.port))
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        client.publish_all(("plant/pump-1/sample", one) for one in poison)
        client.publish_all([("plant/Pump One/sample", b"{}"), ("plain/m/C", b"1")])
        client.publish_all(
            [(f"{AT.root}/machines/pump-1/alarm/command", one) for one in poison[:3]]
        )
        client.publish_all([("plant/pump-1/sample", healthy(1, 0))])
        wait_for(lambda: agent.stored == 2, "the good reading")
        assert agent.running
        assert agent.stop() == 0
    ledger = agent.ledger
    assert ledger.broken == []
    assert ledger.accounts["messages.received"] == len(poison) + 3
    assert ledger.accounts["messages.stored"] == 1
    assert ledger.quarantined == len(poison) + 2
    assert ledger.accounts["commands.rejected"] == 3
