"""`foreshock trainer import`: a newcomer's own history, from a file to figures."""

from __future__ import annotations

import json
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foreshock_trainer.lean import import_xgboost_alone
from foreshock_trainer.learn_options import VOUCHED, show_machines
from foreshock_wire.errors import ForeshockError
from foreshock_wire.options import FILE, FOLDER, JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_trainer.history.importing import Imported, Proposal
    from foreshock_trainer.history.plan import Sensor


@click.command(
    "import",
    epilog="""\b
Examples:
  foreshock trainer import history.csv
  foreshock trainer import history.csv --failures failures.csv --yes
  foreshock trainer import pumps.csv --failure status=BROKEN --time-zone Europe/Berlin
  foreshock trainer import engines.csv --time cycle --run-to-failure --horizon-h 30 --yes
  foreshock trainer import history.csv --sensor "Temp [K]=temperature:K" --propose --json

FILE is CSV (any usual separator, .gz too) or Parquet: a row per machine and time, a column per
sensor. What it seems to hold is shown first; nothing is trained before you agree. The same question
asked again goes on where it stopped.
""",
)
@click.argument("file", type=FILE)
@click.option("--out", type=FOLDER, help="Where everything goes.  [default: FILE's name-foreshock]")
@click.option("--machine", metavar="COLUMN", help="The column that names the machine.")
@click.option("--machine-name", metavar="ID", help="The whole file is of this one machine.")
@click.option("--time", metavar="COLUMN", help="The column that tells the time, or counts cycles.")
@click.option(
    "--time-format",
    default="",
    metavar="FORMAT",
    help="iso, epoch_s, epoch_ms, epoch_us, epoch_ns, counter, or like %d/%m/%Y %H:%M.",
)
@click.option(
    "--time-zone", default="UTC", show_default=True, help="Of stamps that do not name theirs."
)
@click.option(
    "--step-s", default=3600.0, show_default=True, help="How long one step of a counter is."
)
@click.option(
    "--sensor",
    "sensors",
    multiple=True,
    metavar="COLUMN[=ID:UNIT[:ROLE]]",
    help="Only these columns are sensors.",
)
@click.option("--without", multiple=True, metavar="COLUMN", help="This column is no sensor.")
@click.option(
    "--failure",
    metavar="COLUMN[=VALUE,VALUE]",
    help="The column that says that a machine is down, and what it then holds.",
)
@click.option("--failures", type=FILE, help="A list of failures: machine, time, perhaps mode.")
@click.option("--run-to-failure", is_flag=True, help="Every machine's last row is its failure.")
@click.option("--maintenance", type=FILE, help="A list of services: machine, time.")
@click.option("--period-s", type=float, help="The sampling period of a window.")
@click.option("--length", type=click.IntRange(min=1), help="Samples in a window.")
@click.option("--horizon-h", type=float, help="How far ahead to look.")
@VOUCHED
@click.option("--yes", is_flag=True, help="Train without asking.")
@click.option("--propose", "only_propose", is_flag=True, help="Only say what the file holds.")
@click.option(
    "--open/--no-open", "opens", default=None, help="Show the page.  [default: on a terminal]"
)
@JSON
def import_history(
    out: Path | None,
    sensors: tuple[str, ...],
    failure: str | None,
    vouched: tuple[str, ...],
    *,
    yes: bool,
    only_propose: bool,
    opens: bool | None,
    as_json: bool,
    **asked: Any,  # noqa: ANN401 - what `Asked` takes by these names
) -> None:
    """Learn from a history FILE of your own, and show what a model made of it is worth."""
    import_xgboost_alone()
    from foreshock_trainer.history.importing import Asked, proposal  # noqa: PLC0415 - heavy

    said = Asked(sensors=tuple(map(_sensor, sensors)), failure=_failure(failure), **asked)
    found = proposal(said)
    for line in _proposed(found):
        click.echo(line, err=as_json)
    if only_propose or not _agreed(yes=yes):
        if as_json:
            click.echo(json.dumps({"proposal": found.as_json()}))
        return
    done = _run(
        found, out or Path(f"{said.file.name.partition('.')[0]}-foreshock"), vouched, as_json
    )
    click.echo(f"the page: {done.page}", err=as_json)
    if as_json:
        click.echo(json.dumps({"proposal": found.as_json()} | done.as_json()))
    if sys.stdout.isatty() if opens is None else opens:
        webbrowser.open(done.page.resolve().as_uri())


