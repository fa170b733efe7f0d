"""The timeline of the show: what is done when, told to whoever watches."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from foreshock.demo.crew import DemoError
from foreshock.demo.stage import LATENESS_S, MODEL, Stage
from foreshock.demo.summary import Model
from foreshock.demo.watch import Watcher
from foreshock.demo.work_orders import Failures
from foreshock_agent.accounts import total
from foreshock_agent.outbox import Outbox
from foreshock_agent.settings import load
from foreshock_agent.status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock.demo.stage import Setting
    from foreshock_wire.messages import Alarm
    from foreshock_wire.topics import Gateway

ONLINE_TIMEOUT_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.5
QUIET_S: Final = 2.5
"""Twice the agents' commit interval and a little more."""

ROLLOUT_TIMEOUT_S: Final = 120
CUT_S: Final = 12.0
"""How long the cloud broker is away."""

CUT_AT: Final = 0.25
RETRAIN_AT: Final = 0.5
"""Shares of the show's length. The plant runs on until the second model is everywhere."""

RETRAININGS: Final = 3
MORE_DATA_S: Final = 20.0
"""How often the show retrains while the gate refuses, and how long it gathers data in between."""

HISTORY_HOURS: Final = 1500
HISTORY_SEED: Final = 7


@dataclass(slots=True)
class Progress:
    """What the view shows; written by the story only."""

    act: str = ""
    cloud_up: bool = True
    models: list[Model] = field(default_factory=list)
    uplink_cut_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)
    show_started_s: float | None = None
    training: bool = False


