"""What a retraining is told: parsed and refused once, here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from foreshock_rules.windows import WindowSpec
from foreshock_trainer.fit_settings import FitSettings
from foreshock_wire.derived import Derived, derived_problems
from foreshock_wire.errors import ForeshockError
from foreshock_wire.ids import check_id
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_CHANNELS: Final = (
    "temperature:degC",
    "pressure:bar",
    "vibration:mm/s",
    "torque:N.m",
    "motor_power:kW",
)
"""Channels as ID:UNIT, in the order of the window's columns."""
DEFAULT_FEATURES: Final = ("time", "context")
"""Spectral features cost more than they tell of anything but vibration: they are asked for."""
LEARNT_ROLES: Final = (Role.MEASURED, Role.CONTEXT)
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnSettings:
    """What is learnt from, and how it is cut into examples.

    `lake` is a folder or URL; `period_s` one slot of a window, `length` and `stride` in slots,
    `min_fill` the share of cells (0 to 1] that a window must hold; `lateness_s` as the gateways
    have it, or the windows are not theirs; `horizon_h` how far ahead a failure counts. `derived`
    channels are computed in the model; `features` names what a window becomes: groups, features or
    columns; `fit` says how the boosters are trained, but for the seed; `tuned` what
    the tuning that chose some of this tells of itself.
    """

    lake: str
    channels: tuple[Channel, ...] = field(
        default_factory=lambda: tuple(map(parse_channel, DEFAULT_CHANNELS))
    )
    period_s: float = 1800.0
    length: int = 48
    stride: int = 4
    min_fill: float = 0.5
    lateness_s: float = 0.0
    horizon_h: float = 48.0
    seed: int = 0
    derived: tuple[Derived, ...] = ()
    features: tuple[str, ...] = DEFAULT_FEATURES
    fit: FitSettings = field(default_factory=FitSettings)
    tuned: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problem := next(derived_problems(self.derived, self.cut.channels), None):
            raise ForeshockError(problem)
        positive = {
            "period_s": self.period_s,
            "length": self.length,
            "stride": self.stride,
            "horizon_h": self.horizon_h,
        }
        if wrong := [name for name, value in positive.items() if not value > 0]:
            raise ForeshockError(f"{' and '.join(wrong)} must be above 0")
        if not 0 < self.min_fill <= 1 or self.lateness_s < 0:
            raise ForeshockError("min_fill must lie in (0, 1] and lateness_s be 0 or more")

    @property
    def training(self) -> FitSettings:
        """How the boosters are trained, with the seed."""
        return replace(self.fit, seed=self.seed)

    @property
    def cut(self) -> WindowSpec:
        """How the windows are cut: the rules that the gateways follow."""
        return WindowSpec(
            channels=tuple(channel.id for channel in self.channels),
            period_ns=round(self.period_s * _SECOND_NS),
            length=self.length,
            stride=self.stride,
            min_fill=self.min_fill,
            lateness_ns=round(self.lateness_s * _SECOND_NS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSettings(LearnSettings):
    """One retraining, and where its model goes.

    `tracking` is a folder; `vouched` channels may look like leaks and are none (see `leaks`); with
    `promote` a model that passes the gate becomes the champion at once.
    """

    tracking: Path
    name: str = "foreshock"
    vouched: tuple[str, ...] = ()
    promote: bool = False

    def __post_init__(self) -> None:
        LearnSettings.__post_init__(self)
        check_id(self.name, "model name")


def parse_channel(text: str) -> Channel:
    """Return the channel that ID:UNIT or ID:UNIT:ROLE names; the role is `measured` or `context`.

    Raises:
        ForeshockError: it has no unit, the id is not one, or the role cannot be learnt from.
    """
    name, _, rest = text.partition(":")
    unit, colon, role = rest.partition(":")
    if not unit:
        raise ForeshockError(
            f"channel {text!r} is not ID:UNIT or ID:UNIT:ROLE, like temperature:degC"
        )
    if colon and role not in LEARNT_ROLES:
        raise ForeshockError(
            f"channel {text!r} has the role {role!r}: write {' or '.join(LEARNT_ROLES)}"
        )
    return Channel(check_id(name, "channel"), unit, Role(role or Role.MEASURED))
