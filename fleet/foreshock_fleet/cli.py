"""`foreshock fleet`: serve, publish, rollout, status, api."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from foreshock_fleet.cli_common import (
    KeyOptions,
    actor,
    as_json,
    key_options,
    online_keys,
    opened,
    say,
    signed_repository,
    state_dir,
    tracking_dir,
)
from foreshock_fleet.cli_keys import keys_group
from foreshock_fleet.errors import FleetError
from foreshock_fleet.state import Release, now_ns

if TYPE_CHECKING:
    from types import FrameType

    from foreshock_fleet.rollout import Verdict
    from foreshock_fleet.state import Device, FleetState, Rollout

EXIT_FAILED: Final = 3
EXIT_TIMEOUT: Final = 4
POLL_S: Final = 0.2
BLOCK_BYTES: Final = 262_144


@click.group()
def cli() -> None:
    """Publish models, roll them out to every gateway, serve predictions."""


cli.add_command(keys_group)


@cli.command(
    epilog="Example: foreshock fleet serve --broker 127.0.0.1:1883 --state var/fleet",
)
@click.option("--broker", required=True, help="The cloud broker, HOST:PORT.")
@state_dir
@key_options
@as_json
def serve(broker: str, directory: Path, keys: KeyOptions, *, as_json: bool) -> None:
    """Serve directives and model blocks to the gateways until stopped."""
    from foreshock_fleet.coordinator import (  # noqa: PLC0415 - only for this command
        Coordinator,
        only_server,
        repository_of,
    )

    where = _broker(broker)
    with only_server(directory), opened(directory) as state:
        coordinator = Coordinator(
            where, state, repository_of(directory), online_keys(keys, directory)
        )

        def stop(_: int, __: FrameType | None) -> None:
            coordinator.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        text = f"coordinating {directory} on {broker}"
        coordinator.run(lambda: say(text, {"coordinating": broker}, as_json=as_json))


@cli.command(
    epilog="Examples: foreshock fleet publish models:/foreshock@challenger --tracking var/tracking "
    "--state var/fleet; foreshock fleet publish model.onnx --state var/fleet",
)
@click.argument("model")
@tracking_dir
@state_dir
@key_options
@as_json
def publish(
    model: str, tracking: Path | None, directory: Path, keys: KeyOptions, *, as_json: bool
) -> None:
    """Test MODEL (a file, or models:/NAME@ALIAS), sign it as released, and keep it for rollouts."""
    with opened(directory) as state:
        release = _publish(state, model, tracking, directory, keys)
    text = f"published {release.name} {release.version or '(from a file)'}, {release.sha256}"
    said = {"sha256": release.sha256, "size": release.size, "name": release.name}
    say(text, said | {"version": release.version}, as_json=as_json)


def _publish(
    state: FleetState, model: str, tracking: Path | None, directory: Path, keys: KeyOptions
) -> Release:
    from foreshock_fleet.coordinator import repository_of  # noqa: PLC0415
    from foreshock_fleet.registry import fetch  # noqa: PLC0415
    from foreshock_wire.model import Model  # noqa: PLC0415 - loads onnxruntime

    fetched = fetch(model, tracking)
    loaded = Model.load(fetched.data)
    loaded.self_test()
    repository = repository_of(directory)
    sha256 = repository.add(fetched.data)
    release = Release(
        sha256=sha256,
        size=len(fetched.data),
        block_bytes=BLOCK_BYTES,
        name=fetched.name or loaded.spec.name,
        version=fetched.version,
        path=repository.path(sha256).name,
        published_ns=now_ns(),
    )
    custom = {"name": release.name, "version": release.version}
    signed_repository(directory).add_target(
        sha256, release.size, custom, online_keys(keys, directory), datetime.now(UTC)
    )
    state.add_release(release, actor())
    return release


@cli.command(
    epilog="Examples: foreshock fleet rollout latest --state var/fleet --wait; foreshock fleet "
    "rollout models:/foreshock@challenger --state var/fleet --promote --tracking var/tracking. "
    "Exit codes: 0 every gateway "
    "runs it (or, without --wait, it began), 3 a gateway refused it or rolled back, 4 some are "
    "still silent or working at the time-out, 1 any other error.",
)
@click.argument("release", default="latest")
@state_dir
@click.option("--wait", is_flag=True, help="Follow it to its end.")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="Seconds to wait.")
@click.option("--promote", is_flag=True, help="Wait, then set the alias champion to this version.")
@tracking_dir
@key_options
@as_json
def rollout(
    release: str,
    directory: Path,
    timeout_s: float,
    tracking: Path | None,
    keys: KeyOptions,
    *,
    wait: bool,
    promote: bool,
    as_json: bool,
) -> None:
    """Offer RELEASE to every known gateway.

    RELEASE is a published hash, its beginning, or `latest`; or a model to publish first, as
    models:/NAME@ALIAS.
    """
    with opened(directory) as state:
        if release.startswith("models:"):
            chosen = _publish(state, release, tracking, directory, keys)
        else:
            chosen = state.release(release)
        if promote and not chosen.version:
            raise FleetError(
                f"{chosen.name} {chosen.sha256[:12]} was published from a file, so there is no "
                "registered version to promote: publish models:/NAME@ALIAS"
            )
        started = state.start_rollout(chosen.sha256, actor(), now_ns())
        if wait or promote:
            started = _follow(state, started, timeout_s, quiet=as_json)
        promoted = promote and started.verdict.state == "complete"
        if promoted:
            _promote(state, started, tracking)
    say(_rollout_text(started), _rollout_json(started, promoted=promoted), as_json=as_json)
    if wait or promote:
        raise SystemExit(_exit_code(started.verdict))


@cli.command(
    epilog="Example: foreshock fleet export /media/stick --state var/fleet; then, at the gateway: "
    "foreshock agent update --from /media/stick --config /etc/foreshock/agent.toml",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 365))
@state_dir
@key_options
@as_json
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
@as_json
def status(directory: Path, *, as_json: bool) -> None:
    """Show what every gateway runs, and how the newest rollout stands."""
    with opened(directory, must_exist=True) as state:
        newest, devices = state.rollout(), state.devices()
    lines = [_device_text(device) for device in devices] or ["no gateway has reported yet"]
    lines.append(_rollout_text(newest) if newest else "no rollout yet")
    said = {
        "gateways": [_device_json(device) for device in devices],
        "rollout": _rollout_json(newest) if newest else None,
    }
    say("\n".join(lines), said, as_json=as_json)


@cli.command(
    epilog="Examples: foreshock fleet api --model models:/foreshock@champion --tracking "
    "var/tracking; foreshock fleet api --model model.onnx --port 8080",
)
@click.option("--model", required=True, help="A file, or models:/NAME@ALIAS.")
@tracking_dir
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@as_json
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


def _follow(state: FleetState, rollout: Rollout, timeout_s: float, *, quiet: bool) -> Rollout:
    deadline = time.monotonic() + timeout_s
    shown = ""
    while True:
        rollout = state.rollout(rollout.number) or rollout
        text = _progress_text(rollout)
        if text != shown and not quiet:
            click.echo(f"\r{text}   " if _on_terminal() else text, nl=not _on_terminal())
            shown = text
        if rollout.state != "wave_1" or time.monotonic() > deadline:
            click.echo("", nl=_on_terminal() and not quiet)
            return rollout
        time.sleep(POLL_S)


def _promote(state: FleetState, rollout: Rollout, tracking: Path | None) -> None:
    from foreshock_fleet.registry import promote as set_champion  # noqa: PLC0415

    release = rollout.release
    set_champion(release.name, release.version, tracking)
    detail = {"name": release.name, "version": release.version, "rollout": rollout.number}
    state.note(actor(), "champion promoted", detail, now_ns())


def _exit_code(verdict: Verdict) -> int:
    if verdict.failed:
        return EXIT_FAILED
    return EXIT_TIMEOUT if verdict.silent or verdict.working else 0


def _broker(text: str) -> Any:  # noqa: ANN401 - coordinator.Broker, imported here only
    from foreshock_fleet.coordinator import Broker  # noqa: PLC0415

    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65535:  # noqa: PLR2004
        raise FleetError(f"--broker {text!r}: give HOST:PORT, for example 127.0.0.1:1883")
    return Broker(host.strip("[]"), int(port))


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _progress_text(rollout: Rollout) -> str:
    verdict, total = rollout.verdict, len(rollout.standings)
    return (
        f"rollout {rollout.number}: {len(verdict.committed)}/{total} committed, "
        f"{len(verdict.working)} working, {len(verdict.silent)} silent, "
        f"{len(verdict.failed)} failed"
    )


def _rollout_text(rollout: Rollout) -> str:
    lines = [f"{_progress_text(rollout)}: {rollout.state} ({rollout.release.sha256[:12]})"]
    lines += [
        f"  {one.at.site}/{one.at.gateway} {one.state}: {one.reason}"
        for one in rollout.verdict.failed
    ]
    lines += [f"  {one.at.site}/{one.at.gateway} is silent" for one in rollout.verdict.silent]
    return "\n".join(lines)


def _rollout_json(rollout: Rollout, *, promoted: bool = False) -> dict[str, Any]:
    verdict = rollout.verdict
    return {
        "rollout": rollout.number,
        "sha256": rollout.release.sha256,
        "state": str(rollout.state),
        "promoted": promoted,
        "committed": [one.at.gateway for one in verdict.committed],
        "working": {one.at.gateway: str(one.state) for one in verdict.working},
        "silent": [one.at.gateway for one in verdict.silent],
        "failed": {one.at.gateway: one.reason for one in verdict.failed},
    }


def _device_text(device: Device) -> str:
    model = device.model[:12] if device.model else "no model"
    told = f", {device.state} {device.counter}" if device.state else ""
    why = f": {device.reason}" if device.reason else ""
    stuck = f"; follows no directive: {device.problem}" if device.problem else ""
    name = f"{device.at.site}/{device.at.gateway}"
    return f"{name}  {model}{told}{why}{stuck}  seen {_time(device)}"


def _device_json(device: Device) -> dict[str, Any]:
    return {
        "id": device.at.gateway,
        "site": device.at.site,
        "model": device.model,
        "state": str(device.state) if device.state else None,
        "counter": device.counter,
        "reason": device.reason,
        "problem": device.problem,
        "version": device.version,
        "last_seen": _time(device),
        "accounts": dict(device.accounts),
    }


def _time(device: Device) -> str:
    seconds = device.last_seen_ns // 10**9
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
