"""`foreshock fleet keys`: who may sign what, from the first key to the last rotation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from foreshock_fleet.cli_common import (
    KeyOptions,
    actor,
    key_options,
    online_keys,
    opened,
    root_key_options,
    say,
    signed_repository,
    state_dir,
)
from foreshock_fleet.errors import FleetError
from foreshock_wire.files import write_durably
from foreshock_wire.options import JSON

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.signed import RoleStatus

_EXAMPLES = """\b
Examples:
  foreshock fleet keys init --state var/fleet --root-keys /media/safe --passphrase-file online.txt
      --root-passphrase-file root.txt
  foreshock fleet keys list --state var/fleet
  foreshock fleet keys rotate timestamp --state var/fleet --root-keys /media/safe
"""


@click.group("keys", epilog=_EXAMPLES)
def keys_group() -> None:
    """Make, list, rotate and renew the keys that sign updates.

    The root keys say which other keys count. They are needed for a set-up and for rotations only:
    keep them offline. A gateway is given root.json once, and follows every rotation by itself.
    """


@keys_group.command("init")
@state_dir
@root_key_options
@key_options
@click.option("--root-count", default=3, show_default=True, type=click.IntRange(1, 16))
@click.option(
    "--root-threshold",
    default=2,
    show_default=True,
    type=click.IntRange(1, 16),
    help="How many root keys must sign together.",
)
@click.option("--no-passphrase", is_flag=True, help="Store keys that have no passphrase file open.")
@JSON
def init(
    directory: Path,
    root_keys: KeyOptions,
    keys: KeyOptions,
    root_count: int,
    root_threshold: int,
    *,
    no_passphrase: bool,
    as_json: bool,
) -> None:
    """Make all keys, and root.json for the gateways."""
    if root_keys.folder is None:
        raise FleetError("name the folder for the root keys (--root-keys): best a stick")
    if root_threshold > root_count:
        raise FleetError(f"{root_threshold} of {root_count} root keys can never sign")
    if not no_passphrase and None in {root_keys.passphrase_file, keys.passphrase_file}:
        raise FleetError(
            "give --passphrase-file and --root-passphrase-file, or say --no-passphrase to store "
            "keys as files that only you can read"
        )
    offline, online = root_keys.open(root_keys.folder), online_keys(keys, directory)
    signed = signed_repository(directory)
    signed.create(offline, online, count=root_count, threshold=root_threshold, now=_now())
    root = directory / "root.json"
    write_durably(root, signed.root_bytes())
    _audited(directory, "keys made", {"root_count": root_count, "root_threshold": root_threshold})
    text = f"keys are made; give every gateway {root}, and take {root_keys.folder} offline"
    say(text, {"root": str(root), "root_keys": str(root_keys.folder)}, as_json=as_json)


@keys_group.command("list")
@state_dir
@root_key_options
@key_options
@JSON
def list_keys(directory: Path, root_keys: KeyOptions, keys: KeyOptions, *, as_json: bool) -> None:
    """Show who may sign what, which of these keys are here, and when what was signed expires."""
    here = [online_keys(keys, directory)]
    here += [root_keys.open(root_keys.folder)] if root_keys.folder else []
    roles = [_described(one, here) for one in signed_repository(directory).statuses()]
    say("\n".join(map(_role_text, roles)), {"roles": roles}, as_json=as_json)


@keys_group.command("rotate")
@click.argument("role")
@click.option("--key", "keyid", help="Replace this key (the beginning of its id) and no other.")
@state_dir
@root_key_options
@key_options
@JSON
def rotate(
    role: str,
    keyid: str | None,
    directory: Path,
    root_keys: KeyOptions,
    keys: KeyOptions,
    *,
    as_json: bool,
) -> None:
    """Give ROLE (root, targets, snapshot, timestamp, directive) new keys; the old ones end."""
    offline = root_keys.open(root_keys.folder) if root_keys.folder else None
    online, signed = online_keys(keys, directory), signed_repository(directory)
    old = signed.rotate(role, offline, online, _now(), keyid)
    for one in old:
        (offline if role == "root" and offline else online).remove(one)
    write_durably(directory / "root.json", signed.root_bytes())
    new = list(signed.status(role).keyids)
    _audited(directory, "keys rotated", {"role": role, "old": list(old), "new": new})
    say(f"{role} has new keys", {"role": role, "old": list(old), "new": new}, as_json=as_json)


@keys_group.command("renew")
@state_dir
@root_key_options
@key_options
@JSON
def renew(
    directory: Path,
    root_keys: KeyOptions,
    keys: KeyOptions,
    *,
    as_json: bool,
) -> None:
    """Sign anew what is half used up; the root too, if its keys are named.

    `fleet serve` renews snapshot and timestamp by itself.
    """
    signed = signed_repository(directory)
    roles = signed.renew(online_keys(keys, directory), _now())
    if root_keys.folder:
        signed.renew_root(root_keys.open(root_keys.folder), _now())
        write_durably(directory / "root.json", signed.root_bytes())
        roles = ["root", *roles]
    _audited(directory, "metadata renewed", {"roles": roles})
    say(f"renewed: {', '.join(roles) or 'nothing is due'}", {"renewed": roles}, as_json=as_json)


def _described(role: RoleStatus, here: list[KeyFolder]) -> dict[str, Any]:
    return {
        "role": role.role,
        "threshold": role.threshold,
        "version": role.version,
        "expires": role.expires.strftime("%Y-%m-%dT%H:%M:%SZ") if role.expires else None,
        "keys": {keyid: any(folder.has(keyid) for folder in here) for keyid in role.keyids},
    }


def _role_text(role: dict[str, Any]) -> str:
    signed = (
        f"version {role['version']}, expires {role['expires']}" if role["version"] else "no file"
    )
    lines = [f"{role['role']:<10} {role['threshold']} of {len(role['keys'])} keys   {signed}"]
    lines += [
        f"  {keyid[:12]}  {'here' if here else 'not here'}" for keyid, here in role["keys"].items()
    ]
    return "\n".join(lines)


def _audited(directory: Path, action: str, detail: dict[str, object]) -> None:
    from foreshock_fleet.state import now_ns  # noqa: PLC0415 - heavy

    with opened(directory) as state:
        state.note(actor(), action, detail, now_ns())


def _now() -> datetime:
    return datetime.now(UTC)
