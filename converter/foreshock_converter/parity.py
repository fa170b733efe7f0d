"""The proof that a model file is the model that was trained.

The oracle is what was trained itself (XGBoost, or the estimator somebody brought) on the features
that the graph emits, and brute force over raw windows for the explanation. Beside the windows given
stand windows under stress (`stress.STRESSES`) and generated ones (`stress.generated`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.errors import ParityError
from foreshock_converter.games import game
from foreshock_converter.oracle import brute_force_samples, brute_force_shapley, players_of
from foreshock_converter.stress import STRESSES, generated
from foreshock_wire.model import OUTPUTS, Model, Outputs
from foreshock_wire.spec import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from foreshock_converter.calibration import Calibration
    from foreshock_converter.scorer import Predictor

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

CHUNK: Final = 512
STRESSED: Final = 128
"""How many of the windows are put under every stress."""
ALONE: Final = 128
"""How many rows are run one by one as well, and compared bit for bit."""
EXPLAINED: Final = 32
"""How many windows are explained by brute force."""
PROOF_WINDOWS: Final = 10_000
"""How many windows a proof has that is fit to travel."""
MOST_PROBABILITY: Final = 1e-5
MOST_SHAPLEY: Final = 1e-4
MOST_LEAD_TIME_H: Final = 1e-2
"""Summing float32 in another order moves a quantile of `LONG_H` by about this much."""
LONG_H: Final = 1e3
"""Longer times are compared in parts of this."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Largest differences between graph and oracle; infinite where only one of them has a value.

    `kinds` counts the windows by stress; `unscored` of them have no score on either side. `flips`
    counts decisions at the spec's `threshold_margin` that differ, `mode_flips` named modes. Lead
    times longer than `LONG_H` are compared per `LONG_H`. `other_bits` counts the rows, of `alone`,
    that give other bits alone than among others.
    """

    windows: int
    kinds: Mapping[str, int]
    unscored: int
    explained: int
    alone: int
    flips: int
    mode_flips: int
    max_abs_margin: float
    max_abs_probability: float
    max_abs_modes: float
    max_abs_lead_time_h: float
    max_abs_shapley: float
    other_bits: int
    most_shapley: float = MOST_SHAPLEY

    @property
    def ok(self) -> bool:
        """No flip, and every output within its tolerance."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one clause each; empty when nothing is."""
        found = {
            f"{self.flips} of {self.windows} decisions flip": self.flips,
            f"{self.mode_flips} named modes flip": self.mode_flips,
            f"probabilities differ by {self.max_abs_probability:.2g}": _beyond(
                self.max_abs_probability, MOST_PROBABILITY
            ),
            f"mode probabilities differ by {self.max_abs_modes:.2g}": _beyond(
                self.max_abs_modes, MOST_PROBABILITY
            ),
            f"lead times differ by {self.max_abs_lead_time_h:.2g} h": _beyond(
                self.max_abs_lead_time_h, MOST_LEAD_TIME_H
            ),
            f"Shapley values differ by {self.max_abs_shapley:.2g}": _beyond(
                self.max_abs_shapley, self.most_shapley
            ),
        }
        return tuple(problem for problem, wrong in found.items() if wrong)

    def require(self) -> None:
        """Raise unless `ok`.

        Raises:
            ParityError: the graph is not the model that was trained.
        """
        if not self.ok:
            raise ParityError(
                f"the converted model is not the trained one: {'; '.join(self.problems)} "
                f"(on {self.windows} windows); do not register it, and report what it was made from"
            )

    def lines(self) -> list[str]:
        """Return the report for a person."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return [
            f"windows     {self.windows}: {kinds}; {self.unscored} without a score on both sides",
            f"decisions   {self.flips} flips; {self.mode_flips} of the named mode",
            f"margin      {self.max_abs_margin:.2g} at most between graph and oracle",
            f"probability {self.max_abs_probability:.2g}, of modes {self.max_abs_modes:.2g}",
            f"lead time   {self.max_abs_lead_time_h:.2g} h",
            f"Shapley     {self.max_abs_shapley:.2g} from brute force ({self.explained} windows)",
            f"one by one  {self.other_bits} of {self.alone} rows have other bits",
            f"verdict     {'; '.join(self.problems) or 'the file is the model that was trained'}",
        ]


def parity(
    model: bytes,
    predictor: Predictor,
    calibration: Calibration,
    windows: Float32,
    *,
    at_least: int = 0,
    most_shapley: float = MOST_SHAPLEY,
) -> ParityReport:
    """Compare the model file with its parts on `windows` float32[N, T, C] and on stressed ones.

    Generated windows are added until there are `at_least` so many.
    """
    loaded = Model.load(model)
    tally = _Tally(loaded, predictor, calibration)
    for kind, rows in _batches(loaded, windows, at_least):
        tally.add(kind, rows)
    return tally.report(most_shapley)


def _batches(model: Model, windows: Float32, at_least: int) -> Iterator[tuple[str, Float32]]:
    for start in range(0, len(windows), CHUNK):
        yield "given", windows[start : start + CHUNK]
    few = _sample(windows, STRESSED)
    if not len(few):
        few = generated(model.spec, STRESSED)
    for kind, stress in STRESSES.items():
        yield kind, stress(few)
    lacking = at_least - len(windows) - len(STRESSES) * len(few)
    for seed, start in enumerate(range(0, lacking, CHUNK)):
        yield "generated", generated(model.spec, min(CHUNK, lacking - start), seed=seed)


@dataclass(slots=True)
class _Tally:
    """The differences seen so far."""

    model: Model
    predictor: Predictor
    calibration: Calibration
    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)
    some: list[Float32] = field(default_factory=list)

    def add(self, kind: str, rows: Float32) -> None:
        if not len(rows):
            return
        seen, spec = self.model.run(rows), self.model.spec
        scored = _has_score(self.model, rows) & self.predictor.scores(seen.features)
        features = seen.features[scored]
        margin = np.full(len(rows), np.nan)
        margin[scored] = self.predictor.margin(features) if len(features) else []
        # The output is compared as it came: an unscored row decides nothing on either side.
        flips = (seen.margin >= spec.threshold_margin) != (margin >= spec.threshold_margin)
        self.kinds[kind] += len(rows)
        self.counts["unscored"] += int((~scored).sum())
        self.counts["flips"] += int(flips.sum())
        self._hold("margin", seen.margin, margin, scored)
        probability = self.calibration.probability(margin)
        self._hold("probability", seen.probability, probability, scored)
        self._modes(seen, scored)
        hours = self.predictor.lead_time_h(features, spec) if len(features) else None
        self._hold_some("lead_time", seen.lead_time, hours, scored)
        self.some.append(_sample(rows, ALONE // len(STRESSES)))

    def report(self, most_shapley: float) -> ParityReport:
        some = np.concatenate(self.some)
        to_explain, alone = _sample(some, EXPLAINED), _sample(some, ALONE)
        worst = self.worst
        return ParityReport(
            windows=self.kinds.total(),
            kinds=dict(self.kinds),
            unscored=self.counts["unscored"],
            explained=len(to_explain),
            alone=len(alone),
            flips=self.counts["flips"],
            mode_flips=self.counts["mode_flips"],
            max_abs_margin=worst["margin"],
            max_abs_probability=worst["probability"],
            max_abs_modes=worst["modes"],
            max_abs_lead_time_h=worst["lead_time"],
            max_abs_shapley=self._explanation(to_explain),
            other_bits=_other_bits(self.model, alone),
            most_shapley=most_shapley,
        )

    def _modes(self, seen: Outputs, scored: Bools) -> None:
        features = seen.features[scored]
        shares = self.predictor.mode_shares(features) if len(features) else None
        self._hold_some("modes", seen.modes, shares, scored)
        if shares is not None and shares.shape[1] > 1:
            ordered = np.sort(shares, axis=1)
            clear = ordered[:, -1] - ordered[:, -2] > MOST_PROBABILITY
            named = np.nan_to_num(seen.modes[scored], nan=-1).argmax(axis=1)
            self.counts["mode_flips"] += int((named != shares.argmax(axis=1))[clear].sum())

    def _hold_some(self, name: str, have: Float32, want: Float64 | None, scored: Bools) -> None:
        """Hold an output against the scored rows' values, or against NaN without that head."""
        due = np.full(have.shape, np.nan)
        if want is not None:
            due[scored] = want
        self._hold(name, have, due, scored, per=LONG_H if name == "lead_time" else np.inf)

    def _hold(
        self, name: str, have: Float32, want: Float64, scored: Bools, per: float = np.inf
    ) -> None:
        self.worst[name] = max(self.worst.get(name, 0), _off(have, want, scored, per))

    def _explanation(self, windows: Float32) -> float:
        """Compare with brute force: all coalitions, or the very permutations that were sampled."""
        model, predictor = self.model, self.predictor
        seen = model.run(windows, explain=True)
        scored = _has_score(model, windows) & predictor.scores(seen.features)
        if not model.spec.explanation.permutations:
            exact = brute_force_shapley(model, predictor, windows[scored])
            return _off(seen.shapley, _spread(exact, scored), scored)
        played = game(len(players_of(model)), len(model.spec.features))
        value, error = brute_force_samples(model, predictor, windows[scored], played)
        return max(
            _off(seen.shapley, _spread(value, scored), scored),
            _off(seen.shapley_error, _spread(error, scored), scored),
        )


