"""A replay as one page (pure): what each machine said, what was judged of it, and why it alarmed.

With another model or other settings, what these say stands beside what the gateway says.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from foreshock_agent.desk.alarm_text import describe
from foreshock_agent.desk.replay_text import MEANS
from foreshock_wire.messages import AlarmState
from foreshock_wire.pages.clock_ticks import clock_ticks
from foreshock_wire.pages.parts import badge, card, cards, document, figure, note, section, table
from foreshock_wire.pages.svg import Axes, nice_ticks, unbroken
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foreshock_agent.desk.replay_story import Episode, MachineStory, Side
    from foreshock_agent.settings import LimitSettings
    from foreshock_wire.messages import Alarm, Reason
    from foreshock_wire.pages.thinned import Thinned
    from foreshock_wire.topics import Gateway

DRAWN: Final = 24
"""Machines that are drawn at most, those that alarm first; all others are told of."""

WIDTH, HEIGHT = 1084, 112
SECOND_NS: Final = 1_000_000_000
LEAST_HOLE_S: Final = 60.0
HALVES: Final = (0.0, 0.5, 1.0)
STANDS: Final = {AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED}
OPEN: Final = 6
"""So many alarms of a machine are in sight, and on paper; those before them unfold."""


class Frame:
    """The stretch of time that all pictures show, in seconds from its beginning."""

    def __init__(self, sides: Sequence[Side]) -> None:
        """Take from the first reading or window to the last."""
        curves = [
            curve
            for side in sides
            for one in side.story.machines.values()
            for curve in (one.risk, *one.channels.values())
            if curve.count
        ]
        self.begin_ns = min((curve.first_ns for curve in curves), default=0)
        self.end_ns = max((curve.last_ns for curve in curves), default=0)

    def seconds(self, time_ns: int) -> float:
        """Return where a moment lies."""
        return (time_ns - self.begin_ns) / SECOND_NS

    def axes(self, y: tuple[float, float], y_ticks: Sequence[float]) -> Axes:
        """Return the axes of a picture."""
        ticks = clock_ticks(self.begin_ns, self.end_ns)
        return Axes(
            (0.0, max(self.seconds(self.end_ns), 1.0)),
            y,
            x_ticks=[self.seconds(at) for at, _ in ticks],
            x_labels=[label for _, label in ticks],
            y_ticks=y_ticks,
            width=WIDTH,
            height=HEIGHT,
        )


def page(
    at: Gateway, sides: Sequence[Side], limits: Mapping[str, LimitSettings], made_ns: int
) -> str:
    """Return the page; of `sides`, the first is the one that was asked for."""
    frame, story = Frame(sides), sides[0].story
    order = sorted(story.machines, key=lambda name: _rank(story.machines[name], name))
    told = "".join(_machine(name, sides, limits, frame) for name in order[:DRAWN])
    title = f"Replay of {at.site}/{at.gateway}"
    made = f"Made {_clock(made_ns)} of what was stored. Times are UTC."
    return document(
        title,
        f"<header><h1>{escape(title)}</h1>{note(made)}{_sides(sides)}</header>",
        cards(_cards(sides, frame)),
        section("Machines", _overview(order, sides)),
        told,
    )


def _rank(one: MachineStory, name: str) -> tuple[object, ...]:
    return (one.state is AlarmState.NORMAL, -one.raised, -one.risk_max, name)


def _sides(sides: Sequence[Side]) -> str:
    return "".join(
        f"<p class='sub'><b>{escape(side.name)}</b>: "
        f"{f'model<code>{side.model}</code>' if side.model else 'limits of the settings'}</p>"
        for side in sides
    )


def _cards(sides: Sequence[Side], frame: Frame) -> Iterator[str]:
    side = sides[0]
    machines = side.story.machines.values()
    standing = sum(one.state in STANDS for one in machines)
    others = "; ".join(f"{other.name}: {other.tally.raised:,}" for other in sides[1:])
    yield card("alarms raised", f"{side.tally.raised:,}", others)
    yield card("machines", f"{len(machines):,}", f"{standing:,} in alarm at the end")
    checks = "; ".join(
        f"{side.tally.checks[check]:,} {means}"
        for check, means in MEANS.items()
        if side.tally.checks[check]
    )
    yield card("windows", f"{side.tally.checks.total():,}", checks)
    hours = frame.seconds(frame.end_ns) / 3600
    span = f"{_clock(frame.begin_ns)} to {_clock(frame.end_ns)}"
    ahead = side.story.ahead
    beyond = f"; not drawn, from beyond the gateway's time: readings {ahead:,}" if ahead else ""
    yield card("hours", f"{hours:,.1f}", span + beyond)


def _overview(order: Sequence[str], sides: Sequence[Side]) -> str:
    names = ["", "state"]
    names += [f"{what}, {side.name}" for side in sides for what in ("alarms", "highest risk")]
    head = "".join(f"<th>{escape(name)}</th>" for name in [*names, "windows", "newest reading"])
    rows = "".join(_row(number, name, sides) for number, name in enumerate(order))
    rest = len(order) - DRAWN
    told = f"Only the first {DRAWN} are drawn below: name others with --machine."
    return (
        f"{note(told) if rest > 0 else ''}"
        f"<div class='wide'><table><tr>{head}</tr>{rows}</table></div>"
    )


def _row(number: int, name: str, sides: Sequence[Side]) -> str:
    one = sides[0].story.machines[name]
    shown = escape(name)
    named = f"<a href='#{_anchor(name)}'>{shown}</a>" if number < DRAWN else shown
    cells = [_words(one.state)]
    for side in sides:
        there = side.story.machines.get(name)
        cells += ["-", "-"] if there is None else [f"{there.raised:,}", _risk_of(there)]
    cells += [f"{one.windows:,}", _newest(one)]
    told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr><th scope='row'>{named}</th>{told}</tr>"


def _risk_of(one: MachineStory) -> str:
    return f"{one.risk_max:.3f}" if one.risk.count else "-"


def _newest(one: MachineStory) -> str:
    ends = [curve.last_ns for curve in one.channels.values() if curve.count]
    return _clock(max(ends)) if ends else "-"


def _anchor(name: str) -> str:
    return f"m-{name.encode().hex()}"


def _clock(time_ns: int) -> str:
    return rfc3339(time_ns)[:19].replace("T", " ")


def _words(state: str) -> str:
    return state.replace("_", " ")


def _machine(
    name: str, sides: Sequence[Side], limits: Mapping[str, LimitSettings], frame: Frame
) -> str:
    one = sides[0].story.machines[name]
    style = "bad" if one.state in STANDS else "soft"
    style = "good" if one.state is AlarmState.NORMAL else style
    channels = "".join(
        _channel(channel, one, sides[0], limits.get(channel), frame)
        for channel in sorted(one.channels)
    )
    judged = "".join(
        _risk(side, there, frame) for side in sides if (there := side.story.machines.get(name))
    )
    return (
        f"<section><h2 id='{_anchor(name)}'>{escape(name)} {badge(_words(one.state), style)}</h2>"
        f"<div class='stack'>{channels}{judged}</div>"
        f"{''.join(_alarms(side, name) for side in sides)}</section>"
    )


def _channel(
    name: str, one: MachineStory, side: Side, limit: LimitSettings | None, frame: Frame
) -> str:
    curve = one.channels[name]
    if not curve.count:
        return figure(name, "no value that is a number", "", "line-of")
    values = curve.points()[1]
    bounds = [at for at in (limit.low, limit.high) if at is not None] if limit else []
    low, high = min(float(values.min()), *bounds, 9e99), max(float(values.max()), *bounds, -9e99)
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    axes = frame.axes((low - room, high + room), nice_ticks(high + room, 4, low - room))
    drawn = axes.draw(
        *_bands(axes, one, frame),
        *(axes.rule(at, "bad dashed", title=f"limit {at:g}") for at in bounds),
        *_line(axes, curve, frame, "c1"),
        label=f"{name} over time",
    )
    unit = side.units.get(name, "")
    about = f"{unit + '; ' if unit else ''}{curve.count:,} readings{_steps(curve)}"
    return figure(name, about, drawn, "line-of")


def _risk(side: Side, one: MachineStory, frame: Frame) -> str:
    name = f"risk, {side.name}"
    if not one.risk.count:
        why = _by_limits(one) if one.windows else "no window had enough of what it reads"
        return figure(name, f"no model gave one: {why}", "", "line-of")
    axes = frame.axes((0.0, 1.0), HALVES)
    limit = side.threshold
    drawn = axes.draw(
        *_bands(axes, one, frame),
        axes.rule(limit, "bad dashed", title=f"limit {limit:g}") if limit is not None else "",
        *_line(axes, one.risk, frame, "c3"),
        label=f"{name} over time",
    )
    told = "" if limit is None else f"alarm at {limit:.3g} and above; "
    more = f"; {_by_limits(one)}" if one.by_limits else ""
    about = f"{told}{one.risk.count:,} windows{_steps(one.risk)}{more}"
    return figure(name, about, drawn, "line-of")


def _by_limits(one: MachineStory) -> str:
    return f"{one.by_limits:,} windows were judged by the limits of the settings"


def _steps(curve: Thinned) -> str:
    return f", of every {curve.step_ns / SECOND_NS:.3g} s the least and the greatest" * bool(
        curve.step_ns
    )


def _line(axes: Axes, curve: Thinned, frame: Frame, style: str) -> Iterator[str]:
    times, values = curve.points()
    at, value = [frame.seconds(t) for t in times.tolist()], values.tolist()
    least = max(LEAST_HOLE_S, 2.5 * curve.step_ns / SECOND_NS)
    for first, last in unbroken(at, least=least):
        if last - first == 1:
            yield axes.dot(at[first], value[first], style, radius=1.5)
        else:
            yield axes.line(at[first:last], value[first:last], style)


def _bands(axes: Axes, one: MachineStory, frame: Frame) -> Iterator[str]:
    for episode in one.episodes:
        over_ns = frame.end_ns if episode.over_ns is None else episode.over_ns
        yield axes.band((frame.seconds(episode.raised_ns), frame.seconds(over_ns)), "c2")


def _alarms(side: Side, name: str) -> str:
    one = side.story.machines.get(name)
    if one is None or not one.episodes:
        return f"<h3>No alarm, {escape(side.name)}</h3>"
    kept = len(one.episodes)
    which = f"The newest {kept} of {one.raised:,} alarms" if one.raised > kept else "Alarms"
    told = [_episode(episode, side) for episode in reversed(one.episodes)]
    newest, earlier = "".join(told[:OPEN]), "".join(told[OPEN:])
    rest = (
        f"<details><summary>{kept - OPEN} earlier</summary><div class='lines'>{earlier}</div>"
        "</details>"
        if earlier
        else ""
    )
    return f"<h3>{which}, {escape(side.name)}</h3><div class='lines'>{newest}</div>{rest}"


def _episode(episode: Episode, side: Side) -> str:
    alarm = episode.alarm
    over = "stands" if episode.over_ns is None else f"over {_clock(episode.over_ns)}"
    return (
        f"<article class='said'><h3>{_clock(episode.raised_ns)}, episode {alarm.episode}, "
        f"{over}</h3><p><b>{escape(describe(alarm))}</b></p>"
        f"<p>{escape(alarm.advice)}</p>{_reasons(alarm, side)}</article>"
    )


def _reasons(alarm: Alarm, side: Side) -> str:
    if not alarm.reasons:
        return ""
    pushed = "beyond it by" if alarm.source == "rule" else "pushed (log-odds)"
    usual = "limit" if alarm.source == "rule" else "healthy"
    rows = (_reason(reason, side.units.get(reason.channel, "")) for reason in alarm.reasons)
    return table((pushed, "was", usual), rows)


def _reason(reason: Reason, unit: str) -> Iterator[str]:
    yield reason.channel
    yield f"{reason.contribution:+.2f}"
    for value in (reason.value, reason.healthy):
        yield "-" if value is None else f"{value:.4g} {reason.unit or unit}".strip()
