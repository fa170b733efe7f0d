"""How releases, gateways and rollouts are told: a text for a person, a dictionary for a script."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from foreshock_fleet.health import evidence, is_non_inferior, why_worse

if TYPE_CHECKING:
    from foreshock_fleet.health import HealthGate
    from foreshock_fleet.state import AuditEntry, Device, Rollout
    from foreshock_wire.updates import Halt


DRIFTED: Final = 0.25
"""A population stability index that is worth a look (Siddiqi 2006)."""


def progress_text(rollout: Rollout) -> str:
    """Say in one line how far a rollout is."""
    verdict, total = rollout.verdict, len(rollout.standings)
    waiting = f", {len(verdict.waiting)} wait for a later wave" if verdict.waiting else ""
    return (
        f"rollout {rollout.number}: {len(verdict.committed)}/{total} committed, "
        f"{len(verdict.working)} working, {len(verdict.silent)} silent, "
        f"{len(verdict.failed)} failed{waiting}{_blocks_text(rollout)}"
    )


def _blocks_text(rollout: Rollout) -> str:
    gate, found = rollout.plan.health, rollout.progress.health
    if gate is None:
        return ""
    shown = "as good" if is_non_inferior(gate, found) else "undecided"
    return f", {found.blocks} device-blocks of live health: {shown}"


def rollout_text(rollout: Rollout) -> str:
    """Say how a rollout stands, and who is in its way."""
    lines = [f"{progress_text(rollout)}: {rollout.state} ({rollout.release.sha256[:12]})"]
    lines += [f"  {rollout.progress.reason}"] if rollout.progress.reason else []
    lines += [f"  {_health_text(rollout.plan.health, rollout)}"] if rollout.plan.health else []
    lines += [
        f"  {one.at.site}/{one.at.gateway} {one.state}: {one.reason}"
        for one in rollout.verdict.failed
    ]
    lines += [f"  {one.at.site}/{one.at.gateway} is silent" for one in rollout.verdict.silent]
    return "\n".join(lines)


def rollout_json(rollout: Rollout, *, promoted: bool = False) -> dict[str, Any]:
    """Return how a rollout stands."""
    verdict = rollout.verdict
    return {
        "rollout": rollout.number,
        "sha256": rollout.release.sha256,
        "state": str(rollout.state),
        "promoted": promoted,
        "wave": rollout.progress.wave,
        "waves": rollout.progress.waves,
        "reason": rollout.progress.reason,
        "waiting": [one.at.gateway for one in verdict.waiting],
        "committed": [one.at.gateway for one in verdict.committed],
        "working": {one.at.gateway: str(one.state) for one in verdict.working},
        "silent": [one.at.gateway for one in verdict.silent],
        "failed": {one.at.gateway: one.reason for one in verdict.failed},
        "health": _health_json(rollout.plan.health, rollout) if rollout.plan.health else None,
    }


def _health_text(gate: HealthGate, rollout: Rollout) -> str:
    found = rollout.progress.health
    parts = [
        f"{metric.replace('_', ' ')} +{tally.worse}/-{tally.better}"
        for metric, tally in found.tallies.items()
        if tally.blocks
    ]
    shown = "as good" if is_non_inferior(gate, found) else why_worse(gate, found) or "undecided"
    return f"live health after {found.blocks} device-blocks: {', '.join([*parts, shown])}"


def _health_json(gate: HealthGate, rollout: Rollout) -> dict[str, Any]:
    found = rollout.progress.health
    weighed = evidence(gate, found.tallies)
    return {
        "device_blocks": found.blocks,
        "tallies": {str(metric): asdict(tally) for metric, tally in found.tallies.items()},
        "evidence_worse": {
            "without_labels": round(weighed.unlabelled, 3),
            "by_labels": round(weighed.labelled, 3),
            "needed": 2 / gate.alpha,
        },
        "evidence_as_good": {"least": round(weighed.non_inferior, 3), "needed": 1 / gate.beta},
        "waits_for": {
            one.at.gateway: gate.terms.blocks - one.blocks
            for one in rollout.standings
            if one.counter and one.compares and one.blocks < gate.terms.blocks
        },
    }


def halt_text(halt: Halt | None) -> list[str]:
    """Say that the fleet is stopped, where it is."""
    if halt is None or not halt.halted:
        return []
    return [f"EMERGENCY STOP since {moment(halt.issued_ns)}: {halt.reason or 'no reason given'}"]


def device_text(device: Device) -> str:
    """Say in one line what a gateway runs and how far it is."""
    model = device.model[:12] if device.model else "no model"
    told = f", {device.state} {device.counter}" if device.state else ""
    why = f": {device.reason}" if device.reason else ""
    cloned = "; TWO PROCESSES USE THIS IDENTITY" if device.cloned_ns else ""
    gone = "; VANISHED" if device.silent_ns else ""
    stuck = f"; follows no directive: {device.problem}" if device.problem else ""
    name = f"{device.at.site}/{device.at.gateway}"
    far = [f"{one} {size:.2f}" for one, size in device.drift.items() if size >= DRIFTED]
    drifted = f"; drifted: {', '.join(far[:3])}" if far else ""
    strange = f"{stuck}{cloned}{gone}{drifted}"
    return f"{name}  {model}{told}{why}{strange}  seen {moment(device.last_seen_ns)}"


def device_json(device: Device) -> dict[str, Any]:
    """Return what a gateway last said of itself."""
    return {
        "id": device.at.gateway,
        "site": device.at.site,
        "model": device.model,
        "state": str(device.state) if device.state else None,
        "counter": device.counter,
        "reason": device.reason,
        "problem": device.problem,
        "version": device.version,
        "labels": dict(device.labels),
        "last_seen": moment(device.last_seen_ns),
        "accounts": dict(device.accounts),
        "drift": dict(device.drift),
        "last_good": device.last_good,
        "vanished": device.silent_ns is not None,
        "identity_used_twice": moment(device.cloned_ns) if device.cloned_ns else None,
    }


def audit_json(entry: AuditEntry) -> dict[str, Any]:
    """Return one entry of the audit trail."""
    return {
        "at": moment(entry.at_ns),
        "actor": entry.actor,
        "action": entry.action,
        "detail": dict(entry.detail),
    }


def moment(time_ns: int) -> str:
    """Return a time in RFC 3339, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 10**9))
