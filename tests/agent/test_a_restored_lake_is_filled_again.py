"""A lake is restored from an old backup: what is still on the gateway goes up again, once.

What was acknowledged and is no longer there becomes a tombstone.

The lake is a real one; only the network between it and the uplink is left out.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from foreshock_agent.items import LakeAcked
from foreshock_agent.mqtt.link import Delivery
from foreshock_agent.uplink.outbox import LOST_BY_LAKE
from foreshock_trainer.audit import audit
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.lake import Lake
from foreshock_wire import topics
from foreshock_wire.messages import AlarmAction, AlarmAnswer, AlarmCommand
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, Bench, Ledger, healthy, sample
from tests.agent.test_uplink_gives_each_record_once import Bare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SLOTS = 60
LONG_S = 200
PAUSE_S = 1.0


def deliver(bench: Bench, bare: Bare, root: Path) -> None:
    """Let the uplink send to a lake until this holds everything, as its thread would."""
    ingest = Ingest(Lake(root, create=True))
    for _ in range(LONG_S):
        bare.sent.clear()
        for stream in Stream:
            sent = len(bare.sent)
            bare.uplink._serve(stream, bare.outbox)  # noqa: SLF001 - one turn of its thread
            for payload in bare.sent[sent:]:
                answers = ingest.take([Message(topics.uplink(AT, stream), payload, 1)])
                for _, ack in answers:
                    bare.uplink.on_ack(ack.to_bytes())
        for posted in bare.posted:
            if isinstance(posted, LakeAcked):
                bench.step(posted)
        bare.posted.clear()
        bench.commit()
        bare.clock.seconds += PAUSE_S
        if not any(bare.outbox.pending().values()):
            return
    raise AssertionError("the outbox does not empty")


def restored(bench: Bench, folder: Path, acts: Sequence[Callable[[], object]]) -> Lake:
    """Deliver after each of three acts, with a lake that was saved after the first alone."""
    bare, root, backup = Bare(bench), folder / "lake", folder / "backup"
    first, lost, last = acts
    with closing(bare.outbox):
        first()
        deliver(bench, bare, root)
        shutil.copytree(root, backup)
        lost()
        deliver(bench, bare, root)
        shutil.rmtree(root)
        backup.rename(root)
        last()
        deliver(bench, bare, root)
    lake = Lake(root)
    assert all(account.whole for account in audit(lake))
    assert Ledger.read(bench.settings.database).broken == []
    return lake


def gone(lake: Lake, stream: Stream) -> list[int]:
    """Return the seqs of a stream that tombstones stand for."""
    told = [row for row in lake.gaps().to_pylist() if row["stream"] == stream]
    assert {row["reason"] for row in told} <= {LOST_BY_LAKE}
    return [seq for row in told for seq in range(row["first_seq"], row["last_seq"] + 1)]


def test_what_is_left_goes_up_again_and_the_rest_becomes_a_tombstone(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def lost() -> None:
        bench.take(*[healthy(1, slot) for slot in range(SLOTS, 2 * SLOTS)])

    def last() -> None:
        _forget_first_chunks(bench)
        bench.take(*[healthy(1, slot) for slot in range(2 * SLOTS, 3 * SLOTS)])

    lake = restored(
        bench, tmp_path, [lambda: bench.take(*[healthy(1, s) for s in range(SLOTS)]), lost, last]
    )

    epoch = bench.store.epoch
    assert lake.mark(AT.gateway, epoch, Stream.READINGS) == 3 * SLOTS * 2
    rows = lake.readings(columns=("seq", "value"))
    missing = gone(lake, Stream.READINGS)
    assert 0 < len(missing) < SLOTS * 2
    assert sorted([*rows["seq"].to_pylist(), *missing]) == list(range(1, 3 * SLOTS * 2 + 1))
    assert min(missing) == SLOTS * 2 + 1
    assert np.isfinite(rows["value"].to_numpy()).all()
    scores = lake.scores(columns=("seq",))
    assert len(scores) < lake.mark(AT.gateway, epoch, Stream.SCORES)
    bench.close()


def test_alarms_and_answers_are_gone_once_delivered_and_the_lake_hears_which(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, extra="[limits.temperature]\nhigh = 80")
    numbers: list[dict[Stream, int]] = []

    def episode() -> None:
        begin = 40 * len(numbers)
        bench.take(*[sample(begin + slot, temperature=90.0) for slot in range(10)])
        bench.step(answered)
        bench.take(*[sample(begin + slot, temperature=50.0) for slot in range(10, 40)])
        numbers.append({stream: bench.store.next_seq(stream) for stream in Stream})

    asked = AlarmCommand(
        action=AlarmAction.ACKNOWLEDGE, operator="ada", answer=AlarmAnswer.CONFIRMED
    )
    answered = Delivery(topics.alarm_command(AT, "pump-1"), asked.to_bytes(), 0, 0, False, 1)  # noqa: FBT003

    lake = restored(bench, tmp_path, [episode] * 3)

    for stream, rows in ((Stream.ALARMS, lake.alarms()), (Stream.EVENTS, lake.events())):
        before, lost, end = (after[stream] for after in numbers)
        assert 1 < before < lost < end
        assert gone(lake, stream) == list(range(before, lost))
        assert sorted(rows["seq"].to_pylist()) == [*range(1, before), *range(lost, end)]
        assert lake.mark(AT.gateway, bench.store.epoch, stream) == end - 1
    bench.close()


def _forget_first_chunks(bench: Bench) -> None:
    """Delete delivered readings up to the middle of what the backup does not have."""
    bench.store.begin()
    bench.store._db.execute(  # noqa: SLF001 - what trimming would do in the course of days
        "DELETE FROM chunks WHERE last_seq <= ?", (SLOTS * 3,)
    )
    bench.commit()
