"""A model file of 16 MiB from the coordinator to a gateway, on good and on bad lines.

`python -m benchmarks.transfer [--quick] [--json]`. Coordinator and gateway are processes, in
between is a real Mosquitto. From the first request for a block to the verified file, beside a peer
that pushes the same blocks over the same broker and keeps nothing; a gateway that is killed
(SIGKILL) on the way; a line that loses 5 % of the blocks and takes 200 ms in each direction.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import click
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.lossy_line import LossyLine
from benchmarks.transfer_run import Centre, fetch

MIB: Final = 1 << 20
BLOCK_BYTES: Final = 262_144
LOSS, DELAY_S = 0.05, 0.2


def pushed_s(centre: Centre) -> float:
    """Return the seconds that the same bytes take when they are just published to a subscriber."""
    here, count = threading.Event(), [0]

    def take(*_: Any) -> None:  # noqa: ANN401 - paho's
        count[0] += 1
        if count[0] == centre.blocks:
            here.set()

    ready = threading.Event()
    receiver = mqtt.Client(CallbackAPIVersion.VERSION2)
    receiver.on_message, receiver.on_subscribe = take, lambda *_: ready.set()
    receiver.connect(centre.broker.host, centre.broker.port)
    receiver.subscribe("peer", 0)
    receiver.loop_start()
    sender = mqtt.Client(CallbackAPIVersion.VERSION2)
    sender.connect(centre.broker.host, centre.broker.port)
    sender.loop_start()
    ready.wait(30)
    began = time.monotonic()
    for index in range(centre.blocks):
        sender.publish("peer", centre.data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
    here.wait(120)
    took = time.monotonic() - began
    for client in (sender, receiver):
        client.disconnect()
        client.loop_stop()
    return took


def killed(centre: Centre) -> dict[str, int]:
    """Kill a gateway when half of the file is there; count what the next one asks for again."""
    home = centre.gateway("killed")
    fetch(centre.broker.port, home, lambda: len(centre.here(home)) >= centre.blocks // 2)
    before = centre.here(home)
    after = fetch(centre.broker.port, home)
    return {
        "blocks_before_kill": len(before),
        "blocks_after_kill": len(set(after.asked)),
        "blocks_fetched_twice": len(before & set(after.asked)),
        "whole": int(centre.is_whole(home)),
    }


def bad_line(centre: Centre) -> dict[str, float]:
    """Fetch over a line that loses blocks and is slow."""
    home = centre.gateway("far")
    with LossyLine(centre.broker.port, delay_s=DELAY_S, loss=LOSS) as line:
        heard = fetch(line.port, home)
        return {
            "seconds": round(heard.seconds, 1),
            "blocks_lost": line.lost,
            "blocks_sent": line.blocks,
            "whole": int(centre.is_whole(home)),
        }


@click.command()
@click.option("--quick", is_flag=True, help="Three times, not nine.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure transfers of 16 MiB."""
    size, runs = 16 * MIB, 3 if quick else 9
    pulled, pushed = [], []
    with (
        tempfile.TemporaryDirectory(prefix="foreshock-transfer-") as folder,
        Centre(Path(folder), size, BLOCK_BYTES) as centre,
    ):
        for number in range(runs):
            home = centre.gateway(f"gateway-{number}")
            pulled.append(fetch(centre.broker.port, home).seconds)
            assert centre.is_whole(home)  # noqa: S101 - else the figure means nothing
            pushed.append(pushed_s(centre))
        found = {
            "mib": size // MIB,
            "mib_per_s": round(size / MIB / statistics.median(pulled), 1),
            "best_mib_per_s": round(size / MIB / min(pulled), 1),
            "peer_push_mib_per_s": round(size / MIB / statistics.median(pushed), 1),
            "time_over_push": round(statistics.median(pulled) / statistics.median(pushed), 2),
            "killed": killed(centre),
            "bad_line": bad_line(centre),
        }
    if not as_json:
        print(json.dumps(found, indent=1))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
