"""`foreshock fleet rollout …`: begin, follow and steer rollouts."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from foreshock_fleet.cli_common import (
    KeyOptions,
    actor,
    key_options,
    opened,
    say,
    signed_repository,
    state_dir,
    tracking_dir,
)
from foreshock_fleet.cli_devices import select_option
from foreshock_fleet.errors import FleetError
from foreshock_fleet.plan import Plan, make_plan, parse_labels, parse_waves, parse_window
from foreshock_fleet.preview import preview_json, preview_text
from foreshock_fleet.rollout import OPEN, Command
from foreshock_fleet.show import progress_text, rollout_json, rollout_text
from foreshock_fleet.state import now_ns
from foreshock_wire.options import JSON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_fleet.state import FleetState, Release, Rollout

_MOST: Final = {
    "any": "max_failed",
    "rejected": "max_rejected",
    "rolled_back": "max_rolled_back",
}

EXIT_FAILED: Final = 3
EXIT_TIMEOUT: Final = 4
POLL_S: Final = 0.2

_number = click.argument("number", type=int, required=False)


@click.group("rollout")
def rollout_group() -> None:
    """Bring a release to the gateways, in waves that have to prove themselves."""


@rollout_group.command(
    epilog="Examples: foreshock fleet rollout create latest --state var/fleet --wait; foreshock "
    "fleet rollout create models:/foreshock@challenger --tracking var/tracking --state var/fleet "
    "--waves 5%,25%,100% --min-success 0.95 --soak-s 3600 --select class=pump --promote; foreshock "
    "fleet rollout create latest --state var/fleet --waves 3,100% --health --dry-run. "
    "Exit codes: 0 every gateway runs it (or, without --wait, it began), 3 a gateway refused it, "
    "or it was taken back, 4 it is still open at the time-out, 1 any other error.",
)
@click.argument("release", default="latest")
@state_dir
@click.option("--waves", default="100%", show_default=True, help="5%,25%,100% or counts: 1,10.")
@click.option("--min-executed", default=1.0, show_default=True, help="Share of a wave that ended.")
@click.option("--min-success", default=0.0, show_default=True, help="Share of these that commit.")
@click.option("--soak-s", default=0.0, show_default=True, help="How long a wave has to hold.")
@click.option("--max-failed", type=int, help="More failures than this take everybody back.")
@click.option("--max-rejected", type=int, help="The same of those that refused it.")
@click.option("--max-rolled-back", type=int, help="The same of those that tried it in vain.")
@click.option("--per-site", type=int, help="At most so many gateways of a site at once.")
@click.option("--window", help="Begin on gateways in this time of day only (UTC): 22:00-04:00.")
@select_option
@click.option(
    "--health",
    is_flag=True,
    help="Prove it on live data beside the model that runs, which must read the same windows.",
)
@click.option("--block-s", type=float, help="Seconds of a device-block.  [default: 3600]")
@click.option("--shadow-blocks", type=int, help="Blocks beside the old model.  [default: 6]")
@click.option("--trial-blocks", type=int, help="Blocks in which it decides.  [default: 18]")
@click.option("--margin", type=float, help="Share of blocks it may be worse in.  [default: 0.05]")
@click.option("--alpha", type=float, help="Chance to stop an equally good one.  [default: 0.05]")
@click.option("--approval", is_flag=True, help="Wait for `foreshock fleet rollout approve`.")
@click.option("--dry-run", is_flag=True, help="Show who would get it in which wave; do nothing.")
@click.option("--wait", is_flag=True, help="Follow it to its end.")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="Seconds to wait.")
@click.option("--promote", is_flag=True, help="Wait, then set the alias champion to this version.")
@tracking_dir
@key_options
@JSON
def create(release: str, directory: Path, keys: KeyOptions, **options: Any) -> None:  # noqa: ANN401 - click's
    """Begin a rollout of RELEASE.

    RELEASE is a published hash, its beginning, or `latest`; or a model to publish first, as
    models:/NAME@ALIAS. Who is in it is frozen when it begins.
    """
    as_json, promote = options["as_json"], options["promote"]
    plan, tracking = _plan(options), options["tracking"]
    with opened(directory) as state:
        if options["dry_run"]:
            _preview(state, _named(state, release), plan, as_json=as_json)
            return
        chosen = _chosen(state, release, tracking, directory, keys)
        if promote and not chosen.version:
            raise FleetError(
                f"{chosen.name} {chosen.sha256[:12]} was published from a file, so there is no "
                "registered version to promote: publish models:/NAME@ALIAS"
            )
        started = state.start_rollout(chosen.sha256, actor(), now_ns(), plan)
        waits = options["wait"] or promote
        if waits:
            started = _follow(state, started, options["timeout_s"], quiet=as_json)
        promoted = promote and started.state == "complete"
        if promoted:
            _promote(state, started, tracking)
    say(rollout_text(started), rollout_json(started, promoted=promoted), as_json=as_json)
    if waits:
        raise SystemExit(_exit_code(started))


def _chosen(
    state: FleetState, release: str, tracking: Path | None, directory: Path, keys: KeyOptions
) -> Release:
    from foreshock_fleet.publishing import publish_model  # noqa: PLC0415 - heavy

    if release.startswith("models:"):
        return publish_model(state, release, tracking, directory, keys)
    found = state.release(release)
    signed = signed_repository(directory)
    if signed.exists and not signed.lists(found.sha256):
        raise FleetError(f"{found.name} {found.sha256[:12]} was withdrawn: publish it again first")
    return found


def _named(state: FleetState, release: str) -> Release | None:
    """Return the release of a dry run; one that would be published first is not there yet."""
    return None if release.startswith("models:") else state.release(release)


def _plan(options: dict[str, Any]) -> Plan:
    window = options["window"]
    most = {kind: options[option] for kind, option in _MOST.items()}
    return make_plan(
        waves=parse_waves(options["waves"]),
        min_executed=options["min_executed"],
        min_success=options["min_success"],
        soak_s=options["soak_s"],
        max_failures={kind: count for kind, count in most.items() if count is not None},
        approval=options["approval"],
        per_site=options["per_site"],
        window=parse_window(window) if window else None,
        select=parse_labels(options["select"]),
        health=_health(options),
    )


def _health(options: dict[str, Any]) -> dict[str, float] | None:
    names = ("block_s", "shadow_blocks", "trial_blocks", "margin", "alpha")
    given = {name: options[name] for name in names if options[name] is not None}
    if given and not options["health"]:
        flag = f"--{next(iter(given)).replace('_', '-')}"
        raise FleetError(f"{flag} is about live health: give --health too")
    return given if options["health"] else None


def _preview(state: FleetState, release: Release | None, plan: Plan, *, as_json: bool) -> None:
    members = sorted(state.preview(plan).members, key=lambda one: (one.wave, one.at.gateway))
    told = preview_json(release, plan, members, now_ns())
    say(preview_text(told, members), told, as_json=as_json)


@rollout_group.command(epilog="Example: foreshock fleet rollout status --state var/fleet --json")
@_number
@state_dir
@JSON
def status(number: int | None, directory: Path, *, as_json: bool) -> None:
    """Show how rollout NUMBER, or the newest, stands."""
    with opened(directory, must_exist=True) as state:
        found = state.need_rollout(number)
    say(rollout_text(found), rollout_json(found), as_json=as_json)


@rollout_group.command(epilog="Example: foreshock fleet rollout watch --state var/fleet")
@_number
@state_dir
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds.")
@JSON
def watch(number: int | None, directory: Path, timeout_s: float, *, as_json: bool) -> None:
    """Follow rollout NUMBER, or the newest, to its end; exit codes as `create --wait`."""
    with opened(directory, must_exist=True) as state:
        found = _follow(state, state.need_rollout(number), timeout_s, quiet=as_json)
    say(rollout_text(found), rollout_json(found), as_json=as_json)
    raise SystemExit(_exit_code(found))


@rollout_group.command(epilog="Example: foreshock fleet rollout history --state var/fleet")
@state_dir
@JSON
def history(directory: Path, *, as_json: bool) -> None:
    """Show every rollout, the newest last."""
    with opened(directory, must_exist=True) as state:
        found = state.history()
    lines = [f"{progress_text(one)}: {one.state}" for one in found]
    said = {"rollouts": [rollout_json(one) for one in found]}
    say("\n".join(lines) or "no rollout yet", said, as_json=as_json)


def _steering(command: Command, does: str) -> click.Command:
    """Make the command that tells a rollout one thing."""

    @click.command(
        str(command),
        help=does,
        epilog=f"Example: foreshock fleet rollout {command} --state var/fleet",
    )
    @_number
    @click.option("--reason", default="", help="Why, for the audit trail.")
    @state_dir
    @JSON
    def steer(number: int | None, reason: str, directory: Path, *, as_json: bool) -> None:
        with opened(directory, must_exist=True) as state:
            chosen = state.need_rollout(number).number
            found = state.command(chosen, command, actor(), now_ns(), reason)
        say(rollout_text(found), rollout_json(found), as_json=as_json)

    return steer


for _command, _does in (
    (Command.APPROVE, "Let a rollout that waits for approval begin."),
    (Command.PAUSE, "Offer it to nobody new; who has it goes on."),
    (Command.RESUME, "Go on with a rollout that was paused."),
    (Command.ABORT, "Stop a rollout and take back everybody whom it reached."),
    (Command.ROLLBACK, "Take everybody back from a rollout that has ended."),
):
    rollout_group.add_command(_steering(_command, _does))


def _follow(state: FleetState, rollout: Rollout, timeout_s: float, *, quiet: bool) -> Rollout:
    tell: Callable[[str], None] = _teller(quiet=quiet)
    deadline = time.monotonic() + timeout_s
    while True:
        rollout = state.need_rollout(rollout.number)
        tell(progress_text(rollout))
        if rollout.state not in OPEN or time.monotonic() > deadline:
            if sys.stdout.isatty() and not quiet:
                click.echo("")
            return rollout
        time.sleep(POLL_S)


def _teller(*, quiet: bool) -> Callable[[str], None]:
    shown = ""

    def tell(text: str) -> None:
        nonlocal shown
        if text != shown and not quiet:
            terminal = sys.stdout.isatty()
            click.echo(f"\r{text}   " if terminal else text, nl=not terminal)
            shown = text

    return tell


def _promote(state: FleetState, rollout: Rollout, tracking: Path | None) -> None:
    from foreshock_fleet.registry import promote as set_champion  # noqa: PLC0415

    release = rollout.release
    set_champion(release.name, release.version, tracking)
    detail = {"name": release.name, "version": release.version, "rollout": rollout.number}
    state.note(actor(), "champion promoted", detail, now_ns())


def _exit_code(rollout: Rollout) -> int:
    if rollout.state == "complete":
        return 0
    failed = rollout.state not in OPEN or rollout.verdict.failed
    return EXIT_FAILED if failed else EXIT_TIMEOUT
