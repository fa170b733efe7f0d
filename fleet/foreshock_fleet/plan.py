"""How a rollout goes on: waves, gates, windows and limits, checked when it is created. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foreshock_fleet.errors import PlanError
from foreshock_fleet.health import HealthGate  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTES_A_DAY: Final = 1440
_MINUTE_NS: Final = 60 * 10**9
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_LABEL: Final = re.compile(r"([a-z0-9][a-z0-9_.-]{0,62})=([\w.-]{1,63})")

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
FailureKind = Literal["rejected", "rolled_back", "any"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(_Value):
    """A maintenance window, the same every day (UTC minutes); it may pass midnight."""

    begin: int = Field(ge=0, lt=MINUTES_A_DAY)
    end: int = Field(ge=0, lt=MINUTES_A_DAY)

    def is_open(self, now_ns: int) -> bool:
        """Say whether gateways may be given something new now."""
        minute = now_ns // _MINUTE_NS % MINUTES_A_DAY
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


class Plan(_Value):
    """The strategy and the gates of one rollout.

    `waves` are shares of the members (`0.1`, cumulative, the last is 1) or counts (`5`); the first
    wave is the canary. A wave is passed when `min_executed` of it has ended, `min_success` of these
    have committed, and that has held for `soak_s`. A wave that cannot come to `min_success` any
    more, or more failures of a kind than `max_failures` allows, take everybody back. With `health`
    the gateways try the model beside the one that they run, and a wave is passed when it was shown
    to be as good, or not to be worse in all the blocks of the trial.
    """

    waves: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (1.0,)
    min_executed: Share = 1.0
    min_success: Share = 0.0
    soak_s: Annotated[float, Field(ge=0, le=90 * 86_400, allow_inf_nan=False)] = 0.0
    max_failures: dict[FailureKind, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    approval: bool = False
    per_site: int | None = Field(default=None, ge=1)
    window: Window | None = None
    select: dict[str, str] = Field(default_factory=dict)
    health: HealthGate | None = None

    @model_validator(mode="after")
    def _waves_grow(self) -> Self:
        shares = [wave for wave in self.waves if wave <= 1]
        counts = [wave for wave in self.waves if wave > 1]
        if not self.waves:
            raise ValueError("a rollout needs a wave")
        if shares != sorted(set(shares)) or counts != sorted(set(counts)):
            raise ValueError("waves must grow, for example 5%,25%,100%")
        if any(wave != int(wave) for wave in counts):
            raise ValueError("a count of gateways is a whole number")
        return self

    def sizes(self, members: int) -> tuple[int, ...]:
        """Return how many members are in the waves up to each one; the last has all."""
        found: list[int] = []
        for wave in self.waves:
            # A share of a small fleet is still somebody; a wave that adds nobody is none.
            size = min(members, max(1, round(wave * members)) if wave <= 1 else int(wave))
            if not found or size > found[-1]:
                found.append(size)
        if found[-1] < members:
            found.append(members)
        return tuple(found)

    def not_before_ns(self, wave: int, now_ns: int) -> int:
        """Return when a wave begins at the earliest, UTC ns, if all goes well at once."""
        trial_s = self.health.terms.blocks * self.health.block_s if self.health else 0.0
        at_ns = self._opens_ns(now_ns)
        for _ in range(1, wave):
            at_ns = self._opens_ns(at_ns + round((trial_s + self.soak_s) * 1e9))
        return at_ns

    def _opens_ns(self, at_ns: int) -> int:
        if self.window is None or self.window.is_open(at_ns):
            return at_ns
        day_ns = at_ns - at_ns % (MINUTES_A_DAY * _MINUTE_NS)
        begin_ns = day_ns + self.window.begin * _MINUTE_NS
        return begin_ns if begin_ns >= at_ns else begin_ns + MINUTES_A_DAY * _MINUTE_NS

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether a gateway with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.select.items())


ONCE: Final = Plan()
"""Everybody at once, no gate: what a rollout is when nothing else is said."""


def make_plan(**values: object) -> Plan:
    """Check a plan's values.

    Raises:
        PlanError: names the first one that is wrong.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "plan"
        raise PlanError(f"{where}: {first['msg']}") from None


def parse_waves(text: str) -> tuple[float, ...]:
    """Read `5%,25%,100%` or `1,10` (counts).

    Raises:
        PlanError: it is neither.
    """
    waves = []
    for part in text.split(","):
        number = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)(%?)", part.strip())
        if number is None:
            raise PlanError(f"waves: {part!r} is no share (5%) and no count (10)")
        value = float(number[1]) / 100 if number[2] else float(number[1])
        if number[2] and value > 1:
            raise PlanError(f"waves: {part!r} is more than all")
        # One gateway is a count of 1, which as a share would be everybody.
        waves.append(value if number[2] or value != 1 else 1e-9)
    return tuple(waves)


def parse_window(text: str) -> Window:
    """Read `22:00-04:00`, UTC.

    Raises:
        PlanError: it is no window.
    """
    found = _WINDOW.fullmatch(text)
    if found is None or found[0][:5] == found[0][6:]:
        raise PlanError(f"window {text!r}: give HH:MM-HH:MM in UTC, for example 22:00-04:00")
    h1, m1, h2, m2 = map(int, found.groups())
    return Window(begin=60 * h1 + m1, end=60 * h2 + m2)


def parse_labels(text: str) -> dict[str, str]:
    """Read `site=a,class=pump`.

    Raises:
        PlanError: a part is no KEY=VALUE.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = {part: _LABEL.fullmatch(part) for part in parts}
    wrong = [part for part, match in found.items() if match is None]
    if wrong:
        raise PlanError(f"label {wrong[0]!r}: give KEY=VALUE, for example class=pump")
    return {match[1]: match[2] for match in found.values() if match}
