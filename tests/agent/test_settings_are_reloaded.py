"""SIGHUP: other settings take effect between two commits; a bad file leaves the last good ones."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.items import UseSettings
from foreshock_agent.reload import Outcome, plan
from foreshock_agent.settings import Settings, SettingsError, load
from foreshock_agent.sources import Sources
from foreshock_agent.store.database import looking
from foreshock_wire import topics
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    BEGIN_NS,
    MINUTE_NS,
    Bench,
    Client,
    Ledger,
    get,
    health_port,
    online,
    sample,
    wait_for,
    write_settings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock.brokers import Broker

MORE = '[[sources]]\ntopic = "more/{machine}/sample"\n'
HOT = "[limits.temperature]\nhigh = 90\n"


def test_what_changed_is_named_and_split_by_what_can_be_taken_over(tmp_path: Path) -> None:
    running = load(write_settings(tmp_path))
    wanted = load(
        write_settings(
            tmp_path,
            local_port=1999,
            local="keepalive_s = 7",
            commit="interval_s = 3\nmessages = 9",
            windows="lateness_s = 5",
            extra=HOT + MORE + "[health]\nport = 1\nstalled_s = 9\n[update]\nroot = '/root.json'",
        )
    )
    change = plan(running, wanted)
    assert set(change.applied) == {
        "commit.interval_s",
        "commit.messages",
        "health.stalled_s",
        "limits",
        "sources",
        "windows.lateness_s",
    }
    assert set(change.needs_restart) == {
        "health.port",
        "local.keepalive_s",
        "local.port",
        "update.root",
    }
    assert (change.settings.commit, change.settings.sources) == (wanted.commit, wanted.sources)
    assert (change.settings.local, change.settings.health.port) == (running.local, 0)
    assert plan(change.settings, wanted).applied == ()
    assert plan(running, running).needs_restart == ()


def test_a_change_that_goes_only_with_a_restart_is_refused_whole(tmp_path: Path) -> None:
    running = load(write_settings(tmp_path))
    text = write_settings(tmp_path, extra="[limits.torque]\nhigh = 1").read_text()
    path = tmp_path / "wanted.toml"
    path.write_text(text.replace('"pressure"]', '"pressure", "torque"]'))
    with pytest.raises(SettingsError, match=r"as a whole:(.|\n)*limits.torque: no such channel"):
        plan(running, load(path))


def test_an_outcome_says_what_it_came_to() -> None:
    assert str(Outcome(0, "x.toml is not TOML")) == (
        "refused, the last good ones run: x.toml is not TOML"
    )
    assert str(Outcome(0, "", ("limits", "sources"), ("local.port",))) == (
        "reloaded: limits, sources; needs a restart: local.port"
    )


def use(bench: Bench, settings: Settings) -> UseSettings:
    sources = Sources(settings.sources, settings.max_message_bytes, bench.machines.tracks)
    return UseSettings(settings, sources)


def test_what_came_before_is_judged_by_the_old_settings_and_what_comes_after_by_the_new(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, extra=HOT)
    slots = range(20)
    hot = [bench.delivery(sample(slot, temperature=95, pressure=60), "pump-1") for slot in slots]
    other = load(write_settings(tmp_path / "other", extra=HOT.replace("90", "99")))
    change = use(bench, other)
    bench.step(*hot[:12], change, *hot[12:])
    bench.commit()
    assert change.done.is_set()
    assert [one.packet_id for one in bench.acked] == [one.packet_id for one in hot]
    scores = Ledger.read(bench.settings.database).scores
    assert [margin for _, _, _, margin, _, _ in scores] == [1.0] * 4 + [-1.0] * 4
    bench.close()


def test_windows_cut_by_other_rules_are_rebuilt_from_what_is_stored(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra=HOT)
    bench.take(*(sample(slot, temperature=95, pressure=60) for slot in range(10)))
    longer = write_settings(tmp_path / "other", extra=HOT)
    longer.write_text(longer.read_text().replace("length = 8", "length = 12"))
    bench.step(use(bench, load(longer)))
    bench.take(*(sample(slot, temperature=95, pressure=60) for slot in range(10, 14)))
    ends = [(one[1] - BEGIN_NS) // MINUTE_NS for one in Ledger.read(bench.settings.database).scores]
    assert ends == [4, 6, 8, 10, 12], "the last two hold what was stored before"
    bench.close()


def gauge(port: int, name: str) -> float:
    line = next(
        line
        for line in get(port, "/metrics")[1].splitlines()
        if line.startswith(f"foreshock_agent_{name} ")
    )
    return float(line.split()[1])


def status(config: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "foreshock", "agent", "status", "--config", str(config)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("client", ["direct", "paho"])
def test_a_source_that_was_taken_out_while_the_agent_was_away_is_heard_no_more(
    tmp_path: Path, local: Broker, client: str
) -> None:
    """The session at the broker outlives the settings, `kill -9` and all."""
    write = partial(write_settings, tmp_path, local_port=local.port, local=f'client = "{client}"')
    with Client(local.port, topics.status(AT)) as publisher:
        with Agent(write(extra=MORE)) as agent:
            wait_for(lambda: online(publisher), "the agent's birth")
            publisher.publish_all([("more/pump-1/sample", sample(0, temperature=1))])
            wait_for(lambda: agent.stored == 1, "a message of the source")
            agent.kill()
        publisher.latest.clear()
        with Agent(write()) as agent:
            wait_for(lambda: online(publisher), "the next birth")
            publisher.publish_all([("plant/pump-1/sample", sample(1, temperature=1))])
            wait_for(lambda: agent.stored == 2, "a message of a source that stayed")
            publisher.publish_all([("more/pump-1/sample", sample(2, temperature=1))])
            publisher.publish_all([("plant/pump-1/sample", sample(3, temperature=1))])
            wait_for(lambda: agent.stored == 3, "the last message")
            # The first one may come again, if the kill came before its acknowledgement.
            with looking(agent.settings.database) as db:
                refused = db.execute("SELECT payload FROM quarantine").fetchall()
            assert {payload for (payload,) in refused} <= {sample(0, temperature=1)}


@pytest.mark.needs("mosquitto")
def test_a_running_agent_takes_a_good_file_and_goes_on_after_a_bad_one(
    tmp_path: Path, local: Broker
) -> None:
    write = partial(write_settings, tmp_path, local_port=local.port)
    config = write()
    agent = Agent(config)
    with agent, Client(local.port, topics.status(AT)) as client:
        port = health_port(client)
        client.publish_all([("more/pump-1/sample", sample(0, temperature=1))])
        config = write(extra=MORE, local="keepalive_s = 7")
        agent.reload()
        wait_for(lambda: gauge(port, "settings_need_restart") == 1, "the good file")
        client.publish_all([("more/pump-1/sample", sample(1, temperature=1, pressure=2))])
        wait_for(lambda: agent.stored == 2, "a message of the new source")

        good = config.read_text()
        config.write_text(good.replace("stride = 2", 'stride = "two"'))
        agent.reload()
        wait_for(lambda: gauge(port, "settings_refused") == 1, "the bad file")
        client.publish_all([("more/pump-1/sample", sample(2, temperature=1, pressure=2))])
        wait_for(lambda: agent.stored == 4, "a message after the bad file")
        assert "windows.stride" in agent.log
        config.write_text(good)
        said = status(config)["reload"]
        assert isinstance(said, dict)
        assert "windows.stride" in str(said["problem"])
        assert "the last good ones run" in str(said["said"])

        config = write(local="keepalive_s = 7")
        agent.reload()
        wait_for(lambda: gauge(port, "settings_refused") == 0, "the file without the source")
        client.publish_all([("more/pump-1/sample", sample(3, temperature=1))])
        client.publish_all([("plant/pump-1/sample", sample(4, temperature=1))])
        wait_for(lambda: agent.stored == 5, "a message of a source that stayed")
        received = agent.ledger.accounts["messages.received"]
        assert received == 3, "a topic of no source is no longer subscribed to"
        assert agent.stop() == 0
    with agent:
        wait_for(lambda: agent.ledger.broken == [], "the next start")
        wait_for(lambda: status(config)["reload"] is None, "a start that has read its file")
