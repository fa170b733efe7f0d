"""The gateway's clock at 1970, and set forward and back: noted, and nothing else disturbed."""

from __future__ import annotations

import json
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from foreshock_agent.clock import ClockWatch, boot_id
from foreshock_agent.store.database import connect
from foreshock_wire import topics
from foreshock_wire.messages import ClockKind, ClockNoted
from foreshock_wire.topics import Stream
from tests.agent.process import Agent
from tests.agent.rig import AT, Bench, Client, healthy, online, sample, wait_for, write_settings

if TYPE_CHECKING:
    from foreshock.brokers import Broker

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3600 * SECOND_NS
NOW_NS: Final = 1_780_000_000 * SECOND_NS


def test_a_clock_that_runs_or_is_slewed_is_no_news() -> None:
    watch = ClockWatch("b")
    assert watch.look(NOW_NS, 0) is None
    for second in range(1, 100):
        slewed_ns = second * (SECOND_NS + 500_000)
        assert watch.look(NOW_NS + slewed_ns, second * SECOND_NS) is None


@pytest.mark.parametrize("step_ns", [5 * HOUR_NS, -5 * HOUR_NS, 2 * SECOND_NS])
def test_a_step_is_noted_once(step_ns: int) -> None:
    watch = ClockWatch("b")
    assert watch.look(NOW_NS, 0) is None
    noted = watch.look(NOW_NS + SECOND_NS + step_ns, SECOND_NS)
    assert noted is not None
    assert (noted.kind, noted.step_ns, noted.boot) == (ClockKind.SET, step_ns, "b")
    assert watch.look(NOW_NS + 2 * SECOND_NS + step_ns, 2 * SECOND_NS) is None


def test_a_clock_without_its_time_is_noted_and_so_is_the_time_it_gets() -> None:
    watch = ClockWatch("b")
    unset = watch.look(30 * SECOND_NS, 10 * SECOND_NS)
    assert unset is not None
    assert (unset.kind, unset.step_ns) == (ClockKind.UNSET, 0)
    now_set = watch.look(NOW_NS, 11 * SECOND_NS)
    assert now_set is not None
    assert (now_set.kind, now_set.step_ns) == (ClockKind.SET, NOW_NS - 31 * SECOND_NS)


def test_the_boot_is_what_systemd_or_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "boot-id").write_text("from-systemd\n")
    assert boot_id(str(tmp_path)) == "from-systemd"
    assert boot_id(None) == boot_id(str(tmp_path / "none"))


def notes(bench: Bench) -> list[ClockNoted]:
    bodies = bench.store._db.execute("SELECT body FROM records WHERE stream = ?", (Stream.EVENTS,))  # noqa: SLF001
    return [ClockNoted.model_validate(json.loads(body)) for (body,) in bodies]


def test_a_note_says_which_readings_came_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(*(sample(slot, temperature=1.0, pressure=2.0) for slot in range(3)))
    bench.step(bench.delivery(sample(3, temperature=1.0, pressure=2.0), "pump-1"))
    bench.clock.utc_ns -= HOUR_NS
    bench.clock.booted_ns -= HOUR_NS
    bench.take(sample(4, temperature=1.0, pressure=2.0))
    (noted,) = notes(bench)
    assert (noted.step_ns, noted.readings_seq, noted.boot) == (-HOUR_NS, 9, "first")
    assert bench.store.accounts["clock.clock_set"] == 1
    bench.close()


def set_by(clock: Path, offset_ns: int) -> None:
    """Set the agent's wall clock: never half written, as it is read at any moment."""
    temp = clock.with_suffix(".temp")
    temp.write_text(str(offset_ns))
    temp.replace(clock)


def stores(agent: Agent, count: int) -> bool:
    return agent.stored == count


def stamped(agent: Agent, machine: str) -> list[int]:
    """Return the stamps of a machine's readings in the order of arrival."""
    return [time_ns for name, _, time_ns in agent.ledger.readings if name == machine]


@pytest.mark.needs("mosquitto")
def test_a_gateway_at_1970_and_set_back_and_forth_loses_nothing_and_tells(
    tmp_path: Path, local: Broker, model_bytes: bytes
) -> None:
    """The real process; `wall_clock/sitecustomize.py` moves its wall clock and nothing else."""
    clock = tmp_path / "clock"
    agent = Agent(
        write_settings(tmp_path, local_port=local.port, local="keepalive_s = 2"),
        PYTHONPATH=str(Path(__file__).parent / "wall_clock"),
        WALL_CLOCK=str(clock),
    )
    agent.install(model_bytes)
    at_1970_ns = 600 * SECOND_NS - time.time_ns()
    set_by(clock, at_1970_ns)
    with agent, Client(local.port, topics.status(AT)) as client:
        wait_for(lambda: online(client), "the agent's birth")
        slot = 0
        for offset_ns in (at_1970_ns, 0, -7 * HOUR_NS, 30 * 24 * HOUR_NS, 0):
            set_by(clock, offset_ns)
            for _ in range(10):
                client.publish_all(
                    [
                        ("plant/pump-1/sample", healthy(1, slot)),
                        ("plain/meter/count", b"%d" % slot),
                    ]
                )
                slot += 1
            wait_for(partial(stores, agent, 3 * slot), f"the readings at {offset_ns}")
        ledger = agent.ledger
        assert ledger.broken == []
        assert ledger.accounts["clock.clock_unset"] == 1
        assert ledger.accounts["clock.clock_set"] == 4
        ends = [time_ns for machine, time_ns, *_ in ledger.scores if machine == "pump-1"]
        assert len(ends) == len(set(ends)) == 23, "own stamps are scored whatever the clock says"
        assert agent.stop() == 0
        check_put_right(agent)


def check_put_right(agent: Agent) -> None:
    """Add to each arrival's stamp the steps that came after it: then they are minutes apart."""
    with closing(connect(agent.settings.database, read_only=True)) as db:
        bodies = db.execute("SELECT body FROM records WHERE stream = 'events' ORDER BY seq")
        noted = [ClockNoted.model_validate(json.loads(body)) for (body,) in bodies]
    seqs = [seq for seq, (name, _, _) in enumerate(agent.ledger.readings, 1) if name == "meter"]
    stamps = stamped(agent, "meter")
    right = [
        stamp + sum(one.step_ns for one in noted if one.readings_seq > seq)
        for seq, stamp in zip(seqs, stamps, strict=True)
    ]
    assert max(stamps) - min(stamps) > 24 * HOUR_NS
    assert right == sorted(right)
    assert right[-1] - right[0] < HOUR_NS / 6
