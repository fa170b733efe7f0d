"""What a tuning found, as a file: the settings for `retrain`, and what they are worth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from foreshock_trainer.fit_settings import FitSettings
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION: Final = 1
CHOSEN: Final = (
    *("rounds", "patience", "depth", "learning_rate", "bins", "rows_per_tree"),
    *("features_per_tree", "min_child_weight", "l2"),
)
"""Fields of `FitSettings` that a tuning sets; all others stay a person's."""


class TunedError(ForeshockError):
    """A file that no tuning wrote, or that another version did."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings that a tuning chose.

    `fit` holds the fields of `CHOSEN`; `features` are columns of the graph. `tries` counts the
    settings that were judged, those of the nested folds among them; `tries_of_choice` those that
    the choice was made from. `inner_pr_auc` is the choice's own score, which is too good, because
    it was the best of many; `nested` holds the honest figures: of this whole procedure, on machines
    that chose nothing. `graph` says how large the graph was before and after.
    """

    fit: Mapping[str, Any]
    features: tuple[str, ...]
    tries: int
    tries_of_choice: int
    inner_pr_auc: float
    nested: Mapping[str, float]
    graph: Mapping[str, int]
    provenance: Mapping[str, str]

    def applied(self, base: FitSettings) -> FitSettings:
        """Return the base with what was tuned."""
        return replace(base, **self.fit)

    def summary(self) -> dict[str, str]:
        """Return what belongs beside a model's figures: the tries, and what they were worth."""
        worth = {f"nested_{name}": f"{self.nested[name]:.3f}" for name in ("f1", "pr_auc")}
        return {"tries": str(self.tries), **worth}

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"v": VERSION, **asdict(self), "features": list(self.features)}

    def lines(self) -> list[str]:
        """Return what a person wants to know."""
        return [self._choice(), self._graph(), self._worth()]

    def _choice(self) -> str:
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in self.fit.items())
        return f"{self.tries} settings were tried, {self.tries_of_choice} for the choice: {chosen}"

    def _graph(self) -> str:
        sizes = self.graph
        return (
            f"features: {sizes['features_before']} -> {sizes['features_after']}; their graph: "
            f"{sizes['nodes_before']} -> {sizes['nodes_after']} operators, "
            f"{sizes['bytes_before']:,} -> {sizes['bytes_after']:,} bytes"
        )

    def _worth(self) -> str:
        nested = self.nested
        return (
            f"worth, by {nested['machines']:.0f} machines that chose nothing: F1 "
            f"{nested['f1']:.3f} (untuned {nested['untuned_f1']:.3f}, always yes "
            f"{nested['always_yes_f1']:.3f}), FPR {nested['fpr']:.2%}, PR-AUC "
            f"{nested['pr_auc']:.3f} (untuned {nested['untuned_pr_auc']:.3f}); the choice's own "
            f"score, the best of many and so too good: {self.inner_pr_auc:.3f}"
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a file holds.

        Raises:
            TunedError: it cannot be read, or is not a tuning's.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["v"] != VERSION or set(raw["fit"]) != set(CHOSEN):
                raise TunedError(f"{path} is of another version: tune again")
            if wrong := [name for name, value in raw["fit"].items() if not _is_like(name, value)]:
                raise TunedError(f"{path}: {', '.join(wrong)} of its fit cannot be that")
            values = {f.name: raw[f.name] for f in fields(cls)}
            made = cls(**values | {"features": tuple(map(str, raw["features"]))})
            made.applied(FitSettings())
            made.summary()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TunedError(
                f"{path} is not what `foreshock trainer tune --out` writes "
                f"({type(error).__name__}: {error})"
            ) from None
        return made


def _is_like(name: str, value: object) -> bool:
    """Say whether a value is a number of the kind that the setting has by default."""
    default = getattr(FitSettings(), name)
    kinds = (int,) if isinstance(default, int) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and value >= 0


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
