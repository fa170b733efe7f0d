from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_wire.times import EPOCH, rfc3339


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456Z"),
        (-1_000, "1969-12-31T23:59:59.999999Z"),
        (1 << 80, f"{1 << 80} ns"),
    ],
)
def test_a_time_is_told_as_rfc3339(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text


@given(st.integers(0, 2**63 - 1))
def test_what_is_told_is_the_same_microsecond(time_ns: int) -> None:
    told = datetime.fromisoformat(rfc3339(time_ns)) - EPOCH
    assert (told.days * 86_400 + told.seconds) * 10**6 + told.microseconds == time_ns // 1000
