"""What an estimator's file cannot say of itself: a small TOML file, read strictly.

name = "pump-forest"
period_s = 60
length = 1                                   # a table row is a window of one sample
stride = 1
horizon_h = 48
threshold = 0.5                              # of the probability of a failure
classes = ["healthy", "bearing", "winding"]  # in the estimator's order
features = ["torque", "speed.last"]          # in the estimator's order

[channels]
torque = "N.m"
speed = "rpm"
errors = { unit = "1", role = "context" }

[advice]
bearing = "Grease it."
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foreshock_converter.errors import UnsupportedModelError
from foreshock_wire.spec import Advice, Channel, Role

if TYPE_CHECKING:
    from pathlib import Path

Share = Annotated[float, Field(gt=0, lt=1)]


class ChannelEntry(BaseModel):
    """A channel that is told in full."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str
    role: Literal["measured", "context"] = "measured"


class Request(BaseModel):
    """The TOML file; `healthy` names the class that is no failure, the first one by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    period_s: float = Field(gt=0)
    length: int = Field(default=1, ge=1)
    stride: int = Field(default=1, ge=1)
    horizon_h: float = Field(gt=0)
    threshold: Share = 0.5
    thresholds: Mapping[str, Share] = Field(default_factory=dict)
    min_fill: float = Field(default=0.5, gt=0, le=1)
    classes: tuple[str, ...] = ("healthy", "failing")
    healthy: str = ""
    features: tuple[str, ...] = ()
    channels: Mapping[str, str | ChannelEntry]
    advice: Mapping[str, str] = Field(default_factory=dict)

    @property
    def window_channels(self) -> tuple[Channel, ...]:
        """The window's columns."""
        entries = {
            name: ChannelEntry(unit=entry) if isinstance(entry, str) else entry
            for name, entry in self.channels.items()
        }
        return tuple(Channel(name, e.unit, Role(e.role)) for name, e in entries.items())

    @property
    def healthy_class(self) -> int:
        """The index of the class that is no failure."""
        return self.classes.index(self.healthy or self.classes[0])

    @property
    def modes(self) -> tuple[str, ...]:
        """The failure modes, when there are several."""
        others = [name for i, name in enumerate(self.classes) if i != self.healthy_class]
        return tuple(others) if len(others) > 1 else ()

    @property
    def playbook(self) -> tuple[Advice, ...]:
        """What to do about each mode."""
        return tuple(Advice(mode, text) for mode, text in self.advice.items())


def read_request(path: Path) -> Request:
    """Read the TOML file.

    Raises:
        UnsupportedModelError: names the entry that is missing, unknown or wrong.
    """
    try:
        request = Request.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnsupportedModelError(f"{path} is no TOML file: {error}") from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise UnsupportedModelError(
            f"{path}: {told} (foreshock convert import --help has an example)"
        ) from None
    if len(request.classes) < 2 or (request.healthy and request.healthy not in request.classes):  # noqa: PLR2004 - healthy and another
        raise UnsupportedModelError(
            f"{path}: classes {', '.join(request.classes)} must be two at least, and healthy "
            f"{request.healthy or request.classes[:1]} one of them"
        )
    return request
