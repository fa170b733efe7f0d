"""The options that commands of several roles have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from foreshock_wire.times import TimeTextError, time_ns

Command = Callable[..., None]

FILE: Final = click.Path(dir_okay=False, path_type=Path)
FOLDER: Final = click.Path(file_okay=False, path_type=Path)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object last.")


class TimeType(click.ParamType[int]):
    """A time in RFC 3339, as UTC nanoseconds."""

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return it, or end the command with what is wrong with it."""
        try:
            return value if isinstance(value, int) else time_ns(value)
        except TimeTextError as error:
            self.fail(str(error), param, ctx)


TIME: Final = TimeType()


def broker_options(help_text: str, *, required: bool = True) -> Callable[[Command], Command]:
    """Make a decorator that gives a command a broker's options, as one `broker` argument.

    It is a `BrokerAddress`, or None where the broker is not `required` and none was named.
    """
    options = (
        click.option(
            "--broker", required=required, metavar="HOST:PORT|URL|unix:PATH", help=help_text
        ),
        click.option("--ca-file", type=FILE, help="The authority of the broker's certificate."),
        click.option("--username", help="Who asks the broker."),
        click.option("--password-file", type=FILE, help="Its first line is the password."),
        click.option("--insecure", is_flag=True, help="Cross a protected network without TLS."),
    )

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_broker(**given: Any) -> None:  # noqa: ANN401 - as click gives them
            command(**_named(given))

        decorated: Command = with_broker
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _named(given: dict[str, Any]) -> dict[str, Any]:
    from foreshock_wire.broker import BrokerAddress  # noqa: PLC0415 - only where it is asked for

    how = {name: given.pop(name) for name in ("ca_file", "username", "password_file", "insecure")}
    text = given.pop("broker")
    return given | {"broker": None if text is None else BrokerAddress.parse(text, **how)}
