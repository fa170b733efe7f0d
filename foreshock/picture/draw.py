"""A judged life drawn: a row for each sensor, the true health, and the risk that was told."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from foreshock.picture.frame import HOUR_NS, moved
from foreshock_plant.parameters import CHANNELS, STEP_H
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from foreshock.picture.frame import Frame
    from foreshock.picture.judged import JudgedLife
    from foreshock_wire.messages import Alarm

    Floats = npt.NDArray[np.floating[Any]]

INK: Final = "#2b3440"
QUIET: Final = "#8b96a3"
MOVED: Final = "#d1495b"
HEALTH: Final = "#3c8d63"
RISK: Final = "#2f5d8a"
ALARM: Final = "#e08a1e"
FAILED: Final = "#9b1c31"
FAULT: Final = "#6a5acd"
STANDS: Final = "#dfe3e8"
SIZE_IN: Final = (10.5, 9.0)
DPI: Final = 110
DAY_H: Final = 24.0
GAP_H: Final = 3 * STEP_H
RISK_GAP_H: Final = 6.0
"""Readings and risk: a line breaks where nothing came for so long."""
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": QUIET,
    "ytick.labelsize": 7.5,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "foreshock",
}
SUFFIXES: Final = (".png", ".svg")


def draw(judged: JudgedLife, frame: Frame, out: Path) -> None:
    """Write the picture; the suffix of `out` says how, .png or .svg.

    Raises:
        ForeshockError: another suffix, or the file cannot be written.
    """
    if out.suffix not in SUFFIXES:
        raise ForeshockError(f"{out}: a picture is a file that ends in {' or '.join(SUFFIXES)}")
    with mpl.rc_context(STYLE):
        try:
            figure_of(judged, frame).savefig(out, dpi=DPI, metadata=_metadata(out))
        except OSError as error:
            raise ForeshockError(f"{out} cannot be written: {error.strerror}") from None


def _metadata(out: Path) -> dict[str, str | None]:
    """Leave out what changes from run to run: equal lives give equal files."""
    return {"Date": None} if out.suffix == ".svg" else {"Software": None}


def figure_of(judged: JudgedLife, frame: Frame) -> Figure:
    """Return the picture: one row for each sensor, one for the health, one for the risk."""
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    heights = [1.0] * len(CHANNELS) + [0.8, 1.3]
    axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    for channel, axis in zip(CHANNELS, axes, strict=False):
        _sensor(axis, judged, frame, channel)
    _health(axes[-2], judged, frame)
    _risk(axes[-1], judged, frame)
    for axis in axes:
        _common(axis, judged, frame)
    _moments(axes, frame)
    _time_axis(axes[-1], frame)
    figure.suptitle(_title(judged, frame), x=0.01, ha="left", fontsize=14, fontweight="bold")
    figure.legend(handles=list(_key()), loc="outside lower left", ncols=6, frameon=False)
    return figure


def _title(judged: JudgedLife, frame: Frame) -> str:
    machine = judged.life.machine
    if frame.failure is None:
        return f"{machine}: {len(judged.failures)} failures, {len(judged.episodes)} alarms"
    failed = f"{machine} failed: {_words(frame.failure.mode)}"
    if frame.warned_h is None:
        return f"{failed}; no alarm stood"
    return f"{failed}. The alarm came {frame.warned_h:.0f} hours before"


def _sensor(axis: Axes, judged: JudgedLife, frame: Frame, channel: str) -> None:
    column = CHANNELS.index(channel)
    time_h, value = _delivered(judged, frame, column)
    true_h = frame.hours(judged.life.time_ns)
    healthy = np.where(judged.life.running, judged.healthy[:, column], np.nan)
    reason = next((one for one in moved(frame.warning) if one.channel == channel), None)
    colour = INK if reason is None else MOVED
    axis.plot(time_h, value, color=colour, lw=0.9, zorder=3)
    axis.plot(true_h, healthy, color=QUIET, lw=0.8, ls=(0, (3, 2)), zorder=2)
    if reason is not None:
        there = np.interp(time_h, true_h, judged.healthy[:, column])
        axis.fill_between(time_h, value, there, color=MOVED, alpha=0.22, lw=0, zorder=1)
        _note(axis, f"pushed the\nalarm {reason.contribution:+.1f}", MOVED)
    axis.set_ylabel(f"{_words(channel)}\n{_unit(judged, channel)}", **_LABEL)
    _limits(axis, value, healthy[_inside(true_h, frame)])
    for one in judged.stretches:
        if frame.holds(one) and one.channel in {channel, ""}:
            named = one.channel or channel == CHANNELS[0]
            _fault(axis, frame, one.begin_ns, one.end_ns, _words(one.fault) if named else "")


_LABEL: Final[dict[str, Any]] = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 8}


def _delivered(judged: JudgedLife, frame: Frame, column: int) -> tuple[Floats, Floats]:
    """Return what a channel's messages in the frame said, by their own stamps."""
    messages = judged.messages
    order = np.argsort(messages.time_ns, kind="stable")
    time_h, value = frame.hours(messages.time_ns[order]), messages.values[order, column]
    kept = ~np.isnan(value) & _inside(time_h, frame)
    return _broken(time_h[kept], value[kept].astype(np.float64), GAP_H)


