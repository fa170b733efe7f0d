"""Scores become alarms with their reasons; the durable heads of all machines' alarms.

A head of which only the time moved on is not written: a window is scored once, so the newest one
that was scored tells that time after a restart. A quiet plant thus writes no alarm heads at all.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from foreshock_agent.judging.advice import alarm_of
from foreshock_agent.judging.scoring import RULE
from foreshock_rules.alarms import AlarmHead, Transition, back_at, command, judge
from foreshock_wire.messages import Alarm, AlarmAction, AlarmAnswered, AlarmState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foreshock_agent.judging.scoring import Score, Scorer
    from foreshock_agent.store.store import Store
    from foreshock_rules.alarms import Judgement
    from foreshock_wire.messages import AlarmCommand
    from foreshock_wire.topics import Gateway


class Judge:
    """Holds each machine's alarm head and its retained alarm message.

    It goes on where `saved` ends, by machine (head, alarm) as JSON; `scored_ns` tells up to when
    each machine's windows were scored before.
    """

    def __init__(
        self,
        at: Gateway,
        scorer: Scorer,
        saved: Mapping[str, tuple[str, str | None]] = MappingProxyType({}),
        scored_ns: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._at = at
        self._scorer = scorer
        self._heads: dict[str, AlarmHead] = {}
        self._unsaved_heads: set[str] = set()
        self._unsaved_alarms: set[str] = set()
        self.alarms: dict[str, Alarm] = {}
        for machine, (head, alarm) in saved.items():
            self._heads[machine] = _head_of(head, scored_ns.get(machine, 0))
            if alarm is not None:
                self.alarms[machine] = Alarm.from_bytes(alarm)

    def judge(self, score: Score) -> Alarm | None:
        """Judge a score; return the alarm if it changed."""
        machine = score.due.machine
        head = self._heads.get(machine, AlarmHead())
        policy = self._scorer.policy(score)
        judgement = judge(head, policy, score.due.window.end_ns, score.margin)
        return self._settle(machine, judgement, score)

    def back_at(self, machine: str, time_ns: int) -> None:
        """Go on from a time that is earlier than what was judged: that came by a wrong clock."""
        if (head := self._heads.get(machine)) is not None:
            self._heads[machine] = back_at(head, time_ns)
            self._unsaved_heads.add(machine)

    def command(self, machine: str, action: AlarmAction, until_ns: int | None) -> Alarm | None:
        """Apply an operator's action; return the alarm if it changed."""
        head = self._heads.get(machine)
        if head is None:
            return None
        return self._settle(machine, command(head, action, until_ns=until_ns), None)

    def answered(self, machine: str, asked: AlarmCommand) -> AlarmAnswered | None:
        """Return the answer that came with a command, for the uplink; None without an alarm."""
        head = self._heads.get(machine)
        if asked.answer is None or head is None or not head.episode:
            return None
        return AlarmAnswered(
            machine=machine,
            time_ns=head.time_ns,
            kind=asked.answer,
            mode=asked.mode,
            detail=asked.found or None,
            operator=asked.operator,
            episode=head.episode,
        )

    def state(self, machine: str) -> AlarmState:
        """Return how a machine's alarm stands."""
        return self._heads.get(machine, AlarmHead()).state

    def save(self, store: Store) -> None:
        """Write what changed since the last call into the open transaction."""
        for machine in self._unsaved_heads:
            changed = machine in self._unsaved_alarms
            alarm = self.alarms[machine].model_dump_json() if changed else None
            head = orjson.dumps(self._heads[machine]._asdict()).decode()
            store.save_alarm(machine, head, alarm)
        self._unsaved_heads.clear()
        self._unsaved_alarms.clear()

    def _settle(self, machine: str, judgement: Judgement, score: Score | None) -> Alarm | None:
        head, transition = judgement
        before = self._heads.get(machine)
        self._heads[machine] = head
        if before is None or before.standing != head.standing:
            self._unsaved_heads.add(machine)
        alarm = None if transition is None else self._changed(machine, judgement, score)
        if alarm is not None:
            self.alarms[machine] = alarm
            self._unsaved_alarms.add(machine)
        return alarm

    def _changed(self, machine: str, judgement: Judgement, score: Score | None) -> Alarm | None:
        head, transition = judgement
        if transition is Transition.RAISED and score is not None:
            model = self._scorer.model
            explained = score.model != RULE and model is not None
            outputs = self._scorer.explain(score.due.window.values) if explained else None
            return alarm_of(self._at, head, score, model.spec if model else None, outputs)
        before = self.alarms.get(machine)
        if before is None:
            return None
        return before.model_copy(update={"state": head.state, "time_ns": head.time_ns})


def _head_of(text: str, scored_ns: int) -> AlarmHead:
    raw = json.loads(text)
    known = {"state": AlarmState(raw["state"]), "time_ns": max(raw["time_ns"], scored_ns)}
    return AlarmHead(**(raw | known))
