"""The summary of the simulated plant's show: it adds up, or says where it does not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from foreshock.demo import ledger
from foreshock.demo.accounts import SECOND_NS, Accounts, Model, account
from foreshock.demo.latency import latencies_ms, percentiles
from foreshock.demo.story import SENSORS
from foreshock.demo.verdict import HOUR_NS, Raised, judge_alarms
from foreshock.demo.work_orders import read_events

if TYPE_CHECKING:
    from foreshock.demo.story import Setting
    from foreshock.demo.verdict import Verdict
    from foreshock.demo.watch import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Accounts):
    """What the show of the simulated plant has for its work."""

    alarms: dict[str, Any]
    latency_ms: dict[str, Any]
    plant_hours: float
    uplink_cut_s: float


def summarise(setting: Setting, seen: Seen, models: list[Model], uplink_cut_s: float) -> Summary:
    """Add to the accounts what became of the alarms."""
    accounts = account(setting, seen, models, SENSORS.lateness_s)
    verdict, alarms_problem = _alarms(setting, seen)
    published = ledger.first_publish_ns(setting.plant / "published.jsonl")
    alarms = [(one.alarm.machine, one.alarm.time_ns, one.seen_ns) for one in seen.raised]
    lateness_ns = SENSORS.lateness_s * SECOND_NS
    return Summary(
        **asdict(replace(accounts, problems=[*accounts.problems, *alarms_problem])),
        alarms=_alarm_figures(verdict),
        latency_ms=percentiles(latencies_ms(alarms, published, lateness_ns)),
        plant_hours=_hours(published),
        uplink_cut_s=round(uplink_cut_s, 1),
    )


def _alarms(setting: Setting, seen: Seen) -> tuple[Verdict, list[str]]:
    """Judge the alarms that reached the lake, and compare them with those seen in the plant."""
    delivered = _delivered_alarms(setting)
    raised = {(one.alarm.machine, one.alarm.episode) for one in seen.raised}
    problems = []
    if missing := raised - delivered.keys():
        problems.append(f"{len(missing)} alarms were raised in the plant and are not in the lake")
    if unseen := delivered.keys() - raised:
        problems.append(f"{len(unseen)} alarms are in the lake and were never seen in the plant")
    verdict = judge_alarms(
        delivered.values(), read_events(setting.plant / "events.csv"), seen.newest_ns
    )
    return verdict, problems


def _delivered_alarms(setting: Setting) -> dict[tuple[str, int], Raised]:
    from deltalake import DeltaTable  # noqa: PLC0415 - only the summary needs it

    path = setting.lake / "alarms"
    if not DeltaTable.is_deltatable(str(path)):
        return {}
    found: dict[tuple[str, int], Raised] = {}
    for body in ledger.delta_table(path, ["body"]).column(0).to_pylist():
        alarm = json.loads(body)
        if alarm["state"] == "unacknowledged":
            raised = Raised(alarm["machine"], alarm["raised_ns"])
            found.setdefault((alarm["machine"], alarm["episode"]), raised)
    return found


def _alarm_figures(verdict: Verdict) -> dict[str, Any]:
    lead_h = verdict.lead_time_h_p50
    return {
        "true": verdict.true,
        "false": verdict.false,
        "missed": verdict.missed,
        "missed_sudden": verdict.missed_sudden,
        "averted": verdict.averted,
        "open": verdict.open,
        "failures": verdict.failures,
        "lead_time_h_p50": None if lead_h is None else round(lead_h, 1),
        "lead_times_h": [round(lead, 1) for lead in verdict.lead_times_h],
    }


def _hours(published: dict[str, list[tuple[int, int]]]) -> float:
    """Return the plant time between the first and the last published message."""
    times_ns = [time_ns for messages in published.values() for time_ns, _ in messages]
    return (max(times_ns) - min(times_ns)) / HOUR_NS if times_ns else 0.0