def _broken(time_h: Floats, value: Floats, gap_h: float) -> tuple[Floats, Floats]:
    """Return a curve with a NaN in each gap, so that no line is drawn where nothing came."""
    gaps = np.flatnonzero(np.diff(time_h) > gap_h) + 1
    return np.insert(time_h, gaps, time_h[gaps - 1]), np.insert(value, gaps, np.nan)


def _inside(time_h: Floats, frame: Frame) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = time_h >= frame.hours(frame.begin_ns)
    found &= time_h <= frame.hours(frame.end_ns)
    return found


def _limits(axis: Axes, *curves: Floats) -> None:
    """Leave spikes out of the scale: they are marked, and would flatten everything else."""
    values = np.concatenate(curves)
    values = values[~np.isnan(values)]
    if len(values):
        low, high = np.percentile(values, [0.3, 99.7])
        room = 0.15 * (high - low) + 1e-9
        axis.set_ylim(low - room, high + room)


def _health(axis: Axes, judged: JudgedLife, frame: Frame) -> None:
    time_h = frame.hours(judged.life.time_ns)
    health = np.where(judged.life.running, judged.life.health, np.nan)
    axis.fill_between(time_h, health, color=HEALTH, alpha=0.3, lw=0)
    axis.plot(time_h, health, color=HEALTH, lw=1.4)
    axis.set_ylim(0, 1.08)
    axis.set_ylabel("true health\n(nobody sees it)", **_LABEL)


def _risk(axis: Axes, judged: JudgedLife, frame: Frame) -> None:
    time_h, risk = _broken(frame.hours(judged.played.end_ns), judged.played.probability, RISK_GAP_H)
    axis.plot(time_h, risk, color=RISK, lw=1.6, zorder=3)
    axis.fill_between(time_h, risk, color=RISK, alpha=0.12, lw=0)
    axis.set_ylim(0, 1.12)
    axis.set_ylabel(f"told by Foreshock:\nfails within {judged.spec.horizon_h:.0f} h", **_LABEL)
    axis.axhline(judged.spec.threshold, color=ALARM, lw=0.9, ls=(0, (5, 3)))
    for episode in judged.episodes:
        cleared_ns = frame.end_ns if episode.cleared_ns is None else episode.cleared_ns
        stood_h = frame.hours(episode.raised_ns), frame.hours(cleared_ns)
        axis.axvspan(*stood_h, ymax=0.05, color=ALARM, lw=0, zorder=4)
    if frame.warning and frame.warning.alarm.lead_time_h:
        alarm_h = float(frame.hours(frame.warning.raised_ns))
        _foretold(axis, alarm_h, frame.warning.alarm)


def _foretold(axis: Axes, alarm_h: float, alarm: Alarm) -> None:
    """Draw the interval in which the alarm expected the failure, and which one."""
    leads = alarm.lead_time_h or (0.0, 0.0, 0.0)
    low, middle, high = (alarm_h + lead for lead in leads)
    axis.plot([low, high], [1.04, 1.04], color=ALARM, lw=3, solid_capstyle="round", zorder=4)
    axis.plot([middle], [1.04], "o", color=ALARM, mec="white", ms=7, zorder=5)
    text = f"foretold: {_words(alarm.mode or 'failure')} in {leads[1]:.0f} h"
    text += f" ({leads[0]:.0f} to {leads[2]:.0f})"
    axis.text(alarm_h - 1, 1.04, text, color=ALARM, ha="right", va="center", fontsize=8.5)


