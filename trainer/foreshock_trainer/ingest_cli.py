"""`foreshock trainer ingest`: what fills the lake."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from foreshock_trainer.labels_cli import LAKE, name_refused
from foreshock_wire.ids import SHARDS
from foreshock_wire.options import FOLDER, JSON, broker_options

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_wire.broker import BrokerAddress


@click.command(
    epilog="""\b
Examples:
  foreshock trainer ingest --broker localhost:1883 --lake lake
  foreshock trainer ingest --broker mqtts://mqtt.example.com --ca-file ca.pem --username ingest \\
      --password-file password --lake lake --shards 0-7
  foreshock trainer ingest --from recorded --lake lake --json
"""
)
@broker_options("Take what gateways upload, until SIGTERM.", required=False)
@click.option(
    "--upkeep-s",
    default=900.0,
    show_default=True,
    help="How often the lake's files are put in order, by the worker of shard 0; 0 for never.",
)
@click.option("--from", "folder", type=FOLDER, help="Take a folder of recorded batches instead.")
@LAKE
@click.option(
    "--shards",
    default=f"0-{SHARDS - 1}",
    show_default=True,
    help="The shards that this worker owns; no other worker may own them too.",
)
@JSON
def ingest(
    broker: BrokerAddress | None,
    folder: Path | None,
    root: str,
    shards: str,
    upkeep_s: float,
    *,
    as_json: bool,
) -> None:
    """Take telemetry, alarms and events into the lake, each exactly once."""
    if (broker is None) == (folder is None):
        raise click.UsageError("give either --broker HOST:PORT or --from DIR")
    _log_to_stderr()
    if folder is not None:
        _from_folder(folder, root, as_json=as_json)
    elif broker is not None:
        _from_broker(broker, root, shards, upkeep_s, as_json=as_json)


def _from_folder(folder: Path, root: str, *, as_json: bool) -> None:
    from foreshock_trainer.folder import ingest_folder  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy
    from foreshock_wire.recorded import EVENTS_FILE, batch_files  # noqa: PLC0415 - heavy

    files = batch_files(folder)
    hidden = not sys.stderr.isatty()
    with click.progressbar(
        length=len(files), label="Into the lake", file=sys.stderr, hidden=hidden
    ) as bar:
        report = ingest_folder(Lake(root, create=True), folder, progress=bar.update)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        done = report.counters
        click.echo(
            f"{report.files} files: {done['readings']} readings added, "
            f"{done['repeats']} files were already in the lake"
        )
        if report.labels is not None:
            click.echo(f"labels: {report.labels.added} added, {report.labels.known} known")
    if report.labels is not None:
        name_refused(report.labels.refused, folder / EVENTS_FILE)


def _from_broker(
    broker: BrokerAddress, root: str, shards: str, upkeep_s: float, *, as_json: bool
) -> None:
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy
    from foreshock_trainer.shards import parse_shards  # noqa: PLC0415 - heavy
    from foreshock_trainer.upkeep import Caretaker  # noqa: PLC0415 - heavy
    from foreshock_trainer.worker import IngestWorker  # noqa: PLC0415 - heavy

    owned = parse_shards(shards)
    worker = IngestWorker(Lake(root, create=True), broker, owned)
    worker.stop_on_signals()
    if upkeep_s > 0 and 0 in owned:
        Caretaker(lambda: Lake(root, create=True), time.time_ns, upkeep_s).start()
    counters = worker.run()
    if as_json:
        click.echo(json.dumps(counters))
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counters.items() if count))


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
