"""Power cuts: whatever was not synced is gone or torn, and what was acknowledged is there.

A real agent runs under strace, is killed and started again; each of its calls is a moment at which
the power may go. What the disk may hold then is written out and opened by the next agent.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from foreshock.brokers import MosquittoBroker
from foreshock_wire import topics
from tests.agent.process import Agent
from tests.agent.rig import (
    AT,
    Bench,
    Client,
    Ledger,
    healthy,
    online,
    sample,
    wait_for,
    write_settings,
)
from tests.faults import trace
from tests.faults.cable import PUBACK, Cable, Frames
from tests.faults.machines import keys
from tests.faults.power import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.faults.machines import Key, Message
    from tests.faults.trace import Call

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.needs("strace")]

KEPT: Final = (0.0, 1.0, 0.5, 0.1, 0.9)
MESSAGES: Final = 400


class Life(NamedTuple):
    """One process, from its start to its `kill -9`: its trace, and what it acknowledged."""

    trace: Path
    acknowledged: Sequence[Message]


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[Life]]:
    """Record two lives of an agent; return its data folder, and them."""
    with MosquittoBroker(tmp_path / "broker") as broker, Cable(broker.port) as cable:
        agent = Agent(write_settings(tmp_path / "gate-1", local_port=cable.port))
        with Client(broker.port, topics.status(AT)) as client:
            lives = [live(agent, cable, client, tmp_path / f"trace-{n}", n) for n in range(2)]
        return agent.settings.data_dir, lives


def live(agent: Agent, cable: Cable, client: Client, out: Path, number: int) -> Life:
    """Let the agent live, load it, and kill it while it is at work."""
    before = len(cable.heard.acknowledged)
    client.latest.clear()
    agent.start(trace.command(out))
    wait_for(lambda: online(client), "the agent's birth")
    goal = agent.stored + MESSAGES
    slots = range(number * MESSAGES, (number + 1) * MESSAGES)
    client.publish_all(("plant/pump-1/sample", healthy(1, slot)) for slot in slots)
    wait_for(lambda: agent.stored > goal, "half of the readings")
    agent.kill()
    cable.cut()
    return Life(out, cable.heard.acknowledged[before:])


@pytest.mark.timeout(1800)
def test_whatever_was_acknowledged_outlives_a_power_cut(
    recorded: tuple[Path, list[Life]],
    tmp_path: Path,
    cuts: int,
    seed: int,
    say: Callable[[str], None],
) -> None:
    data_dir, lives = recorded
    moments = list(moments_of(lives))
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    at = Counter(dice.choices(range(len(moments)), k=cuts))
    disk, found = Disk(data_dir), 0
    for number, (call, acknowledged) in enumerate(moments):
        disk.replay(call)
        for _ in range(at[number]):
            found += len(acknowledged)
            missing, broken = after_a_cut(disk, tmp_path / "cut", dice, acknowledged)
            assert (missing, broken) == (set(), []), f"cut at call {number}: {call}"
    assert found > 10 * cuts
    say(f"{cuts} power cuts at {len(moments)} moments: {found} acknowledged messages, 0 missing")
    assert lost_by_a_disk_that_lies(data_dir, moments, tmp_path / "lie"), "nothing could be lost"


def moments_of(lives: Sequence[Life]) -> Iterator[tuple[Call, Sequence[Message]]]:
    """Yield each call with what was acknowledged when it was made, and when it had ended."""
    before: list[Message] = []
    for life in lives:
        sockets: defaultdict[tuple[str, ...], Frames] = defaultdict(Frames)
        so_far, count = before, 0
        for call in trace.calls(life.trace):
            if call.name == "sendto" and call.ended:
                said = sockets[call.paths].feed(call.data[: call.result])
                if acks := sum(first == PUBACK for first, _ in said):
                    count += acks
                    so_far = [*before, *life.acknowledged[:count]]
            yield call, so_far
        before = so_far


def after_a_cut(
    disk: Disk, folder: Path, dice: random.Random, acknowledged: Sequence[Message]
) -> tuple[set[Key], list[str]]:
    """Start an agent on what is left, and let it go on: what is missing, which laws are broken."""
    disk.cut(folder / "data", dice, dice.choice(KEPT))
    bench = Bench(folder)
    bench.take(sample(10 * MESSAGES, temperature=50.0, pressure=60.0))
    ledger = Ledger.read(bench.settings.database)
    bench.close()
    shutil.rmtree(folder)
    return set(keys(acknowledged)) - set(ledger.readings), ledger.broken


def lost_by_a_disk_that_lies(
    data_dir: Path, moments: Sequence[tuple[Call, Sequence[Message]]], folder: Path
) -> set[Key]:
    """Return what is lost at the end where a sync is answered and not done."""
    disk, dice = Disk(data_dir), random.Random(0)  # noqa: S311 - a test's dice
    for call, _ in moments:
        if call.name not in {"fsync", "fdatasync"} or call.paths == (str(data_dir),):
            disk.replay(call)
    disk.cut(folder / "data", dice, 0.0)
    bench = Bench(folder)
    ledger = Ledger.read(bench.settings.database)
    bench.close()
    return set(keys(moments[-1][1])) - set(ledger.readings)