class Story:
    """Plays the show on a stage; `tell(line)` hears each event."""

    def __init__(self, setting: Setting, tell: Callable[[str], None]) -> None:
        self.setting = setting
        self.stage = Stage(setting)
        self.progress = Progress()
        self.watcher = Watcher(self._on_raised)
        self._tell = tell
        self._failures = Failures(setting.plant / "events.csv")
        self._looked_s = 0.0
        self._trainings = 0
        self._advised: set[str] = set()
        self.stage.crew.meanwhile = self._tell_failures
        self._last_received, self._last_moved_s = -1, time.monotonic()

    def play(self) -> None:
        """Set up with a first model, play all acts, and let everything drain.

        Raises:
            DemoError: a part failed or did not come up in time.
        """
        self._set_up()
        self._first_model()
        self._begin_show()
        self._cut_uplink()
        self._second_model()
        self._at_share(1.0)
        self._end_show()

    def close(self) -> None:
        """End everything that was started."""
        self.watcher.close()
        self.stage.close()

    # Acts ----------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self._act(f"set-up: {self.setting.gateways} gateways with a broker each, and the centre")
        self.stage.open()
        for at in self.setting.at:
            self.watcher.join(at, self.stage.local[at.gateway])
        online = self.watcher.seen.status
        self._wait(
            lambda: len(online) == self.setting.gateways,
            ONLINE_TIMEOUT_S,
            "the agents to be online",
        )
        self._say(f"{len(online)} agents online, no model yet: plain limits stand in")

    def _begin_show(self) -> None:
        self.progress.show_started_s = time.monotonic()
        self.stage.start_plant()
        self._act(
            f"the show begins: {self.setting.machines} machines run, "
            f"{self.setting.hours_per_s:g} plant hours a second"
        )

    def _end_show(self) -> None:
        """Stop the plant, then let the gateways send what they still hold."""
        self._act("the plant is switched off; the last records go up")
        self.stage.crew.stop("plant")
        self._wait(self._is_quiet, DRAIN_TIMEOUT_S, "the outboxes to drain")

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
        outcome = self._train()
        if outcome["alias"] != "challenger":
            reasons = "; ".join(outcome["verdict"]["reasons"])
            self._say(f"not rolled out: {reasons}")
            return False
        model = Model(str(outcome["version"]), str(outcome["sha256"]), dict(outcome["metrics"]))
        self._say(
            f"model v{model.version}: F1 {model.metrics['f1']:.2f}, FPR "
            f"{model.metrics['fpr']:.1%} on machines it never saw (always-no: F1 0)"
        )
        self._roll_out(model)
        return True

    def _train(self) -> dict[str, Any]:
        self.progress.training = True
        self._trainings += 1
        outcome = self.stage.crew.run(
            f"retrain-{self._trainings}",
            *("trainer", "retrain", "--lake", str(self.setting.lake)),
            *("--tracking", self.stage.tracking, "--name", MODEL),
            *("--lateness-s", str(LATENESS_S)),
        )
        self.progress.training = False
        return outcome

    def _roll_out(self, model: Model) -> None:
        self._say(f"rolling out {model.sha256[:12]} to {self.setting.gateways} gateways")
        self.stage.crew.run(
            f"rollout-{model.version}",
            *("fleet", "rollout", f"models:/{MODEL}@challenger", "--state", self.stage.fleet),
            *("--promote", "--tracking", self.stage.tracking),
            *("--timeout", str(ROLLOUT_TIMEOUT_S)),
        )
        self.progress.models.append(model)
        self._say(f"v{model.version} runs on every gateway")

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

    def pending(self) -> int:
        """Return how many committed records wait on the gateways."""
        there = [path for at in self.setting.at if (path := self.setting.database(at)).exists()]
        waiting = 0
        for database in there:
            with closing(Outbox(database)) as outbox:
                waiting += sum(outbox.pending().values())
        return waiting

    def _is_quiet(self) -> bool:
        """Say whether nothing waits, and nothing more came in for a while."""
        received = sum(self._received(at) for at in self.setting.at)
        if received != self._last_received:
            self._last_received, self._last_moved_s = received, time.monotonic()
        return time.monotonic() - self._last_moved_s >= QUIET_S and self.pending() == 0

    def _received(self, at: Gateway) -> int:
        accounts = read_status(load(self.setting.config(at)))["accounts"]
        return total(accounts, "messages.received")

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= until_s, None, "the moment")

    def _at_share(self, share: float) -> None:
        """Wait for a moment of the show."""
        started_s = self.progress.show_started_s or time.monotonic()
        self._pause(started_s + share * self.setting.seconds - time.monotonic())

    def _wait(self, done: Callable[[], bool], timeout_s: float | None, what: str) -> None:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            self.stage.crew.check()
            self._tell_failures()
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DemoError(f"gave up after {timeout_s:g} s: waiting for {what}")
            time.sleep(0.1)

    def _tell_failures(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            for line in self._failures.news(self.watcher.seen):
                self._say(line)

    def _act(self, text: str) -> None:
        self.progress.act = text
        self._say(text)

    def _say(self, text: str) -> None:
        elapsed_s = time.monotonic() - self.progress.started_s
        self._tell(f"[{elapsed_s:5.1f} s] {text}")

    def _on_raised(self, alarm: Alarm) -> None:
        self._say(describe(alarm))
        if alarm.advice and alarm.advice not in self._advised:
            self._advised.add(alarm.advice)
            self._say(f"  what to do: {alarm.advice}")


def describe(alarm: Alarm) -> str:
    """Return an alarm in one line: where, how sure, which mode, how long, and why."""
    if alarm.source == "rule":
        worst = alarm.reasons[0] if alarm.reasons else None
        why = f"{worst.channel} {worst.value:.1f} beyond {worst.healthy:.1f}" if worst else "limit"
        return f"ALARM {alarm.machine} ({alarm.gateway}): {why} (limit, no model yet)"
    parts = [f"ALARM {alarm.machine} ({alarm.gateway}): p = {alarm.probability or 0:.2f}"]
    if alarm.mode:
        parts.append(alarm.mode.replace("_", " "))
    if alarm.lead_time_h:
        low, middle, high = alarm.lead_time_h
        parts.append(f"in {middle:.0f} h ({low:.0f} to {high:.0f})")
    reasons = [
        f"{reason.channel} {reason.contribution:+.1f}"
        for reason in alarm.reasons[:2]
        if reason.contribution > 0
    ]
    return ", ".join(parts) + (f"; because of {', '.join(reasons)}" if reasons else "")
