"""Who is trained on, who tunes, who judges (pure): by machine, and by time with an embargo.

The test machines are permanent: a hash of the machine's id decides, so that a machine which tested
one model never trains the next. Random rows are never split: windows overlap, and a row split turns
an honest F1 of .2 into .97 (docs/adr/0005-honest-split.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

TEST_SHARE: Final = 0.2
"""Share of all machines that only ever test; part of the product, because it is permanent."""
VALIDATION_SHARE: Final = 0.25
"""Share of the other machines that stop, calibrate and set the threshold."""
_TEST_SALT: Final = "foreshock/test/1:"
_VALIDATION_SALT: Final = "foreshock/validation/1:"
_FOLD_SALT: Final = "foreshock/fold/1:"
FEWEST_PER_FOLD: Final = 4
"""Machines that a cross-validation needs for each of its folds."""


class SplitError(ForeshockError):
    """A split that cannot be made, or that would leak."""


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint groups of machines, each sorted by id."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        refuse_overlap(self.train, self.validation, self.test)


def is_test_machine(machine: str) -> bool:
    """Say whether a machine is a permanent test machine; the answer never changes."""
    return _share_of(_TEST_SALT, machine) < TEST_SHARE


def is_validation_machine(machine: str) -> bool:
    """Say whether a machine that does not test validates; permanent likewise."""
    return _share_of(_VALIDATION_SALT, machine) < VALIDATION_SHARE


def split_machines(machines: Iterable[str]) -> Split:
    """Split machines by the hashes of their ids.

    Raises:
        SplitError: a group would be empty; names it.
    """
    groups: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for machine in sorted(set(machines)):
        groups[_group_of(machine)].append(machine)
    if empty := [name for name, members in groups.items() if not members]:
        count = sum(map(len, groups.values()))
        raise SplitError(
            f"{count} machines leave no {' and no '.join(empty)} machine (the hash of the id "
            "decides): record more machines; about 20 are enough"
        )
    return Split(**{name: tuple(members) for name, members in groups.items()})


def folds_of(machines: Iterable[str], count: int) -> tuple[Split, ...]:
    """Return `count` splits in whose test groups every machine stands once.

    Machines are dealt out in the order of a hash of their ids, so that neighbours by name, which
    are often alike, are not together. A quarter of those that do not test validates.

    Raises:
        SplitError: there are too few machines.
    """
    dealt = sorted(set(machines), key=lambda name: _share_of(_FOLD_SALT, name))
    if len(dealt) < FEWEST_PER_FOLD * count:
        raise SplitError(
            f"{len(dealt)} machines are too few for {count} folds: {FEWEST_PER_FOLD * count} are "
            "needed, or give fewer --folds"
        )
    splits = []
    for fold in range(count):
        others = [name for i, name in enumerate(dealt) if i % count != fold]
        validation = set(others[:: round(1 / VALIDATION_SHARE)])
        splits.append(
            Split(
                train=tuple(sorted(set(others) - validation)),
                validation=tuple(sorted(validation)),
                test=tuple(sorted(dealt[fold::count])),
            )
        )
    return tuple(splits)


def refuse_overlap(*groups: Iterable[str]) -> None:
    """Raise unless no machine stands in two groups.

    Raises:
        SplitError: names the machines.
    """
    seen: set[str] = set()
    for group in map(set, groups):
        if both := sorted(seen & group):
            raise SplitError(
                f"machines on both sides of a split: {', '.join(both[:5])}: the figures would be "
                "those of a model that has seen the answers"
            )
        seen |= group


def before_and_after(end_ns: Int64, cut_ns: int, embargo_ns: int) -> tuple[Bool, Bool]:
    """Split windows by time; between the sides lies the embargo, which belongs to neither.

    Args:
        end_ns: int64[N], ends of the windows.
        cut_ns: where the second side begins to be evaluated.
        embargo_ns: at least window + horizon: a window that ends before the cut has a label from
            after it, and a window that ends after it has readings from before.

    Returns:
        bool[N] masks of the earlier and the later side.
    """
    if embargo_ns < 0:
        raise SplitError(f"an embargo of {embargo_ns} ns is negative: give window + horizon")
    return end_ns <= cut_ns - embargo_ns, end_ns > cut_ns


def rows_of(machine: npt.NDArray[Any], names: tuple[str, ...], group: Iterable[str]) -> Bool:
    """Return the rows bool[N] whose machine (an index into `names`) is in the group."""
    members = set(group)
    wanted = np.array([name in members for name in names], dtype=np.bool_)
    chosen: Bool = wanted[machine]
    return chosen


def _group_of(machine: str) -> str:
    if is_test_machine(machine):
        return "test"
    return "validation" if is_validation_machine(machine) else "train"


def _share_of(salt: str, machine: str) -> float:
    digest = hashlib.sha256((salt + machine).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
