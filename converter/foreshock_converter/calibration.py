"""From a margin to a probability: Platt's line or an isotonic curve, in NumPy and as graph nodes.

Both rise strictly between their ends, so a threshold has one place in margin space, where
decisions are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import LANES, scalar, total
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from spox import Var

    Float64 = npt.NDArray[np.float64]

STEEPEST: Final = 4.0
"""Probability per unit of margin. A steeper curve turns the last bit of a margin into a difference
that can be seen; a logistic curve of slope one rises by .25 at most."""


class Calibration(Protocol):
    """A rising map of margins to probabilities."""

    def probability(self, margin: npt.ArrayLike) -> Float64:
        """Calibrate margins, in float64."""

    def margin(self, probability: float) -> float:
        """Return the least margin of this probability: a threshold's place in margin space."""

    def nodes(self, margin: Var) -> Var:
        """Calibrate `margin` float32[N, 1] inside a graph."""

    def to_json(self) -> dict[str, Any]:
        """Return what `calibration_from_json` reads."""


@dataclass(frozen=True, slots=True)
class Platt:
    """Calibration: probability = sigmoid(a * margin + b) (Platt 1999), rising with the margin."""

    a: float = 1.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (self.a > 0 and np.isfinite([self.a, self.b]).all()):
            raise UnsupportedModelError(
                f"calibration a={self.a}, b={self.b}: a must be positive and both finite, or a "
                "higher margin would not mean a higher probability"
            )

    def probability(self, margin: npt.ArrayLike) -> Float64:
        """Calibrate margins, in float64."""
        line = self.a * np.asarray(margin, np.float64) + self.b
        # The logistic function as a tanh does not overflow.
        return np.float64(0.5) * (1 + np.tanh(line / 2))

    def margin(self, probability: float) -> float:
        """Return the margin whose probability this is."""
        return float((np.log(probability / (1 - probability)) - self.b) / self.a)

    def nodes(self, margin: Var) -> Var:
        """Calibrate `margin` float32[N, 1] inside a graph."""
        return op.sigmoid(op.add(op.mul(margin, scalar(self.a)), scalar(self.b)))

    def to_json(self) -> dict[str, Any]:
        """Return what `calibration_from_json` reads."""
        return {"kind": "platt", "a": self.a, "b": self.b}


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Calibration by straight lines between knots, constant beyond the outer ones.

    `margins` and `probabilities` ascend strictly, no segment steeper than `STEEPEST`.
    """

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        x, y = (np.array(v, np.float64) for v in (self.margins, self.probabilities))
        rises = len(x) == len(y) >= 2 and bool((np.diff(x) > 0).all() and (np.diff(y) > 0).all())  # noqa: PLR2004 - a segment
        if not (rises and np.isfinite(x).all() and y[0] >= 0 and y[-1] <= 1):
            raise UnsupportedModelError(
                f"an isotonic curve through {len(x)} margins and {len(y)} probabilities must have "
                "two knots at least, and both must ascend strictly, probabilities in [0, 1]"
            )
        if not (np.diff(y) <= STEEPEST * np.diff(x)).all():
            raise UnsupportedModelError(
                f"an isotonic curve is steeper than {STEEPEST:g} per unit of margin, where the "
                "last bit of a margin shows: fit it with Isotonic.fit, which merges such knots"
            )

    @classmethod
    def fit(cls, margin: npt.ArrayLike, label: npt.ArrayLike) -> Isotonic:
        """Fit to margins float[N] and labels bool[N].

        Centred isotonic regression (Oron and Flournoy 2017): neighbours that violate the order are
        pooled, and each pool is one knot at its mean margin, which leaves no flat pieces.

        Raises:
            UnsupportedModelError: the margins do not order the labels at all.
        """
        order = np.argsort(margin, kind="stable")
        pools: list[_Pool] = []
        for x, y in zip(np.asarray(margin)[order], np.asarray(label)[order], strict=True):
            pools.append(_Pool(float(x), float(y), 1))
            while len(pools) > 1 and not pools[-2].is_well_below(pools[-1]):
                last = pools.pop()
                pools[-1] = pools[-1].joined(last)
        if len(pools) == 1:
            raise UnsupportedModelError(
                f"{len(order)} margins do not rise with their labels: nothing to calibrate"
            )
        return cls(tuple(pool.margin for pool in pools), tuple(pool.share for pool in pools))

    def probability(self, margin: npt.ArrayLike) -> Float64:
        """Calibrate margins, in float64."""
        at = np.asarray(margin, np.float64)
        curve = np.interp(at, self.margins, self.probabilities)
        return np.where(np.isnan(at), np.nan, curve)

    def margin(self, probability: float) -> float:
        """Return the margin whose probability this is.

        Raises:
            UnsupportedModelError: the curve never reaches it.
        """
        low, high = self.probabilities[0], self.probabilities[-1]
        if not low < probability <= high:
            raise UnsupportedModelError(
                f"an isotonic curve from {low:g} to {high:g} does not cross {probability:g}: "
                "choose a threshold between"
            )
        return float(np.interp(probability, self.probabilities, self.margins))

    def nodes(self, margin: Var) -> Var:
        """Calibrate `margin` float32[N, 1] inside a graph: the first knot and what each adds."""
        x, y = (np.array(v, np.float64) for v in (self.margins, self.probabilities))
        pad = (0, -(len(x) - 1) % LANES)
        start, width, gain = (
            op.const(np.pad(v, pad, constant_values=1).astype(np.float32))
            for v in (x[:-1], np.diff(x), np.diff(y))
        )
        share = op.clip(op.div(op.sub(margin, start), width), scalar(0), scalar(1))
        real = op.const((np.arange(len(x) - 1 + pad[1]) < len(x) - 1).astype(np.float32))
        risen = op.add(total(op.mul(share, op.mul(gain, real))), scalar(y[0]))
        # The operator's clip lets go of NaN on some processors.
        return op.where(op.isnan(margin), margin, risen)

    def to_json(self) -> dict[str, Any]:
        """Return what `calibration_from_json` reads."""
        return {
            "kind": "isotonic",
            "margins": list(self.margins),
            "probabilities": list(self.probabilities),
        }


def calibration_from_json(raw: Mapping[str, Any]) -> Platt | Isotonic:
    """Read what `to_json` wrote.

    Raises:
        UnsupportedModelError: it is neither kind.
    """
    if raw.get("kind") == "platt":
        return Platt(float(raw["a"]), float(raw["b"]))
    if raw.get("kind") == "isotonic":
        return Isotonic(tuple(map(float, raw["margins"])), tuple(map(float, raw["probabilities"])))
    raise UnsupportedModelError(
        f"calibration of kind {raw.get('kind')!r}; known are platt and isotonic"
    )


@dataclass(frozen=True, slots=True)
class _Pool:
    """Neighbouring examples as one: mean margin, share of positives, how many."""

    margin: float
    share: float
    count: int

    def is_well_below(self, other: _Pool) -> bool:
        rise, run = other.share - self.share, other.margin - self.margin
        return 0 < rise <= STEEPEST * run

    def joined(self, other: _Pool) -> _Pool:
        count = self.count + other.count
        margin = (self.margin * self.count + other.margin * other.count) / count
        share = (self.share * self.count + other.share * other.count) / count
        return _Pool(margin, share, count)
