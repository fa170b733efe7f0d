"""How often the gate on live health stops a model, by what the model is like.

`python -m benchmarks.rollout_health [--quick] [--json]`. Each row is a number of seeded rollouts
(30 gateways, the first 8 of them the canary, 24 blocks each) of one kind of model through the
fleet's real rules; with and without answers to alarms, apart.
"""

from __future__ import annotations

import json
import statistics
from typing import Final

import click

from benchmarks.rollout_plants import Candidate, Ending, Rehearsal, Setting

RUNS: Final = 200
QUICK_RUNS: Final = 20
CANDIDATES: Final = {
    "equally good, other taste": Candidate(),
    "equally good, quite other taste": Candidate(taste=0.6),
    "better: half the false alarms": Candidate(alarms=0.5, sees=0.95),
    "three times the false alarms": Candidate(alarms=3.0),
    "five times the false alarms": Candidate(alarms=5.0),
    "sees hardly a fault": Candidate(sees=0.1),
    "an error in every third block": Candidate(errors=0.33),
    "ten times as slow": Candidate(latency=10.0),
}
SETTINGS: Final = {"without labels": Setting(), "with labels": Setting(answered=0.8)}


def row(candidate: Candidate, setting: Setting, runs: int) -> dict[str, float]:
    """Return the share of rollouts that was stopped, where, and after how long (medians)."""
    endings = [Rehearsal(candidate, setting, seed).play() for seed in range(runs)]
    stopped = [one for one in endings if one.state == "rolled_back"]
    canary = int(setting.waves[0])
    return {
        "runs": runs,
        "stopped": len(stopped) / runs,
        "stopped_in_canary": sum(one.offered <= canary for one in stopped) / runs,
        "completed": sum(one.state == "complete" for one in endings) / runs,
        "median_blocks_to_stop": _median(stopped),
    }


def _median(stopped: list[Ending]) -> float:
    return statistics.median([one.blocks for one in stopped]) if stopped else 0.0


@click.command()
@click.option("--quick", is_flag=True, help=f"{QUICK_RUNS} rollouts a row, not {RUNS}.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Roll out models of every kind, many times."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for labels, setting in SETTINGS.items():
        found[labels] = {}
        for name, candidate in CANDIDATES.items():
            said = found[labels][name] = row(candidate, setting, QUICK_RUNS if quick else RUNS)
            if not as_json:
                print(f"{labels:15} {name:32} {_text(said)}", flush=True)
    print(json.dumps(found))


def _text(said: dict[str, float]) -> str:
    return (
        f"stopped {said['stopped']:6.1%} (in the canary {said['stopped_in_canary']:6.1%}, median "
        f"after {said['median_blocks_to_stop']:.0f} device-blocks), "
        f"complete {said['completed']:.1%}"
    )


if __name__ == "__main__":
    main()
