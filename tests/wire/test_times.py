from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_wire.times import TimeTextError, rfc3339, time_ns


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456Z"),
        (-1_000, "1969-12-31T23:59:59.999999Z"),
        (1 << 80, f"{1 << 80} ns"),
    ],
)
def test_a_time_is_told_as_rfc3339(at_ns: int, text: str) -> None:
    assert rfc3339(at_ns) == text


@given(st.datetimes(datetime(1700, 1, 1), datetime(2261, 12, 31)))  # noqa: DTZ001 - made aware below
def test_times_survive_their_text(moment: datetime) -> None:
    text = moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert rfc3339(time_ns(text)) == text


@given(st.integers(0, 2**62))
def test_what_is_told_is_the_same_microsecond(at_ns: int) -> None:
    assert time_ns(rfc3339(at_ns)) == at_ns // 1000 * 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("soon", "is not RFC 3339"),
        ("2024-01-31T06:00:00", "add Z if it is UTC"),
        ("3024-01-31T06:00:00Z", "not within 1700 to 2261"),
    ],
)
def test_what_says_no_time_is_named(text: str, says: str) -> None:
    with pytest.raises(TimeTextError, match=says):
        time_ns(text)
