"""The device trial: a candidate beside the champion on this gateway's live windows, then committed.

In the shadow blocks the champion decides and the candidate is scored in a child process; in the
trial blocks the other way round. What a block showed is durable before it is told. The gateway ends
a trial by itself only for what it can know alone: a model that gives no scores, is too slow, dies,
or takes the agent down with it. Whether its alarms are worse, the fleet decides over all gateways.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from foreshock_agent.judging.scoring import RULE, SECOND_NS
from foreshock_agent.update.duel import Duel, Said
from foreshock_agent.update.errors import SwapError, TrialError
from foreshock_agent.update.rehearsal import rehearse
from foreshock_agent.update.shadow import Shadow
from foreshock_wire.errors import MessageError
from foreshock_wire.files import write_durably
from foreshock_wire.trials import LiveHealth
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foreshock_agent.judging.scoring import Score
    from foreshock_agent.update.duel import Block
    from foreshock_agent.update.shadow import Taken
    from foreshock_agent.update.trial import Limits
    from foreshock_rules.alarms import AlarmPolicy
    from foreshock_wire.messages import AlarmAnswer
    from foreshock_wire.model import Model
    from foreshock_wire.updates import Desired

log = logging.getLogger(__name__)

STARTS: Final = 3
"""How often a trial may begin without coming to the end of a block: then it is a crash loop."""

WORST_ERRORS: Final = 0.01
KEPT: Final = 256
POLL_S: Final = 0.2


class Watch(Protocol):
    """What the pipeline tells of, in its own thread; it never waits for it."""

    def scored(self, scores: Sequence[Score], latency_us: float) -> None:
        """Windows were scored, in so many microseconds each."""

    def answered(self, machine: str, kind: AlarmAnswer) -> None:
        """An operator answered an alarm."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a trial needs of the process around it.

    `watch` sets who is told of scores, None for nobody. `policy(model)` gives the alarm policy that
    a model has here. `pause(seconds)` waits a little while messages are taken; `leave()` says
    that something newer came. `say(health)` sends; what was lost is sent again at a new connection.
    `history` is the agent's database, on which a candidate is played before it is tried.
    """

    watch: Callable[[Watch | None], None]
    policy: Callable[[Model], AlarmPolicy]
    say: Callable[[LiveHealth], None]
    pause: Callable[[float], None] = time.sleep
    history: Path | None = None


class Diary:
    """What is durable of the trial in progress: its blocks, and how often it began in vain."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counter, self.starts = 0, 0
        self.healths: list[LiveHealth] = []
        try:
            self._read()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, MessageError) as error:
            log.warning("what was known of a trial is lost, it begins again: %s", error)

    def _read(self) -> None:
        raw = json.loads(self._path.read_bytes())
        self.healths = [LiveHealth.from_bytes(json.dumps(one)) for one in raw["healths"]]
        self.counter, self.starts = int(raw["counter"]), int(raw["starts"])

    @property
    def blocks(self) -> int:
        """How many blocks are finished."""
        return self.healths[-1].block if self.healths else 0

    def begin(self, counter: int) -> None:
        """Open the diary of a directive, the old one if it is the same directive."""
        if counter != self.counter:
            self.counter, self.starts, self.healths = counter, 0, []
            self._write()

    def started(self) -> None:
        """Note that the candidate is about to decide."""
        self.starts += 1
        self._write()

    def left(self) -> None:
        """Note that the agent left the trial in good order: that was no crash."""
        self.starts = max(0, self.starts - 1)
        self._write()

    def finished(self, health: LiveHealth) -> None:
        """Note a block."""
        self.healths = [*self.healths, health][-KEPT:]
        self.starts = 0
        self._write()

    def _write(self) -> None:
        document = {
            "counter": self.counter,
            "starts": self.starts,
            "healths": [one.model_dump(mode="json") for one in self.healths],
        }
        write_durably(self._path, json.dumps(document).encode())


