"""Small plots as SVG text (pure), for pages that need no network and no script.

Colours are CSS classes (`c1`, `c2`, `c3`, `soft`, `bad`), which the page that holds a plot defines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH: Final = 420
HEIGHT: Final = 280
LEFT, RIGHT, TOP = 48, 14, 12
BOTTOM, BOTTOM_NAMELESS = 42, 26
HOLE: Final = 2.5
"""A step this many times the usual one is a hole in a machine's time."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """The frame of a plot: the ranges of x and y, their names and ticks, and its size.

    `x_labels` are written at `x_ticks` where numbers would not do.
    """

    x: Point
    y: Point
    x_name: str = ""
    y_name: str = ""
    x_ticks: Sequence[float] = ()
    y_ticks: Sequence[float] = ()
    log_x: bool = False
    percent_y: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    x_labels: Sequence[str] = ()

    def at(self, x: float, y: float) -> Point:
        """Return where a point stands in the picture."""
        across = _position(x, self.x, log=self.log_x)
        up = _position(y, self.y)
        bottom = BOTTOM if self.x_name else BOTTOM_NAMELESS
        return (
            round(LEFT + across * (self.width - LEFT - RIGHT), 1),
            round(self.height - bottom - up * (self.height - TOP - bottom), 1),
        )

    def draw(self, *marks: str, label: str) -> str:
        """Return the picture of the frame and the marks in it; `label` says what it shows."""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(label)}">{"".join(self._frame())}{"".join(marks)}</svg>'
        )

    def _frame(self) -> Iterable[str]:
        left, bottom = self.at(self.x[0], self.y[0])
        right, top = self.at(self.x[1], self.y[1])
        for tick in self.y_ticks:
            y = self.at(self.x[0], tick)[1]
            yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
            text = f"{tick:.0%}" if self.percent_y else f"{tick:g}"
            yield f'<text class="tick" x="{left - 7}" y="{y + 4}" text-anchor="end">{text}</text>'
        labels = self.x_labels or [f"{tick:g}" for tick in self.x_ticks]
        for tick, label in zip(self.x_ticks, labels, strict=True):
            x = self.at(tick, self.y[0])[0]
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>'
            text = escape(label)
            yield f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">{text}</text>'
        yield f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        middle = (left + right) / 2
        yield (
            f'<text class="name" x="{middle}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x_name)}</text>"
        )
        y = (top + bottom) / 2
        yield (
            f'<text class="name" transform="translate(13 {y}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_name)}</text>"
        )

    def line(self, x: Sequence[float], y: Sequence[float], style: str, title: str = "") -> str:
        """Return a line through the points."""
        points = " ".join(f"{a},{b}" for a, b in (self.at(*p) for p in zip(x, y, strict=True)))
        return f'<polyline class="line {style}" points="{points}">{_title(title)}</polyline>'

    def area(self, x: Sequence[float], y: Sequence[float], style: str) -> str:
        """Return the area between the points and the foot of the plot."""
        if not x:
            return ""
        foot = self.y[0]
        closed = [(x[0], foot), *zip(x, y, strict=True), (x[-1], foot)]
        points = " ".join(f"{a},{b}" for a, b in (self.at(*p) for p in closed))
        return f'<polygon class="area {style}" points="{points}"/>'

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 4.5) -> str:
        """Return a dot."""
        cx, cy = self.at(x, y)
        return (
            f'<circle class="dot {style}" cx="{cx}" cy="{cy}" r="{radius}">{_title(title)}</circle>'
        )

    def bar(self, span: Point, height: float, style: str, title: str = "") -> str:
        """Return a bar over `span` of x, from the foot of the plot up to `height`."""
        x0, y0 = self.at(span[0], height)
        x1, y1 = self.at(span[1], self.y[0])
        width, tall = round(max(x1 - x0 - 2, 1), 1), round(max(y1 - y0, 0), 1)
        return (
            f'<rect class="bar {style}" x="{x0 + 1}" y="{y0}" width="{width}" height="{tall}" '
            f'rx="2">{_title(title)}</rect>'
        )

    def band(self, span: Point, style: str) -> str:
        """Return a stretch of x over the whole height."""
        x0, y0 = self.at(span[0], self.y[1])
        x1, y1 = self.at(span[1], self.y[0])
        return (
            f'<rect class="band {style}" x="{x0}" y="{y0}" width="{round(x1 - x0, 1)}" '
            f'height="{round(y1 - y0, 1)}"/>'
        )

    def rule(self, at: float, style: str, *, upright: bool = False, title: str = "") -> str:
        """Return a straight line across the plot at one y, or upright at one x."""
        ends = [(at, self.y[0]), (at, self.y[1])] if upright else [(self.x[0], at), (self.x[1], at)]
        (x1, y1), (x2, y2) = (self.at(*end) for end in ends)
        return (
            f'<line class="rule {style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}">'
            f"{_title(title)}</line>"
        )


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the runs of true flags as (first, last + 1)."""
    edges = [i for i, (a, b) in enumerate(pairwise([False, *flags, False])) if a != b]
    return list(zip(edges[::2], edges[1::2], strict=True))


def unbroken(times: Sequence[float], *, least: float = 0.0) -> list[tuple[int, int]]:
    """Return the stretches (first, last + 1) without a hole: where nothing came, no line goes.

    A step of up to `least` is none.
    """
    steps = [b - a for a, b in pairwise(times)]
    usual = sorted(steps)[len(steps) // 2] if steps else 0.0
    breaks = [i + 1 for i, step in enumerate(steps) if step > max(HOLE * usual, least)]
    return list(pairwise([0, *breaks, len(times)]))


def nice_ticks(end: float, count: int = 6, begin: float = 0.0) -> list[float]:
    """Return about `count` round numbers from `begin` to `end`."""
    if not end > begin:
        return [begin]
    rough = (end - begin) / count
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= rough)
    first, last = math.ceil(begin / step - 1e-9), math.floor(end / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _position(value: float, span: Point, *, log: bool = False) -> float:
    low, high = span
    value = min(max(value, low), high)
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.0


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
