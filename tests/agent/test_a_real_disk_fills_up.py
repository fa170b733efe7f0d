"""The agent's process on a file system that is full, and under write errors; both come and go."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from foreshock_trainer.lake import Lake
from foreshock_wire import topics
from foreshock_wire.topics import Stream
from tests.agent.disks import gateway_on, mounted, raise_alarm
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    Client,
    get,
    health_port,
    healthy,
    online,
    wait_for,
    write_settings,
)
from tests.agent.sent_to_a_lake import assert_whole, dropped, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock.brokers import Broker

EXTRA = """
[retention]
min_free_bytes = 1_000_000
ballast_bytes = 400_000
hold_s = 1

[limits.temperature]
high = 90
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 6 MB."""
    with mounted(tmp_path / "disk", "6m") as disk:
        yield disk


@pytest.fixture
def centre(tmp_path: Path, local: Broker) -> Iterator[Path]:
    """Let an ingest worker fill a lake from the broker; yield where that is."""
    lake = tmp_path / "lake"
    command = ["-m", "foreshock", "trainer", "ingest", "--broker", local.address]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, *command, "--lake", str(lake)], stdout=log, stderr=log
        )
    yield lake
    worker.terminate()
    assert worker.wait(30) == 0


def fill(disk: Path) -> Path:
    """Take all the room that there is; return the file that has it."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return hog


def problem(port: int) -> str:
    return str(json.loads(get(port, "/healthz")[1])["problem"])


def publish(client: Client, slots: range, machine: int = 1) -> int:
    topic = f"plant/pump-{machine}/sample"
    client.publish_all((topic, healthy(machine, slot)) for slot in slots)
    return len(slots)


def told(agent: Agent) -> int:
    """How many messages are stored, or rejected for want of a disk."""
    accounts = agent.ledger.accounts
    return accounts["messages.stored"] + accounts.get("messages.rejected.disk_full", 0)


@pytest.mark.needs("mosquitto", "mount-rights")
def test_a_full_disk_stops_neither_scores_nor_alarms_and_the_lake_adds_up(
    tmp_path: Path, small_disk: Path, local: Broker, centre: Path
) -> None:
    agent = gateway_on(small_disk, tmp_path, local.port, cloud_port=local.port, extra=EXTRA)
    with agent, Client(local.port, topics.status(AT), topics.any_alarm(AT)) as client:
        port = health_port(client)
        sent = publish(client, range(100))
        wait_for(lambda: agent.stored == 200, "the first readings")
        wait_for((small_disk / "ballast").exists, "the ballast")
        hog = fill(small_disk)
        sent += publish(client, range(100, 600))
        wait_for(lambda: "not stored" in problem(port), "the trouble to be told")
        assert get(port, "/healthz")[0] == 503
        raise_alarm(client, "pump-7")
        sent += publish(client, range(600, 900)) + 12
        assert agent.running
        hog.unlink()
        wait_for(lambda: not problem(port), "the recovery")
        sent += publish(client, range(900, 1_000))
        wait_for(lambda: told(agent) == sent, "every message to be told")
        wait_for(lambda: not agent.pending, "all to be in the lake")
        assert agent.stop() == 0
    assert (small_disk / "ballast").stat().st_size == 400_000
    accounts = agent.ledger.accounts
    assert agent.ledger.broken == []
    assert accounts["messages.rejected.disk_full"] > 0
    lake = Lake(str(centre))
    assert_whole(lake)
    assert rows(lake, Stream.READINGS) == accounts["readings.delivered"] > 200
    assert rows(lake, Stream.ALARMS) == accounts["alarms.delivered"] > 0
    assert dropped(lake, Stream.ALARMS) == 0


@pytest.mark.needs("mosquitto", "mount-rights")
def test_an_agent_starts_on_a_full_disk_by_giving_up_its_ballast(
    tmp_path: Path, small_disk: Path, local: Broker
) -> None:
    agent = gateway_on(small_disk, tmp_path, local.port, extra=EXTRA)
    with agent, Client(local.port, topics.status(AT), topics.any_alarm(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        publish(client, range(100))
        wait_for(lambda: agent.stored == 200, "the first readings")
        agent.kill()
        fill(small_disk)
        client.latest.clear()
        agent.start()
        wait_for(lambda: online(client), "the birth on a full disk")
        raise_alarm(client, "pump-7")
        assert agent.running
        assert agent.stop() == 0
        assert agent.ledger.broken == []


@pytest.mark.needs("mosquitto")
def test_write_errors_come_and_go(tmp_path: Path, local: Broker) -> None:
    """A limit on file sizes makes each write fail as a broken disk does (SQLITE_IOERR)."""
    agent = Agent(write_settings(tmp_path, local_port=local.port, extra=EXTRA))
    with agent, Client(local.port, topics.status(AT), topics.any_alarm(AT)) as client:
        port = health_port(client)
        sent = publish(client, range(100))
        wait_for(lambda: agent.stored == 200, "the first readings")
        before = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        sent += publish(client, range(100, 400))
        wait_for(lambda: "disk I/O error" in problem(port), "the trouble to be told")
        raise_alarm(client, "pump-7")
        sent += 12
        assert agent.running
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, before)
        wait_for(lambda: not problem(port), "the recovery")
        sent += publish(client, range(400, 500))
        wait_for(lambda: told(agent) == sent, "every message to be told")
        assert agent.stop() == 0
        assert agent.ledger.broken == []
        with closing(agent._db()) as db:  # noqa: SLF001 - the alarm waited in memory for the disk
            assert db.execute("SELECT count(*) FROM records WHERE stream='alarms'").fetchone()[0]
