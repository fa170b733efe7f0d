"""The agent's status in words, shortest where all is well."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from foreshock_wire.messages import AlarmState
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Report = Mapping[str, Any]

HOUR_NS: Final = 3_600_000_000_000
SILENT_NS: Final = HOUR_NS
"""A machine whose newest window ends so much before that of another one is told."""


def status_lines(report: Report, *, every: bool = False) -> Iterator[str]:
    """Tell what `read_status` found; machines that are normal and heard only with `every`."""
    for title in ("accounts", "pending", "lost"):
        if counts := report[title]:
            yield f"{title}:"
            yield from (f"  {name:<40} {count:>12,}" for name, count in sorted(counts.items()))
    if day := report["uplink_day"]:
        yield f"uplink today: {day['bytes_today']:,} of {day['bytes_per_day']:,} bytes"
    if report["dead_letters"]:
        yield "rejected messages that are kept for a look:"
        yield from map(_letter, report["dead_letters"])
    if report["reload"]:
        yield f"settings: {report['reload']['said']}"
    yield f"model: {report['model'] or 'none (limits)'}"
    yield from _machine_lines(report, every=every)


def _letter(one: Report) -> str:
    shown = one["payload"].encode("unicode_escape").decode("ascii")
    return f"  {one['kept']:>5} {one['reason']}, the newest on {one['topic']}: {shown}"


def _machine_lines(report: Report, *, every: bool) -> Iterator[str]:
    """Tell how many machines are in which state, then those that somebody should look at."""
    alarms = {one["machine"]: one for one in report["alarms"]}
    scored = {one["machine"]: one for one in report["scored"]}
    states = Counter(one["state"] for one in alarms.values())
    told = [f"{states[state]:,} {state.replace('_', ' ')}" for state in AlarmState if states[state]]
    yield f"machines: {report['machines']:,}" + (f" ({', '.join(told)})" if told else "")
    newest_ns = max((one["time_ns"] for one in scored.values()), default=0)
    for machine in sorted(alarms.keys() | scored.keys()):
        alarm, score = alarms.get(machine), scored.get(machine)
        silent_ns = newest_ns - score["time_ns"] if score else 0
        raised = alarm is not None and alarm["state"] != AlarmState.NORMAL
        if every or raised or silent_ns >= SILENT_NS:
            yield f"  {machine}: {_state(alarm)}{_newest(score)}{_silence(silent_ns)}"


def _state(alarm: Report | None) -> str:
    return "normal" if alarm is None else f"{alarm['state']} (episode {alarm['episode']})"


def _newest(score: Report | None) -> str:
    if score is None:
        return ", no score"
    risk = "none" if score["probability"] is None else f"{score['probability']:.2f}"
    return f", p = {risk} at {rfc3339(score['time_ns'])}"


def _silence(behind_ns: int) -> str:
    return f", {behind_ns / HOUR_NS:,.1f} h behind the newest" if behind_ns >= SILENT_NS else ""
