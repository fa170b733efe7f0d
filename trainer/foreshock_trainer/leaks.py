"""Leak detectors (pure): reasons why figures on these two sides would mean nothing.

Each detector looks at what is declared (groups, times, labels) and at the features themselves, and
returns the leaks it found with a reason that a person can act on; `refuse_leaks` raises them. A
column that looks like a leak and is none (an error code that the controller really logs a day
before each failure) is vouched for by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_trainer.evaluate import roc_auc
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.floating[Any]]

NEARLY_PERFECT: Final = 0.999
"""ROC-AUC of one feature from which it counts as the label in disguise (a single sensor of C-MAPSS
FD001 reaches .98 honestly)."""
FEW_VALUES: Final = 20
"""A column with at most so many values is read as categories."""
PURE: Final = 0.99
"""Share of failures among the rows of one category from which it names the outcome ..."""
PURE_SHARE: Final = 0.1
"""... when it holds this share of all failures."""
STEPS: Final = 4
"""A scale has at least so many values ..."""
GRADED: Final = 0.3
"""... and at the value beside its end at least this share are failures."""
ENOUGH: Final = 10
"""Fewer rows, groups or failures than this prove nothing."""
COPIES: Final = 0.01
"""Share of the distinct test rows that may have an exact copy in training."""
CONTINUOUS: Final = 0.1
"""A column is continuous when this share of its values differ."""
LOPSIDED: Final = 5.0
"""Copies of failures this many times as common as others' are no accident of rough values."""
INTERPOLATED: Final = 0.25
"""Share of test failures that may lie on a line through two training failures."""
ASKED: Final = 400
"""Test failures whose neighbours are looked at."""
NEIGHBOURS: Final = 8
MIN_COLUMNS: Final = 3
STRAIGHT: Final = 1 - 1e-6
"""Cosine from which three rows lie on one line."""


class LeakError(ForeshockError):
    """The figures would be those of a model that has seen the answers."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One reason: `kind` names the detector."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a split, row by row; what is not declared is None.

    `features` float[N, F]; `label` bool[N]; `group` [N] (a machine's name or number); `begin_ns`
    and `end_ns` int64[N], the time that a row's features were made of.
    """

    features: Floats
    label: Bool
    group: npt.NDArray[Any] | None = None
    begin_ns: Int64 | None = None
    end_ns: Int64 | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of a split.

    `names` of the features; `by_time`: the same machines stand on both sides, at other times, with
    `embargo_ns` (at least the horizon) between them; `vouched`: features that may look like leaks.
    """

    names: Sequence[str]
    by_time: bool = False
    embargo_ns: int = 0
    vouched: Collection[str] = ()


def refuse_leaks(train: Side, test: Side, claim: Claim) -> None:
    """Raise unless no detector finds anything.

    Raises:
        LeakError: every reason, one a line.
    """
    found = leaks(train, test, claim)
    if found:
        lines = "\n".join(f"  {leak.kind}: {leak.reason}" for leak in found)
        raise LeakError(f"no figures are told, because the split leaks:\n{lines}")


def leaks(train: Side, test: Side, claim: Claim) -> tuple[Leak, ...]:
    """Return every leak between two sides."""
    return (
        *same_machine(train, test, claim),
        *overlapping_windows(train, test, claim),
        *label_columns(train, test, claim),
        *identity_columns(train, test, claim),
        *copies(train, test),
        *interpolated_failures(train, test),
    )


def same_machine(train: Side, test: Side, claim: Claim) -> Iterator[Leak]:
    """Find machines on both sides of a split that is said to be by machine."""
    if claim.by_time or train.group is None or test.group is None:
        return
    both = np.intersect1d(train.group, test.group)
    if len(both):
        yield Leak(
            "same machine on both sides",
            f"{len(both)} of {len(np.unique(test.group))} test machines ({_some(both)}) also train "
            "the model: split by machine, or declare a split by time",
        )


def overlapping_windows(train: Side, test: Side, claim: Claim) -> Iterator[Leak]:
    """Find test rows whose time overlaps a training row's of the same machine, or its embargo."""
    if train.begin_ns is None or test.begin_ns is None:
        return
    touching = 0
    for group in _groups(train, test):
        ours, theirs = _rows(train, group), _rows(test, group)
        touching += _touching(train, test, ours, theirs, claim.embargo_ns if claim.by_time else 0)
    if touching:
        yield Leak(
            "overlapping windows",
            f"{touching} of {len(test.label)} test windows share readings with a training window "
            f"of the same machine, or lie within the embargo of it: rows of overlapping windows "
            "must not be split at random; split by machine, or by time with an embargo of window "
            "+ horizon",
        )


