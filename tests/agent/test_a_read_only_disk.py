"""A start on a disk that has become read-only: it scores and alarms, tells, and goes on with it."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.store.database import connect
from foreshock_agent.store.stand_in import is_read_only, writable
from foreshock_wire import topics
from tests.agent.disks import gateway_on, mounted, raise_alarm, remount
from tests.agent.rig import (
    AT,
    Client,
    get,
    health_port,
    healthy,
    online,
    wait_for,
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
    with mounted(tmp_path / "disk", "90m") as folder:
        yield folder


def publish(client: Client, slots: range) -> None:
    client.publish_all(("plant/pump-1/sample", healthy(1, slot)) for slot in slots)


@pytest.mark.parametrize("killed", [True, False], ids=["after a kill", "after a stop"])
def test_it_scores_alarms_and_tells_and_takes_the_disk_up_again(
    tmp_path: Path, disk: Path, local: Broker, *, killed: bool
) -> None:
    agent = gateway_on(disk, tmp_path, local.port, extra=EXTRA)
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
        alarm = raise_alarm(client, "pump-7")
        metric = 'outcome="rejected",reason="disk_full",unit="readings"} 30.0'
        wait_for(lambda: metric in get(port, "/metrics")[1], "the rejected readings in /metrics")
        pid = agent.pid
        client.latest.clear()
        agent.config.write_text("spoiled")
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


def test_another_users_database_is_not_stood_in_for(disk: Path) -> None:
    database, another = disk / "agent.db", disk / "another.db"
    database.touch()
    another.touch()
    os.chown(another, os.geteuid() + 1, -1)
    assert not is_read_only(database)
    remount(disk, "ro")
    assert is_read_only(database)
    assert not is_read_only(another)
    assert not is_read_only(disk / "gone.db")


def test_what_was_sent_meanwhile_counts_for_the_days_budget(tmp_path: Path, disk: Path) -> None:
    settings = gateway_on(disk, tmp_path).settings
    settings.database.touch()
    settings.uplink_spent.write_text("before")
    remount(disk, "ro")
    with writable(settings, lambda: settings) as place:
        spent = place.settings.uplink_spent
        assert spent != settings.uplink_spent
        assert spent.read_text() == "before"
        spent.write_text("after")
        remount(disk, "rw")
    assert settings.uplink_spent.read_text() == "after"


def test_a_first_start_on_one_says_so_and_ends(tmp_path: Path, disk: Path) -> None:
    remount(disk, "ro")
    agent = gateway_on(disk, tmp_path)
    agent.start()
    wait_for(lambda: not agent.running, "the end")
    assert "Read-only file system" in agent.log
    assert "Traceback" not in agent.log
