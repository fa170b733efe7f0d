from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_trainer.shards import format_shards, parse_shards
from foreshock_wire.errors import ForeshockError


def test_ranges_and_numbers_name_shards() -> None:
    assert parse_shards("0-15") == tuple(range(16))
    assert parse_shards("12, 0-2,1") == (0, 1, 2, 12)


@given(st.sets(st.integers(0, 15), min_size=1))
def test_shards_survive_their_text(shards: set[int]) -> None:
    assert parse_shards(format_shards(tuple(sorted(shards)))) == tuple(sorted(shards))


@pytest.mark.parametrize("text", ["", "16", "3-1", "a", "1-", "0-15-3", "-1", "1;2"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ForeshockError, match="shards"):
        parse_shards(text)
