from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_wire import topics
from foreshock_wire.messages import Alarm, AlarmAction, AlarmCommand, AlarmState
from foreshock_wire.model import Model
from foreshock_wire.topics import Stream
from tests.agent.process import Agent
from tests.agent.rig import AT, Client, alarming, online, sample, wait_for, write_settings

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.brokers import Broker

pytestmark = pytest.mark.needs("mosquitto")
TOPIC = topics.alarm(AT, "pump-1")
COMMAND = topics.alarm_command(AT, "pump-1")


def state(client: Client) -> AlarmState | None:
    return Alarm.from_bytes(client.latest[TOPIC]).state if TOPIC in client.latest else None


def command(client: Client, action: AlarmAction) -> None:
    client.publish_all([(COMMAND, AlarmCommand(action=action, operator="ada").to_bytes())])


def test_an_alarm_with_its_reason_is_retained_obeys_and_outlives_a_kill(
    tmp_path: Path, local: Broker, model_bytes: bytes
) -> None:
    agent = Agent(write_settings(tmp_path, local_port=local.port))
    sha256 = agent.install(model_bytes)
    model = Model.load(model_bytes)
    with agent, Client(local.port, topics.status(AT), TOPIC) as client:
        wait_for(lambda: online(client), "the agent's birth")
        client.publish_all(("plant/pump-1/sample", one) for one in alarming(model))
        wait_for(lambda: TOPIC in client.latest, "the alarm")
        alarm = Alarm.from_bytes(client.latest[TOPIC])
        assert agent.ledger.pending[Stream.ALARMS] == 1, "the alarm came before its commit"
        assert alarm.state is AlarmState.UNACKNOWLEDGED
        assert alarm.source == "model"
        assert alarm.model == sha256
        assert alarm.probability is not None
        assert alarm.probability >= 0.5
        assert alarm.lead_time_h is not None
        assert list(alarm.lead_time_h) == sorted(alarm.lead_time_h)
        assert alarm.advice
        assert {reason.channel for reason in alarm.reasons} == {"temperature", "pressure"}
        contributions = [reason.contribution for reason in alarm.reasons]
        assert contributions == sorted(contributions, reverse=True)
        assert contributions[0] > 0

        command(client, AlarmAction.ACKNOWLEDGE)
        wait_for(lambda: state(client) is AlarmState.ACKNOWLEDGED, "the acknowledgement")
        agent.kill()
        wait_for(lambda: not online(client), "the agent's will")
        agent.start()
        wait_for(lambda: online(client), "the agent's return")
        command(client, AlarmAction.SHELVE)
        wait_for(lambda: state(client) is AlarmState.SHELVED, "the shelf")
        with Client(local.port, TOPIC) as late:
            wait_for(lambda: TOPIC in late.retained, "the retained alarm")
            shelved = Alarm.from_bytes(late.retained[TOPIC])
        assert (shelved.episode, shelved.state) == (1, AlarmState.SHELVED)
        assert shelved.reasons == alarm.reasons


def test_the_retained_alarm_is_published_again_when_the_broker_lost_it(
    tmp_path: Path, local: Broker
) -> None:
    limits = "[limits.temperature]\nhigh = 90"
    agent = Agent(write_settings(tmp_path, local_port=local.port, extra=limits))
    with agent, Client(local.port, topics.status(AT), TOPIC) as client:
        wait_for(lambda: online(client), "the agent's birth")
        hot = [sample(slot, temperature=95.0, pressure=7.0) for slot in range(10)]
        client.publish_all(("plant/pump-1/sample", one) for one in hot)
        wait_for(lambda: TOPIC in client.latest, "the alarm")
        alarm = Alarm.from_bytes(client.latest[TOPIC])
        assert alarm.source == "rule"
        assert alarm.model is None
        assert [(r.channel, r.value, r.healthy) for r in alarm.reasons] == [
            ("temperature", 95.0, 90.0)
        ]
        local.kill()
        for kept in local.folder.glob("mosquitto.db*"):
            kept.unlink()
        client.latest.clear()
        local.start()
        wait_for(lambda: TOPIC in client.latest, "the alarm again")
        with Client(local.port, TOPIC) as late:
            wait_for(lambda: TOPIC in late.retained, "the retained alarm")
            assert Alarm.from_bytes(late.retained[TOPIC]) == alarm
