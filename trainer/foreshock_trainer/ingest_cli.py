"""`foreshock trainer ingest`: what fills the lake."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from foreshock_trainer.labels_cli import JSON, LAKE, name_refused
from foreshock_wire.errors import ForeshockError
from foreshock_wire.ids import SHARDS

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  foreshock trainer ingest --broker localhost:1883 --lake lake
  foreshock trainer ingest --broker mqtt.example.com:1883 --lake lake --shards 0-7
  foreshock trainer ingest --from recorded --lake lake --json
"""
)
@click.option("--broker", metavar="HOST:PORT", help="Take what gateways upload, until SIGTERM.")
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
    broker: str | None, folder: Path | None, root: str, shards: str, *, as_json: bool
) -> None:
    """Take telemetry, alarms and events into the lake, each exactly once."""
    if (broker is None) == (folder is None):
        raise click.UsageError("give either --broker HOST:PORT or --from DIR")
    _log_to_stderr()
    if folder is not None:
        _from_folder(folder, root, as_json=as_json)
    elif broker is not None:
        _from_broker(broker, root, shards, as_json=as_json)


def _from_folder(folder: Path, root: str, *, as_json: bool) -> None:
    from foreshock_trainer.folder import batch_files, ingest_folder  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy

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
        name_refused(report.labels.refused, folder / "events.csv")


def _from_broker(broker: str, root: str, shards: str, *, as_json: bool) -> None:
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy
    from foreshock_trainer.shards import parse_shards  # noqa: PLC0415 - heavy
    from foreshock_trainer.worker import IngestWorker  # noqa: PLC0415 - heavy

    host, port = parse_address(broker)
    worker = IngestWorker(Lake(root, create=True), host, port, parse_shards(shards))
    worker.stop_on_signals()
    counters = worker.run()
    if as_json:
        click.echo(json.dumps(counters))
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counters.items() if count))


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT, [IPV6]:PORT, or HOST for port 1883.

    Raises:
        ForeshockError: it is none of these.
    """
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "1883"
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ForeshockError(f"broker {text!r} is not HOST:PORT, like localhost:1883")
    return host.strip("[]"), int(port)


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
