"""The show of recorded machines: data that nobody here made up, through MQTT and the agents.

The training machines' past goes into the lake as every past does, a model is trained, judged and
rolled out; then the test machines speak, over MQTT, and the agents score them. What became of the
test machines is read when everything is in the lake, and not before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from foreshock.demo.crew import DemoError
from foreshock.demo.show import Show, raised_line
from foreshock.demo.stage import Place, Sensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_wire.messages import Alarm

WITHOUT: Final = "foreshock-without-counter"
"""The registered name of the model that may not learn from the counter."""
SENSORS_ALONE: Final = ("--features", "time")
"""No feature of a context channel: it stands in the window, and tells when it is due."""
TOLD_ALARMS: Final = 3
"""So many alarms are told in words; of the others, how many there are."""
TELL_EVERY_S: Final = 10.0
MIN_FILL: Final = "0.02"
"""A recording's first sample is a window already: what is not there yet is missing in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySetting(Place):
    """What a replay is made of.

    `data` holds the files of `data_set`; without `subset` its first. `past` and `machines` are how
    many training and test machines take part (None: all). Without `counter` the model that goes to
    the gateways learns from the sensors alone, and nothing from the machines' age.
    """

    data_set: str
    data: Path
    subset: str | None = None
    past: int | None = None
    machines: int | None = None
    hours_per_s: float = 1000.0
    counter: bool = True

    @property
    def recording(self) -> Path:
        """Where both sides are written as recorded telemetry."""
        return self.folder / "recording"


class Replay(Show):
    """Train on the training machines, then let the test machines speak.

    `recorded` is what `trainer data record` said, `crossvalidated` what the training is worth.
    """

    def __init__(self, setting: ReplaySetting, tell: Callable[[str], None]) -> None:
        super().__init__(setting, tell)
        self.setting = setting
        self.recorded: dict[str, Any] = {}
        self.crossvalidated: dict[str, Any] = {}
        self._told_s = 0.0
        self._speaking = False

    def play(self) -> None:
        """Record, train, roll out, replay, and let everything drain.

        Raises:
            DemoError: a part failed, or the gate refused the model.
        """
        self._record()
        model = self._admitted(self._train(*self._learning(), *self._vouched()))
        if model is None:
            raise DemoError("the gate refused the model, so there is nothing to show: see above")
        self._set_up(self._sensors())
        self._roll_out(model)
        self._replay()
        self._compare()

    # Acts ----------------------------------------------------------------------------------

    def _record(self) -> None:
        """Check the files, write both sides as telemetry, and take the training side in."""
        setting, crew = self.setting, self.stage.crew
        self._act(f"reading {setting.data_set}: every file is checked against its sum")
        told = self.recorded = crew.run(
            "record",
            *("trainer", "data", "record", setting.data_set, "--data", str(setting.data)),
            *("--out", str(setting.recording)),
            *_option("--subset", setting.subset),
            *_option("--train-machines", setting.past),
            *_option("--test-machines", setting.machines),
        )
        self.progress.horizon_h = told["horizon_h"]
        self._say(
            f"{told['train_machines']} training and {told['test_machines']} test machines with "
            f"{len(told['channels'])} channels; these never change: {', '.join(told['left_out'])}"
        )
        folder, lake = str(setting.recording / "train"), str(setting.lake)
        found = crew.run("import", "trainer", "ingest", "--from", folder, "--lake", lake)
        self._act(f"{found['counters']['readings']:,} past readings are in the lake: training")

    def _replay(self) -> None:
        """Let the test machines speak, and wait until all of it is in the lake."""
        samples = self.recorded["test_samples"]
        self.progress.show_started_s = time.monotonic()
        self._act(
            f"{self.recorded['test_machines']} test machines speak: {samples:,} samples over MQTT"
        )
        self._speaking = True
        recording = str(self.setting.recording / "test")
        self.stage.start_plant(
            "replay", "--from", recording, "--speed", str(self.setting.hours_per_s)
        )
        self.stage.crew.finish("plant")
        self._say("the last sample is published; the rest goes up")
        self._drain()
        self._speaking = False
        raised = len(self.watcher.seen.raised)
        self._say(f"all is in the lake: {samples:,} samples, {raised} alarms were raised")

    def _compare(self) -> None:
        """Train what stands beside the figures: without the counter, and by turns."""
        if self.setting.counter:
            self._act("the same training once more, which may not know the machines' age")
            self._train(*self._learning(), *self._vouched(), *SENSORS_ALONE, name=WITHOUT)
        self._act("and by turns on training machines alone, to judge the lead times")
        self.crossvalidated = self.stage.crew.run(
            "crossvalidate",
            *("trainer", "crossvalidate", "--lake", str(self.place.lake), *self._learning()),
        )

    # Helpers -------------------------------------------------------------------------------

    def _learning(self) -> list[str]:
        told = self.recorded
        channels = [part for channel in told["channels"] for part in ("--channel", channel)]
        return [
            *channels,
            *(() if self.setting.counter else SENSORS_ALONE),
            *("--period-s", str(told["period_s"]), "--length", str(told["length"])),
            *("--stride", "1", "--min-fill", MIN_FILL, "--horizon-h", str(told["horizon_h"])),
        ]

    def _vouched(self) -> list[str]:
        return [part for name in self.recorded["vouched"] for part in ("--vouch", name)]

    def _sensors(self) -> Sensors:
        return Sensors([channel.partition(":")[0] for channel in self.recorded["channels"]])

    def _meanwhile(self) -> None:
        """Tell how far the gateways have come."""
        now_s = time.monotonic()
        if self._speaking and now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            scored, samples = len(self.watcher.seen.scores), self.recorded["test_samples"]
            self._say(
                f"{scored:,} of {samples:,} samples are scored ({scored / samples:.0%}), "
                f"{self.pending():,} records wait on the gateways"
            )

    def _on_raised(self, alarm: Alarm) -> None:
        if len(self.watcher.seen.raised) <= TOLD_ALARMS:
            self._say(raised_line(alarm))


def _option(name: str, value: object) -> tuple[str, ...]:
    return () if value is None else (name, str(value))
