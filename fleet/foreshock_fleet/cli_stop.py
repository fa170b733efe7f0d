"""`foreshock fleet emergency-stop|withdraw`: let nothing change; let nobody take a model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from foreshock_fleet.cli_common import (
    KeyOptions,
    actor,
    key_options,
    online_keys,
    opened,
    say,
    signed_repository,
    state_dir,
)
from foreshock_fleet.state import now_ns
from foreshock_wire.options import JSON

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "emergency-stop",
    epilog="Examples: foreshock fleet emergency-stop --reason 'press line 3' --state var/fleet; "
    "foreshock fleet emergency-stop --end --state var/fleet",
)
@click.option("--reason", default="", help="Why; every gateway and the audit trail are told.")
@click.option("--end", is_flag=True, help="End the stop: what was in progress goes on.")
@state_dir
@JSON
def emergency_stop(reason: str, directory: Path, *, end: bool, as_json: bool) -> None:
    """Stop every change of a model on every gateway, forward and back, until it is ended.

    One signed, retained message reaches whoever is or comes online. Said twice, it changes nothing.
    """
    with opened(directory, must_exist=True) as state:
        halt = state.halt(actor(), now_ns(), reason, halted=not end)
    text = f"the fleet is stopped: {halt.reason}" if halt.halted else "the fleet is not stopped"
    said = {"halted": halt.halted, "number": halt.number, "reason": halt.reason}
    say(text.rstrip(": "), said, as_json=as_json)


@click.command(epilog="Example: foreshock fleet withdraw 6b36dbceb862 --state var/fleet")
@click.argument("release")
@state_dir
@key_options
@JSON
def withdraw(release: str, directory: Path, keys: KeyOptions, *, as_json: bool) -> None:
    """Sign that RELEASE (a hash or its beginning) is no release any more: no gateway takes it.

    Who runs it goes on running it; take those back with `foreshock fleet rollout rollback`.
    """
    with opened(directory, must_exist=True) as state:
        found = state.release(release)
        signed_repository(directory).withdraw(
            found.sha256, online_keys(keys, directory), datetime.now(UTC)
        )
        state.note(actor(), "release withdrawn", {"sha256": found.sha256}, now_ns())
        running = [one.at.gateway for one in state.devices() if one.model == found.sha256]
    still = f"; it still runs on {', '.join(running[:5])}" if running else ""
    said = {"sha256": found.sha256, "running": running}
    say(f"withdrew {found.name} {found.sha256[:12]}{still}", said, as_json=as_json)
