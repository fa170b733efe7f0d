"""Each leak is caught on data built to leak, and an honest split of the same data passes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.leaks import Claim, Leak, LeakError, Side, leaks, refuse_leaks

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

HOUR_NS = 3_600_000_000_000
WINDOW, HORIZON = 24, 48
MACHINES, HOURS = 30, 400
NAMES = ("vibration_mean", "vibration_std", "temperature_mean", "load_last", "errors")


@dataclass(frozen=True)
class Fleet:
    """Overlapping windows of machines that each fail once, with two sensors that show it late."""

    rows: Side

    def side(self, chosen: Bool) -> Side:
        rows = self.rows
        assert rows.group is not None
        assert rows.begin_ns is not None
        assert rows.end_ns is not None
        return Side(
            rows.features[chosen],
            rows.label[chosen],
            rows.group[chosen],
            rows.begin_ns[chosen],
            rows.end_ns[chosen],
        )

    def by_machine(self) -> tuple[Side, Side]:
        assert self.rows.group is not None
        test = self.rows.group >= MACHINES * 2 // 3
        return self.side(~test), self.side(test)

    def with_column(self, values: npt.NDArray[np.generic]) -> Fleet:
        features = np.column_stack([self.rows.features, values.astype(np.float64)])
        return Fleet(replace(self.rows, features=features))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    chance = np.random.default_rng(5)
    parts = []
    for machine in range(MACHINES):
        wear = np.maximum(0, np.arange(HOURS) - HOURS + 90) / 90
        noise = chance.standard_normal((HOURS, 3))
        series = chance.normal(0, 0.5) + noise + np.outer(wear, [2.5, 1.0, 0.0])
        ends = np.arange(WINDOW, HOURS, 2)
        windows = np.stack([series[end - WINDOW : end] for end in ends])
        errors = chance.poisson(0.2 + wear[ends - 1])
        parts.append((machine, ends, windows, errors))
    features = np.concatenate(
        [
            np.column_stack(
                [w[:, :, 0].mean(1), w[:, :, 0].std(1), w[:, :, 1].mean(1), w[:, -1, 2], errors]
            )
            for _, _, w, errors in parts
        ]
    )
    ends = np.concatenate([part[1] for part in parts])
    rows = Side(
        features,
        label=ends >= HOURS - HORIZON,
        group=np.repeat(np.arange(MACHINES), [len(part[1]) for part in parts]),
        begin_ns=(ends - WINDOW) * HOUR_NS,
        end_ns=ends * HOUR_NS,
    )
    return Fleet(rows)


def kinds(found: tuple[Leak, ...]) -> set[str]:
    return {leak.kind for leak in found}


def names_of(fleet: Fleet, *more: str) -> Claim:
    assert fleet.rows.features.shape[1] == len(NAMES) + len(more)
    return Claim((*NAMES, *more))


def shuffled(count: int) -> Bool:
    return np.random.default_rng(1).random(count) < 0.3


def test_an_honest_split_by_machine_passes(fleet: Fleet) -> None:
    assert leaks(*fleet.by_machine(), names_of(fleet)) == ()


def test_an_honest_split_by_time_passes_and_one_without_embargo_does_not(fleet: Fleet) -> None:
    end = fleet.rows.end_ns
    assert end is not None
    embargo_ns = HORIZON * HOUR_NS
    cut = HOURS // 2 * HOUR_NS
    train, test = fleet.side(end <= cut), fleet.side(end > cut + embargo_ns + WINDOW * HOUR_NS)
    claim = replace(names_of(fleet), by_time=True, embargo_ns=embargo_ns)

    assert leaks(train, test, claim) == ()
    assert kinds(leaks(train, fleet.side(end > cut), claim)) == {"overlapping windows"}


def test_rows_split_at_random_are_refused(fleet: Fleet) -> None:
    test = shuffled(len(fleet.rows.label))

    found = leaks(fleet.side(~test), fleet.side(test), names_of(fleet))

    assert kinds(found) == {"same machine on both sides", "overlapping windows"}


def test_rows_split_at_random_are_refused_when_only_times_are_declared(fleet: Fleet) -> None:
    group = fleet.rows.group
    assert group is not None
    one = fleet.side(group == 3)
    anonymous = Fleet(replace(one, group=np.zeros(len(one.label))))
    test = shuffled(len(one.label))
    sides = [replace(anonymous.side(rows), group=None) for rows in (~test, test)]

    assert kinds(leaks(sides[0], sides[1], names_of(fleet))) == {"overlapping windows"}


def test_one_machine_on_both_sides_is_refused_by_name(fleet: Fleet) -> None:
    train, _ = fleet.by_machine()
    group = fleet.rows.group
    assert group is not None
    test = fleet.side(group >= MACHINES * 2 // 3 - 1)

    with pytest.raises(LeakError, match=r"1 of 11 test machines \(19\) also train") as caught:
        refuse_leaks(train, test, names_of(fleet))

    assert "split by machine" in str(caught.value)


@pytest.mark.parametrize("column", ["label", "noisy label", "absent unless it failed", "one mode"])
def test_a_label_among_the_features_is_refused_by_name(fleet: Fleet, column: str) -> None:
    label, chance = fleet.rows.label, np.random.default_rng(2)
    values = {
        "label": label,
        "noisy label": label + 0.1 * chance.standard_normal(len(label)),
        "absent unless it failed": np.where(label, chance.random(len(label)), np.nan),
        "one mode": label & (chance.random(len(label)) < 0.3),
    }[column]
    leaking = fleet.with_column(values)

    found = leaks(*leaking.by_machine(), names_of(leaking, "repair_code"))

    assert kinds(found) == {"label among the features"}
    assert "'repair_code'" in found[0].reason


def test_a_sensor_in_whole_numbers_that_is_highest_near_failures_passes(fleet: Fleet) -> None:
    end_h = fleet.rows.end_ns // HOUR_NS if fleet.rows.end_ns is not None else np.empty(0)
    wear = np.maximum(0, end_h - HOURS + 90) / 90
    coarse = np.round(6 * wear + np.random.default_rng(3).normal(0, 0.4, len(wear)))
    graded = fleet.with_column(coarse)
    assert fleet.rows.label[coarse == coarse.max()].all()

    assert leaks(*graded.by_machine(), names_of(graded, "bleed")) == ()


def test_a_code_that_names_the_outcome_is_refused_although_it_is_the_highest(fleet: Fleet) -> None:
    label, chance = fleet.rows.label, np.random.default_rng(3)
    other = chance.integers(0, 6, len(label))
    coded = fleet.with_column(np.where(label & (chance.random(len(label)) < 0.4), 9, other))

    found = leaks(*coded.by_machine(), names_of(coded, "code"))

    assert kinds(found) == {"label among the features"}


def test_a_column_that_is_vouched_for_may_tell_the_outcome(fleet: Fleet) -> None:
    leaking = fleet.with_column(fleet.rows.label)
    claim = replace(names_of(leaking, "error_code"), vouched={"error_code"})

    assert leaks(*leaking.by_machine(), claim) == ()


@pytest.mark.parametrize("column", ["row number", "machine number"])
def test_an_identity_among_the_features_is_refused(fleet: Fleet, column: str) -> None:
    group = fleet.rows.group
    assert group is not None
    values = {
        "row number": np.random.default_rng(4).permutation(len(group)),
        "machine number": group * 7.0,
    }[column]
    leaking = fleet.with_column(values)

    found = leaks(*leaking.by_machine(), names_of(leaking, "id"))

    assert kinds(found) == {"identity among the features"}
    assert "'id'" in found[0].reason


def table(rows: int = 4000) -> tuple[Floats, Bool]:
    """Rows without group or time, as AI4I declares none: a rare failure of several causes."""
    chance = np.random.default_rng(9)
    features = np.column_stack(
        [
            chance.normal(300, 2, rows).round(1),
            chance.normal(1540, 180, rows).round(),
            chance.normal(40, 10, rows).round(1),
            chance.integers(0, 250, rows),
            chance.integers(0, 3, rows),
        ]
    )
    strain = features[:, 2] * features[:, 3]
    return features, (strain > 11_000) | ((features[:, 1] < 1250) & (features[:, 2] > 35))


def halves(features: Floats, label: Bool) -> tuple[Side, Side]:
    test = np.random.default_rng(6).random(len(label)) < 0.3
    return Side(features[~test], label[~test]), Side(features[test], label[test])


TABLE = Claim(("temperature", "speed", "torque", "wear", "type"))


def test_an_honest_table_passes() -> None:
    features, label = table()
    assert 0.01 < label.mean() < 0.1
    assert leaks(*halves(features, label), TABLE) == ()


def test_rough_values_that_repeat_by_chance_pass() -> None:
    features, label = table()
    rough = np.column_stack([features[:, 4], (features[:, 3] // 100), features[:, 2] > 45])
    assert leaks(*halves(rough, label), Claim(("type", "wear", "high"))) == ()


def test_a_machine_at_rest_that_always_sends_the_same_passes(fleet: Fleet) -> None:
    resting = ~fleet.rows.label & (np.arange(len(fleet.rows.label)) % 3 == 0)
    still = Fleet(
        replace(fleet.rows, features=np.where(resting[:, None], 0.0, fleet.rows.features))
    )
    assert leaks(*still.by_machine(), names_of(still)) == ()


def test_failures_repeated_before_the_split_are_refused() -> None:
    features, label = table()
    rows = np.concatenate([np.arange(len(label)), np.repeat(np.flatnonzero(label), 10)])

    found = leaks(*halves(features[rows], label[rows]), TABLE)

    assert kinds(found) == {"oversampling before the split"}
    assert "exact copies" in found[0].reason


def test_a_table_joined_with_itself_is_refused(fleet: Fleet) -> None:
    rows = fleet.rows
    twice = Side(np.tile(rows.features, (2, 1)), np.tile(rows.label, 2))
    test = shuffled(len(twice.label))
    sides = [Side(twice.features[s], twice.label[s]) for s in (~test, test)]

    assert kinds(leaks(sides[0], sides[1], names_of(fleet))) == {"oversampling before the split"}


def test_a_test_side_without_a_failure_is_looked_at_too(fleet: Fleet) -> None:
    train, test = fleet.by_machine()
    assert leaks(train, replace(test, label=np.zeros_like(test.label)), names_of(fleet)) == ()


def test_failures_interpolated_before_the_split_are_refused() -> None:
    features, label = table()
    failures, chance = features[label], np.random.default_rng(8)
    away = ((failures[:, None] - failures) ** 2).sum(axis=-1)
    nearest = np.argsort(away, axis=1)[:, 1:6]
    made = []
    for _ in range(20):
        other = failures[nearest[np.arange(len(failures)), chance.integers(0, 5, len(failures))]]
        made.append(failures + chance.random((len(failures), 1)) * (other - failures))
    features = np.concatenate([features, *made]).astype(np.float32).astype(np.float64)
    label = np.concatenate([label, np.ones(20 * len(failures), np.bool_)])

    found = leaks(*halves(features, label), TABLE)

    assert kinds(found) == {"oversampling before the split"}
    assert "interpolated" in found[0].reason


def test_every_reason_is_told_at_once(fleet: Fleet) -> None:
    leaking = fleet.with_column(fleet.rows.label)
    test = shuffled(len(leaking.rows.label))

    with pytest.raises(LeakError, match="no figures are told") as caught:
        refuse_leaks(leaking.side(~test), leaking.side(test), names_of(leaking, "status"))

    for reason in ("same machine", "overlapping windows", "'status'"):
        assert reason in str(caught.value)
