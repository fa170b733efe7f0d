"""An agent that is killed after any commit raises, clears and answers as one that never was."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from foreshock_agent.mqtt.link import Delivery
from foreshock_wire import topics
from foreshock_wire.messages import AlarmAction, AlarmCommand
from tests.agent.rig import AT, Bench, sample

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_wire.messages import Alarm

LIMITED = "on_delay_s = 240\n[limits.temperature]\nhigh = 80"


def story() -> list[bytes | AlarmAction]:
    """Return minutes with three hot phases, and an operator's word now and then."""
    dice = random.Random(1)  # noqa: S311 - a test's dice
    found: list[bytes | AlarmAction] = []
    for slot in range(80):
        hot = 5 <= slot % 28 < 14
        found.append(sample(slot, temperature=90.0 if hot else 50.0, pressure=60.0))
        if dice.random() < 0.08:
            found.append(dice.choice(list(AlarmAction)))
    return found


def asked(action: AlarmAction) -> Delivery:
    payload = AlarmCommand(action=action, operator="ada").to_bytes()
    return Delivery(topics.alarm_command(AT, "pump-1"), payload, 0, 0, dup=False, connection=1)


def told(folder: Path, kill_after: int) -> tuple[list[bytes], dict[str, Alarm], Any]:
    """Return the alarms that were told, those that stand, and the head at the end."""
    said: list[bytes] = []
    bench = Bench(folder, extra=LIMITED)
    for turn, event in enumerate(story(), start=1):
        if isinstance(event, bytes):
            bench.take(event)
        else:
            bench.step(asked(event))
            bench.commit()
        if turn % kill_after == 0:
            said += [one.payload for one in bench.published if one.retain]
            bench.close()
            bench = Bench(folder, extra=LIMITED)
    said += [one.payload for one in bench.published if one.retain]
    judge = bench.pipeline._judge  # noqa: SLF001 - what it goes on with
    bench.close()
    return said, judge.alarms, judge._heads  # noqa: SLF001


def test_kills_change_no_alarm(tmp_path: Path) -> None:
    whole = told(tmp_path / "whole", kill_after=1_000)
    assert len({json.loads(one)["state"] for one in whole[0]}) > 2
    for kill_after in (1, 7):
        assert told(tmp_path / str(kill_after), kill_after) == whole


def test_a_quiet_machine_writes_no_heads(tmp_path: Path) -> None:
    bench = Bench(tmp_path, extra=LIMITED)
    bench.take(*(sample(slot, temperature=50.0) for slot in range(20)))
    before = bench.store.alarms()
    bench.take(*(sample(slot, temperature=50.0) for slot in range(20, 60)))
    assert bench.store.alarms() == before
    assert "pump-1" in before
    bench.close()
