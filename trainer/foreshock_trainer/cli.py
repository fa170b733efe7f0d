"""The trainer's commands; what is heavy is imported when a command runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from foreshock_trainer.backtest_cli import backtest
from foreshock_trainer.data_cli import data
from foreshock_trainer.import_cli import import_history
from foreshock_trainer.ingest_cli import ingest
from foreshock_trainer.labels_cli import labels
from foreshock_trainer.lake_cli import audit, upkeep
from foreshock_trainer.lean import import_xgboost_alone
from foreshock_trainer.learn_options import TUNED, VOUCHED, learn_options, learnt, show_machines
from foreshock_trainer.settings import LearnSettings, RetrainSettings
from foreshock_trainer.tune_cli import tune
from foreshock_trainer.ui_cli import ui
from foreshock_wire.files import write_for_people
from foreshock_wire.options import FILE, FOLDER, JSON

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TRACKING = click.option(
    "--tracking",
    required=True,
    type=FOLDER,
    help="The folder of MLflow's database and artifacts.",
)
NAME = click.option("--name", default="foreshock", show_default=True, help="The registered model.")
HTML_HELP = "Write the page of the run there, and its figures as JSON beside it."


@click.group()
def cli() -> None:
    """Fill the lake, retrain and register models."""
    # Threads that wait for each other by spinning take the cores from whoever else runs here;
    # OpenMP reads this once, when XGBoost is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


for command in (data, import_history, ingest, labels, upkeep, audit, backtest, tune, ui):
    cli.add_command(command)


@cli.command(
    epilog="""\b
Examples:
  foreshock trainer retrain --lake lake --tracking models
  foreshock trainer retrain --lake lake --tracking models --promote --json
  foreshock trainer retrain --lake lake --tracking models --horizon-h 24 --html run.html
  foreshock trainer retrain --lake lake --tracking models --derived power=torque*speed*0.000105:kW
  foreshock trainer retrain --lake lake --tracking models --tuned tuned.json --miss-cost 20

A model that the gate refuses is recorded but not registered; the exit code is 0 all the same.
"""
)
@learn_options
@TUNED
@TRACKING
@NAME
@click.option("--promote", is_flag=True, help="Make it the champion when it passes the gate.")
@click.option("--report", type=FILE, help="Write JSON there.")
@click.option("--html", type=FILE, help=HTML_HELP)
@VOUCHED
@JSON
def retrain(
    *,
    tracking: Path,
    name: str,
    report: Path | None,
    html: Path | None,
    vouched: tuple[str, ...],
    promote: bool,
    as_json: bool,
    **learn: Any,  # noqa: ANN401 - learn_options' values
) -> None:
    """Train a model on the lake and register it as challenger, or say why not."""
    import_xgboost_alone()
    from foreshock_trainer.page import page  # noqa: PLC0415 - heavy
    from foreshock_trainer.retrain import retrain as run  # noqa: PLC0415 - heavy

    settings = RetrainSettings(
        tracking=tracking, name=name, vouched=vouched, promote=promote, **learnt(learn)
    )
    outcome = run(settings, lambda line: click.echo(line, err=as_json), show_machines)
    result = outcome.as_json()
    if report:
        write_for_people(report, json.dumps(result, indent=2) + "\n")
    if html:
        write_for_people(html, page(outcome))
        write_for_people(html.with_suffix(".json"), json.dumps(outcome.whole()))
    _print(result, outcome.lines(), as_json=as_json)


@cli.command(
    epilog="""\b
Examples:
  foreshock trainer crossvalidate --lake lake
  foreshock trainer crossvalidate --lake lake --folds 10 --json

Says what a training is worth, and how honest its lead times are; registers nothing.
"""
)
@learn_options
@TUNED
@click.option(
    "--folds", default=5, show_default=True, type=click.IntRange(2, 50), help="Trainings."
)
@JSON
def crossvalidate(
    *,
    folds: int,
    as_json: bool,
    **learn: Any,  # noqa: ANN401 - learn_options' values
) -> None:
    """Train several times, so that every machine is judged once by a model that never saw it."""
    import_xgboost_alone()
    from foreshock_trainer.crossvalidate import cross_validate  # noqa: PLC0415 - heavy

    settings = LearnSettings(**learnt(learn))
    found = cross_validate(
        settings, folds, lambda line: click.echo(line, err=as_json), show_machines
    )
    _print(found.as_json(), found.lines(), as_json=as_json)


def _print(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    for line in lines:
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(result))


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