def label_columns(train: Side, test: Side, claim: Claim) -> Iterator[Leak]:
    """Find features that say the outcome by themselves."""
    label = np.concatenate([train.label, test.label])
    if np.count_nonzero(label) < ENOUGH or np.count_nonzero(~label) < ENOUGH:
        return
    for column, name in _unvouched(claim):
        values = np.concatenate([train.features[:, column], test.features[:, column]])
        if why := _tells(values, label):
            yield Leak(
                "label among the features",
                f"{name!r} {why}: it was written with the outcome known, or is the outcome; "
                "leave it out, or vouch for it by name",
            )


def identity_columns(train: Side, test: Side, claim: Claim) -> Iterator[Leak]:
    """Find features that number the rows or the machines."""
    group = None
    if train.group is not None and test.group is not None:
        group = np.unique(np.concatenate([train.group, test.group]), return_inverse=True)[1]
    for column, name in _unvouched(claim):
        values = np.concatenate([train.features[:, column], test.features[:, column]])
        if why := _numbers_rows(values) or _numbers_machines(values, group):
            yield Leak(
                "identity among the features",
                f"{name!r} {why}: a model learns by heart what happened to whom; leave it out, or "
                "vouch for it by name",
            )


def copies(train: Side, test: Side) -> Iterator[Leak]:
    """Find rows that stand on both sides, although rows so fine never meet by chance.

    Each distinct row counts once: a machine at rest that sends the same zeros is no leak. Rows of
    rough values do meet by chance; among those, failures that do so far more often than others give
    the repetition away.
    """
    known = set(map(bytes, _plain(train.features)))
    kinds = [
        dict.fromkeys(map(bytes, _plain(test.features[test.label == k]))) for k in (True, False)
    ]
    failed, others = ([row in known for row in rows] for rows in kinds)
    copied = sum(failed) + sum(others)
    if copied < ENOUGH // 2 or copied <= COPIES * (len(failed) + len(others)):
        return
    lopsided = _share(failed) > LOPSIDED * _share(others)
    if lopsided or len(_continuous(np.concatenate([train.features, test.features]))):
        yield Leak(
            "oversampling before the split",
            f"{copied} different test rows ({sum(failed)} of them failures) are exact copies of "
            "training rows: split first, and repeat rows in training only",
        )


def interpolated_failures(train: Side, test: Side) -> Iterator[Leak]:
    """Find test failures that were made between training failures (SMOTE and its kin).

    Three real rows of several continuous columns do not lie on one line; a row that was
    interpolated before the split does, with the rows it was made of and with its siblings.
    """
    rows = np.flatnonzero(test.label)
    if len(rows) < ENOUGH:
        return
    rows = rows[np.unique(np.linspace(0, len(rows), ASKED, endpoint=False).astype(np.int64))]
    failures, asked = train.features[train.label], test.features[rows]
    columns = _continuous(np.concatenate([failures, asked]))
    if len(columns) < MIN_COLUMNS or len(failures) <= NEIGHBOURS:
        return
    reference, asked = _scaled(failures[:, columns], asked[:, columns])
    share = float(np.mean([_on_a_line(row, reference) for row in asked]))
    if share > INTERPOLATED:
        yield Leak(
            "oversampling before the split",
            f"{share:.0%} of the test failures lie on a straight line through training ones: they "
            "were interpolated before the split; split first, and oversample in training only",
        )


def _groups(train: Side, test: Side) -> Iterator[object]:
    if train.group is None or test.group is None:
        yield None
    else:
        yield from np.intersect1d(train.group, test.group)


def _rows(side: Side, group: object) -> Bool:
    if group is None or side.group is None:
        return np.ones(len(side.label), np.bool_)
    rows: Bool = side.group == group
    return rows


def _touching(train: Side, test: Side, ours: Bool, theirs: Bool, embargo_ns: int) -> int:
    """Count test rows for which some training row begins before their end and ends after it."""
    begin, end = _times(train, ours)
    test_begin, test_end = _times(test, theirs)
    begun = np.searchsorted(np.sort(begin), test_end + embargo_ns, side="left")
    over = np.searchsorted(np.sort(end), test_begin - embargo_ns, side="right")
    return int(np.count_nonzero(begun > over))


def _times(side: Side, rows: Bool) -> tuple[Int64, Int64]:
    if side.begin_ns is None or side.end_ns is None:
        raise LeakError("windows are declared by begin and end: one of them is missing")
    return side.begin_ns[rows], side.end_ns[rows]


def _tells(values: Floats, label: Bool) -> str:
    known = ~np.isnan(values)
    if not known.all() and (why := _category_tells(known.astype(np.float64), label)):
        return f"{why} (where it has a value or none)"
    auc = roc_auc(label[known], values[known])
    if max(auc, 1 - auc) >= NEARLY_PERFECT:
        return f"alone tells failures from the rest (ROC-AUC {max(auc, 1 - auc):.4f})"
    return _category_tells(values[known], label[known])


