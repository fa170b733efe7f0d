"""A model file comes whole over a line that loses and delays, and no block comes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.lossy_line import LossyLine
from benchmarks.transfer_run import Centre, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("mosquitto")

BLOCK = 16_384


@pytest.fixture
def centre(mosquitto_binary: str, tmp_path: Path) -> Iterator[Centre]:
    assert mosquitto_binary
    with Centre(tmp_path, 64 * BLOCK - 1, BLOCK) as one:
        yield one


def test_it_comes_whole_over_a_line_that_loses_a_tenth_of_the_blocks(centre: Centre) -> None:
    home = centre.gateway("far")
    with LossyLine(centre.broker.port, delay_s=0.02, loss=0.1, seed=3) as line:
        heard = fetch(line.port, home)
        assert line.lost > 0
    assert centre.is_whole(home)
    assert len(heard.asked) >= centre.blocks + line.lost


def test_killed_on_the_way_nothing_that_is_here_is_asked_for_again(centre: Centre) -> None:
    home = centre.gateway("killed")
    with LossyLine(centre.broker.port, delay_s=0.05, loss=0.0) as line:
        fetch(line.port, home, lambda: len(centre.here(home)) >= 20)
    before = centre.here(home)
    assert 20 <= len(before) < centre.blocks
    after = fetch(centre.broker.port, home)
    assert centre.is_whole(home)
    assert not before & set(after.asked)
    assert len(before) + len(set(after.asked)) == centre.blocks
