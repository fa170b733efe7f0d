"""A lake is restored from an old backup: what is still on the gateway goes up again, once.

The lake is a real one; only the network between it and the uplink is left out.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from foreshock_agent.outbox import LOST_BY_LAKE
from foreshock_agent.pipeline import LakeAcked
from foreshock_trainer.audit import audit
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.lake import Lake
from foreshock_wire import topics
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, Bench, Ledger, healthy
from tests.agent.test_uplink_gives_each_record_once import Bare

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 60
LONG_S = 200
PAUSE_S = 1.0


def deliver(bench: Bench, bare: Bare, root: Path) -> None:
    """Let the uplink send to a lake until this holds everything, as its thread would."""
    ingest = Ingest(Lake(root, create=True))
    for _ in range(LONG_S):
        bare.sent.clear()
        for stream in (Stream.READINGS, Stream.SCORES):
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


def test_what_is_left_goes_up_again_and_the_rest_becomes_a_tombstone(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    root, backup = tmp_path / "lake", tmp_path / "backup"
    bare = Bare(bench)
    bench.take(*[healthy(1, slot) for slot in range(SLOTS)])
    deliver(bench, bare, root)
    shutil.copytree(root, backup)
    bench.take(*[healthy(1, slot) for slot in range(SLOTS, 2 * SLOTS)])
    deliver(bench, bare, root)
    _forget_first_chunks(bench)
    bench.take(*[healthy(1, slot) for slot in range(2 * SLOTS, 3 * SLOTS)])
    shutil.rmtree(root)
    backup.rename(root)

    with closing(bare.outbox):
        deliver(bench, bare, root)

    lake, epoch = Lake(root), bench.store.epoch
    assert all(account.whole for account in audit(lake))
    assert lake.mark(AT.gateway, epoch, Stream.READINGS) == 3 * SLOTS * 2
    rows = lake.readings(columns=("seq", "value"))
    seqs = rows["seq"].to_numpy()
    lost = [row for row in lake.gaps().to_pylist() if row["stream"] == Stream.READINGS]
    gone = [seq for row in lost for seq in range(row["first_seq"], row["last_seq"] + 1)]
    assert {row["reason"] for row in lost} == {LOST_BY_LAKE}
    assert 0 < len(gone) < SLOTS * 2
    assert sorted([*seqs.tolist(), *gone]) == list(range(1, 3 * SLOTS * 2 + 1))
    assert min(gone) == SLOTS * 2 + 1
    assert np.isfinite(rows["value"].to_numpy()).all()
    scores = lake.scores(columns=("seq",))
    assert len(scores) < lake.mark(AT.gateway, epoch, Stream.SCORES)
    assert Ledger.read(bench.settings.database).broken == []
    bench.close()


def _forget_first_chunks(bench: Bench) -> None:
    """Delete delivered readings up to the middle of what the backup does not have."""
    bench.store.begin()
    bench.store._db.execute(  # noqa: SLF001 - what trimming would do in the course of days
        "DELETE FROM chunks WHERE last_seq <= ?", (SLOTS * 3,)
    )
    bench.commit()
