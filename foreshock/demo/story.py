"""The simulated plant's show: what is done when, told to whoever watches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock.demo.crew import DemoError
from foreshock.demo.show import Show, raised_line
from foreshock.demo.stage import Place, Sensors
from foreshock.demo.work_orders import Failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_wire.messages import Alarm

SENSORS: Final = Sensors(
    channels=("temperature", "pressure", "vibration", "torque", "motor_power"),
    lateness_s=3600,
    highest={"vibration": 14.0, "temperature": 115.0},
)
LOOK_EVERY_S: Final = 0.5
CUT_S: Final = 12.0
"""How long the cloud broker is away."""

CUT_AT: Final = 0.25
RETRAIN_AT: Final = 0.5
"""Shares of the show's length. The plant runs on until the second model is everywhere."""

RETRAININGS: Final = 3
MORE_DATA_S: Final = 20.0
"""How often the show retrains while the gate refuses, and how long it gathers data in between."""

LONGEST: Final = 5.0
"""How many times its length a show may last before its plant has no more to tell."""

HISTORY_HOURS: Final = 1500
HISTORY_SEED: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Place):
    """What a show of the simulated plant is made of."""

    machines: int = 12
    past: int = 60
    seconds: float = 90.0
    hours_per_s: float = 8.0
    seed: int = 1

    @property
    def hours(self) -> float:
        """Plant hours that are prepared: the show goes on where a slow machine needs longer."""
        return self.seconds * self.hours_per_s * LONGEST


class Story(Show):
    """Machines wear, the uplink is cut, a better model rolls out."""

    def __init__(self, setting: Setting, tell: Callable[[str], None]) -> None:
        super().__init__(setting, tell)
        self.setting = setting
        self._failures = Failures(setting.plant / "events.csv")
        self._looked_s = 0.0
        self._advised: set[str] = set()

    def play(self) -> None:
        """Set up with a first model, play all acts, and let everything drain.

        Raises:
            DemoError: a part failed or did not come up in time.
        """
        self._set_up(SENSORS)
        self._say(f"{self.setting.gateways} agents online, no model yet: plain limits stand in")
        self._first_model()
        self._begin_show()
        self._cut_uplink()
        self._second_model()
        self._at_share(1.0)
        self._end_show()

    # Acts ----------------------------------------------------------------------------------

    def _begin_show(self) -> None:
        setting = self.setting
        self.progress.show_started_s = time.monotonic()
        self.stage.start_plant(
            "run",
            *("--machines", str(setting.machines)),
            *("--hours", str(setting.hours)),
            *("--speed", str(setting.hours_per_s)),
            *("--seed", str(setting.seed)),
        )
        self._act(
            f"the show begins: {setting.machines} machines run, "
            f"{setting.hours_per_s:g} plant hours a second"
        )

    def _end_show(self) -> None:
        """Stop the plant, then let the gateways send what they still hold."""
        self._act("the plant is switched off; the last records go up")
        self.stage.crew.stop("plant")
        self._drain()

    def _first_model(self) -> None:
        crew, folder = self.stage.crew, self.setting.folder / "history"
        past = self.setting.past
        self._say(f"recording the past of {past} other machines")
        crew.run(
            "record",
            *("plant", "record", "--out", str(folder), "--seed", str(HISTORY_SEED)),
            *("--machines", str(past), "--hours", str(HISTORY_HOURS)),
        )
        found = crew.run(
            "import", "trainer", "ingest", "--from", str(folder), "--lake", str(self.setting.lake)
        )
        self._say(f"{found['counters']['readings']:,} past readings are in the lake: training")
        if not self._train_and_roll_out():
            raise DemoError("the gate refused the first model: see the retraining's log")

    def _second_model(self) -> None:
        """Retrain on what was uploaded; a gate that refuses is heard, and more data is gathered."""
        self._at_share(RETRAIN_AT)
        for _ in range(RETRAININGS):
            if self._retrain_once():
                return
            self._pause(MORE_DATA_S)
        raise DemoError(f"the gate refused {RETRAININGS} models: see the retraining's logs")

    def _retrain_once(self) -> bool:
        events, lake = str(self.setting.plant / "events.csv"), str(self.setting.lake)
        self.stage.crew.run("labels", "trainer", "labels", "add", events, "--lake", lake)
        self._say("retraining on the past and on what the gateways uploaded")
        return self._train_and_roll_out()

    def _train_and_roll_out(self) -> bool:
        """Train, and roll out what passed the gate; return whether it did."""
        model = self._admitted(self._train("--lateness-s", str(SENSORS.lateness_s)))
        if model is None:
            return False
        self._roll_out(model)
        return True

    def _cut_uplink(self) -> None:
        self._at_share(CUT_AT)
        self._say(f"the cloud broker is gone for {CUT_S:g} s; scoring and alarms go on")
        self.progress.cloud_up = False
        cut_s = time.monotonic()
        self.stage.cloud.stop()
        self._pause(CUT_S)
        waiting = self.pending()
        self.stage.cloud.start()
        self.progress.uplink_cut_s = time.monotonic() - cut_s
        self.progress.cloud_up = True
        self._say(f"it is back; {waiting:,} records waited on the gateways and catch up")

    # Helpers -------------------------------------------------------------------------------

    def _at_share(self, share: float) -> None:
        """Wait for a moment of the show."""
        started_s = self.progress.show_started_s or time.monotonic()
        self._pause(started_s + share * self.setting.seconds - time.monotonic())

    def _meanwhile(self) -> None:
        """Tell of failures as they happen."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            for line in self._failures.news(self.watcher.seen):
                self._say(line)

    def _on_raised(self, alarm: Alarm) -> None:
        self._say(raised_line(alarm))
        if alarm.advice and alarm.advice not in self._advised:
            self._advised.add(alarm.advice)
            self._say(f"  what to do: {alarm.advice}")
