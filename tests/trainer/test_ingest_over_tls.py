"""The worker reaches a broker that wants TLS and a login, or by its socket, and trusts no other."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from foreshock_trainer.worker import IngestWorker
from foreshock_wire.broker import BrokerAddress
from tests.secured import USER, Secured, secured_broker
from tests.sockets import socket_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock_trainer.lake import Lake

DEADLINE_S = 30


@pytest.fixture
def secured(tmp_path: Path, mosquitto_binary: str) -> Iterator[Secured]:
    with secured_broker(tmp_path, mosquitto_binary) as running:
        yield running


def connects(lake: Lake, address: BrokerAddress, *, wanted: int, for_s: float) -> int:
    """Run a worker until it has connected as often as wanted, or for a while."""
    worker = IngestWorker(lake, address, (0,))
    thread = threading.Thread(target=worker.run)
    thread.start()
    end_s = time.monotonic() + for_s
    while worker.counters()["connects"] < wanted and time.monotonic() < end_s:
        time.sleep(0.02)
    worker.stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    return worker.counters()["connects"]


@pytest.mark.needs("mosquitto")
def test_tls_and_a_login_let_the_worker_in(secured: Secured, lake: Lake) -> None:
    address = BrokerAddress.parse(
        f"mqtts://127.0.0.1:{secured.port}",
        ca_file=secured.ca,
        username=USER,
        password_file=secured.password,
    )
    assert connects(lake, address, wanted=1, for_s=DEADLINE_S) == 1


@pytest.mark.needs("mosquitto")
def test_a_socket_lets_the_worker_in(tmp_path: Path, lake: Lake) -> None:
    with socket_broker(tmp_path / "broker") as broker:
        address = BrokerAddress.parse(broker.socket)
        assert connects(lake, address, wanted=1, for_s=DEADLINE_S) == 1


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*SSLSocket:ResourceWarning")
@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("wrong", ["another authority", "no login", "no TLS"])
def test_without_them_nobody_comes_in(
    secured: Secured, lake: Lake, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = "mqtt" if wrong == "no TLS" else "mqtts"
    address = BrokerAddress.parse(
        f"{tls}://127.0.0.1:{secured.port}",
        ca_file={"another authority": secured.other_ca, "no login": secured.ca}.get(wrong),
        username=None if wrong == "no login" else USER,
        password_file=None if wrong == "no login" else secured.password,
    )
    assert connects(lake, address, wanted=1, for_s=1.0) == 0
    assert f"127.0.0.1:{secured.port}" in caplog.text
