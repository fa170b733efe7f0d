"""`foreshock picture`: one machine's life as a gateway would have judged it, drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from foreshock_wire.options import FILE, FOLDER, JSON

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="Examples: foreshock picture --model models:/foreshock@champion --tracking var/tracking "
    "--out life.png; foreshock picture --model model.onnx --machine fan-02 --seed 3 --failure 0 "
    "--hours 400 --out life.svg --json"
)
@click.option("--model", required=True, metavar="FILE", help="A file, or models:/NAME@ALIAS.")
@click.option(
    "--tracking",
    type=FOLDER,
    help="The registry's folder, for models:/NAME@ALIAS.",
)
@click.option("--machine", default="pump-01", show_default=True, help="A machine of the plant.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--hours",
    default=700.0,
    show_default=True,
    type=click.FloatRange(48, 20_000),
    help="Length of the simulated life.",
)
@click.option(
    "--failure",
    type=click.IntRange(min=0),
    help="Show the days around its Nth failure; 0 shows the whole life.  "
    "[default: the first that is not sudden]",
)
@click.option(
    "--lateness-s",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1e6),
    help="How long the gateway's windows wait for stragglers.",
)
@click.option(
    "--out",
    required=True,
    type=FILE,
    help="The picture: .png or .svg.",
)
@JSON
def picture(
    *,
    model: str,
    tracking: Path | None,
    machine: str,
    seed: int,
    hours: float,
    failure: int | None,
    lateness_s: float,
    out: Path,
    as_json: bool,
) -> None:
    """Draw a machine of the simulated plant: sensors, true health, risk, alarm and failure.

    The readings pass through the model and through the gateway's own rules in order of arrival, so
    windows, scores and alarms are those that a gateway would have given. What no gateway knows
    (health, faults of sensors, the healthy reading) is drawn from the plant's truth.
    """
    from foreshock.picture.draw import draw  # noqa: PLC0415 - loads matplotlib
    from foreshock.picture.frame import frame_of, told  # noqa: PLC0415
    from foreshock.picture.judged import judged_life  # noqa: PLC0415
    from foreshock_fleet.registry import fetch  # noqa: PLC0415
    from foreshock_plant.parameters import CHANNELS  # noqa: PLC0415
    from foreshock_wire.model import Model  # noqa: PLC0415

    judge = Model.load(fetch(model, tracking).data, available=CHANNELS)
    life = judged_life(judge, machine, seed=seed, hours=hours, lateness_s=lateness_s)
    frame = frame_of(life, failure)
    draw(life, frame, out)
    _print(told(life, frame) | {"out": str(out)}, as_json=as_json)


def _print(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    if figures["failure"]:
        click.echo(f"{figures['machine']} failed at {figures['failure']}: {figures['mode']}")
    if figures["alarm"]:
        click.echo(
            f"alarm at {figures['alarm']}, {figures['warned_h']:.0f} h before, because of "
            f"{', '.join(figures['sensors_moved'])}"
        )
    click.echo(f"{figures['windows']} windows judged; the picture is {figures['out']}")