def _run(found: Proposal, out: Path, vouched: tuple[str, ...], as_json: bool) -> Imported:  # noqa: FBT001
    from foreshock_trainer.history.importing import run  # noqa: PLC0415 - heavy

    hidden = not sys.stderr.isatty()
    count = len(found.lives.machine)
    with click.progressbar(
        length=count, label="Into the lake", file=sys.stderr, hidden=hidden
    ) as bar:
        return run(
            found,
            out,
            vouched=vouched,
            say=lambda line: click.echo(line, err=as_json),
            progress=show_machines,
            rows=bar.update,
        )


def _agreed(*, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        click.echo("nothing was done: say --yes to train with this", err=True)
        return False
    return click.confirm("Train with this?", default=True, err=True)


def _sensor(text: str) -> Sensor:
    from foreshock_trainer.history.plan import Sensor  # noqa: PLC0415 - heavy
    from foreshock_trainer.history.propose import channel_of  # noqa: PLC0415 - heavy
    from foreshock_trainer.settings import parse_channel  # noqa: PLC0415 - heavy

    column, _, channel = text.partition("=")
    if channel:
        parse_channel(channel)
    return Sensor(column, channel or channel_of(column, ()))


def _failure(text: str | None) -> tuple[str, tuple[str, ...]] | None:
    if text is None:
        return None
    column, _, values = text.partition("=")
    if not column:
        raise ForeshockError(f"--failure {text!r} names no column: write COLUMN or COLUMN=VALUE")
    return column, tuple(values.split(",")) if values else ()


def _proposed(found: Proposal) -> Iterator[str]:
    """Say in a few lines what a file seems to hold, and what was wrong with it."""
    plan, cut, counts, failed = found.plan, found.cut, found.lives.counts, found.failed
    yield (
        f"machines  {len(failed)} in {plan.machine!r}" if plan.machine else f"machine   {plan.only}"
    )
    form = plan.time_format
    how = form.pattern or str(form.kind)
    zone = f", {form.zone} where a stamp names no zone" if form.kind in {"iso", "pattern"} else ""
    step = found.lives.step_ns / 1e9
    yield f"time      {plan.time!r} as {how}{zone}; every {step:g} s"
    yield "sensors   " + ", ".join(f"{one.column} -> {one.channel}" for one in plan.sensors)
    for left in found.left_out:
        yield f"left out  {left.column}: {left.why}"
    rule = plan.failures
    where = rule.file or (rule.column and f"{rule.column} = {' or '.join(rule.values) or '0'}")
    yield (
        f"failures  {sum(failed.values())} on {sum(map(bool, failed.values()))} machines, "
        f"from {where or 'the last row of every machine'}"
    )
    yield (
        f"windows   {cut.length} x {cut.period_s:g} s, each {cut.stride} samples; a failure within "
        f"{cut.horizon_h:g} h counts"
    )
    yield from _warnings(found)
    yield f"rows      {counts.rows:,}, of them {len(found.lives.machine):,} used"


def _warnings(found: Proposal) -> Iterator[str]:
    from foreshock_trainer.history.importing import FEWEST  # noqa: PLC0415 - heavy

    counts, failures = found.lives.counts, sum(found.failed.values())
    told = {
        "rows whose time cannot be read were left out": counts.unreadable_times,
        "rows without a machine were left out": counts.nameless,
        "rows repeat a machine and a time: the first of each stays": counts.duplicates,
        "of these say something else than the first": counts.contradictions,
        "cells are missing": counts.missing_cells,
    }
    for text, count in told.items():
        if count:
            yield f"note      {count:,} {text}"
    if counts.gaps:
        yield f"note      {counts.gaps:,} gaps, the longest of {counts.longest_gap_s / 3600:.1f} h"
    if 0 < failures < FEWEST:
        yield f"note      {failures} failures are few: take the figures for a first impression"
