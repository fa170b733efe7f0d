"""The demo's ledger: what is lost, invented, altered or doubled is a difference of sets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.demo.ledger import Identity, Ledger, compare

READINGS = {Identity("pump-01", "pressure", time_ns): float(time_ns) for time_ns in range(5)}
ROWS = list(READINGS.items())
WHOLE = Ledger(5, 5, 5, 0, 0, 0, 0, 0)


def test_it_adds_up_when_every_reading_is_everywhere_once() -> None:
    ledger = compare(READINGS, set(READINGS), ROWS)
    assert ledger == WHOLE
    assert ledger.problems() == []


@pytest.mark.parametrize(
    ("delivered", "expected"),
    [
        (ROWS[1:], replace(WHOLE, delivered=4, lost=1)),
        ([*ROWS, ROWS[2]], replace(WHOLE, duplicated=1)),
        (
            [*ROWS, (Identity("pump-01", "pressure", 99), 1.0)],
            replace(WHOLE, delivered=6, invented=1),
        ),
        ([*ROWS[:-1], (ROWS[-1][0], 17.0)], replace(WHOLE, altered=1)),
    ],
)
def test_each_fault_of_the_lake_is_named(
    delivered: list[tuple[Identity, float]], expected: Ledger
) -> None:
    ledger = compare(READINGS, set(READINGS), delivered)
    assert ledger == expected
    assert len(ledger.problems()) == 1


def test_a_reading_that_no_gateway_stored_is_a_problem_of_its_own() -> None:
    ledger = compare(READINGS, set(READINGS) - {ROWS[0][0]}, ROWS[1:])
    assert (ledger.lost_before_store, ledger.lost) == (1, 1)
    assert len(ledger.problems()) == 2


def test_three_empty_stations_do_not_add_up() -> None:
    assert compare({}, set(), []).problems() == ["the plant published no reading"]


@given(st.lists(st.integers(0, 50), min_size=1), st.lists(st.integers(0, 50)))
def test_lost_and_invented_are_what_only_one_side_has(sent: list[int], came: list[int]) -> None:
    published = {Identity("m", "c", time_ns): 0.0 for time_ns in sent}
    delivered = [(Identity("m", "c", time_ns), 0.0) for time_ns in came]
    ledger = compare(published, set(published), delivered)
    assert ledger.lost == len(set(sent) - set(came))
    assert ledger.invented == len(set(came) - set(sent))
    assert ledger.duplicated == len(came) - len(set(came))
    assert bool(ledger.problems()) == (sorted(came) != sorted(set(sent)))
