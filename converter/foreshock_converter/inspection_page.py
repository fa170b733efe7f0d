"""What a model file says of itself, as one page (pure): what it hears, when it alarms, and why."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_converter.inspection import density, explained
from foreshock_wire.pages.parts import card, cards, document, facts, figure, note, section, table
from foreshock_wire.pages.svg import Axes, nice_ticks, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from foreshock_wire.spec import Golden, Histogram, ModelSpec

DRAWN: Final = 240
"""Histograms at most; a model with more features has a page that no browser likes."""

WINDOWS: Final = 12
"""Golden windows that are drawn, at most."""

STRONGEST: Final = 3


def page(spec: ModelSpec, told: dict[str, Any]) -> str:
    """Return the page of a model; `told` has the facts that `inspection.facts` found."""
    return document(
        f"{spec.name} {told['sha256'][:12]}",
        f"<header><h1>{escape(spec.name)}</h1>"
        f"<p class='sub'>{told['bytes']:,} bytes<code>{told['sha256']}</code></p></header>",
        cards(_cards(spec, told)),
        section("What it hears", _wide(_channels(spec, told["healthy"]))),
        section("What it foretells", _wide(_modes(spec))),
        section("Where its features lay when it was made", _histograms(spec)),
        section("Golden windows", _golden(spec)),
        section("What it was made of", _made_of(spec, told)),
    )


def _wide(inside: str) -> str:
    return f"<div class='wide'>{inside}</div>"


def _cards(spec: ModelSpec, told: dict[str, Any]) -> Iterator[str]:
    hours, graph = spec.length * spec.period_s / 3600, told["graph"]
    yield card(
        "window",
        f"{hours:g} h",
        f"{spec.length:,} samples of {spec.period_s:g} s, a score every {spec.stride:,} of them, "
        f"at least {spec.min_fill:.0%} filled",
    )
    yield card("horizon", f"{spec.horizon_h:g} h", "within which a failure is foretold")
    classes = "; ".join(f"{kind}: {limit:.3g}" for kind, limit in spec.thresholds.items())
    yield card(
        "alarm from", f"{spec.threshold:.3g}", classes or f"margin {spec.threshold_margin:.4g}"
    )
    yield card(
        "features",
        f"{len(spec.features):,}",
        f"{graph['trees']:,} trees with {graph['splits']:,} splits; {explained(spec)}",
    )


def _channels(spec: ModelSpec, healthy: dict[str, float]) -> str:
    measured = (
        (one.id, one.unit, str(one.role), _number(healthy.get(one.id))) for one in spec.channels
    )
    derived = ((one.id, one.unit, f"= {one.formula}", "") for one in spec.derived)
    return table(("unit", "role", "healthy mean"), [*measured, *derived], "words")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _modes(spec: ModelSpec) -> str:
    named = [*spec.modes, *(one.mode for one in spec.advice if one.mode not in spec.modes)]
    rows = [(mode.replace("_", " "), spec.advice_for(mode) or "-") for mode in named]
    quantiles = ", ".join(f"{quantile:g}" for quantile in spec.lead_time_quantiles)
    lead = f"the quantiles {quantiles} of the time to the failure" if quantiles else "not told"
    return table(("what to do",), [*rows, ("lead time", lead)], "words")


def _histograms(spec: ModelSpec) -> str:
    known = [name for name in spec.features if name in spec.reference]
    if not known:
        return note("The file does not tell.")
    groups = groupby(known[:DRAWN], lambda name: name.rpartition(".")[0])
    drawn = "".join(_of_channel(spec, channel, names) for channel, names in groups)
    rest = len(known) - DRAWN
    more = f" {rest:,} more are not drawn; --json has all." if rest > 0 else ""
    about = "How densely values lay from the least to the greatest: a gateway tells drift by it."
    return note(about + more) + drawn


def _of_channel(spec: ModelSpec, channel: str, names: Iterable[str]) -> str:
    drawn = "".join(
        _histogram(name.removeprefix(f"{channel}."), spec.reference[name]) for name in names
    )
    return f"<h3>{escape(channel)}</h3><div class='plots small'>{drawn}</div>"


def _histogram(name: str, histogram: Histogram) -> str:
    heights, low, high = density(histogram), histogram.edges[0], histogram.edges[-1]
    axes = Axes((0, len(heights)), (0, 1), width=230, height=104)
    bars = (axes.bar((i, i + 1), height, "c1") for i, height in enumerate(heights.tolist()))
    about = f"{low:.4g} to {high:.4g}"
    return figure(name, about, axes.draw(*bars, label=f"{name}, {about}"), "line-of")


def _golden(spec: ModelSpec) -> str:
    golden = spec.golden
    if golden is None:
        return note("None travel in the file: a gateway cannot test itself on it.")
    count = len(golden.margin)
    which = "them" if count <= WINDOWS else f"the first {WINDOWS} of them"
    about = (
        f"A gateway must repeat these {count} before it runs the model. Each channel in {which} "
        "(grey), beside the healthy window that explanations compare with."
    )
    drawn = "".join(_channel(spec, golden, column) for column in range(len(spec.channels)))
    rows = (_outcome(spec, golden, row) for row in range(count))
    head = ("margin", "", "strongest sensors")
    return f"{note(about)}<div class='plots'>{drawn}</div>{_wide(table(head, rows))}"


def _outcome(spec: ModelSpec, golden: Golden, row: int) -> Iterator[str]:
    margin, pushed = float(golden.margin[row]), golden.shapley[row]
    yield f"window {row + 1}"
    if np.isnan(margin):
        yield from ("none", "no score", "")
        return
    yield f"{margin:+.3f}"
    yield "alarm" if margin >= spec.threshold_margin else ""
    order = np.argsort(-np.abs(pushed), kind="stable")[:STRONGEST]
    yield ", ".join(f"{spec.channel_ids[i]} {pushed[i]:+.2f}" for i in order if pushed[i])


def _channel(spec: ModelSpec, golden: Golden, column: int) -> str:
    one, healthy = spec.channels[column], spec.baseline[:, column]
    shown = golden.windows[:WINDOWS, :, column]
    values = np.concatenate([healthy, shown.ravel()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    hours = (np.arange(spec.length) * spec.period_s / 3600).tolist()
    end = max(hours[-1], 1e-9)
    y_ticks = nice_ticks(high + room, 4, low - room)
    axes = Axes(
        (0.0, end), (low - room, high + room), "hours", "", nice_ticks(end), y_ticks, height=200
    )
    drawn = axes.draw(
        *(mark for window in shown for mark in _line(axes, hours, window, "soft thin")),
        *_line(axes, hours, healthy, "c1"),
        label=f"{one.id} in the golden windows",
    )
    return figure(one.id, one.unit, drawn)


def _line(
    axes: Axes, hours: Sequence[float], values: npt.NDArray[np.float32], style: str
) -> Iterator[str]:
    told = values.tolist()
    for first, last in runs(np.isfinite(values).tolist()):
        if last - first == 1:
            yield axes.dot(hours[first], told[first], style, radius=2.5)
        else:
            yield axes.line(hours[first:last], told[first:last], style)


def _made_of(spec: ModelSpec, told: dict[str, Any]) -> str:
    graph = told["graph"]
    operators = {domain: str(version) for domain, version in graph["opsets"].items()}
    counts = {name: graph[name] for name in ("nodes", "trees", "splits", "metadata_bytes")}
    return facts({"made from": spec.provenance, "graph": counts, "operators": operators})