class Proving:
    """One trial, from its first block or from where it was left."""

    def __init__(  # noqa: PLR0917 - each is another thing
        self,
        desired: Desired,
        champion: tuple[Path, Model],
        candidate: tuple[Path, Model],
        diary: Diary,
        room: Room,
        limits: Limits,
    ) -> None:
        assert desired.trial is not None  # noqa: S101 - the caller looked
        self._desired, self._terms = desired, desired.trial
        self._champion, self._candidate = champion, candidate
        self._diary, self._room, self._limits = diary, room, limits
        self._duel = Duel(
            room.policy(champion[1]),
            room.policy(candidate[1]),
            round(self._terms.block_s * SECOND_NS),
        )
        self._blocks: queue.SimpleQueue[Block] = queue.SimpleQueue()
        diary.begin(desired.counter)

    @property
    def phase(self) -> DeviceState | None:
        """Which model decides in the next block; None when all are done."""
        if self._diary.blocks < self._terms.shadow_blocks:
            return DeviceState.SHADOW
        return DeviceState.TRIAL if self._diary.blocks < self._terms.blocks else None

    def rehearsed(self, left: Callable[[], bool]) -> str:
        """Play both models on the stored history; say what came of it, "" for nothing.

        Raises:
            InterruptedTrialError: it was left early.
        """
        if self._room.history is None or not self._room.history.exists():
            return ""
        models = (self._champion, self._candidate)
        policies = self._room.policy(models[0][1]), self._room.policy(models[1][1])
        paths = models[0][0], models[1][0]
        found = rehearse(self._room.history, paths, policies, self._limits, left)
        return found.text() if found is not None else ""

    def shadow(self, left: Callable[[], bool]) -> bool:
        """Score the candidate beside the champion; return false when it was left early.

        Raises:
            TrialError: the candidate failed.
        """
        return self._phase(DeviceState.SHADOW, self._candidate[0], left)

    def trial(self, left: Callable[[], bool]) -> bool:
        """Let the candidate decide (the caller has swapped) with the champion beside it.

        Raises:
            TrialError: the candidate failed.
        """
        done = self._phase(DeviceState.TRIAL, self._champion[0], left)
        if not done:
            self._diary.left()
        return done

    def about_to_decide(self) -> None:
        """Note durably that the candidate is to decide, before it does.

        Raises:
            SwapError: it began so often in vain that it must be what takes the agent down.
        """
        if self._diary.starts >= STARTS:
            raise SwapError(
                f"the agent ended {STARTS} times in a row with this model before a block was over"
            )
        self._diary.started()

    def _phase(self, phase: DeviceState, beside: Path, left: Callable[[], bool]) -> bool:
        shadow = Shadow(beside, self._limits.memory_bytes, lambda taken: self._take(phase, taken))
        # Blocks that the phase before left over were decided by the other model.
        self._blocks = queue.SimpleQueue()
        self._room.watch(_Tap(shadow, self._duel))
        try:
            while self.phase is phase:
                if left():
                    return False
                self._look(phase, shadow)
                self._room.pause(POLL_S)
            return True
        finally:
            self._room.watch(None)
            shadow.close()
            if shadow.dropped:
                log.info("%d windows were not compared: the shadow was busy", shadow.dropped)

    def _take(self, phase: DeviceState, taken: Taken) -> None:
        """Bring windows into the duel; runs in the shadow's thread."""
        for score, latency_us, beside in taken:
            decides = Said(math.nan if score.model == RULE else score.margin, latency_us)
            pair = (decides, beside) if phase is DeviceState.SHADOW else (beside, decides)
            block = self._duel.take(score.due.machine, score.due.window.end_ns, *pair)
            if block is not None:
                self._blocks.put(block)

    def _look(self, phase: DeviceState, shadow: Shadow) -> None:
        if shadow.failure and phase is DeviceState.SHADOW:
            raise TrialError(f"in shadow: {shadow.failure}")
        if shadow.failure:
            raise SwapError(f"the champion beside it cannot be scored: {shadow.failure}")
        while not self._blocks.empty() and self.phase is phase:
            self._finish(phase, self._blocks.get())

    def _finish(self, phase: DeviceState, block: Block) -> None:
        health = LiveHealth(
            gateway=self._desired.gateway,
            counter=self._desired.counter,
            block=self._diary.blocks + 1,
            begin_ns=block.begin_ns,
            end_ns=block.end_ns,
            phase="shadow" if phase is DeviceState.SHADOW else "trial",
            champion_sha256=self._champion[1].sha256,
            candidate_sha256=self._candidate[1].sha256,
            champion=block.champion,
            candidate=block.candidate,
            differing=block.differing,
        )
        self._diary.finished(health)
        self._room.say(health)
        self._judge(block)

    def _judge(self, block: Block) -> None:
        """End the trial of a model that fails by its own doing, whatever its alarms are worth."""
        ours, theirs = block.champion, block.candidate
        if theirs.errors > ours.errors and theirs.errors > WORST_ERRORS * theirs.windows:
            raise TrialError(
                f"it gave no score for {theirs.errors} of {theirs.windows} windows of a block "
                f"(the champion: {ours.errors})"
            )
        limit_us = 1e3 * self._limits.window_ms
        if theirs.latency_us is not None and theirs.latency_us > limit_us:
            raise TrialError(
                f"it took {theirs.latency_us / 1e3:.1f} ms for a window (95th percentile), "
                f"{self._limits.window_ms:g} ms are allowed"
            )


class _Tap:
    """The pipeline's thread on one side, the shadow on the other."""

    def __init__(self, shadow: Shadow, duel: Duel) -> None:
        self._shadow, self._duel = shadow, duel

    def scored(self, scores: Sequence[Score], latency_us: float) -> None:
        self._shadow.offer(scores, latency_us)

    def answered(self, machine: str, kind: AlarmAnswer) -> None:
        self._duel.answered(machine, kind)