def _beyond(difference: float, most: float) -> bool:
    return not difference < most


def _spread(values: Float64, scored: Bools) -> Float64:
    rows = np.full((len(scored), values.shape[1]), np.nan)
    rows[scored] = values
    return rows


def _off(have: Float32, want: Float64, scored: Bools, per: float = np.inf) -> float:
    """Return the largest difference of scored rows, of values beyond `per` relative to it.

    Infinite where only one side has a value, or where an unscored row has one.
    """
    if not np.isnan(have[~scored]).all():
        return float("inf")
    got, due = have[scored], want[scored]
    with np.errstate(invalid="ignore"):
        off = np.abs(got.astype(np.float64) - due) / np.maximum(1, np.abs(due) / per)
    off[(got == due) | (np.isnan(got) & np.isnan(due))] = 0
    return float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _sample(windows: Float32, most: int) -> Float32:
    picked = np.unique(np.linspace(0, len(windows), most, endpoint=False).astype(int))
    return windows[picked] if len(windows) else windows


def _has_score(model: Model, windows: Float32) -> Bools:
    measured = [channel.role is Role.MEASURED for channel in model.spec.channels]
    finite = np.isfinite(windows[:, :, measured])
    scored: Bools = np.asarray(finite.any(axis=(1, 2)))
    return scored


def _other_bits(model: Model, rows: Float32) -> int:
    def bits(outputs: Outputs, row: int) -> bytes:
        return b"".join(getattr(outputs, name)[row].tobytes() for name in OUTPUTS)

    together = model.run(rows)
    return sum(
        bits(model.run(rows[row : row + 1]), 0) != bits(together, row) for row in range(len(rows))
    )
