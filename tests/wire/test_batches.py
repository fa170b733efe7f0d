"""Telemetry batches: round trips of anything a gateway can hold, and the trimming law."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foreshock_wire.batch import Batch, Readings, Scores, decode
from foreshock_wire.errors import BatchError
from tests.wire.samples import READINGS, SCORES, SHA, same

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS = st.sampled_from([Readings, Scores])
NAMES = st.lists(
    st.text("abcdefgh0123456789", min_size=1, max_size=8), min_size=1, max_size=5, unique=True
)


@st.composite
def batches(draw: st.DrawFn, max_size: int = 60) -> Readings | Scores:
    """Batches of any size with any times, in any order, and every float32 pattern."""
    kind, count = draw(KINDS), draw(st.integers(1, max_size))

    def column(dtype: str, top: int | None = None) -> npt.NDArray[Any]:
        elements = None if top is None else st.integers(0, top)
        return draw(hnp.arrays(np.dtype(dtype), count, elements=elements))

    machines = tuple(draw(NAMES))
    common: dict[str, Any] = {
        "epoch": draw(st.text("0123456789abcdef", min_size=1, max_size=40)),
        "first_seq": draw(st.integers(1, 2**63 - 2 - count)),
        "machines": machines,
        "machine": column("<u2", len(machines) - 1),
        "time_ns": column("<i8"),
    }
    if kind is Scores:
        models = (SHA, "rule")
        return Scores(
            **common,
            models=models,
            model=column("<u2", 1),
            scored_ns=column("<i8"),
            probability=column("<f4"),
            novelty=column("<f4"),
        )
    channels = tuple(draw(NAMES))
    return Readings(
        **common,
        channels=channels,
        channel=column("<u2", len(channels) - 1),
        received_ns=column("<i8"),
        value=column("<f4"),
        flags=column("u1"),
    )


@given(batch=batches())
def test_a_batch_round_trips_bit_for_bit(batch: Readings | Scores) -> None:
    assert same(decode(batch.to_bytes(), type(batch)), batch)


def test_times_that_overflow_their_differences_round_trip() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    times = np.array([high, low, 0, low, high], np.int64)
    batch = replace(READINGS, time_ns=times)
    assert decode(batch.to_bytes(), Readings).time_ns.tolist() == times.tolist()


def test_columns_of_wider_types_are_written_as_the_contract_says() -> None:
    wide = {name: getattr(READINGS, name).astype(np.int64) for name in ("machine", "flags")}
    assert replace(READINGS, **wide).to_bytes() == READINGS.to_bytes()


@pytest.mark.parametrize("count", [1, 2, 10_000])
def test_sizes(count: int) -> None:
    batch = Readings(
        epoch="e1",
        first_seq=1,
        machines=("m",),
        channels=("c",),
        machine=np.zeros(count, np.uint16),
        channel=np.zeros(count, np.uint16),
        time_ns=np.arange(count),
        received_ns=np.arange(count),
        value=np.zeros(count, np.float32),
        flags=np.zeros(count, np.uint8),
    )
    assert len(decode(batch.to_bytes(), Readings)) == count


@given(batch=batches(), offset=st.integers(-3, 70))
def test_after_keeps_exactly_what_lies_above_a_mark(batch: Readings | Scores, offset: int) -> None:
    mark = batch.first_seq + offset
    rest = batch.after(mark)
    want = [seq for seq in range(batch.first_seq, batch.last_seq + 1) if seq > mark]
    assert len(rest) == len(want)
    if want:
        assert (rest.first_seq, rest.last_seq) == (want[0], want[-1])
    skip = len(batch) - len(want)
    for name in batch.columns:
        assert same(getattr(rest, name), getattr(batch, name)[skip:])
    assert (rest.epoch, rest.machines) == (batch.epoch, batch.machines)


@given(batch=batches(), one=st.integers(0, 60), two=st.integers(0, 60))
def test_trimming_twice_is_trimming_to_the_higher_mark(
    batch: Readings | Scores, one: int, two: int
) -> None:
    first, second = batch.first_seq + one, batch.first_seq + two
    twice = batch.after(first).after(second)
    assert same(twice, batch.after(max(first, second)))


@given(batch=batches(max_size=20), offset=st.integers(0, 18))
def test_what_was_trimmed_still_travels(batch: Readings | Scores, offset: int) -> None:
    rest = batch.after(batch.first_seq + offset)
    if len(rest):
        assert same(decode(rest.to_bytes(), type(rest)), rest)
    else:
        with pytest.raises(BatchError, match="empty"):
            rest.to_bytes()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epoch": ""}, "epoch"),
        ({"epoch": "UPPER"}, "epoch"),
        ({"first_seq": 0}, "first_seq"),
        ({"first_seq": 2**63}, "first_seq"),
        ({"value": np.zeros(4, np.float32)}, "different lengths"),
        ({"machine": np.array([0, 0, 0, 0, 2])}, "machines"),
        ({"channel": np.array([0, 0, 0, 0, -1])}, "channels"),
        ({"machines": ("m1", "m/2")}, "m/2"),
        ({"machines": "m1"}, "list of names"),
    ],
)
def test_a_batch_that_nobody_would_accept_is_not_written(
    fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(BatchError, match=named):
        replace(READINGS, **fields).to_bytes()


def test_a_score_names_its_model_or_the_rule() -> None:
    with pytest.raises(BatchError, match="'best' is no SHA-256"):
        replace(SCORES, models=(SHA, "best")).to_bytes()


def test_more_names_than_an_index_can_count_are_refused() -> None:
    names = tuple(f"m{i}" for i in range(65_537))
    batch: Batch = replace(READINGS, machines=names, machine=np.full(5, 65_536))
    with pytest.raises(BatchError, match="65537 machines are too many"):
        batch.to_bytes()