def _common(axis: Axes, judged: JudgedLife, frame: Frame) -> None:
    axis.set_xlim(frame.hours(frame.begin_ns), frame.hours(frame.end_ns))
    axis.locator_params(axis="y", nbins=3)
    for begin_ns, end_ns in _standstills(judged):
        axis.axvspan(frame.hours(begin_ns), frame.hours(end_ns), color=STANDS, lw=0, zorder=0)


def _standstills(judged: JudgedLife) -> Iterator[tuple[int, int]]:
    stands = np.concatenate([[False], ~judged.life.running, [False]])
    edges = np.flatnonzero(np.diff(stands))
    step_ns = int(STEP_H * HOUR_NS)
    start_ns = int(judged.life.time_ns[0])
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        yield start_ns + int(begin) * step_ns, start_ns + int(end) * step_ns


def _fault(axis: Axes, frame: Frame, begin_ns: int, end_ns: int, text: str) -> None:
    begin_h, end_h = frame.hours(begin_ns), frame.hours(end_ns)
    axis.axvspan(begin_h, end_h, fc=FAULT, ec=FAULT, alpha=0.18, hatch="////", lw=0, zorder=0.5)
    if text:
        axis.text(
            max(begin_h, frame.hours(frame.begin_ns)) + 0.6,
            0.97,
            text,
            color=FAULT,
            fontsize=7.5,
            va="top",
            transform=axis.get_xaxis_transform(),
            clip_on=True,
        )


def _moments(axes: list[Axes], frame: Frame) -> None:
    """Mark the alarm, the failure and the time between them through all rows."""
    if frame.failure is None:
        return
    marks = [(0.0, FAILED, "FAILURE", "left")]
    if frame.warning and frame.warned_h is not None:
        alarm_h = -frame.warned_h
        marks.append((alarm_h, ALARM, "ALARM", "right"))
        for axis in axes:
            axis.axvspan(alarm_h, 0, color=ALARM, alpha=0.10, lw=0, zorder=0)
        _warning_arrow(axes[0], alarm_h, frame.warned_h)
    for at_h, colour, text, side in marks:
        for axis in axes:
            axis.axvline(at_h, color=colour, lw=1.8, zorder=4)
        top = axes[0].get_xaxis_transform()
        bold: dict[str, Any] = {"color": colour, "fontweight": "bold", "ha": side}
        axes[0].text(at_h, 1.05, f" {text} ", transform=top, **bold)


def _warning_arrow(axis: Axes, alarm_h: float, warned_h: float) -> None:
    where: dict[str, Any] = {"xycoords": axis.get_xaxis_transform(), "annotation_clip": False}
    arrow = {"arrowstyle": "<->", "color": ALARM, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (alarm_h, 1.08), (0, 1.08), arrowprops=arrow, **where)
    bold: dict[str, Any] = {"color": ALARM, "ha": "center", "fontweight": "bold"}
    axis.annotate(f"{warned_h:.0f} h", (alarm_h / 2, 1.13), **bold, **where)


def _time_axis(axis: Axes, frame: Frame) -> None:
    begin_h, end_h = axis.get_xlim()
    every_h = DAY_H * max(1, round((end_h - begin_h) / DAY_H / 14))
    axis.set_xticks(np.arange(np.ceil(begin_h / every_h) * every_h, end_h, every_h))
    what = "hours before and after the failure" if frame.failure else "hours"
    advice = frame.warning.alarm.advice if frame.warning else ""
    text = "\n".join([what, *textwrap.wrap(f"What to do: {advice}" if advice else "", 130)])
    axis.set_xlabel(text, loc="left")


def _key() -> Iterator[Line2D | Patch]:
    yield Line2D([], [], color=INK, lw=1.2, label="reading")
    yield Line2D([], [], color=MOVED, lw=1.2, label="reading that made the alarm")
    yield Line2D([], [], color=QUIET, lw=1.0, ls=(0, (3, 2)), label="healthy at this load")
    yield Patch(fc=FAULT, alpha=0.25, hatch="////", label="sensor or link lies")
    yield Patch(fc=STANDS, label="machine stands")
    yield Patch(fc=ALARM, label="alarm stands")


def _note(axis: Axes, text: str, colour: str) -> None:
    axis.text(1.01, 0.5, text, color=colour, va="center", fontsize=8.5, transform=axis.transAxes)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unit(judged: JudgedLife, channel: str) -> str:
    return next((one.unit for one in judged.spec.channels if one.id == channel), "")
