"""The `foreshock` command: a table of doors, each opened only when somebody walks through it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from foreshock import __version__
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUES = "this is a bug in Foreshock, please report it"


@dataclass(frozen=True, slots=True)
class Door:
    """Where a sub-command lives, what it is for, and the extra that installs what it needs."""

    target: str
    summary: str
    extra: str


DOORS: Mapping[str, Door] = {
    "demo": Door("foreshock.demo.cli:demo", "Watch the whole loop turn in one terminal.", "demo"),
    "agent": Door("foreshock_agent.cli:cli", "Run and inspect the agent of a gateway.", "agent"),
    "trainer": Door(
        "foreshock_trainer.cli:cli", "Fill the lake, retrain and register models.", "trainer"
    ),
    "convert": Door(
        "foreshock_converter.cli:cli", "Look into model files and verify them.", "trainer"
    ),
    "fleet": Door(
        "foreshock_fleet.cli:cli", "Publish models, roll them out, serve predictions.", "fleet"
    ),
    "plant": Door(
        "foreshock_plant.cli:cli", "Simulate the machines that Foreshock listens to.", "demo"
    ),
    "picture": Door(
        "foreshock.picture.cli:picture", "Draw one machine's life and how it was judged.", "demo"
    ),
}


class MissingExtraError(ForeshockError):
    """A sub-command whose Python packages are not installed."""

    def __init__(self, name: str, package: str) -> None:
        extra = DOORS[name].extra
        super().__init__(
            f"'foreshock {name}' needs the Python package '{package}', which is not installed: "
            f"pip install 'foreshock[{extra}]'"
        )


class Refusal(click.ClickException):
    """An error on purpose, as the user sees it: one line, exit code 1, no traceback."""

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's own signature
        """Print `error: ...` to stderr."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class FrontDoor(click.Group):
    """A click group that imports a sub-command's module when it is invoked, never to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the doors in the order of the table."""
        return list(DOORS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one sub-command; None when there is no such door."""
        door = DOORS.get(cmd_name)
        if door is None:
            return None
        try:
            return _open(door)
        except ModuleNotFoundError as error:
            raise _refusal(cmd_name, error) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the help of the doors from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, door.summary) for name, door in DOORS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the sub-command and turn errors on purpose into one line."""
        try:
            return super().invoke(ctx)
        except ForeshockError as error:
            raise Refusal(str(error)) from error
        except ModuleNotFoundError as error:
            raise _refusal(str(ctx.invoked_subcommand), error) from error


def _open(door: Door) -> click.Command:
    module, _, attribute = door.target.partition(":")
    return cast("click.Command", getattr(importlib.import_module(module), attribute))


def _refusal(name: str, error: ModuleNotFoundError) -> Refusal:
    package = (error.name or "").partition(".")[0]
    if package.partition("_")[0] == "foreshock":
        return Refusal(f"'foreshock {name}' is not part of this installation ({error}); {ISSUES}")
    return Refusal(str(MissingExtraError(name, package)))


@click.command(cls=FrontDoor, epilog="Each command has --help with examples.")
@click.version_option(__version__, prog_name="foreshock")
def cli() -> None:
    """Predictive maintenance that lives on the gateway beside the machine."""


def main() -> None:
    """Run the command line of this process."""
    cli(prog_name="foreshock")
