"""Two models on the same windows, in blocks of machine time: the figures are plain counts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.update.duel import Block, Duel, Said
from foreshock_rules.alarms import AlarmPolicy
from foreshock_wire.messages import AlarmAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY = AlarmPolicy(on_margin=0.0, off_margin=-0.5)
BLOCK_NS = 100
Window = tuple[str, int, float, float]


def fought(windows: Sequence[Window]) -> list[Block]:
    duel = Duel(POLICY, POLICY, BLOCK_NS)
    blocks = [
        duel.take(machine, end_ns, Said(ours, 10.0), Said(theirs, 20.0))
        for machine, end_ns, ours, theirs in windows
    ]
    return [block for block in blocks if block is not None]


def test_a_block_counts_windows_alarms_errors_and_differences() -> None:
    nan = math.nan
    (block,) = fought(
        [
            ("a", 1, -1, 1),
            ("a", 10, -1, 1),  # the same episode
            ("b", 20, 1, nan),
            ("b", 30, 1, 1),
            ("c", 100, -1, -1),
            ("c", 101, -1, -1),
        ]
    )
    assert (block.begin_ns, block.end_ns) == (1, 101)
    assert (block.champion.windows, block.candidate.windows) == (5, 5)
    assert (block.champion.alarms, block.candidate.alarms) == (1, 2)
    assert (block.champion.errors, block.candidate.errors) == (0, 1)
    assert (block.champion.latency_us, block.candidate.latency_us) == (10.0, 20.0)
    assert block.differing == 3


def test_an_answer_is_right_wrong_or_a_miss_for_each_model() -> None:
    duel = Duel(POLICY, POLICY, BLOCK_NS)
    duel.take("a", 1, Said(1, 1), Said(-1, 1))
    duel.take("b", 1, Said(-1, 1), Said(1, 1))
    duel.answered("a", AlarmAnswer.REPAIRED)
    duel.answered("b", AlarmAnswer.FALSE_ALARM)
    block = duel.take("a", 101, Said(-1, 1), Said(-1, 1))
    assert block is not None
    ours, theirs = block.champion, block.candidate
    assert (ours.confirmed, ours.false_alarms, ours.missed) == (1, 0, 0)
    assert (theirs.confirmed, theirs.false_alarms, theirs.missed) == (0, 1, 1)


def test_an_alarm_that_goes_on_stands_in_every_block() -> None:
    windows = [("a", at, -1.0, 1.0) for at in range(1, 402, 50)]
    assert [one.candidate.alarms for one in fought(windows)] == [1, 1, 1, 1]
    assert [one.champion.alarms for one in fought(windows)] == [0, 0, 0, 0]


def test_a_silent_time_gives_no_empty_blocks() -> None:
    blocks = fought([("a", 0, -1, -1), ("a", 950, -1, -1), ("a", 1000, -1, -1)])
    assert [(one.begin_ns, one.champion.windows) for one in blocks] == [(0, 1), (900, 1)]


WINDOWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 1000), st.floats(-3, 3), st.floats(-3, 3)),
    max_size=40,
)


@given(WINDOWS)
def test_blocks_never_overlap_and_no_window_counts_twice(windows: list[Window]) -> None:
    blocks = fought(windows)
    for before, after in pairwise(blocks):
        assert before.end_ns <= after.begin_ns
    assert sum(one.champion.windows for one in blocks) <= len(windows)
    assert all(one.champion.windows == one.candidate.windows > 0 for one in blocks)


@given(WINDOWS)
def test_a_model_against_itself_is_a_draw(windows: list[Window]) -> None:
    for block in fought([(machine, end_ns, ours, ours) for machine, end_ns, ours, _ in windows]):
        assert block.differing == 0
        assert block.champion.alarms == block.candidate.alarms
