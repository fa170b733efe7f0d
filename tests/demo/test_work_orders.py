"""The demo tells of each failure once, with the warning that stood when it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock.demo.verdict import HOUR_NS
from foreshock.demo.watch import Seen
from foreshock.demo.work_orders import Failures, read_events
from foreshock_wire.messages import Alarm, AlarmState

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "machine,time,kind,mode,detail\n"
FAILED = "pump-01,1970-01-05T04:00:00Z,failure,bearing_wear,\n"


def seen_with(state: AlarmState, raised_h: int) -> Seen:
    alarm = Alarm(
        site="works",
        gateway="gw-1",
        machine="pump-01",
        episode=1,
        state=state,
        time_ns=raised_h * HOUR_NS,
        raised_ns=raised_h * HOUR_NS,
    )
    return Seen(alarms={"pump-01": alarm})


def test_a_failure_is_told_once_with_its_warning(tmp_path: Path) -> None:
    orders = tmp_path / "events.csv"
    failures = Failures(orders)
    seen = seen_with(AlarmState.UNACKNOWLEDGED, raised_h=60)
    assert failures.news(seen) == []
    orders.write_text(HEAD + "pump-01,1970-01-01T00:00:00Z,installed,,\n" + FAILED)
    assert failures.news(seen) == ["FAILED pump-01, bearing wear: the alarm had come 40 h before"]
    assert failures.news(seen) == []


def test_an_alarm_that_is_over_or_came_too_late_warned_of_nothing(tmp_path: Path) -> None:
    orders = tmp_path / "events.csv"
    orders.write_text(HEAD + FAILED)
    over = seen_with(AlarmState.RETURN_TO_NORMAL_UNACKNOWLEDGED, raised_h=60)
    late = seen_with(AlarmState.UNACKNOWLEDGED, raised_h=101)
    for seen in (over, late, Seen()):
        assert Failures(orders).news(seen) == ["FAILED pump-01, bearing wear: no alarm stood"]


def test_a_row_that_is_being_written_waits(tmp_path: Path) -> None:
    orders = tmp_path / "events.csv"
    orders.write_text(HEAD + FAILED + FAILED[:20])
    assert len(read_events(orders)) == 1
