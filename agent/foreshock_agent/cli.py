"""`foreshock agent …`: run the edge service, and look at what it holds."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foreshock_agent.desk.outbox_cli import outbox
from foreshock_agent.desk.rejected_cli import rejected
from foreshock_agent.desk.replay_cli import replay
from foreshock_agent.options import CONFIG
from foreshock_wire.options import JSON
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from foreshock_agent.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The edge service beside the machines.

    \b
    Examples:
      foreshock agent run --config agent.toml
      foreshock agent status --config agent.toml
      foreshock agent outbox --config agent.toml --records
      foreshock agent rejected --config agent.toml
      foreshock agent replay --config agent.toml --check
      foreshock agent verify --config agent.toml
      foreshock agent update --config agent.toml --from /media/stick
      foreshock agent sources test --config agent.toml plant/pump-1/sample '{"t": 1}'
    """  # noqa: D301 - click's paragraph mark is a real backspace


for command in (outbox, rejected, replay):
    cli.add_command(command)


@cli.command()
@CONFIG
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="WARNING",
    show_default=True,
    help="What to log.",
)
def run(config: Path, log_level: str) -> None:
    """Run the agent until SIGTERM; `kill -9` loses nothing that was acknowledged.

    SIGHUP reads the settings again, without losing a reading; a file that cannot be used leaves
    the last good one running, and `foreshock agent status` says why.
    """
    from foreshock_agent.asks import Asks  # noqa: PLC0415 - one use
    from foreshock_agent.lifetime import run_agent  # noqa: PLC0415 - heavy
    from foreshock_agent.notify import Supervisor  # noqa: PLC0415 - one use
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asks = Asks()
    asks.hear_signals()
    # What was imported stays: to look through it again for garbage would stop all threads.
    gc.freeze()
    run_agent(lambda: load(config), _version(), asks, Supervisor(os.environ))


@cli.command()
@CONFIG
@JSON
@click.option("--all", "every", is_flag=True, help="Every machine, not only those to look at.")
def status(config: Path, *, every: bool, as_json: bool) -> None:
    """Show the accounts, what waits to go up, and the machines that somebody should look at."""
    from foreshock_agent.desk.status import read_status  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.status_text import status_lines  # noqa: PLC0415 - one use
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    report = read_status(load(config))
    if as_json:
        click.echo(json.dumps(report))
    else:
        for line in status_lines(report, every=every):
            click.echo(line)
    for law in report["broken_laws"]:
        click.echo(f"broken: {law}", err=True)
    if report["broken_laws"]:
        raise SystemExit(1)


@cli.command()
@CONFIG
@JSON
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What `foreshock fleet export` wrote: a stick.",
)
def update(config: Path, folder: Path, *, as_json: bool) -> None:
    """Update the model from a folder, as over the network; the agent must not be running.

    Exit codes: 0 the model that is desired runs from the next start on, 3 it does not.
    """
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy
    from foreshock_agent.update.offline import update_from  # noqa: PLC0415 - heavy

    outcome = update_from(load(config), folder)
    said = {"state": str(outcome.state), "counter": outcome.counter, "sha256": outcome.sha256}
    why = f": {outcome.reason}" if outcome.reason else ""
    text = f"directive {outcome.counter} is {outcome.state}{why} (model {outcome.sha256[:12]})"
    click.echo(json.dumps(said | {"reason": outcome.reason}) if as_json else text)
    if outcome.state != "committed":
        raise SystemExit(3)


@cli.command()
@CONFIG
@JSON
def verify(config: Path, *, as_json: bool) -> None:
    """Check every checksum, the sequences for holes, and the accounting law; reads only.

    It works beside a running agent. Exit codes: 0 all is whole, 1 something is not.
    """
    from foreshock_agent.damage.verify import rows_of  # noqa: PLC0415 - heavy
    from foreshock_agent.damage.verify import verify as verified  # noqa: PLC0415 - heavy
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    database = load(config).database
    length = rows_of(database) if database.exists() else 0
    hidden = not sys.stderr.isatty()
    with click.progressbar(range(length), label="rows", file=sys.stderr, hidden=hidden) as bar:
        report = verified(database, bar.update)
    if as_json:
        click.echo(json.dumps(report))
    else:
        whole = "not whole" if report["problems"] else "whole"
        rows, waiting = report["rows"], report["waiting"]
        click.echo(f"{whole}: {rows:,} rows checked; {waiting:,} records wait to go up")
        for entry in report["quarantine"]:
            click.echo(f"in quarantine: {entry}")
    for problem in report["problems"]:
        click.echo(f"not whole: {problem}", err=True)
    if report["problems"]:
        raise SystemExit(1)


@cli.group()
def sources() -> None:
    """Try out the mapping from topics and payloads to readings."""


@sources.command("test")
@CONFIG
@JSON
@click.argument("topic")
@click.argument("payload")
def sources_test(config: Path, topic: str, payload: str, *, as_json: bool) -> None:
    """Show the readings that a message would give, or why it would be rejected."""
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    readings = _decoded(load(config), topic, payload)
    if as_json:
        click.echo(json.dumps({"readings": readings}))
        return
    for one in readings:
        problem = f"   rejected: {one['problem']}" if one["problem"] else ""
        click.echo(f"{one['machine']} {one['channel']} {one['time']} {one['value']}{problem}")


def _decoded(settings: Settings, topic: str, payload: str) -> list[dict[str, Any]]:
    from foreshock_agent.clock import SystemClock  # noqa: PLC0415 - heavy
    from foreshock_agent.sources import Sources  # noqa: PLC0415 - heavy

    sources = Sources(settings.sources, settings.max_message_bytes)
    return [
        {
            "machine": one.machine,
            "channel": one.channel,
            "time": rfc3339(one.time_ns),
            "value": repr(one.value),
            "problem": problem,
        }
        for one, problem in sources.show(topic, payload.encode(), SystemClock().now_ns())
    ]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - one use

    try:
        return version("foreshock")
    except PackageNotFoundError:
        return "0"
