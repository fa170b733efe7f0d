from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreshock_wire import topics
from foreshock_wire.messages import Status
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    Bench,
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
    from pathlib import Path

    from foreshock.brokers import Broker


LABELS = ("unit", "outcome", "reason")


def scrape(port: int) -> dict[tuple[str, ...], float]:
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (one.name, *(one.labels[name] for name in LABELS if name in one.labels)): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


@pytest.mark.needs("mosquitto")
def test_a_running_agent_shows_its_accounts_and_its_health(
    tmp_path: Path, local: Broker, model_bytes: bytes
) -> None:
    agent = Agent(write_settings(tmp_path, local_port=local.port))
    agent.install(model_bytes)
    with agent, Client(local.port, topics.status(AT)) as client:
        port = health_port(client)
        client.publish_all(("plant/pump-1/sample", healthy(1, slot)) for slot in range(20))
        client.publish_all([("plant/pump-1/sample", b"{")])
        name = "foreshock_agent_accounts_total"
        rejected = (name, "messages", "rejected", "malformed")
        wait_for(lambda: scrape(port).get(rejected), "the last message")
        seen = scrape(port)
        assert seen[name, "messages", "received", ""] == 21
        assert seen[name, "readings", "stored", ""] == 40
        assert seen[("foreshock_agent_machines",)] == 1
        assert seen[("foreshock_agent_has_model",)] == 1
        assert seen[("foreshock_agent_local_connected",)] == 1
        assert seen[("foreshock_agent_callback_errors",)] == 0
        status, body = get(port, "/healthz")
        assert status == 200
        assert json.loads(body)["ok"] is True
        assert get(port, "/nowhere")[0] == 404

        local.stop()
        wait_for(lambda: get(port, "/healthz")[0] == 503, "the loss to be seen")
        assert "local broker" in json.loads(get(port, "/healthz")[1])["problem"]
        local.start()
        wait_for(lambda: get(port, "/healthz")[0] == 200, "the recovery")


@pytest.mark.needs("mosquitto")
def test_sigterm_says_goodbye_and_ends_well(tmp_path: Path, local: Broker) -> None:
    agent = Agent(write_settings(tmp_path, local_port=local.port))
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        client.publish_all(("plant/pump-1/sample", healthy(1, slot)) for slot in range(5))
        wait_for(lambda: agent.stored, "readings")
        assert agent.stop() == 0
        wait_for(lambda: not online(client), "the goodbye", 5)
        goodbye = Status.from_bytes(client.latest[topics.status(AT)])
        assert goodbye.health_port is None
        assert agent.stored == 10
    assert agent.log == ""


def test_sigterm_ends_an_agent_whose_brokers_are_away(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, and nobody listens
        agent = Agent(write_settings(tmp_path, local_port=port, cloud_port=port))
        with agent:
            wait_for(agent.settings.database.exists, "the database")
            wait_for(lambda: _has_epoch(agent), "the start")
            assert agent._end(signal.SIGTERM) == 0  # noqa: SLF001 - it must not take 20 s


def _has_epoch(agent: Agent) -> bool:
    try:
        return bool(agent.ledger.pending)
    except Exception:  # noqa: BLE001 - half made
        return False


def status_of(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foreshock", "agent", "status", "--config", str(config)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_status_tells_a_person_and_a_machine_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra="[limits.temperature]\nhigh = 90")
    bench.take(*[sample(slot, temperature=95.0, pressure=7.0) for slot in range(10)])
    bench.close()
    shown = status_of(tmp_path / "agent.toml", "--json")
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout.splitlines()[-1])
    assert report["accounts"]["readings.stored"] == 20
    assert report["pending"]["readings"] == 20
    assert report["pending"]["alarms"] == 1
    assert report["machines"] == 1
    assert report["model"] is None
    assert report["broken_laws"] == []
    assert report["alarms"] == [{"machine": "pump-1", "state": "unacknowledged", "episode": 1}]
    human = status_of(tmp_path / "agent.toml").stdout
    assert "pump-1: unacknowledged (episode 1)" in human
    assert "none (limits)" in human
    assert "readings.stored" in human


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_status_fails_when_the_accounts_do_not_add_up(tmp_path: Path, options: list[str]) -> None:
    bench = Bench(tmp_path)
    bench.take(healthy(1, 0))
    bench.store.accounts.add("readings.received")
    bench.store.commit()
    bench.close()
    shown = status_of(tmp_path / "agent.toml", *options)
    assert shown.returncode == 1
    assert "broken: readings: received 3" in shown.stderr


def test_status_before_the_first_run_says_so(tmp_path: Path) -> None:
    shown = status_of(write_settings(tmp_path))
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: ")
    assert "has the agent run" in shown.stderr


@pytest.mark.parametrize(
    ("extra", "named"),
    [("[health]\nport = {port}", "health.port"), ('[health]\nhost = "no.such.host.invalid"', "")],
)
def test_an_agent_that_cannot_start_says_why_without_a_traceback(
    tmp_path: Path, extra: str, named: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = write_settings(tmp_path, extra=extra.format(port=taken.getsockname()[1]))
        command = [sys.executable, "-m", "foreshock", "agent", "run", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr
