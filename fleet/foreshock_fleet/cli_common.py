"""What the commands of `foreshock fleet` share: options, the open state, and how they speak."""

from __future__ import annotations

import contextlib
import getpass
import json
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from foreshock_fleet.errors import FleetError
from foreshock_wire.options import FILE, FOLDER, Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.signed import SignedRepository
    from foreshock_fleet.state import FleetState

state_dir = click.option(
    "--state",
    "directory",
    required=True,
    type=FOLDER,
    help="The fleet's folder: state and published models.",
)
tracking_dir = click.option(
    "--tracking",
    type=FOLDER,
    help="The folder of the MLflow registry (mlflow.db).",
)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Where some keys are, and what opens them; `folder` is None where the user named none."""

    folder: Path | None
    passphrase_file: Path | None

    def open(self, default: Path) -> KeyFolder:
        """Return the folder of these keys."""
        from foreshock_fleet.keys import KeyFolder, read_passphrase  # noqa: PLC0415 - heavy

        return KeyFolder(self.folder or default, read_passphrase(self.passphrase_file))


def _key_options(
    argument: str, flags: tuple[str, str], helps: tuple[str, str]
) -> Callable[[Command], Command]:
    """Make a decorator that gives a command two options as one `KeyOptions` argument."""
    folder, secret = f"{argument}_folder", f"{argument}_secret"

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_keys(**options: Any) -> None:  # noqa: ANN401 - as click gives them
            chosen = KeyOptions(options.pop(folder), options.pop(secret))
            command(**{argument: chosen}, **options)

        with_secret = click.option(flags[1], secret, type=FILE, help=helps[1])(with_keys)
        return click.option(flags[0], folder, type=FOLDER, help=helps[0])(with_secret)

    return decorate


key_options = _key_options(
    "keys",
    ("--keys", "--passphrase-file"),
    (
        "The folder of the signing keys that are online.  [default: STATE/keys]",
        "Holds the passphrase of the online keys, for its owner only.",
    ),
)
root_key_options = _key_options(
    "root_keys",
    ("--root-keys", "--root-passphrase-file"),
    (
        "The folder of the root keys: a stick that is kept in a safe.",
        "Holds the passphrase of the root keys, for its owner only.",
    ),
)


def online_keys(keys: KeyOptions, state: Path) -> KeyFolder:
    """Return the keys that are online, by default in the fleet's own folder."""
    return keys.open(state / "keys")


def signed_repository(state: Path) -> SignedRepository:
    """Return the signed repository of a fleet's folder."""
    from foreshock_fleet.coordinator import repository_of  # noqa: PLC0415 - heavy
    from foreshock_fleet.signed import SignedRepository  # noqa: PLC0415 - heavy

    return SignedRepository(repository_of(state))


@contextlib.contextmanager
def opened(directory: Path, *, must_exist: bool = False) -> Iterator[FleetState]:
    """Open a fleet's state.

    Raises:
        FleetError: there is none, and `must_exist`.
    """
    from foreshock_fleet.state import open_state  # noqa: PLC0415 - heavy

    if must_exist and not (directory / "fleet.db").exists():
        raise FleetError(
            f"{directory} holds no fleet: `foreshock fleet keys init --state {directory}` makes one"
        )
    with contextlib.closing(open_state(directory)) as state:
        yield state


def actor() -> str:
    """Return who works here, for the audit trail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"


def say(text: str, said: dict[str, Any], *, as_json: bool) -> None:
    """Print a result for a person, or as one JSON object."""
    click.echo(json.dumps(said) if as_json else text)
