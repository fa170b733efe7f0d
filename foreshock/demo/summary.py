"""The summary: recomputed from the files that each role left behind; it adds up or says where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from foreshock.demo import ledger
from foreshock.demo.latency import latencies_ms, percentiles
from foreshock.demo.stage import LATENESS_S
from foreshock.demo.verdict import HOUR_NS, Raised, judge_alarms
from foreshock.demo.work_orders import read_events
from foreshock_agent.accounts import broken_laws, total
from foreshock_agent.settings import load
from foreshock_agent.status import read_status

if TYPE_CHECKING:
    from foreshock.demo.stage import Setting
    from foreshock.demo.verdict import Verdict
    from foreshock.demo.watch import Seen
    from foreshock_wire.topics import Gateway


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the demo trained and rolled out."""

    version: str
    sha256: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo shows for its work; `problems` is empty when it adds up."""

    readings: dict[str, int]
    alarms: dict[str, Any]
    latency_ms: dict[str, Any]
    score_latency_ms: dict[str, Any]
    gateways: list[dict[str, Any]]
    models: list[dict[str, Any]]
    plant_hours: float
    uplink_cut_s: float
    problems: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return one flat object for machines; `ok` is the exit code's reason."""
        return asdict(self) | {"ok": not self.problems}


def summarise(setting: Setting, seen: Seen, models: list[Model], uplink_cut_s: float) -> Summary:
    """Read everything again and set it side by side."""
    book = ledger.compare(
        ledger.published_readings(setting.plant / "published.jsonl"),
        ledger.stored_readings(setting.database(at) for at in setting.at),
        ledger.delivered_readings(setting.lake, setting.at[0].site),
    )
    gateways = [_gateway(setting, at) for at in setting.at]
    verdict, alarms_problem = _alarms(setting, seen)
    published = ledger.first_publish_ns(setting.plant / "published.jsonl")
    lateness_ns = LATENESS_S * 1_000_000_000
    alarms = [(one.alarm.machine, one.alarm.time_ns, one.seen_ns) for one in seen.raised]
    problems = [
        *book.problems(),
        *alarms_problem,
        *(f"{gateway['id']}: {law}" for gateway in gateways for law in gateway["broken_laws"]),
        *_wrong_models(gateways, models),
    ]
    return Summary(
        readings={
            "published": book.published,
            "stored": book.stored,
            "delivered": book.delivered,
            "lost": book.lost,
            "duplicated": book.duplicated,
            "rejected": sum(gateway["rejected"] for gateway in gateways),
        },
        alarms=_alarm_figures(verdict),
        latency_ms=percentiles(latencies_ms(alarms, published, lateness_ns)),
        score_latency_ms=percentiles(latencies_ms(seen.scores, published, lateness_ns)),
        gateways=gateways,
        models=[asdict(model) for model in models],
        plant_hours=_hours(published),
        uplink_cut_s=round(uplink_cut_s, 1),
        problems=problems,
    )


def _gateway(setting: Setting, at: Gateway) -> dict[str, Any]:
    status = read_status(load(setting.config(at)))
    pending = sum(status["pending"].values())
    laws = broken_laws(status["accounts"], status["pending"]["readings"])
    if pending:
        laws.append(f"{pending} records are still waiting to go up")
    return {
        "id": at.gateway,
        "model": status["model"],
        "machines": status["machines"],
        "received": total(status["accounts"], "readings.received"),
        "duplicates_refused": total(status["accounts"], "readings.duplicate"),
        "rejected": total(status["accounts"], "readings.rejected"),
        "pending": pending,
        "broken_laws": laws,
    }


def _wrong_models(gateways: list[dict[str, Any]], models: list[Model]) -> list[str]:
    if not models:
        return ["no model was trained and rolled out"]
    newest = models[-1].sha256
    return [
        f"{gateway['id']} runs {str(gateway['model'])[:12]}, not {newest[:12]}"
        for gateway in gateways
        if gateway["model"] != newest
    ]


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
    for body in DeltaTable(str(path)).to_pyarrow_table(columns=["body"]).column(0).to_pylist():
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
