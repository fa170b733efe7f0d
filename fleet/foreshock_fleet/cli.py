"""`foreshock fleet`: serve, publish, rollout, status, api."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

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
    tracking_dir,
)
from foreshock_fleet.cli_devices import audit, devices, groups, label
from foreshock_fleet.cli_keys import keys_group
from foreshock_fleet.cli_rollout import rollout_group
from foreshock_fleet.cli_stop import emergency_stop, withdraw
from foreshock_fleet.errors import FleetError
from foreshock_fleet.publishing import publish_model
from foreshock_fleet.show import device_json, device_text, halt_text, rollout_json, rollout_text
from foreshock_fleet.state import now_ns
from foreshock_wire.options import FOLDER, JSON, broker_options

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from foreshock_wire.broker import BrokerAddress


EXIT_FAILED: Final = 3
EXIT_TIMEOUT: Final = 4
POLL_S: Final = 0.2
BLOCK_BYTES: Final = 262_144


@click.group()
def cli() -> None:
    """Publish models, roll them out to every gateway, serve predictions."""


for command in (
    *(keys_group, rollout_group, devices, label, groups, audit),
    *(emergency_stop, withdraw),
):
    cli.add_command(command)


@cli.command(
    epilog="Examples: foreshock fleet serve --broker 127.0.0.1:1883 --state var/fleet; foreshock "
    "fleet serve --broker mqtts://mqtt.example.com --ca-file ca.pem --username fleet "
    "--password-file secret --state var/fleet",
)
@broker_options("The cloud broker.")
@state_dir
@key_options
@JSON
def serve(broker: BrokerAddress, directory: Path, keys: KeyOptions, *, as_json: bool) -> None:
    """Serve directives and model blocks to the gateways until stopped."""
    from foreshock_fleet.coordinator import (  # noqa: PLC0415 - only for this command
        Coordinator,
        only_server,
        repository_of,
    )

    with only_server(directory), opened(directory) as state:
        coordinator = Coordinator(
            broker, state, repository_of(directory), online_keys(keys, directory)
        )

        def stop(_: int, __: FrameType | None) -> None:
            coordinator.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        text = f"coordinating {directory} on {broker}"
        coordinator.run(lambda: say(text, {"coordinating": str(broker)}, as_json=as_json))


@cli.command(
    epilog="Examples: foreshock fleet publish models:/foreshock@challenger --tracking var/tracking "
    "--state var/fleet; foreshock fleet publish model.onnx --state var/fleet",
)
@click.argument("model")
@tracking_dir
@state_dir
@key_options
@JSON
def publish(
    model: str, tracking: Path | None, directory: Path, keys: KeyOptions, *, as_json: bool
) -> None:
    """Test MODEL (a file, or models:/NAME@ALIAS), sign it as released, and keep it for rollouts."""
    with opened(directory) as state:
        release = publish_model(state, model, tracking, directory, keys)
    text = f"published {release.name} {release.version or '(from a file)'}, {release.sha256}"
    said = {"sha256": release.sha256, "size": release.size, "name": release.name}
    say(text, said | {"version": release.version}, as_json=as_json)


@cli.command(
    epilog="Example: foreshock fleet export /media/stick --state var/fleet; then, at the gateway: "
    "foreshock agent update --from /media/stick --config /etc/foreshock/agent.toml",
)
@click.argument("folder", type=FOLDER)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 365))
@state_dir
@key_options
@JSON
def export(folder: Path, days: int, directory: Path, keys: KeyOptions, *, as_json: bool) -> None:
    """Write what every gateway shall run to FOLDER, a stick, signed to hold for some days."""
    from foreshock_fleet.coordinator import repository_of  # noqa: PLC0415 - heavy
    from foreshock_fleet.directives import DirectiveSigner  # noqa: PLC0415 - heavy
    from foreshock_fleet.export import Exporter  # noqa: PLC0415 - heavy

    signed, online = signed_repository(directory), online_keys(keys, directory)
    exporter = Exporter(repository_of(directory), signed, online, DirectiveSigner(signed, online))
    with opened(directory, must_exist=True) as state:
        directives = state.directives()
        if not directives:
            raise FleetError("no gateway was offered anything yet: begin a rollout first")
        exporter.export(folder, directives, datetime.now(UTC), days)
        detail = {"gateways": len(directives), "days": days}
        state.note(actor(), "repository exported", detail, now_ns())
    text = f"{folder} updates {len(directives)} gateways within the next {days} days"
    say(text, {"folder": str(folder), **detail}, as_json=as_json)


@cli.command(epilog="Example: foreshock fleet status --state var/fleet --json")
@state_dir
@JSON
def status(directory: Path, *, as_json: bool) -> None:
    """Show what every gateway runs, and how the newest rollout stands."""
    with opened(directory, must_exist=True) as state:
        newest, devices, halt = state.rollout(), state.devices(), state.halted()
    lines = halt_text(halt)
    lines += [device_text(device) for device in devices] or ["no gateway has reported yet"]
    lines.append(rollout_text(newest) if newest else "no rollout yet")
    said = {
        "gateways": [device_json(device) for device in devices],
        "rollout": rollout_json(newest) if newest else None,
        "halted": halt is not None and halt.halted,
    }
    say("\n".join(lines), said, as_json=as_json)


@cli.command(
    epilog="Examples: foreshock fleet api --model models:/foreshock@champion --tracking "
    "var/tracking; foreshock fleet api --model model.onnx --port 8080",
)
@click.option("--model", required=True, help="A file, or models:/NAME@ALIAS.")
@tracking_dir
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@JSON
def api(model: str, tracking: Path | None, port: int, *, as_json: bool) -> None:
    """Answer POST /predict with one model; see /docs for the request."""
    from foreshock_fleet.api import serve as serve_http  # noqa: PLC0415 - loads FastAPI
    from foreshock_fleet.registry import fetch  # noqa: PLC0415
    from foreshock_wire.model import Model  # noqa: PLC0415 - loads onnxruntime

    loaded = Model.load(fetch(model, tracking).data)
    loaded.self_test()

    def ready(url: str) -> None:
        say(f"serving {url}", {"url": url, "sha256": loaded.sha256}, as_json=as_json)

    serve_http(loaded, port, ready)
