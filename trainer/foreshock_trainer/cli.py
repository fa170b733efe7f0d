"""The trainer's commands; what is heavy is imported when a command runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from foreshock_trainer.backtest_cli import backtest
from foreshock_trainer.ingest_cli import ingest
from foreshock_trainer.labels_cli import labels
from foreshock_trainer.lake_cli import audit, upkeep
from foreshock_trainer.settings import (
    DEFAULT_CHANNELS,
    DEFAULT_FEATURES,
    RetrainSettings,
    parse_channel,
)
from foreshock_wire.derived import parse_derived

TRACKING = click.option(
    "--tracking",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of MLflow's database and artifacts.",
)
NAME = click.option("--name", default="foreshock", show_default=True, help="The registered model.")
HTML_HELP = "Write the page of the run there, and its figures as JSON beside it."
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object last.")


@click.group()
def cli() -> None:
    """Fill the lake, retrain and register models."""
    # Threads that wait for each other by spinning take the cores from whoever else runs here;
    # OpenMP reads this once, when XGBoost is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


for command in (ingest, labels, upkeep, audit, backtest):
    cli.add_command(command)


@cli.command(
    epilog="""\b
Examples:
  foreshock trainer retrain --lake lake --tracking models
  foreshock trainer retrain --lake lake --tracking models --promote --json
  foreshock trainer retrain --lake lake --tracking models --horizon-h 24 --html run.html
  foreshock trainer retrain --lake lake --tracking models --derived power=torque*speed*0.000105:kW

A model that the gate refuses is recorded but not registered; the exit code is 0 all the same.
"""
)
@click.option("--lake", required=True, metavar="DIR|URL", help="The lake's folder or URL.")
@TRACKING
@NAME
@click.option("--promote", is_flag=True, help="Make it the champion when it passes the gate.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON there.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help=HTML_HELP)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    default=DEFAULT_CHANNELS,
    show_default=True,
    metavar="ID:UNIT",
    help="A column of the window; give it once per channel, in order.",
)
@click.option(
    "--derived",
    multiple=True,
    metavar="ID=A*B:UNIT",
    help="A channel that the model computes: A*B, A/B or 'A - B', then *FACTOR for the unit.",
)
@click.option(
    "--features",
    multiple=True,
    default=DEFAULT_FEATURES,
    show_default=True,
    metavar="NAME",
    help="What a window becomes: a group, a feature such as rms, or a column such as torque.rms.",
)
@click.option("--period-s", default=1800.0, show_default=True, help="The sampling period.")
@click.option("--length", default=48, show_default=True, help="Samples in a window.")
@click.option("--stride", default=4, show_default=True, help="Samples between two windows.")
@click.option("--horizon-h", default=48.0, show_default=True, help="How far ahead to look.")
@click.option("--lateness-s", default=0.0, show_default=True, help="As the gateways have it.")
@click.option("--seed", default=0, show_default=True, help="Of the training.")
@click.option(
    "--vouch",
    "vouched",
    multiple=True,
    metavar="CHANNEL",
    help="This channel looks like a leak and is none.",
)
@JSON
def retrain(  # noqa: PLR0917 - click passes options by name
    lake: str,
    tracking: Path,
    name: str,
    report: Path | None,
    html: Path | None,
    channels: tuple[str, ...],
    derived: tuple[str, ...],
    features: tuple[str, ...],
    period_s: float,
    length: int,
    stride: int,
    horizon_h: float,
    lateness_s: float,
    seed: int,
    vouched: tuple[str, ...],
    *,
    promote: bool,
    as_json: bool,
) -> None:
    """Train a model on the lake and register it as challenger, or say why not."""
    from foreshock_trainer.lean import import_xgboost_alone  # noqa: PLC0415 - heavy

    import_xgboost_alone()
    from foreshock_trainer.page import page  # noqa: PLC0415 - heavy
    from foreshock_trainer.retrain import retrain as run  # noqa: PLC0415 - heavy

    settings = RetrainSettings(
        lake=lake,
        tracking=tracking,
        name=name,
        channels=tuple(map(parse_channel, channels)),
        period_s=period_s,
        length=length,
        stride=stride,
        lateness_s=lateness_s,
        horizon_h=horizon_h,
        seed=seed,
        vouched=vouched,
        promote=promote,
        derived=tuple(map(parse_derived, derived)),
        features=features,
    )
    outcome = run(settings, lambda line: click.echo(line, err=as_json), _show_machines)
    result = outcome.as_json()
    if report:
        report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if html:
        html.write_text(page(outcome), encoding="utf-8")
        html.with_suffix(".json").write_text(json.dumps(outcome.whole()), encoding="utf-8")
    for line in outcome.lines():
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(result))


def _show_machines(done: int, total: int) -> None:
    """Say on a terminal how far the reading is, on one line that the next one overwrites."""
    if sys.stderr.isatty():
        click.echo(f"\rreading machine {done} of {total}", err=True, nl=done == total)


@cli.command(
    epilog="""\b
Examples:
  foreshock trainer promote --tracking models
  foreshock trainer promote --tracking models --version 3
"""
)
@TRACKING
@NAME
@click.option("--version", type=int, help="This version instead of the challenger.")
@JSON
def promote(tracking: Path, name: str, version: int | None, *, as_json: bool) -> None:
    """Make the challenger the champion."""
    from foreshock_trainer.tracking import Tracking  # noqa: PLC0415 - heavy

    made = Tracking(tracking).promote(name, version)
    if as_json:
        click.echo(json.dumps({"name": made.name, "version": made.number, "alias": "champion"}))
    else:
        click.echo(f"{made.name} version {made.number} is champion")
