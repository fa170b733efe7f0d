"""A rollout to 1,000 and to 2,000 gateways on one Mosquitto, with everything that goes wrong.

`python -m benchmarks.fleet [--quick] [--json]`. Each gateway is the agent's own updater with its
own disk, a hundred on a connection; of a hundred 5 are slow, 3 fail their self-test, 2 are silent,
10 are not selected. The coordinator is killed three times and the broker twice, at random. Checked
are every gateway's disk, the end of the rollout and the audit trail; cost is the coordinator's CPU
time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from benchmarks.fleet_run import measure

FULL: Final = 1000
QUICK: Final = 100


@click.command()
@click.option("--quick", is_flag=True, help=f"{QUICK} and {2 * QUICK} gateways, not {FULL}.")
@click.option("--gateways", type=click.IntRange(10), help="So many, and twice as many.")
@click.option("--seed", default=1, show_default=True, help="When it is killed.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON object.")
def main(*, quick: bool, gateways: int | None, seed: int, as_json: bool) -> None:
    """Measure a fleet and one of twice the size."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    size = gateways or (QUICK if quick else FULL)
    found = []
    for count in (size, 2 * size):
        with tempfile.TemporaryDirectory(prefix="foreshock-fleet-") as folder:
            found.append(measure(Path(folder), count, seed, say))
        if not as_json:
            print(json.dumps(found[-1], indent=1))
    one, two = found
    ratio = round(two["cpu_s"] / one["cpu_s"], 2)
    print(json.dumps({**two, "cost_ratio_double": ratio, "half": one}))
    if two["wrong_devices"] or one["wrong_devices"] or two["audit_faults"] or one["audit_faults"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
