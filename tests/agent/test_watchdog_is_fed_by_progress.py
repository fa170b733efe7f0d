"""systemd's watchdog is fed while the stages move or have nothing to do, not by being alive."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Self

import pytest

from foreshock_agent.notify import Supervisor
from tests.agent.process import Agent
from tests.agent.rig import DEADLINE_S, Client, healthy, wait_for, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock.brokers import Broker

FAST = "[health]\nstalled_s = 0.5"


class Systemd:
    """The other end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(DEADLINE_S)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def until(self, wanted: Callable[[str], bool]) -> list[str]:
        """Return what was said before the message that is wanted, and that message."""
        heard = [self.hear()]
        while not wanted(heard[-1]):
            heard.append(self.hear())
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with Systemd(tmp_path / "notify") as one:
        for name, value in one.environ.items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.mark.needs("mosquitto")
def test_a_stuck_pipeline_starves_the_watchdog_and_one_that_moves_again_feeds_it(
    tmp_path: Path, local: Broker, systemd: Systemd
) -> None:
    agent = Agent(write_settings(tmp_path, local_port=local.port, extra=FAST))
    with agent, Client(local.port) as client:
        assert systemd.hear() == "READY=1"
        for _ in range(5):  # a silent plant is not a fault
            assert systemd.hear() == "WATCHDOG=1"
        client.publish_all([("plant/pump-1/sample", healthy(1, 0))])
        wait_for(lambda: agent.stored == 2, "the first readings")
        with closing(sqlite3.connect(agent.settings.database, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")  # as a disk that does not answer
            client.publish_all([("plant/pump-1/sample", healthy(1, 1))])
            stuck = systemd.until(lambda what: what.startswith("STATUS="))
        assert stuck[-1] == "STATUS=no move for 0.5 s: the pipeline"
        assert systemd.hear() == "STATUS="  # and not one feed while it was stuck
        assert systemd.hear() == "WATCHDOG=1"
        wait_for(lambda: agent.stored == 4, "what had waited")
        assert agent.stop() == 0
        assert systemd.until(lambda what: what != "WATCHDOG=1")[-1] == "STOPPING=1"


@pytest.mark.needs("mosquitto")
def test_brokers_that_are_away_do_not_starve_it(
    tmp_path: Path, local: Broker, systemd: Systemd
) -> None:
    slower = "[health]\nstalled_s = 2"  # the updater looks once a second when nothing comes
    config = write_settings(tmp_path, local_port=local.port, cloud_port=local.port, extra=slower)
    with Agent(config) as agent, Client(local.port):
        assert systemd.hear() == "READY=1"
        local.stop()
        for _ in range(80):  # twice as long as a stage may take
            assert systemd.hear() == "WATCHDOG=1"
        assert agent.stop() == 0


def test_without_systemd_nothing_is_said(systemd: Systemd) -> None:
    quiet = Supervisor({})
    quiet.ready()
    quiet.report("stuck")
    assert quiet.feed_every_s is None
    told = Supervisor(systemd.environ)
    assert told.feed_every_s == pytest.approx(0.05)
    told.stopping()
    assert systemd.hear() == "STOPPING=1"


def test_a_watchdog_that_watches_somebody_else_is_not_fed(systemd: Systemd) -> None:
    other = {**systemd.environ, "WATCHDOG_PID": str(os.getppid())}
    assert Supervisor(other).feed_every_s is None
    assert Supervisor({**other, "WATCHDOG_PID": str(os.getpid())}).feed_every_s is not None


def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    """An address in the abstract namespace, as systemd gives it to a service in a container."""
    name = f"@foreshock-{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind("\0" + name[1:])
        abstract.settimeout(DEADLINE_S)
        Supervisor({"NOTIFY_SOCKET": name}).ready()
        assert abstract.recv(64) == b"READY=1"
