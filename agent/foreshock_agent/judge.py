"""Scores become alarms with their reasons; the durable heads of all machines' alarms."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from foreshock_agent.advice import alarm_of
from foreshock_agent.scoring import RULE
from foreshock_rules.alarms import AlarmHead, Transition, command, judge
from foreshock_wire.messages import Alarm, AlarmAction, AlarmAnswered, AlarmState

if TYPE_CHECKING:
    from foreshock_agent.scoring import Score, Scorer
    from foreshock_agent.store import Store
    from foreshock_rules.alarms import Judgement
    from foreshock_wire.messages import AlarmCommand
    from foreshock_wire.topics import Gateway


class Judge:
    """Holds each machine's alarm head and its retained alarm message."""

    def __init__(self, at: Gateway, store: Store, scorer: Scorer) -> None:
        self._at = at
        self._store = store
        self._scorer = scorer
        self._heads: dict[str, AlarmHead] = {}
        self.alarms: dict[str, Alarm] = {}
        for machine, (head, alarm) in store.alarms().items():
            self._heads[machine] = _head_of(head)
            if alarm is not None:
                self.alarms[machine] = Alarm.from_bytes(alarm)

    def judge(self, score: Score) -> Alarm | None:
        """Judge a score and save the head; return the alarm if it changed."""
        machine = score.due.machine
        head = self._heads.get(machine, AlarmHead())
        policy = self._scorer.policy(score)
        judgement = judge(head, policy, score.due.window.end_ns, score.margin)
        return self._settle(machine, judgement, score)

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

    def _settle(self, machine: str, judgement: Judgement, score: Score | None) -> Alarm | None:
        head, transition = judgement
        self._heads[machine] = head
        alarm = None if transition is None else self._changed(machine, judgement, score)
        if alarm is not None:
            self.alarms[machine] = alarm
        body = None if alarm is None else alarm.model_dump_json()
        self._store.save_alarm(machine, json.dumps(asdict(head)), body)
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


def _head_of(text: str) -> AlarmHead:
    raw = json.loads(text)
    return AlarmHead(**(raw | {"state": AlarmState(raw["state"])}))
