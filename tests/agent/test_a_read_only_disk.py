"""A start on a disk that has become read-only: it scores and alarms, tells, and goes on with it."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.store.database import connect
from foreshock_agent.store.stand_in import is_read_only
from foreshock_wire import topics
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    Client,
    get,
    health_port,
    healthy,
    online,
    sample,
    wait_for,
    write_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock.brokers import Broker

EXTRA = "[limits.temperature]\nhigh = 90\n"
BEFORE, MEANWHILE, AFTER = range(40), range(40, 43), range(43, 80)
"""Minutes; those in the middle end a window of eight, and are too few to make one."""

pytestmark = pytest.mark.needs("mosquitto", "mount-rights")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def publish(client: Client, slots: range) -> None:
    client.publish_all(("plant/pump-1/sample", healthy(1, slot)) for slot in slots)


def raise_alarm(client: Client) -> str:
    """Publish what raises an alarm; return its message when the plant has it."""
    hot = [sample(slot, temperature=95.0, pressure=1.0) for slot in range(12)]
    client.publish_all(("plant/pump-7/sample", payload) for payload in hot)
    topic = topics.alarm(AT, "pump-7")
    wait_for(lambda: topic in client.latest, "the alarm")
    return client.latest[topic].decode()


@pytest.mark.parametrize("killed", [True, False], ids=["after a kill", "after a stop"])
def test_it_scores_alarms_and_tells_and_takes_the_disk_up_again(
    tmp_path: Path, disk: Path, local: Broker, *, killed: bool
) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "data").symlink_to(disk)
    agent = Agent(write_settings(tmp_path / "gate", local_port=local.port, extra=EXTRA))
    filters = (topics.status(AT), topics.any_alarm(AT), topics.any_score(AT))
    with agent, Client(local.port, *filters) as client:
        wait_for(lambda: online(client), "the agent's birth")
        publish(client, BEFORE)
        wait_for(lambda: agent.stored == 2 * len(BEFORE), "the first readings")
        agent.kill() if killed else agent.stop()
        remount(disk, "ro")
        client.latest.clear()
        agent.start()
        wait_for(lambda: online(client), "the birth on a read-only disk")
        port = health_port(client)
        status, said = get(port, "/healthz")
        assert status == 503
        assert "is read-only: readings are scored, not stored" in json.loads(said)["problem"]
        publish(client, MEANWHILE)
        score = topics.score(AT, "pump-1")
        wait_for(lambda: score in client.latest, "a score of windows that were begun on the disk")
        alarm = raise_alarm(client)
        metric = 'outcome="rejected",reason="disk_full",unit="readings"} 30.0'
        wait_for(lambda: metric in get(port, "/metrics")[1], "the rejected readings in /metrics")
        pid = agent.pid
        client.latest.clear()
        remount(disk, "rw")
        publish(client, AFTER)
        wait_for(lambda: agent.stored == 2 * len(BEFORE) + 2 * len(AFTER), "the readings after it")
        wait_for(lambda: topics.alarm(AT, "pump-7") in client.latest, "the alarm, told again")
        assert json.loads(client.latest[topics.alarm(AT, "pump-7")]) == json.loads(alarm)
        assert (agent.pid, agent.running) == (pid, True)
        assert agent.stop() == 0
    assert agent.ledger.broken == []
    accounts = agent.ledger.accounts
    assert accounts["readings.received"] == 2 * (len(BEFORE) + len(MEANWHILE) + len(AFTER) + 12)
    assert accounts["readings.rejected.disk_full"] == 2 * (len(MEANWHILE) + 12)
    with closing(connect(agent.settings.database, read_only=True)) as db:
        (body,) = db.execute("SELECT body FROM records WHERE stream = 'alarms'").fetchone()
    assert json.loads(body)["machine"] == "pump-7"


def test_another_users_database_is_not_stood_in_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = disk / "agent.db"
    database.touch()
    assert not is_read_only(database)
    remount(disk, "ro")
    assert is_read_only(database)
    monkeypatch.setattr("os.geteuid", lambda: database.stat().st_uid + 1)
    assert not is_read_only(database)
    assert not is_read_only(disk / "gone.db")


def test_a_first_start_on_one_says_so_and_ends(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "data").symlink_to(disk)
    remount(disk, "ro")
    agent = Agent(write_settings(tmp_path / "gate"))
    agent.start()
    wait_for(lambda: not agent.running, "the end")
    assert "Read-only file system" in agent.log
    assert "Traceback" not in agent.log
