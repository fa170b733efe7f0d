"""The brokers that we start ourselves: one address, loopback only, never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import Broker, BrokerError, EmbeddedBroker, MosquittoBroker, make_broker
from foreshock.brokers.ports import PORTS, answers, free_port
from tests.contract.conftest import KINDS
from tests.contract.peer import WAIT_S, peer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARENT = """
import sys, time
from pathlib import Path
from foreshock.brokers import make_broker
broker = make_broker(sys.argv[1], Path(sys.argv[2]))
broker.start()
print(broker.port, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=KINDS)
def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    return make_broker(request.param, tmp_path / "broker")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.02)


def carries_messages(broker: Broker) -> bool:
    with peer(broker, "a/b") as one, peer(broker) as other:
        other.publish("a/b", b"hello")
        return one.take(1)[0].payload == b"hello"


def test_it_comes_and_goes_on_the_same_port(stopped: Broker) -> None:
    port = stopped.port
    ends = [stopped.stop, stopped.kill, stopped.stop]
    for end in ends:
        stopped.start()
        assert (stopped.running, stopped.port) == (True, port)
        assert carries_messages(stopped)
        end()
        assert not stopped.running
        assert not answers(stopped.host, port)


def test_a_client_that_waits_comes_back_by_itself(stopped: Broker) -> None:
    with stopped, peer(stopped) as waiting:
        waiting.client.reconnect_delay_set(1, 1)
        stopped.stop()
        wait_for(lambda: not waiting.client.is_connected(), "the client notices")
        stopped.start()
        wait_for(waiting.client.is_connected, "the client is back")


def test_start_and_stop_may_be_said_twice(stopped: Broker) -> None:
    stopped.stop()
    with stopped:
        stopped.start()
        assert stopped.running
    stopped.stop()
    assert not stopped.running


def test_it_listens_on_loopback_only(stopped: Broker) -> None:
    with stopped, socket.socket() as link:
        assert answers("127.0.0.1", stopped.port)
        link.settimeout(1)
        # All of 127/8 reaches this machine, so a listener on every interface would answer here.
        assert link.connect_ex(("127.0.0.2", stopped.port)) != 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_does_not_outlive_its_parent(kind: str, how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, kind, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert answers("127.0.0.1", port)
        os.kill(parent.pid, how)
        parent.wait(WAIT_S)
    wait_for(lambda: not answers("127.0.0.1", port), "the broker is gone")


def test_a_port_that_is_taken_is_named(stopped: Broker, tmp_path: Path) -> None:
    with stopped:
        second = type(stopped)(tmp_path / "second", stopped.port)
        with pytest.raises(BrokerError, match=f"another broker .* 127.0.0.1:{stopped.port}"):
            second.start()


def test_a_port_that_something_else_holds_is_named(stopped: Broker) -> None:
    with socket.socket() as holder:
        holder.bind((stopped.host, stopped.port))
        holder.listen()
        with pytest.raises(BrokerError, match=rf"127.0.0.1:{stopped.port} ended with code"):
            stopped.start()
    assert not stopped.running


@pytest.mark.needs("mosquitto")
def test_a_setting_that_mosquitto_does_not_know_is_shown(tmp_path: Path) -> None:
    broker = MosquittoBroker(tmp_path, extra="frobnicate true")
    with pytest.raises(BrokerError, match="frobnicate"):
        broker.start()


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="'rabbit': choose one of embedded, mosquitto"):
        make_broker("rabbit", tmp_path)


def test_a_missing_mosquitto_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_named: None)
    with pytest.raises(BrokerError, match="apt install mosquitto"):
        MosquittoBroker(tmp_path).start()


def test_a_missing_amqtt_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreshock.brokers.kinds.find_spec", lambda _name: None)
    with pytest.raises(BrokerError, match=r"foreshock\[demo\]"):
        EmbeddedBroker(tmp_path).start()


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(20)}
    assert all(port in PORTS for port in ports)
    assert PORTS.stop <= 32_768
    assert len(ports) > 1


def test_a_frozen_one_answers_nobody_and_goes_on_or_ends(stopped: Broker) -> None:
    with stopped:
        stopped.freeze()
        assert not answers(stopped.host, stopped.port, timeout_s=0.2)
        stopped.thaw()
        assert answers(stopped.host, stopped.port)
        stopped.freeze()
        stopped.stop()
        assert not stopped.running
