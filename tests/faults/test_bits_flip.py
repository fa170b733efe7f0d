"""What a disk does to the database: nothing altered arrives, nothing vanishes unnoticed."""

from __future__ import annotations

import random
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import make_broker
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.store.accounts import DAMAGES
from foreshock_wire import topics
from foreshock_wire.messages import Status
from tests.agent.process import Agent
from tests.agent.rig import AT, Client, healthy, online, wait_for, write_settings
from tests.faults.damage import Tally, Trial, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = 4096
STORED = 80


@pytest.mark.timeout(3600)
def test_damaged_anywhere_it_goes_on_and_tells_what_is_lost(
    tmp_path: Path, flips: int, seed: int, say: Callable[[str], None]
) -> None:
    filled = fill(tmp_path)
    tally = Tally()
    for number in range(flips):
        trial = Trial(filled, tmp_path / "trial", random.Random(f"{seed} {number}"))  # noqa: S311
        try:
            trial.run()
            trial.check(tally)
            assert trial.scored_after_s > 0
        except BaseException as error:
            error.add_note(f"trial {number} of seed {seed}: {trial.how}")
            raise
        shutil.rmtree(tmp_path / "trial")
    say(tally.said())
    assert tally.put_aside
    assert tally.lost
    assert tally.harmless


@pytest.mark.needs("mosquitto")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is dead"])
def test_an_agent_whose_database_is_overwritten_begins_anew_by_itself(
    tmp_path: Path, say: Callable[[str], None], *, running: bool
) -> None:
    with make_broker("mosquitto", tmp_path / "broker") as broker:
        agent = Agent(write_settings(tmp_path / "edge", local_port=broker.port))
        with Client(broker.port, topics.status(AT), topics.any_score(AT)) as client, agent:
            wait_for(lambda: online(client), "the agent's birth")
            publish(client, 0, 40)
            wait_for(lambda: agent.stored == STORED, "the readings")
            topic = topics.score(AT, "pump-1")
            wait_for(lambda: topic in client.latest, "a score")
            scored = client.latest[topic]
            if not running:
                agent.kill()
            overwrite(agent.settings.database)
            begin_s = time.monotonic()
            if not running:
                agent.start()
            quarantine = Quarantine.of(agent.settings.database)
            wait_for(quarantine.entries, "the quarantine")
            publish(client, 40, 50)
            wait_for(lambda: client.latest[topic] != scored, "a score")
            say(f"scoring again {time.monotonic() - begin_s:.2f} s after it was overwritten")
            wait_for(lambda: agent.stored == STORED + 20, "the readings after the damage")
            assert agent.running
            assert agent.stop() == 0
            assert agent.ledger.broken == []
            assert [entry.what for entry in quarantine.entries()] == ["a database"]
            assert Status.from_bytes(client.latest[topics.status(AT)]).lost[DAMAGES] == 1


def publish(client: Client, begin: int, end: int) -> None:
    messages = [("plant/pump-1/sample", healthy(1, slot)) for slot in range(begin, end)]
    client.publish_all(messages)


def overwrite(database: Path) -> None:
    """Write nonsense over both files, from the second page on."""
    for file in (database, database.with_name(database.name + "-wal")):
        size = file.stat().st_size
        if size > PAGE:
            with file.open("r+b") as content:
                content.seek(PAGE)
                content.write(random.Random(1).randbytes(size - PAGE))  # noqa: S311
