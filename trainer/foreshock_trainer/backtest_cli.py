"""`foreshock trainer backtest`: two models side by side on a stretch of the lake."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foreshock_wire.errors import ForeshockError
from foreshock_wire.options import FOLDER, JSON, TIME

if TYPE_CHECKING:
    from foreshock_wire.model import Model


@click.command(
    epilog="""\b
Examples:
  foreshock trainer backtest --lake lake --model old.onnx --model new.onnx
  foreshock trainer backtest --lake lake --tracking models \\
      --model models:/foreshock@champion --model models:/foreshock@challenger \\
      --from 2024-02-01T00:00:00Z --to 2024-03-01T00:00:00Z --json

Each machine is replayed from its first reading on, in the order in which its gateway saw the data,
by the gateway's own rules; alarms and failures are counted in the stretch. The alarm options must
be those of the gateways. Only test machines are asked (a fifth, by the hash of the id) unless
--all-machines is given; machines without work orders are left out.
"""
)
@click.option("--lake", "root", required=True, metavar="DIR|URL", help="The lake's folder or URL.")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="FILE|URI",
    help="A model file, or models:/NAME@ALIAS; give it twice: before and after.",
)
@click.option(
    "--tracking",
    type=FOLDER,
    help="The folder of MLflow's database, for models:/ URIs.",
)
@click.option("--from", "begin", type=TIME, help="RFC 3339; the beginning when left out.")
@click.option("--to", "end", type=TIME, help="RFC 3339; the end when left out.")
@click.option("--horizon-h", type=float, help="How far ahead a failure counts; default: the model.")
@click.option("--all-machines", is_flag=True, help="Ask those that trained a model, too.")
@click.option("--on-delay-s", default=0.0, show_default=True, help="As the gateways have it.")
@click.option("--off-delay-s", default=14400.0, show_default=True, help="As the gateways have it.")
@click.option("--deadband", default=0.5, show_default=True, help="In margin, as the gateways do.")
@click.option("--latching", is_flag=True, help="As the gateways have it.")
@click.option("--lateness-s", default=0.0, show_default=True, help="As the gateways have it.")
@JSON
def backtest(  # noqa: PLR0917 - click passes options by name
    root: str,
    models: tuple[str, ...],
    tracking: Path | None,
    begin: int | None,
    end: int | None,
    horizon_h: float | None,
    on_delay_s: float,
    off_delay_s: float,
    deadband: float,
    lateness_s: float,
    *,
    all_machines: bool,
    latching: bool,
    as_json: bool,
) -> None:
    """Set two models side by side on recorded data: false alarms, and how early they warn."""
    from foreshock_trainer import backtest as run  # noqa: PLC0415 - heavy
    from foreshock_trainer.contest import side_by_side  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy
    from foreshock_trainer.playback import EdgeSettings  # noqa: PLC0415 - heavy

    if len(models) != 2:  # noqa: PLR2004 - before and after
        raise click.UsageError("give --model twice: the one to compare with, and the other")
    question = run.Question(
        run.ALWAYS[0] if begin is None else begin,
        run.ALWAYS[1] if end is None else end,
        horizon_h,
        all_machines,
        EdgeSettings(on_delay_s, off_delay_s, deadband, latching, lateness_s),
    )
    a, b = (_model(name, tracking) for name in models)
    done = run.backtest(Lake(root), a, b, question, _show)
    told = done.comparison.as_json()
    labels = (_label(a, "A"), _label(b, "B"))
    click.echo(
        f"{len(done.machines)} machines, {told['a']['machine_months']:.1f} machine-months; "
        f"a failure counts {done.stretch.horizon_ns / 3.6e12:g} h ahead"
        + (f"; {len(done.unknown)} without work orders left out" if done.unknown else ""),
        err=as_json,
    )
    for line in side_by_side(*labels, told):
        click.echo(line, err=as_json)
    if as_json:
        whole = {"machines": list(done.machines), "left_out": list(done.unknown)} | told
        click.echo(json.dumps(whole | {"models": [a.sha256, b.sha256]}))


def _model(name: str, tracking: Path | None) -> Model:
    from foreshock_trainer.tracking import resolve  # noqa: PLC0415 - heavy
    from foreshock_wire.model import Model  # noqa: PLC0415 - heavy

    if not name.startswith("models:/"):
        path = Path(name)
        if not path.is_file():
            raise ForeshockError(f"{name} is no file: give a .onnx file, or models:/NAME@ALIAS")
        return Model.load(path)
    if tracking is None:
        raise click.UsageError(f"{name} is in a registry: say which with --tracking")
    return Model.load(resolve(name, tracking))


def _label(model: Model, side: str) -> str:
    return f"{side} {model.sha256[:12]}"


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rreplaying machine {done} of {total}", err=True, nl=done == total)
