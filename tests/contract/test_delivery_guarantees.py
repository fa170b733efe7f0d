"""What a gateway's promise rests on, shown on Mosquitto only.

The embedded broker (amqtt) loses unacknowledged QoS 1 messages when a connection drops, keeps no
queue for an absent anonymous client, and keeps nothing on disk. It cannot pass these and nothing
but demonstrations and smoke tests runs on it (docs/adr/0007).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import MosquittoBroker
from tests.contract.peer import WAIT_S, Peer, peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("mosquitto")
TOPIC = "plant/m1/sample"
AGENT = "agent-gw-1"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path) as running:
        yield running


def leave_a_session(broker: MosquittoBroker) -> None:
    """Be the agent once: subscribe in a persistent session, then go away."""
    with peer(broker, TOPIC, client_id=AGENT, clean=False):
        pass


def publish(broker: MosquittoBroker, count: int, *, size: int = 0) -> int:
    """Publish numbered messages; return how many were acknowledged."""
    with peer(broker) as plant:
        sent = [plant.client.publish(TOPIC, b"%d" % i + b" " * size, qos=1) for i in range(count)]
        deadline = time.monotonic() + WAIT_S
        for info in sent:
            info.wait_for_publish(max(0.001, deadline - time.monotonic()))
        return sum(info.is_published() for info in sent)


def numbers(agent: Peer, count: int) -> list[int]:
    return [int(message.payload) for message in agent.take(count)]


def test_unacknowledged_messages_come_again_with_their_packet_ids(
    mosquitto: MosquittoBroker,
) -> None:
    leave_a_session(mosquitto)
    publish(mosquitto, 5)
    with peer(mosquitto, client_id=AGENT, clean=False, manual_ack=True) as agent:
        first = agent.take(5)
        agent.acknowledge(*first[:2])
        agent.drop()
    with peer(mosquitto, client_id=AGENT, clean=False, manual_ack=True) as agent:
        again = agent.take(3)
        assert agent.session_present
    assert [int(m.payload) for m in again] == [2, 3, 4]
    assert [m.mid for m in again] == [m.mid for m in first[2:]]
    assert [m.dup for m in first] == [False] * 5
    assert [m.dup for m in again] == [True] * 3


def test_acknowledged_messages_do_not_come_again(mosquitto: MosquittoBroker) -> None:
    leave_a_session(mosquitto)
    publish(mosquitto, 3)
    with peer(mosquitto, client_id=AGENT, clean=False, manual_ack=True) as agent:
        agent.acknowledge(*agent.take(3))
    publish(mosquitto, 1)
    with peer(mosquitto, client_id=AGENT, clean=False) as agent:
        (message,) = agent.take(1)
    assert not message.dup


def test_a_queue_far_above_mosquittos_default_waits_for_an_absent_agent(
    mosquitto: MosquittoBroker,
) -> None:
    """The default of 1000 queued messages drops the rest after it has acknowledged them."""
    leave_a_session(mosquitto)
    assert publish(mosquitto, 3000) == 3000
    with peer(mosquitto, client_id=AGENT, clean=False) as agent:
        assert numbers(agent, 3000) == list(range(3000))


def test_a_restart_in_order_keeps_queue_session_and_retained(mosquitto: MosquittoBroker) -> None:
    leave_a_session(mosquitto)
    publish(mosquitto, 1500)
    with peer(mosquitto) as centre:
        centre.publish("desired", b"run this", retain=True)
    mosquitto.restart()
    with peer(mosquitto, client_id=AGENT, clean=False) as agent:
        assert agent.session_present
        assert numbers(agent, 1500) == list(range(1500))
    with peer(mosquitto, "desired") as late:
        assert late.take(1)[0].payload == b"run this"


def test_unacknowledged_messages_survive_a_restart_in_order(mosquitto: MosquittoBroker) -> None:
    leave_a_session(mosquitto)
    publish(mosquitto, 4)
    with peer(mosquitto, client_id=AGENT, clean=False, manual_ack=True) as agent:
        first = agent.take(4)
        agent.drop()
    mosquitto.restart()
    with peer(mosquitto, client_id=AGENT, clean=False, manual_ack=True) as agent:
        again = agent.take(4)
    assert [(m.mid, m.payload) for m in again] == [(m.mid, m.payload) for m in first]


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    """The timed save, forced here by a restart: what came after it is not promised."""
    with MosquittoBroker(tmp_path) as broker:
        leave_a_session(broker)
        publish(broker, 10)
        broker.restart()
        broker.kill()
        broker.start()
        with peer(broker, client_id=AGENT, clean=False) as agent:
            assert agent.session_present
            assert numbers(agent, 10) == list(range(10))


def test_a_full_broker_refuses_instead_of_dropping_what_it_acknowledged(tmp_path: Path) -> None:
    """At `memory_limit` the publisher loses its connection, so it knows and keeps the message."""
    with MosquittoBroker(tmp_path, extra="memory_limit 2000000") as broker:
        leave_a_session(broker)
        acknowledged = publish_until_refused(broker, size=10_000, at_most=1000)
        assert 10 < acknowledged < 1000
        with peer(broker, client_id=AGENT, clean=False) as agent:
            assert numbers(agent, acknowledged) == list(range(acknowledged))


def publish_until_refused(broker: MosquittoBroker, *, size: int, at_most: int) -> int:
    """Publish one message after the other until the broker hangs up; return the acknowledged."""
    with peer(broker) as plant:
        for i in range(at_most):
            info = plant.client.publish(TOPIC, b"%d" % i + b" " * size, qos=1)
            while not (info.is_published() or plant.lost.is_set()):
                time.sleep(0.001)
            if plant.lost.is_set():
                return i
    return at_most
