"""The option that all of the agent's commands take."""

from __future__ import annotations

from typing import Final

import click

from foreshock_wire.options import FILE

CONFIG: Final = click.option(
    "--config", "config", type=FILE, required=True, help="The agent's settings (TOML)."
)
