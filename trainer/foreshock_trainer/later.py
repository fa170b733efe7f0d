"""By machine and by time: a model of the past, on machines that it never saw, afterwards.

A second fault head learns, stops and gets its threshold before a cut less the embargo, and is
judged on the test machines' windows after the cut. The head that is registered knows all of the
training machines' time, because the newest failures are the ones that matter; its twin says what
the same training is worth on days that it cannot know, and stands for it against the champion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.evaluate import WindowFigures, window_figures
from foreshock_trainer.fit import fault_head, margin_of, threshold
from foreshock_trainer.splits import before_and_after, rows_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.examples import Examples
    from foreshock_trainer.fit_settings import FitSettings
    from foreshock_trainer.splits import Split

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]

LATER_FROM: Final = 0.75
"""Share of all windows that lie before the cut, where no champion asks for a later one."""


@dataclass(frozen=True, slots=True)
class Later:
    """What the twin came to on windows after `cut_ns`.

    `rows` bool[N] are those windows among all; `margin` float32 of each of them; `failures` how
    many failures they are about.
    """

    figures: WindowFigures
    rows: Bool
    margin: Float32
    cut_ns: int
    failures: int

    def after(self, cut_ns: int | None) -> bool:
        """Say whether all of these windows lie after another model's cut-off (None: unknown)."""
        return cut_ns is not None and self.cut_ns >= cut_ns


def across_time(  # a split and what is asked of it
    features: Float32,
    examples: Examples,
    split: Split,
    embargo_ns: int,
    settings: FitSettings,
    *,
    champion_ns: int | None = None,
    fewest_failures: int = 1,
) -> Later | None:
    """Judge the twin after the champion's cut-off, or where too little came since, after its own.

    Args:
        features: float32[N, F].
        examples: the N windows' outcomes.
        split: who trains, tunes and judges.
        embargo_ns: window + horizon.
        settings: of the boosters.
        champion_ns: the moment after which a window is new to the champion, too; None: unknown.
        fewest_failures: fewer than this after that moment are too few.

    Returns:
        The twin's words; None when one side of the cut holds no failure of its machines.
    """
    own_ns = round(float(np.quantile(examples.end_ns, LATER_FROM)))
    asked = [(own_ns, 1)]
    if champion_ns is not None:
        asked.insert(0, (max(own_ns, champion_ns), fewest_failures))
    for cut_ns, fewest in asked:
        if sides := _sides(examples, split, cut_ns, embargo_ns, fewest):
            return _judged(features, examples, sides, cut_ns, settings)
    return None


def _sides(
    examples: Examples, split: Split, cut_ns: int, embargo_ns: int, fewest: int
) -> tuple[Bool, Bool, Bool] | None:
    before, after = before_and_after(examples.end_ns, cut_ns, embargo_ns)
    train, valid, test = (
        rows_of(examples.machine, examples.machines, group) & side
        for group, side in ((split.train, before), (split.validation, before), (split.test, after))
    )
    learnt = (examples.label & train).any() and (examples.label & valid).any()
    return (train, valid, test) if learnt and _failures(examples, test) >= fewest else None


def _failures(examples: Examples, rows: Bool) -> int:
    """Return how many failures the positive windows among some rows are about."""
    hit = rows & examples.label
    return len(np.unique(np.stack([examples.machine[hit], examples.failure_ns[hit]]), axis=1).T)


def _judged(
    features: Float32,
    examples: Examples,
    sides: tuple[Bool, Bool, Bool],
    cut_ns: int,
    settings: FitSettings,
) -> Later:
    train, valid, test = sides
    label = examples.label
    head = fault_head(features, label, train, valid, settings)
    limit = threshold(margin_of(head, features[valid]), label[valid], settings)
    margin = margin_of(head, features[test])
    figures = window_figures(label[test], margin, margin >= limit)
    return Later(figures, test, margin, cut_ns, _failures(examples, test))
