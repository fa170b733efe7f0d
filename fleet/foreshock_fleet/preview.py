"""What a dry run tells: who would get what, when, and what the gate on live health could see."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from foreshock_fleet.power import power_of
from foreshock_fleet.show import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_fleet.plan import Plan
    from foreshock_fleet.rollout import Standing
    from foreshock_fleet.state import Release


def preview_json(
    release: Release | None, plan: Plan, members: Sequence[Standing], now_ns: int
) -> dict[str, Any]:
    """Return the members by wave, each wave's earliest begin, and the gate's power by wave."""
    sizes = {wave: sum(one.wave == wave for one in members) for wave in _waves(members)}
    return {
        "dry_run": True,
        "sha256": release.sha256 if release else None,
        "waves": {f"{one.at.site}/{one.at.gateway}": one.wave for one in members},
        "before": {f"{one.at.site}/{one.at.gateway}": one.before for one in members},
        "not_before": {wave: moment(plan.not_before_ns(wave, now_ns)) for wave in sizes},
        "health": _health(plan, sizes),
    }


def _waves(members: Sequence[Standing]) -> list[int]:
    return sorted({one.wave for one in members})


def _health(plan: Plan, sizes: dict[int, int]) -> dict[int, dict[str, Any]] | None:
    """What has been seen up to the end of each wave: evidence is carried from wave to wave."""
    gate = plan.health
    if gate is None:
        return None
    seen = {wave: sum(size for w, size in sizes.items() if w <= wave) for wave in sizes}
    return {
        wave: asdict(power_of(gate, gateways * gate.terms.blocks))
        for wave, gateways in seen.items()
    }


def preview_text(told: dict[str, Any], members: Sequence[Standing]) -> str:
    """Say the same for a person."""
    lines = []
    for wave, begin in told["not_before"].items():
        lines.append(f"wave {wave}, not before {begin}")
        lines += [
            f"  {one.at.site}/{one.at.gateway}, now {(one.before or 'no model to go back to')[:22]}"
            for one in members
            if one.wave == wave
        ]
        if told["health"]:
            lines.append(f"  {_power_text(told['health'][wave])}")
    return "\n".join(lines)


def _power_text(power: dict[str, Any]) -> str:
    blocks, effect = power["blocks"], power["effect"]
    if effect is None:
        return f"live health: {blocks} device-blocks are too few to stop any model: ask for more"
    return (
        f"live health: within {blocks} device-blocks a model that is worse in {effect:.0%} more of "
        f"them than it is better is stopped with {power['power']:.0%} power; an equally good one "
        f"is ever taken back with at most {power['wrong_abort']:.0%}"
    )
