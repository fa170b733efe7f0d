"""A replay in words and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from foreshock_agent.desk.alarm_text import describe
from foreshock_agent.desk.stored_scores import Check
from foreshock_agent.judging.score_records import message_of
from foreshock_wire.messages import AlarmState
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_agent.desk.replay import Judged, Replay

MEANS: Final = {
    Check.EQUAL: "equal to the stored scores, bit for bit",
    Check.DIFFERS: "not equal to the stored scores",
    Check.OTHER_MODEL: "scored by another model then",
    Check.GONE: "without a stored score (the lake has it)",
    Check.PARTIAL: "of which older readings were deleted",
}


class Tally:
    """What a replay came to."""

    def __init__(self) -> None:
        self.checks: Counter[Check] = Counter()
        self.raised = 0

    def note(self, one: Judged) -> None:
        """Count a window."""
        self.checks[one.check] += 1
        self.raised += one.alarm is not None and one.alarm.state is AlarmState.UNACKNOWLEDGED

    def lines(self, run: Replay) -> Iterator[str]:
        """Tell it."""
        yield (
            f"{self.checks.total():,} windows of {run.machines:,} machines, "
            f"{self.raised:,} alarms raised, by {run.judged_by}"
        )
        for check, means in MEANS.items():
            if self.checks[check]:
                yield f"  {self.checks[check]:>9,} {means}"

    def problems(self, run: Replay) -> list[str]:
        """Return why the stored scores are not those of this replay; nothing is not proof."""
        found = []
        if differing := self.checks[Check.DIFFERS]:
            found.append(f"{differing:,} windows have another score now")
        if without := run.scores_without_a_window():
            found.append(f"{without:,} stored scores belong to no window that is cut now")
        if not (found or self.checks[Check.EQUAL]):
            found.append("no stored score could be held against a window")
        return found

    def as_json(self, run: Replay) -> dict[str, Any]:
        """Return the counts."""
        return {
            "windows": self.checks.total(),
            "machines": run.machines,
            "raised": self.raised,
            "by": run.judged_by,
            "checks": {str(check): self.checks[check] for check in Check},
        }


def line_of(one: Judged) -> str:
    """Return a window as a line of a table."""
    score = one.score
    risk = "-" if math.isnan(score.probability) else f"{score.probability:.3f}"
    at = rfc3339(score.due.window.end_ns)
    return f"{score.due.machine:<16} {at:<27} p {risk:<6} {one.state:<32} {one.check}"


def alarm_lines(one: Judged) -> Iterator[str]:
    """Tell what a window changed of its machine's alarm, if anything."""
    alarm = one.alarm
    if alarm is None:
        return
    at = rfc3339(alarm.time_ns)
    if alarm.state is not AlarmState.UNACKNOWLEDGED:
        yield f"{at} {alarm.machine}: over (episode {alarm.episode})"
        return
    yield f"{at} {alarm.machine}: ALARM (episode {alarm.episode}), {describe(alarm)}"
    if alarm.advice:
        yield f"  what to do: {alarm.advice}"


def json_of(one: Judged) -> dict[str, Any]:
    """Return a window as JSON."""
    told = message_of(one.score) | {"state": str(one.state), "check": str(one.check)}
    del told["v"]
    return told
