"""Readings wait together for the way to the windows, unless one of them may end a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.intake.reception import ENOUGH
from foreshock_agent.items import SwapModel
from foreshock_agent.pipeline import MOST_BYTES
from foreshock_wire.model import Model
from tests.agent.rig import Bench, healthy, sample

if TYPE_CHECKING:
    from pathlib import Path


def scored(bench: Bench) -> int:
    (count,) = bench.store._db.execute("SELECT count(*) FROM scores").fetchone()  # noqa: SLF001
    return int(count)


def taken(bench: Bench) -> tuple[int, int]:
    accounts = bench.store.accounts
    return accounts["messages.received"], accounts["readings.stored"]


def test_what_ends_no_window_waits_for_what_does(tmp_path: Path, model_bytes: bytes) -> None:
    bench = Bench(tmp_path, Model.load(model_bytes))
    bench.take(*(healthy(1, slot) for slot in range(8)))
    before, windows = taken(bench), scored(bench)
    bench.step(bench.delivery(healthy(1, 9), "pump-1"))
    assert scored(bench) == windows + 1
    counted = taken(bench)
    bench.step(bench.delivery(healthy(1, 8), "pump-1"))
    assert taken(bench) == counted != before
    bench.step(bench.delivery(healthy(1, 10), "pump-1"))
    assert taken(bench) == (11, 22)
    assert scored(bench) == windows + 2
    bench.close()


def test_a_message_that_is_refused_is_counted_with_its_neighbours(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(healthy(1, 1))
    bench.step(bench.delivery(b"no json", "pump-1"), bench.delivery(healthy(1, 1), "pump-1"))
    assert taken(bench) == (1, 2)
    bench.commit()
    accounts = bench.store.accounts
    assert taken(bench) == (3, 2)
    assert (accounts["messages.rejected.malformed"], accounts["messages.duplicate"]) == (1, 1)
    bench.close()


def test_many_readings_do_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(healthy(1, 1))
    many = [(f"extra-{n}", 1.5) for n in range(ENOUGH)]
    bench.step(bench.delivery(sample(1, **dict(many[:-1])), "pump-1"))
    assert taken(bench) == (1, 2)
    bench.step(bench.delivery(sample(1, **dict(many[-1:])), "pump-1"))
    assert taken(bench) == (3, 2 + ENOUGH)
    bench.close()


def test_large_messages_do_not_wait_for_a_commit_until_they_fill_the_memory(tmp_path: Path) -> None:
    bench = Bench(tmp_path, commit="interval_s = 3600\nmessages = 30000")
    inbox = bench.pipeline._inbox  # noqa: SLF001 - what its thread takes from
    bench.commit()
    garbage = bench.delivery(100_000 * b"x", "pump-1")
    sent = 3 * MOST_BYTES // len(garbage.payload)
    for _ in range(sent):
        bench.pipeline.post(garbage)
        bench.step(*inbox.take(0))
    assert 0 < sent - len(bench.acked) <= MOST_BYTES // len(garbage.payload) + 1
    bench.close()


def test_a_new_model_cuts_its_windows_behind_what_was_gathered(
    tmp_path: Path, model_bytes: bytes, other_model_bytes: bytes
) -> None:
    bench = Bench(tmp_path, Model.load(model_bytes))
    bench.take(healthy(1, 1))
    swap = SwapModel(Model.load(other_model_bytes))
    bench.step(bench.delivery(healthy(1, 1), "pump-1"), swap)
    assert swap.done.is_set()
    assert taken(bench) == (2, 2)
    assert len(bench.acked) == 2
    bench.close()
