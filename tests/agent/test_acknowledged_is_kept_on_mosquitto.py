"""On a real Mosquitto: absence and poison cost nothing that was sent (kills: tests/faults/)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_wire import topics
from tests.agent.process import Agent
from tests.agent.rig import AT, Client, healthy, online, wait_for, write_settings

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.brokers import Broker


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
