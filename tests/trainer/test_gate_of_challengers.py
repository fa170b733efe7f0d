"""What passes the gate, what does not, and that the verdict says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.bootstrap import draw_machines
from foreshock_trainer.evaluate import window_figures
from foreshock_trainer.gate import MARGIN, MIN_FAILURES, Contest, Verdict, judge

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

MACHINES, PER_MACHINE = 20, 60
RNG = np.random.default_rng(3)
MACHINE = np.repeat(np.arange(MACHINES), PER_MACHINE)
LABEL = np.tile(np.arange(PER_MACHINE) >= PER_MACHINE - 6, MACHINES)


def scores(skill: float, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(len(LABEL))
    return skill * LABEL + noise


def verdict(
    challenger: Floats,
    champion: Floats | None = None,
    *,
    failures: int = MACHINES,
    parity_ok: bool = True,
) -> Verdict:
    figures = window_figures(LABEL, challenger, challenger >= 2)
    return judge(
        Contest(MACHINE, LABEL, challenger, champion),
        figures,
        failures=failures,
        parity_ok=parity_ok,
    )


def test_the_first_model_passes_on_skill_alone() -> None:
    seen = verdict(scores(4))

    assert seen == Verdict(passed=True, reasons=(), skill_bound=seen.skill_bound)
    assert seen.skill_bound > 0.5
    assert seen.difference_bound is None


def test_a_model_without_skill_is_refused() -> None:
    seen = verdict(scores(0))

    assert not seen.passed
    assert any("constant answer" in reason for reason in seen.reasons)


def test_a_model_that_always_alarms_is_refused_whatever_its_order() -> None:
    figures = window_figures(LABEL, scores(4), np.ones(len(LABEL), np.bool_))

    seen = judge(Contest(MACHINE, LABEL, scores(4)), figures, failures=9, parity_ok=True)

    assert [reason[:3] for reason in seen.reasons] == ["F1 "]


def test_broken_parity_refuses_the_best_of_models() -> None:
    seen = verdict(scores(8), parity_ok=False)

    assert not seen.passed
    assert "parity" in seen.reasons[0]


def test_too_few_failures_judge_nothing() -> None:
    assert "2 failures" in verdict(scores(4), failures=2).reasons[0]


def test_an_equal_challenger_passes() -> None:
    champion = scores(4)

    seen = verdict(champion.copy(), champion)

    assert seen.passed
    assert seen.difference_bound == 0


def test_a_better_challenger_passes_and_a_worse_one_does_not() -> None:
    better, worse = scores(4, seed=1), scores(2.5, seed=2)

    assert verdict(better, worse).passed
    refused = verdict(worse, better)
    assert not refused.passed
    assert refused.difference_bound is not None
    assert refused.difference_bound < -MARGIN
    assert "worse than the champion" in refused.reasons[0]


def test_a_loss_inside_the_margin_is_not_inferior() -> None:
    champion = scores(5, seed=4)
    challenger = champion + 0.02 * RNG.standard_normal(len(LABEL))

    assert verdict(challenger, champion).passed


def test_the_bootstrap_draws_whole_machines() -> None:
    draws = draw_machines(MACHINE, 50, seed=1)

    for weight in draws:
        by_machine = weight.reshape(MACHINES, PER_MACHINE)
        assert (by_machine == by_machine[:, :1]).all()
        assert by_machine[:, 0].sum() == MACHINES


def test_one_machine_with_all_the_skill_widens_the_bound() -> None:
    one = np.where(MACHINE == 0, scores(8), scores(0, seed=5))
    everywhere = scores(1.2)

    assert verdict(one).skill_bound < verdict(everywhere).skill_bound


@pytest.mark.parametrize(("failures", "passed"), [(MIN_FAILURES, False), (MIN_FAILURES - 1, True)])
def test_who_was_good_once_and_is_worse_on_what_is_new_to_both_is_refused(
    failures: int, *, passed: bool
) -> None:
    figures = window_figures(LABEL, scores(4), scores(4) >= 2)
    newer = Contest(MACHINE, LABEL, scores(1, seed=2), scores(4, seed=3))

    seen = judge(
        Contest(MACHINE, LABEL, scores(4), scores(4)),
        figures,
        failures=9,
        parity_ok=True,
        later=newer,
        later_failures=failures,
    )

    assert seen.passed is passed
    assert (seen.later_bound is None) is passed
    assert seen.later_failures == (0 if passed else failures)
    assert passed or "after both models' cut-offs" in seen.reasons[0]


@pytest.mark.parametrize("seed", [0, 7])
def test_the_verdict_repeats(seed: int) -> None:
    contest = Contest(MACHINE, LABEL, scores(3), scores(3, seed=9))
    figures = window_figures(LABEL, scores(3), scores(3) >= 2)

    first = judge(contest, figures, failures=5, parity_ok=True, seed=seed)

    assert first == judge(contest, figures, failures=5, parity_ok=True, seed=seed)
