"""From a JSON document to one window, and from the model's outputs to an answer. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from foreshock_wire.model import Model, Outputs
    from foreshock_wire.spec import ModelSpec

    Float32 = npt.NDArray[np.float32]

LABELS: Final = ("healthy", "failure expected")
LARGEST: Final = 1e30
"""Beyond this no sensor reads, and float32 squares overflow."""


class InputError(ForeshockError):
    """A document that is not one window of this model."""


@dataclass(frozen=True, slots=True)
class Window:
    """float32[T, C], how many of its samples the caller gave, and whether one was held over T."""

    values: Float32
    samples_used: int
    held: bool


def parse_window(document: object, spec: ModelSpec) -> Window:
    """Read a point, a `window` of rows, or `readings` by channel; null is a missing value.

    A point is one reading per channel. It is held over the whole window, as if the machine had
    stood still at it, and the answer says so. Fewer samples than the window has are its newest.

    Raises:
        InputError: names what is wrong: channels, shape, a value, or too little of it.
    """
    if not isinstance(document, dict):
        raise InputError("the body must be a JSON object: a point, a window or readings")
    if "window" in document:
        _only(document, "window")
        return _filled(_rows(document["window"], spec), spec)
    if "readings" in document:
        _only(document, "readings")
        return _filled(_columns(document["readings"], spec), spec)
    return _held(document, spec)


def answer(model: Model, window: Window, *, explain: bool) -> dict[str, Any]:
    """Score one window and return what `/predict` says of it.

    Raises:
        InputError: the model gives no score for it.
    """
    out = model.run(window.values[np.newaxis], explain=explain)
    margin, probability = float(out.margin[0]), float(out.probability[0])
    if not math.isfinite(probability):
        raise InputError("the model gives no score for this window: too much of it is missing")
    label = int(margin >= model.spec.threshold_margin)
    said = {
        "probability": probability,
        "label": label,
        "label_name": LABELS[label],
        "threshold": model.spec.threshold,
        "horizon_h": model.spec.horizon_h,
        **_prognosis(out, model.spec),
        "samples_used": window.samples_used,
        "window_samples": model.spec.length,
        "held": window.held,
        "model": {"name": model.spec.name, "sha256": model.sha256},
    }
    return said | ({"reasons": _reasons(out, model.spec)} if explain else {})


def _prognosis(out: Outputs, spec: ModelSpec) -> dict[str, Any]:
    quantiles = zip(spec.lead_time_quantiles, out.lead_time[0], strict=True)
    return {
        "modes": {name: _number(p) for name, p in zip(spec.modes, out.modes[0], strict=True)},
        "lead_time_h": {f"{quantile:g}": _number(hours) for quantile, hours in quantiles},
        "novelty": _number(out.novelty[0]),
    }


def _reasons(out: Outputs, spec: ModelSpec) -> list[dict[str, Any]]:
    shares = zip(spec.channel_ids, out.shapley[0], out.shapley_error[0], strict=True)
    return [
        {"channel": name, "contribution": _number(value), "contribution_error": _number(error)}
        for name, value, error in sorted(shares, key=lambda share: -abs(share[1]))
    ]


def _number(value: np.float32) -> float | None:
    return float(value) if np.isfinite(value) else None


def _only(document: Mapping[str, object], key: str) -> None:
    if others := sorted(set(document) - {key}):
        raise InputError(f"{key!r} stands alone, but the body also has {', '.join(others)}")


def _held(document: Mapping[str, object], spec: ModelSpec) -> Window:
    _check_channels(document, spec)
    row = [_value(document[name], name) for name in spec.channel_ids]
    values = np.tile(np.array(row, dtype=np.float32), (spec.length, 1))
    _check_fill(values, spec)
    return Window(values, samples_used=1, held=spec.length > 1)


def _rows(rows: object, spec: ModelSpec) -> list[list[float]]:
    _check_length(rows, "window", spec)
    names = spec.channel_ids
    parsed = []
    for number, row in enumerate(rows):  # type: ignore[arg-type, var-annotated]
        if not isinstance(row, list) or len(row) != len(names):
            what = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise InputError(
                f"window row {number} has {what}: give {len(names)}, in the order "
                f"{', '.join(names)}"
            )
        cells = zip(names, row, strict=True)
        parsed.append([_value(cell, f"row {number}, {name}") for name, cell in cells])
    return parsed


def _columns(readings: object, spec: ModelSpec) -> list[list[float]]:
    if not isinstance(readings, dict):
        raise InputError("readings must be an object: a list of values for each channel")
    _check_channels(readings, spec)
    columns = []
    for name in spec.channel_ids:
        _check_length(readings[name], f"readings of {name}", spec)
        columns.append([_value(cell, f"{name} {n}") for n, cell in enumerate(readings[name])])
    lengths = {name: len(column) for name, column in zip(spec.channel_ids, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the channels have different lengths: {lengths}; null is a missing value")
    return [list(row) for row in zip(*columns, strict=True)]


def _filled(rows: Sequence[Sequence[float]], spec: ModelSpec) -> Window:
    values = np.full((spec.length, len(spec.channels)), np.nan, dtype=np.float32)
    values[spec.length - len(rows) :] = rows
    _check_fill(values, spec)
    return Window(values, samples_used=len(rows), held=False)


def _check_fill(values: Float32, spec: ModelSpec) -> None:
    fill = float(np.mean(np.isfinite(values)))
    if fill < spec.min_fill:
        raise InputError(
            f"{fill:.0%} of the window of {spec.length} x {len(spec.channels)} values are there, "
            f"the model scores from {spec.min_fill:.0%} on"
        )


def _check_channels(document: Mapping[str, object], spec: ModelSpec) -> None:
    wanted = set(spec.channel_ids)
    missing = [name for name in spec.channel_ids if name not in document]
    unknown = sorted(set(document) - wanted)
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(name[:63] for name in unknown[:5])}"] if unknown else []
        raise InputError(
            f"wrong channels: {'; '.join(parts)}; the model reads "
            f"{', '.join(spec.channel_ids)} (null where a sensor gave nothing)"
        )


def _check_length(rows: object, what: str, spec: ModelSpec) -> None:
    if not isinstance(rows, list) or not 1 <= len(rows) <= spec.length:
        has = f"{len(rows)} samples" if isinstance(rows, list) else type(rows).__name__
        raise InputError(
            f"{what}: has {has}, give a list of 1 to {spec.length} samples, one every "
            f"{spec.period_s:g} s, oldest first"
        )


def _value(cell: object, where: str) -> float:
    if cell is None:
        return math.nan
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise InputError(f"{where}: {type(cell).__name__} is not a number (null says missing)")
    if not abs(cell) <= LARGEST:
        raise InputError(f"{where}: not a finite number that a sensor can read (null says missing)")
    return float(cell)
