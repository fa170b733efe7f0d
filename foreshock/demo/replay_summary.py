"""The summary of a replay: the accounts, the evaluation, and the same scores without MQTT."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreshock.demo.accounts import Accounts, account
from foreshock.demo.replay import WITHOUT
from foreshock.demo.report import latency, models, readings, verdict
from foreshock.demo.stage import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock.demo.replay import Replay, ReplaySetting
    from foreshock_trainer.datasets.base import Fleet
    from foreshock_trainer.lake import Lake
    from foreshock_trainer.offline import Scored
    from foreshock_wire.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary(Accounts):
    """What a replay has to show for its work.

    `evaluation` is what the gateways' scores are worth by the data set's own protocol;
    `without_counter` the same of a model that may not know the machines' age, scored offline (None
    when it is the one that the gateways ran); `parity` compares every stored score with the one
    made without MQTT; `cross_validated` are figures of training machines alone, lead times too.
    """

    data_set: str
    subset: str
    protocol: str
    settings_tried: int
    machines: dict[str, int]
    channels: list[str]
    alarms_raised: int
    evaluation: dict[str, Any]
    without_counter: dict[str, Any] | None
    parity: dict[str, Any]
    cross_validated: dict[str, Any]


def summarise_replay(setting: ReplaySetting, show: Replay) -> ReplaySummary:
    """Read everything again, and only now the truth about the test machines."""
    from foreshock_trainer.datasets import data_set, read_fleet  # noqa: PLC0415 - only at the end
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - only at the end
    from foreshock_trainer.offline import (  # noqa: PLC0415 - only at the end
        compare,
        score_offline,
        stored_scores,
    )
    from foreshock_trainer.playback import EdgeSettings  # noqa: PLC0415 - only at the end

    seen, entry = show.watcher.seen, data_set(setting.data_set)
    accounts = account(setting, seen, show.progress.models, 0)
    fleet = read_fleet(entry, setting.data, setting.subset).some(None, setting.machines)
    lake, model = Lake(setting.lake), _model(setting, f"models:/{MODEL}@champion")
    names = [life.machine for life in fleet.test]
    stored = stored_scores(lake, model.sha256, names, seen.margins)
    parity = compare(score_offline(lake, model, names, EdgeSettings()), stored, model.spec)
    return ReplaySummary(
        **asdict(replace(accounts, problems=[*accounts.problems, *parity.problems()])),
        data_set=entry.name,
        subset=setting.subset or entry.subsets[0],
        protocol=entry.protocol,
        settings_tried=entry.tries,
        machines={"train": show.recorded["train_machines"], "test": len(names)},
        channels=show.recorded["channels"],
        alarms_raised=len(seen.raised),
        evaluation=_evaluation(fleet, stored, model),
        without_counter=_without_counter(setting, fleet, lake) if setting.counter else None,
        parity=parity.as_json(),
        cross_validated=show.crossvalidated,
    )


def _model(setting: ReplaySetting, uri: str) -> Model:
    from foreshock_trainer.tracking import resolve  # noqa: PLC0415 - only at the end
    from foreshock_wire.model import Model  # noqa: PLC0415 - only at the end

    return Model.load(Path(resolve(uri, setting.tracking)))


def _evaluation(fleet: Fleet, scored: Scored, model: Model) -> dict[str, Any]:
    from foreshock_trainer.datasets.official import Told, judge_test  # noqa: PLC0415 - as above

    told = Told(scored.machine, scored.end_ns, scored.probability, scored.alarms(model.spec))
    return judge_test(fleet.test, fleet.horizon_h, told).as_json()


def _without_counter(setting: ReplaySetting, fleet: Fleet, lake: Lake) -> dict[str, Any] | None:
    from foreshock_trainer.offline import score_offline  # noqa: PLC0415 - only at the end
    from foreshock_trainer.playback import EdgeSettings  # noqa: PLC0415 - only at the end

    model = _model(setting, f"models:/{WITHOUT}@challenger")
    scored = score_offline(lake, model, [life.machine for life in fleet.test], EdgeSettings())
    return _evaluation(fleet, scored, model)


def replay_lines(summary: ReplaySummary, setting: ReplaySetting) -> Iterator[str]:
    """Yield the summary for people, a line each."""
    machines, parity = summary.machines, summary.parity
    yield ""
    yield (
        f"{summary.data_set} {summary.subset}: learnt from {machines['train']} machines, "
        f"{machines['test']} others replayed on {setting.gateways} gateways"
    )
    yield from readings(summary)
    yield latency("reading to score", summary.score_latency_ms)
    yield from models(summary)
    yield ""
    yield from _figures("gateways", summary.evaluation)
    if summary.without_counter is not None:
        yield from _figures("no counter", summary.without_counter)
    yield (
        f"parity     {parity['windows']:,} windows scored again without MQTT: {parity['flips']} "
        f"decisions differ, {parity['unequal_probabilities']} probabilities and "
        f"{parity['unequal_margins']} of {parity['margins']:,} published margins in any bit"
    )
    yield from _training(summary.cross_validated)
    yield from verdict(summary)


def _figures(title: str, found: dict[str, Any]) -> Iterator[str]:
    every = found["all_cycles"]
    yield (
        f"{title:<10} last sample of each: F1 {_share(found['f1'])}, precision "
        f"{_share(found['precision'])}, recall {_share(found['recall'])}, FPR "
        f"{_share(found['fpr'])}, accuracy {_share(found['accuracy'])} (always no "
        f"{_share(found['always_no_accuracy'])})"
    )
    yield (
        f"           all {every['windows']:,.0f}: F1 {_share(found['all_cycles_f1'])}, FPR "
        f"{_share(every.get('fpr'))}; {_share(every['prevalence'])} of them are positive"
    )


def _share(value: float | None) -> str:
    """Return a figure, or a dash where it has no meaning (nothing positive, say)."""
    return "-" if value is None else f"{value:.3f}"


def _training(found: dict[str, Any]) -> Iterator[str]:
    lead, metrics = found["lead_time"], found["metrics"]
    yield (
        f"training   by turns, {found['folds']} folds: F1 {_share(metrics.get('f1'))}, FPR "
        f"{_share(metrics.get('fpr'))}; the {lead['promised']:.0%} lead-time interval holds "
        f"{_share(lead.get('coverage'))}, its middle is off by {_share(lead.get('error_h_p50'))} h"
    )
