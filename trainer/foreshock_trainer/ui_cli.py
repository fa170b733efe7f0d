"""`foreshock trainer ui`: MLflow's pages on the runs and models of a tracking folder."""

from __future__ import annotations

import signal
import sys
import webbrowser
from typing import TYPE_CHECKING, NoReturn

import click

from foreshock_wire.errors import ForeshockError
from foreshock_wire.options import FILE, FOLDER

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from foreshock_trainer.mlflow_ui import Login


@click.command(
    epilog="""\b
Examples:
  foreshock trainer ui --tracking models
  foreshock trainer ui --tracking models --port 5000 --no-open
  foreshock trainer ui --tracking models --host 10.0.0.5 --username ops --password-file pw

It runs until SIGINT (Ctrl-C) or SIGTERM. Another address than loopback needs a login, and a
network that is protected: the password crosses it as it is.
"""
)
@click.option(
    "--tracking",
    required=True,
    type=FOLDER,
    help="The folder of MLflow's database and artifacts.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Its port.  [default: a free one]"
)
@click.option("--username", help="Who may look; with --password-file.")
@click.option(
    "--password-file",
    type=FILE,
    help="The password is its first line.",
)
@click.option("--open/--no-open", "opens", default=None, help="Show it.  [default: on a terminal]")
def ui(
    tracking: Path,
    host: str,
    port: int,
    username: str | None,
    password_file: Path | None,
    *,
    opens: bool | None,
) -> None:
    """Open MLflow on runs, figures and models, and say its address."""
    from foreshock_trainer.mlflow_ui import Pages, Place  # noqa: PLC0415 - heavy

    place = Place(host, port, _login(username, password_file))
    click.echo("MLflow is starting, which takes some seconds", err=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    pages = Pages(tracking, place)
    try:
        click.echo(f"MLflow is at {pages.url} (Ctrl-C ends it)")
        if sys.stdout.isatty() if opens is None else opens:
            webbrowser.open(pages.url)
        pages.process.wait()
    finally:
        pages.stop()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave by way of every `finally`: a server that nobody waits for would stay."""
    del number, frame
    sys.exit(0)


def _login(username: str | None, password_file: Path | None) -> Login | None:
    from foreshock_trainer.mlflow_ui import Login  # noqa: PLC0415 - heavy

    if username is None and password_file is None:
        return None
    if username is None or password_file is None:
        raise click.UsageError("a login is --username and --password-file, both")
    try:
        return Login(username, password_file.read_text(encoding="utf-8").split("\n")[0].strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ForeshockError(f"password file {password_file}: {error}") from None
