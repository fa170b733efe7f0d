"""From reading to alarm: the trigger is the first message that let the watermark pass the end."""

from __future__ import annotations

from foreshock.demo.latency import latencies_ms, percentiles, trigger_published_ns

PUBLISHED = [(0, 1_000_000), (30, 2_000_000), (20, 3_000_000), (60, 4_000_000)]


def test_the_trigger_is_the_first_published_message_beyond_end_and_lateness() -> None:
    assert trigger_published_ns(PUBLISHED, 25, 0) == 2_000_000
    assert trigger_published_ns(PUBLISHED, 25, 10) == 4_000_000
    assert trigger_published_ns(PUBLISHED, 61, 0) is None


def test_latency_is_the_time_from_that_message_to_the_subscriber() -> None:
    seen = [("pump-01", 25, 5_500_000), ("fan-01", 25, 9)]
    assert latencies_ms(seen, {"pump-01": PUBLISHED}, 0) == [3.5]


def test_percentiles_of_nothing_are_none() -> None:
    assert percentiles([])["p50"] is None
    assert percentiles([1.0, 2.0, 3.0])["p50"] == 2.0
