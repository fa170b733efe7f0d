"""A track of the lake as its gateway would have judged it (`foreshock_rules.playback`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_rules import playback
from foreshock_rules.alarms import AlarmPolicy
from foreshock_rules.playback import Recorded
from foreshock_rules.windows import WindowSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_rules.playback import Played
    from foreshock_trainer.examples import Track
    from foreshock_wire.model import Model

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What a gateway's settings say beside the model; the defaults are the agent's."""

    on_delay_s: float = 0.0
    off_delay_s: float = 4 * 3600.0
    deadband: float = 0.5
    latching: bool = False
    lateness_s: float = 0.0

    def cut(self, model: Model) -> WindowSpec:
        """Return how windows are cut for a model."""
        return WindowSpec.of_model(model.spec, round(self.lateness_s * SECOND_NS))

    def policy(self, model: Model) -> AlarmPolicy:
        """Return when alarms are raised and cleared."""
        return AlarmPolicy.around(
            model.spec.threshold_margin,
            deadband=self.deadband,
            on_delay_s=self.on_delay_s,
            off_delay_s=self.off_delay_s,
            latching=self.latching,
        )


def play(track: Track, channels: Sequence[str], model: Model, edge: EdgeSettings) -> Played:
    """Replay one machine.

    Args:
        track: its readings in arrival order; `track.channel` indexes `channels`.
        channels: names; those that the model does not read are left out, as at the edge.
        model: what the gateway would have run.
        edge: the gateway's settings.
    """
    cut = edge.cut(model)
    readings = Recorded(track.channel, track.time_ns, track.value).by(channels, cut.channels)
    return playback.play(readings, model, cut, edge.policy(model))
