"""Training reads training machines, calibration reads validation machines, and that is all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from foreshock_trainer.evaluate import NS_PER_HOUR
from foreshock_trainer.examples import Examples
from foreshock_trainer.fit import FitError, Fitted, fit, lead_times, with_lead_time
from foreshock_trainer.fit_settings import FitSettings, LeadTimeHead
from foreshock_trainer.later import LATER_FROM, Later, across_time
from foreshock_trainer.splits import Split, SplitError, before_and_after, rows_of

HORIZON_H = 48.0
MACHINES, WINDOWS, STEP_H = 30, 100, 2
SETTINGS = FitSettings(rounds=30, mode_rounds=10, lead_time_rounds=20)
NAMES = tuple(f"pump-{i:02d}" for i in range(MACHINES))
SPLIT = Split(NAMES[:16], NAMES[16:24], NAMES[24:])


def fleet(seed: int = 0) -> tuple[npt.NDArray[np.float32], Examples]:
    """Machines that fail after their last window, and show it in features 0 (how soon) and 1."""
    rng = np.random.default_rng(seed)
    machine = np.repeat(np.arange(MACHINES), WINDOWS)
    lead_h = np.tile(np.arange(WINDOWS, 0, -1) * float(STEP_H), MACHINES)
    end_ns = np.tile(np.arange(WINDOWS), MACHINES) * STEP_H * NS_PER_HOUR
    mode = machine % 2
    features = rng.normal(0, 1, (len(machine), 5)).astype(np.float32)
    features[:, 0] += np.exp(-lead_h / HORIZON_H) * 8
    features[:, 1] += mode * 4
    examples = Examples(
        windows=np.zeros((len(machine), 1, 1), np.float32),
        end_ns=end_ns,
        machine=machine,
        label=lead_h <= HORIZON_H,
        failure_ns=end_ns + np.rint(lead_h * NS_PER_HOUR).astype(np.int64),
        mode=mode,
        mixed=np.zeros(len(machine), np.bool_),
        machines=NAMES,
        modes=("bearing_wear", "cooling_loss"),
        dropped={},
    )
    return features, examples


EMBARGO_NS = round(72 * NS_PER_HOUR)


def two_lives() -> tuple[npt.NDArray[np.float32], Examples]:
    """The same machines twice, one life after the other: failures on both sides of a cut."""
    features, first = fleet()
    again, second = fleet(seed=1)
    later_ns = WINDOWS * STEP_H * NS_PER_HOUR
    joined = replace(
        first,
        windows=np.concatenate([first.windows, second.windows]),
        end_ns=np.concatenate([first.end_ns, second.end_ns + later_ns]),
        failure_ns=np.concatenate([first.failure_ns, second.failure_ns + later_ns]),
        machine=np.tile(first.machine, 2),
        label=np.tile(first.label, 2),
        mode=np.tile(first.mode, 2),
        mixed=np.tile(first.mixed, 2),
    )
    return np.concatenate([features, again]), joined


def trained(features: npt.NDArray[np.float32], examples: Examples) -> Fitted:
    return fit(features, examples, SPLIT, HORIZON_H, SETTINGS)


def fingerprint(fitted: Fitted) -> tuple[object, ...]:
    heads = fitted.heads
    assert heads.modes is not None
    assert heads.lead_time is not None
    return (
        bytes(heads.fault.save_raw("json")),
        bytes(heads.modes.save_raw("json")),
        bytes(heads.lead_time.save_raw("json")),
        heads.lead_time_shift,
        fitted.calibration,
        fitted.threshold_margin,
        fitted.novelty.median.tobytes(),
        fitted.novelty.scale.tobytes(),
        fitted.validation,
    )


def test_nothing_of_the_test_machines_reaches_the_model() -> None:
    features, examples = fleet()
    spoilt, other = features.copy(), replace(examples, label=examples.label.copy())
    test = rows_of(examples.machine, examples.machines, SPLIT.test)
    spoilt[test] = np.random.default_rng(9).normal(50, 9, spoilt[test].shape)
    other.label[test] = ~other.label[test]
    other.failure_ns[test] += NS_PER_HOUR
    other.mode[test] = 0

    assert fingerprint(trained(features, examples)) == fingerprint(trained(spoilt, other))


def test_validation_machines_move_the_threshold_but_no_tree_of_the_other_heads() -> None:
    features, examples = fleet()
    shifted = features.copy()
    shifted[rows_of(examples.machine, examples.machines, SPLIT.validation), 0] += 1

    before, after = trained(features, examples), trained(shifted, examples)

    assert before.threshold_margin != after.threshold_margin
    assert fingerprint(before)[1:3] == fingerprint(after)[1:3]


def test_it_learns_what_is_there_and_keeps_the_cap_on_validation() -> None:
    features, examples = fleet()

    fitted = trained(features, examples)

    assert fitted.validation.fpr < SETTINGS.max_fpr
    assert fitted.validation.f1 > 0.6 > fitted.validation.always_yes_f1
    assert fitted.modes == ("bearing_wear", "cooling_loss")
    assert not examples.label[fitted.healthy].any()


def test_features_without_a_signal_end_at_chance() -> None:
    features, examples = fleet()
    noise = np.random.default_rng(2).normal(0, 1, features.shape).astype(np.float32)

    seen = trained(noise, examples).validation

    assert seen.roc_auc == pytest.approx(0.5, abs=0.1)
    assert seen.pr_auc < 1.5 * seen.prevalence


def test_a_fleet_with_one_failure_mode_needs_no_mode_head() -> None:
    features, examples = fleet()

    fitted = trained(features, replace(examples, mode=np.zeros_like(examples.mode)))

    assert fitted.heads.modes is None
    assert fitted.modes == ("bearing_wear",)


def test_training_machines_that_never_failed_are_refused() -> None:
    features, examples = fleet()
    train = rows_of(examples.machine, examples.machines, SPLIT.train)

    with pytest.raises(FitError, match="none of the 16 training machines failed"):
        trained(features, replace(examples, label=examples.label & ~train))


def test_a_machine_on_both_sides_never_gets_as_far_as_training() -> None:
    with pytest.raises(SplitError, match="pump-15"):
        Split(NAMES[:16], NAMES[15:24], NAMES[24:])


def past(
    features: npt.NDArray[np.float32],
    examples: Examples,
    champion_ns: int | None = None,
    fewest: int = 1,
) -> Later:
    seen = across_time(
        *(features, examples, SPLIT, EMBARGO_NS, SETTINGS),
        champion_ns=champion_ns,
        fewest_failures=fewest,
    )
    assert seen is not None
    return seen


def test_a_champion_moves_the_cut_to_where_everything_is_new_to_it_too() -> None:
    features, examples = two_lives()
    own = past(features, examples)
    champion_ns = own.cut_ns + 20 * NS_PER_HOUR

    seen = past(features, examples, champion_ns)

    assert (own.after(champion_ns), seen.after(champion_ns), own.after(None)) == (
        *(False, True),
        False,
    )
    assert examples.end_ns[seen.rows].min() > champion_ns
    assert seen.failures == len(SPLIT.test) == own.failures
    assert np.count_nonzero(seen.rows) < np.count_nonzero(own.rows)


def test_too_few_failures_since_the_champion_leave_the_cut_where_it_was() -> None:
    features, examples = two_lives()

    seen = past(features, examples, past(features, examples).cut_ns + 1, len(SPLIT.test) + 1)

    assert seen.cut_ns == past(features, examples).cut_ns


def test_across_time_it_judges_a_model_of_the_past_on_what_came_after() -> None:
    features, examples = two_lives()

    seen = past(features, examples).figures

    assert 0 < seen.windows < len(examples) * (1 - LATER_FROM)
    assert seen.f1 > 0.6
    assert seen.f1 > seen.always_yes_f1


def test_across_time_nothing_from_the_wrong_side_of_the_cut_is_read() -> None:
    features, examples = two_lives()
    cut_ns = round(float(np.quantile(examples.end_ns, LATER_FROM)))
    before, after = before_and_after(examples.end_ns, cut_ns, EMBARGO_NS)
    test = rows_of(examples.machine, examples.machines, SPLIT.test)
    unread = (test & ~after) | (~test & ~before)
    spoilt, other = features.copy(), replace(examples, label=examples.label.copy())
    spoilt[unread] = np.random.default_rng(9).normal(50, 9, spoilt[unread].shape)
    other.label[unread] = ~other.label[unread]

    assert unread.any()
    seen, again = past(features, examples), past(spoilt, other)
    assert again.figures == seen.figures
    np.testing.assert_array_equal(again.margin, seen.margin)


def test_across_time_a_history_with_failures_on_one_side_only_gives_no_figures() -> None:
    features, examples = fleet()

    assert across_time(features, examples, SPLIT, EMBARGO_NS, SETTINGS) is None


def test_a_fleet_that_seldom_fails_learns_lead_times_from_failures_that_did_not_come() -> None:
    features, examples = fleet()
    spared = examples.machine % 3 != 0
    features[spared, 0] = np.random.default_rng(3).normal(0, 1, np.count_nonzero(spared))
    seldom = replace(
        examples,
        label=examples.label & ~spared,
        failure_ns=np.where(spared, 0, examples.failure_ns),
        mode=np.where(spared, -1, examples.mode),
    )
    settings = replace(SETTINGS, lead_time_head=LeadTimeHead.AFT, lead_time_rounds=60)

    fitted = fit(features, seldom, SPLIT, HORIZON_H, settings)

    told = lead_times(fitted.heads, features)
    test = rows_of(seldom.machine, seldom.machines, SPLIT.test)
    soon = test & (seldom.lead_time_h <= HORIZON_H / 4)
    assert (np.diff(told, axis=1) >= 0).all()
    assert np.median(told[test & spared, 1]) > HORIZON_H
    assert np.median(told[soon, 1]) < HORIZON_H / 2

    plain = fit(features, seldom, SPLIT, HORIZON_H, SETTINGS)
    asked = (features, seldom, SPLIT)
    other = with_lead_time(plain, *asked, horizon_h=HORIZON_H, settings=settings)
    assert fingerprint(plain) != fingerprint(other)
    assert fingerprint(other) == fingerprint(fitted)
