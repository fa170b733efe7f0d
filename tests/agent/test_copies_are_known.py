"""A reading that came before is known again: from memory, after a restart, however old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.intake.recent import Recent, first_of_each
from foreshock_agent.judging import machines
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, healthy, sample

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.tuples(st.integers(0, 3), st.integers(0, 12))


def columns(keys: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(keys, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(st.lists(KEYS))
def test_the_first_of_equal_keys_is_told_from_its_copies(keys: list[tuple[int, int]]) -> None:
    expected = [key not in keys[:at] for at, key in enumerate(keys)]
    assert first_of_each(*columns(keys)).tolist() == expected


@given(st.lists(st.lists(KEYS, max_size=8), max_size=8), st.lists(KEYS), st.integers(0, 12))
def test_the_memory_holds_what_was_added_less_what_it_may_forget(
    batches: list[list[tuple[int, int]]], asked: list[tuple[int, int]], forget_at: int
) -> None:
    recent, held = Recent(), set[tuple[int, int]]()
    for at, batch in enumerate(batches):
        recent.add(*columns(batch))
        held.update(batch)
        if at == 3:
            before = np.array([forget_at, 0, forget_at, 0], np.int64)
            recent.forget(before)
            held = {key for key in held if key[1] >= before[key[0]]}
        assert recent.holds(*columns(asked)).tolist() == [key in held for key in asked]


def duplicates(bench: Bench) -> int:
    return bench.store.accounts["readings.duplicate"]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_copy_is_known_after_a_restart(tmp_path: Path, *, snapshot: bool) -> None:
    messages = [healthy(1, slot) for slot in range(30)]
    bench = Bench(tmp_path)
    for message in messages:
        bench.take(message)
    if snapshot:
        bench.trim(0)
        bench.store.commit()
    bench.close()
    bench = Bench(tmp_path)
    bench.take(*reversed(messages))
    assert duplicates(bench) == 60
    bench.take(sample(40, temperature=1.0), sample(35, temperature=1.0), sample(35, temperature=1))
    assert duplicates(bench) == 61
    bench.close()


def test_a_copy_that_memory_let_go_is_found_in_its_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "RECENT_KEYS", 40)
    bench = Bench(tmp_path)
    messages = [healthy(1, slot) for slot in range(0, 120, 2)]
    for message in messages:
        bench.take(message)
    assert len(bench.machines._recent) <= 80  # noqa: SLF001 - that it did let go
    bench.take(*messages[:20])
    assert duplicates(bench) == 40
    stored = bench.store.accounts["readings.stored"]
    bench.take(*[healthy(1, slot) for slot in range(1, 40, 2)])
    assert bench.store.accounts["readings.stored"] == stored + 40
    bench.close()


def test_a_stamp_from_the_future_hides_no_copy_and_makes_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ahead = (bench.clock.utc_ns - BEGIN_NS) // MINUTE_NS + 600
    bench.take(healthy(1, 0), healthy(1, ahead), healthy(1, 1))
    bench.trim(0)
    bench.store.commit()
    bench.close()
    bench = Bench(tmp_path)
    bench.take(healthy(1, 1), healthy(1, ahead), healthy(1, 2))
    assert duplicates(bench) == 4
    assert bench.store.accounts["readings.stored"] == 8
    assert bench.machines.newest_ns().tolist() == [BEGIN_NS + 2 * MINUTE_NS]
    bench.close()
