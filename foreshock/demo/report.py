"""The summary in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock.demo.accounts import Accounts
    from foreshock.demo.story import Setting
    from foreshock.demo.summary import Summary


def report_lines(summary: Summary, setting: Setting) -> Iterator[str]:
    """Yield the summary, a line each."""
    yield ""
    yield (
        f"{setting.machines} machines on {setting.gateways} gateways, "
        f"{summary.plant_hours:.0f} plant hours"
    )
    yield from readings(summary, f"; the uplink was cut for {summary.uplink_cut_s:g} s")
    yield from _alarms(summary.alarms)
    yield latency("reading to alarm", summary.latency_ms)
    yield latency("reading to score", summary.score_latency_ms)
    yield from models(summary)
    yield from verdict(summary)


def verdict(accounts: Accounts) -> Iterator[str]:
    """Yield whether it adds up, and where not."""
    yield ""
    yield "it adds up" if not accounts.problems else "IT DOES NOT ADD UP"
    yield from (f"  {problem}" for problem in accounts.problems)


def readings(accounts: Accounts, more: str = "") -> Iterator[str]:
    """Yield the counts at every station."""
    counts = accounts.readings
    yield (
        f"readings   published {counts['published']:,} -> stored {counts['stored']:,} -> "
        f"delivered {counts['delivered']:,}"
    )
    yield (
        f"           lost {counts['lost']}, duplicated {counts['duplicated']}, rejected "
        f"{counts['rejected']}{more}"
    )


def _alarms(alarms: dict[str, Any]) -> Iterator[str]:
    yield (
        f"alarms     true {alarms['true']}, false {alarms['false']}, averted by maintenance "
        f"{alarms['averted']}, still open {alarms['open']}"
    )
    lead_h = alarms["lead_time_h_p50"]
    lead = "" if lead_h is None else f"; warned {lead_h:g} h ahead (median)"
    yield (
        f"failures   {alarms['failures']}, missed {alarms['missed']} (of these "
        f"{alarms['missed_sudden']} without any sign){lead}"
    )


def latency(title: str, measured_ms: dict[str, Any]) -> str:
    """Return percentiles in one line."""
    if not measured_ms["count"]:
        return f"{title}: nothing to measure"
    return (
        f"{title}: p50 {measured_ms['p50']:g} ms, p95 {measured_ms['p95']:g} ms, p99 "
        f"{measured_ms['p99']:g} ms (n = {measured_ms['count']})"
    )


def models(accounts: Accounts) -> Iterator[str]:
    """Yield what was trained, and what each gateway runs."""
    for model in accounts.models:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in _main(model["metrics"]))
        yield f"model v{model['version']}   {model['sha256'][:16]}   {figures}"
    for gateway in accounts.gateways:
        runs = str(gateway["model"] or "none")[:16]
        yield (
            f"{gateway['id']:<10} {runs}   {gateway['machines']} machines, "
            f"{gateway['received']:,} received, {gateway['duplicates_refused']:,} copies refused"
        )


def _main(metrics: dict[str, float]) -> list[tuple[str, float]]:
    names = ("f1", "precision", "recall", "fpr", "pr_auc", "always_no_accuracy")
    return [(name, metrics[name]) for name in names if name in metrics]