def _category_tells(values: Floats, label: Bool) -> str:
    kinds, at = np.unique(values, return_inverse=True)
    failures = int(np.count_nonzero(label))
    if not 1 < len(kinds) <= FEW_VALUES or 2 * failures > len(label):
        return ""
    held, failed = np.bincount(at), np.bincount(at, label)
    enough = (failed >= ENOUGH) & (failed >= PURE_SHARE * failures)
    telling = enough & (failed >= PURE * held) & ~_ends_a_scale(failed / held)
    if not telling.any():
        return ""
    worst = int(np.argmax(np.where(telling, failed, 0)))
    return (
        f"= {kinds[worst]:g} in {held[worst]} rows, of which {int(failed[worst])} are failures "
        f"({failed[worst] / failures:.0%} of all)"
    )


def _ends_a_scale(rate: Floats) -> Bool:
    """Say which categories end a scale on which failures become common step by step.

    A sensor in whole numbers (C-MAPSS's bleed enthalpy) is highest near failures only, and its
    next value below is already a sign; the neighbour of a code that names the outcome is none.
    """
    return _ends_upwards(rate) | _ends_upwards(rate[::-1])[::-1]


def _ends_upwards(rate: Floats) -> Bool:
    below = np.flatnonzero(rate < PURE)
    last = int(below[-1]) if len(below) else len(rate)
    graded = len(rate) >= STEPS and last < len(rate) and rate[last] >= GRADED
    ends: Bool = (np.arange(len(rate)) > last) & graded
    return ends


def _numbers_rows(values: Floats) -> str:
    if len(values) < ENOUGH**2 or np.isnan(values).any():
        return ""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / (len(values) - 1)
    if not step > 0:
        return ""
    place = (values.astype(np.float64) - low) / step
    # Sorting every column would cost more than all other detectors: most are no grid at a glance.
    if np.mean(_is_whole(place[: ENOUGH**2])) > PURE:
        steps = np.diff(np.sort(place))
        if np.mean(np.isclose(steps, 1, atol=1e-3)) > PURE:
            return "has another value in each row, in equal steps: a row number or a clock"
    return ""


def _is_whole(values: Floats) -> Bool:
    whole: Bool = np.abs(values - np.round(values)) < 1e-3  # noqa: PLR2004 - float32's rounding
    return whole


def _numbers_machines(values: Floats, group: npt.NDArray[np.integer[Any]] | None) -> str:
    if group is None or not len(values) or np.isnan(values).any():
        return ""
    count = int(group.max()) + 1
    one = values[group == 0]
    if count < ENOUGH or len(values) < 2 * count or (one != one[0]).any():
        return ""
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, group, values)
    np.maximum.at(high, group, values)
    if np.array_equal(low, high) and len(np.unique(low)) == count:
        return f"has one value for each of {count} machines, and for each another"
    return ""


def _unvouched(claim: Claim) -> Iterator[tuple[int, str]]:
    return ((i, name) for i, name in enumerate(claim.names) if name not in claim.vouched)


def _continuous(values: Floats) -> list[int]:
    """Return the columns that hardly repeat a value."""
    if not len(values):
        return []
    return [
        i
        for i, column in enumerate(values.T)
        if len(np.unique(column[~np.isnan(column)])) >= max(CONTINUOUS * len(column), FEW_VALUES)
    ]


def _plain(features: Floats) -> Floats:
    """Return rows whose bytes are equal where their values are (one NaN, one zero)."""
    return np.ascontiguousarray(np.where(np.isnan(features), np.nan, features + 0.0))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def _scaled(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Standardise both by the training rows; a value that is missing stands at the mean."""
    held = np.isfinite(train)
    count = np.maximum(held.sum(axis=0), 1)
    centre = np.where(held, train, 0.0).sum(axis=0) / count
    off = np.where(held, train - centre, 0.0)
    spread = np.sqrt(np.square(off).sum(axis=0) / count)
    scale = np.where(spread > 0, spread, 1.0)
    return off / scale, np.where(np.isfinite(test), (test - centre) / scale, 0.0)


def _on_a_line(row: Floats, reference: Floats) -> bool:
    """Say whether a row lies on a line through two different ones of its nearest neighbours."""
    away = reference - row
    square = np.einsum("ij,ij->i", away, away)
    near = np.argpartition(square, NEIGHBOURS)[:NEIGHBOURS]
    length = np.sqrt(square[near])
    near, length = near[length > 0], length[length > 0]
    unit = away[near] / length[:, None]
    straight = np.abs(unit @ unit.T) > STRAIGHT
    apart = ~np.isclose(unit * length[:, None], (unit * length[:, None])[:, None]).all(axis=-1)
    return bool((straight & apart).any())


def _some(names: npt.NDArray[Any]) -> str:
    return ", ".join(map(str, names[:3])) + (" ..." if len(names) > 3 else "")  # noqa: PLR2004
