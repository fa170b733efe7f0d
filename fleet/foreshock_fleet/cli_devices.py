"""`foreshock fleet devices|label|groups|audit`: what is out there, and who did what."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from foreshock_fleet.cli_common import actor, opened, say, state_dir
from foreshock_fleet.errors import FleetError
from foreshock_fleet.plan import parse_labels
from foreshock_fleet.show import audit_json, device_json, device_text
from foreshock_fleet.state import now_ns
from foreshock_wire.options import JSON
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from pathlib import Path

select_option = click.option(
    "--select", default="", help="Labels, as site=a,class=pump; the site is a label too."
)


@click.command(epilog="Example: foreshock fleet devices --state var/fleet --select class=pump")
@state_dir
@select_option
@JSON
def devices(directory: Path, select: str, *, as_json: bool) -> None:
    """Show every gateway: what it runs, how far it is, when it was last heard."""
    wanted = parse_labels(select).items()
    with opened(directory, must_exist=True) as state:
        found = [
            one for one in state.devices() if wanted <= {"site": one.at.site, **one.labels}.items()
        ]
    lines = [f"{device_text(one)}  {_labels_text(one.labels)}".rstrip() for one in found]
    said = {"gateways": [device_json(one) for one in found]}
    say("\n".join(lines) or "no gateway", said, as_json=as_json)


@click.command(epilog="Example: foreshock fleet label works/gw-1 class=pump --state var/fleet")
@click.argument("gateway")
@click.argument("labels", nargs=-1, required=True)
@state_dir
@JSON
def label(gateway: str, labels: tuple[str, ...], directory: Path, *, as_json: bool) -> None:
    """Give GATEWAY (SITE/ID) labels, by which rollouts select."""
    site, slash, name = gateway.partition("/")
    if not slash:
        raise FleetError(
            f"gateway {gateway!r}: give SITE/ID, as `foreshock fleet devices` shows it"
        )
    given = parse_labels(",".join(labels))
    if "site" in given:
        raise FleetError("the label site is the gateway's own site, and cannot be set")
    with opened(directory, must_exist=True) as state:
        state.set_labels(Gateway(site, name), given, actor(), now_ns())
    say(f"{gateway} has {_labels_text(given)}", {"gateway": gateway, **given}, as_json=as_json)


@click.command(epilog="Example: foreshock fleet groups --state var/fleet")
@state_dir
@JSON
def groups(directory: Path, *, as_json: bool) -> None:
    """Show how many gateways have each label."""
    with opened(directory, must_exist=True) as state:
        counts = Counter(
            f"{key}={value}"
            for one in state.devices()
            for key, value in {"site": one.at.site, **one.labels}.items()
        )
    lines = [f"{count:>6}  {name}" for name, count in sorted(counts.items())]
    say("\n".join(lines) or "no gateway", {"groups": dict(counts)}, as_json=as_json)


@click.command(epilog="Example: foreshock fleet audit --state var/fleet --limit 20")
@state_dir
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1))
@JSON
def audit(directory: Path, limit: int, *, as_json: bool) -> None:
    """Show who did what, the newest last; the trail can only be added to."""
    with opened(directory, must_exist=True) as state:
        entries = [audit_json(one) for one in state.audit(limit)]
    lines = [
        f"{one['at']}  {one['actor']}  {one['action']}  {json.dumps(one['detail'])}"
        for one in entries
    ]
    say("\n".join(lines) or "nothing yet", {"audit": entries}, as_json=as_json)


def _labels_text(labels: object) -> str:
    return ",".join(f"{key}={value}" for key, value in dict(labels).items())  # type: ignore[call-overload]
