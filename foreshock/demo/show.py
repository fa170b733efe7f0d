"""What every show does on its stage: tell, wait, train, roll out, and let everything drain."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from foreshock.demo.accounts import Model
from foreshock.demo.crew import DemoError
from foreshock.demo.stage import MODEL, Stage
from foreshock.demo.watch import Watcher
from foreshock_agent.desk.alarm_text import describe
from foreshock_agent.desk.status import read_status
from foreshock_agent.settings import load
from foreshock_agent.store.accounts import total
from foreshock_agent.uplink.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock.demo.stage import Place, Sensors
    from foreshock_wire.messages import Alarm
    from foreshock_wire.topics import Gateway

ONLINE_TIMEOUT_S: Final = 60.0
STILL_TIMEOUT_S: Final = 60.0
"""How long nothing at all may move before the draining is given up."""
QUIET_S: Final = 2.5
"""Twice the agents' commit interval and a little more."""

ROLLOUT_TIMEOUT_S: Final = 120


@dataclass(slots=True)
class Progress:
    """What the view shows; written by the show only."""

    act: str = ""
    cloud_up: bool = True
    horizon_h: float = 48.0
    models: list[Model] = field(default_factory=list)
    uplink_cut_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)
    show_started_s: float | None = None
    training: bool = False


class Show(ABC):
    """A show on a stage; `tell(line)` hears each event."""

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        self.place = place
        self.stage = Stage(place)
        self.progress = Progress()
        self.watcher = Watcher(self._on_raised)
        self._tell = tell
        self._trainings = 0
        self.stage.crew.meanwhile = self._meanwhile
        self._left, self._moved_s = (-1, -1), time.monotonic()

    @abstractmethod
    def play(self) -> None:
        """Play all acts.

        Raises:
            DemoError: a part failed or did not come up in time.
        """

    def close(self) -> None:
        """End everything that was started."""
        self.watcher.close()
        self.stage.close()

    def pending(self) -> int:
        """Return how many committed records wait on the gateways."""
        there = [path for at in self.place.at if (path := self.place.database(at)).exists()]
        waiting = 0
        for database in there:
            with closing(Outbox(database)) as outbox:
                waiting += sum(outbox.pending().values())
        return waiting

    # Acts that shows have in common ----------------------------------------------------------

    def _set_up(self, sensors: Sensors) -> None:
        self._act(f"set-up: {self.place.gateways} gateways with a broker each, and the centre")
        self.stage.open(sensors)
        for at in self.place.at:
            self.watcher.join(at, self.stage.local[at.gateway])
        online = self.watcher.seen.status
        self._wait(
            lambda: len(online) == self.place.gateways, ONLINE_TIMEOUT_S, "the agents to be online"
        )

    def _train(self, *arguments: str, name: str = MODEL) -> dict[str, Any]:
        """Retrain on the lake and return the outcome."""
        self.progress.training = True
        self._trainings += 1
        outcome = self.stage.crew.run(
            f"retrain-{self._trainings}",
            *("trainer", "retrain", "--lake", str(self.place.lake)),
            *("--tracking", str(self.place.tracking), "--name", name),
            *arguments,
        )
        self.progress.training = False
        return outcome

    def _admitted(self, outcome: dict[str, Any]) -> Model | None:
        """Tell of a training; return its model, or None if the gate refused it."""
        if outcome["alias"] != "challenger":
            self._say(f"not rolled out: {'; '.join(outcome['verdict']['reasons'])}")
            return None
        model = Model(str(outcome["version"]), str(outcome["sha256"]), dict(outcome["metrics"]))
        self._say(
            f"model v{model.version}: F1 {model.metrics['f1']:.2f}, FPR "
            f"{model.metrics['fpr']:.1%} on machines it never saw (always-no: F1 0)"
        )
        return model

    def _known_gateways(self) -> int:
        """Return how many gateways the centre knows; who comes later gets the next rollout."""
        from foreshock_fleet.state import open_state  # noqa: PLC0415 - the centre's, not the door's

        with closing(open_state(self.place.fleet)) as state:
            return len(state.devices())

    def _roll_out(self, model: Model) -> None:
        self._wait(
            lambda: self._known_gateways() == self.place.gateways,
            ONLINE_TIMEOUT_S,
            "the centre to hear of every gateway",
        )
        self._say(f"rolling out {model.sha256[:12]} to {self.place.gateways} gateways")
        self.stage.crew.run(
            f"rollout-{model.version}",
            *("fleet", "rollout", "create", f"models:/{MODEL}@challenger"),
            *("--state", str(self.place.fleet)),
            *("--promote", "--tracking", str(self.place.tracking)),
            *("--timeout", str(ROLLOUT_TIMEOUT_S)),
        )
        self.progress.models.append(model)
        self._say(f"v{model.version} runs on every gateway")

    def _drain(self) -> None:
        """Wait until the gateways have sent what they hold; give up when nothing moves."""
        self._moved_s = time.monotonic()
        self._wait(self._is_quiet, None, "the outboxes to drain")

    # Helpers -------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        """Say whether nothing waits, and nothing more came in for a while."""
        left = (sum(self._received(at) for at in self.place.at), self.pending())
        if left != self._left:
            self._left, self._moved_s = left, time.monotonic()
        still_s = time.monotonic() - self._moved_s
        if left[1] and still_s > STILL_TIMEOUT_S:
            raise DemoError(f"{left[1]} records wait on the gateways, and none goes up any more")
        return still_s >= QUIET_S and not left[1]

    def _received(self, at: Gateway) -> int:
        accounts = read_status(load(self.place.config(at)))["accounts"]
        return total(accounts, "messages.received")

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= until_s, None, "the moment")

    def _wait(self, done: Callable[[], bool], timeout_s: float | None, what: str) -> None:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            self.stage.crew.check()
            self._meanwhile()
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DemoError(f"gave up after {timeout_s:g} s: waiting for {what}")
            time.sleep(0.1)

    @abstractmethod
    def _meanwhile(self) -> None:
        """Look around now and then while something is waited for."""

    def _act(self, text: str) -> None:
        self.progress.act = text
        self._say(text)

    def _say(self, text: str) -> None:
        elapsed_s = time.monotonic() - self.progress.started_s
        self._tell(f"[{elapsed_s:5.1f} s] {text}")

    @abstractmethod
    def _on_raised(self, alarm: Alarm) -> None:
        """Hear of an alarm that was just raised."""


def raised_line(alarm: Alarm) -> str:
    """Return an alarm in one line: where, how sure, which mode, how long, and why."""
    return f"ALARM {alarm.machine} ({alarm.gateway}): {describe(alarm)}"
