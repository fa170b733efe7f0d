"""From a model in the registry, or a file, to a signed release."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from foreshock_fleet.cli_common import KeyOptions, actor, online_keys, signed_repository
from foreshock_fleet.state import Release, now_ns

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_fleet.state import FleetState

BLOCK_BYTES: Final = 262_144


def publish_model(
    state: FleetState, model: str, tracking: Path | None, directory: Path, keys: KeyOptions
) -> Release:
    """Test a model, keep it, sign it as released, and remember it."""
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
