"""Quantities that no sensor gives and the model computes itself, cell by cell, from two channels.

Written `power=torque*speed*0.00010472:kW`: the power in kW of a torque in N.m at a speed in rpm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from foreshock_wire.errors import SpecError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Operation(StrEnum):
    """What is done with the two parents, in this order."""

    PRODUCT = "product"
    RATIO = "ratio"
    DIFFERENCE = "difference"


SIGNS: Final = {"*": Operation.PRODUCT, "/": Operation.RATIO, " - ": Operation.DIFFERENCE}
"""How an operation is written. An id may hold a `-`, so a difference has spaces round its sign."""
_WRITTEN: Final = re.compile(
    r"(?P<id>[^=]+)=(?P<first>[^*/\s]+)(?P<sign>\s*[*/]\s*|\s+-\s+)(?P<second>[^*/\s]+)"
    r"(\s*\*\s*(?P<factor>\d+\.?\d*(e[+-]?\d+)?))?\s*:(?P<unit>.+)"
)


@dataclass(frozen=True, slots=True)
class Derived:
    """One derived channel: its cells are `operation` of its parents' cells, times `factor`.

    A cell is missing where a parent's is, and where the result is not finite. `factor` converts
    units. It has features like a measured channel, but is no player in an explanation: what it
    tells is told of its parents.

    Raises:
        SpecError: an id that is none, or a factor that is not a number other than 0.
    """

    id: str
    unit: str
    operation: Operation
    parents: tuple[str, str]
    factor: float = 1.0

    def __post_init__(self) -> None:
        check_id(self.id, "derived channel")
        if not 0 < abs(self.factor) < float("inf"):
            raise SpecError(f"derived channel {self.id!r}: factor {self.factor} is none")

    @property
    def formula(self) -> str:
        """How it is computed, such as `torque*speed*0.001`."""
        sign = next(sign for sign, operation in SIGNS.items() if operation is self.operation)
        factor = "" if self.factor == 1 else f"*{self.factor:g}"
        return f"{self.parents[0]}{sign}{self.parents[1]}{factor}"


def derived_problems(derived: Sequence[Derived], channels: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the derived channels of windows that have these channels."""
    ids = [one.id for one in derived]
    for one in derived:
        if one.id in channels or ids.count(one.id) > 1:
            yield f"derived channel {one.id!r} has the name of another channel"
        for parent in one.parents:
            if parent not in channels:
                yield (
                    f"derived channel {one.id!r} is computed from {parent!r}, which is none of "
                    f"{', '.join(channels)}"
                )


def parse_derived(text: str) -> Derived:
    """Return the derived channel that ID=A*B:UNIT (or A/B, or "A - B", then *FACTOR) names.

    Raises:
        SpecError: it is not written so.
        InvalidIdError: its name is no id.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if not found:
        raise SpecError(
            f"derived channel {text!r} is not ID=A*B:UNIT, ID=A/B:UNIT or 'ID=A - B:UNIT', like "
            "power=torque*speed*0.00010472:kW"
        )
    sign = found["sign"].strip()
    return Derived(
        id=found["id"].strip(),
        unit=found["unit"].strip(),
        operation=SIGNS[" - " if sign == "-" else sign],
        parents=(found["first"], found["second"]),
        factor=float(found["factor"] or 1),
    )
