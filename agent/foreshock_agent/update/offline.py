"""Update one gateway from a folder while its agent is stopped: the same checks, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.clock import SystemClock
from foreshock_agent.store.disk import give_back
from foreshock_agent.update.errors import UntrustedError
from foreshock_agent.update.folder import FolderSource
from foreshock_agent.update.installer import Host, Installer
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trust import Trust

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_agent.settings import Settings
    from foreshock_agent.update.store import Outcome


def update_from(settings: Settings, folder: Path) -> Outcome:
    """Follow the directive for this gateway that lies in a folder, and return what became of it.

    Raises:
        UntrustedError: there is no directive, or it does not verify.
        StoreError: the agent runs, or its folder cannot be written.
    """
    source = FolderSource(folder)
    store = ModelStore(settings.models)
    with store.exclusive():
        host = Host(
            SystemClock().now_ns,
            # Nothing runs: the next start loads what is committed here.
            swap=lambda _: None,
            told=lambda: None,
        )
        installer = Installer(
            settings.at,
            store,
            Trust(settings.metadata, settings.root_of_trust),
            host,
            channels=settings.channels,
            max_model_bytes=settings.update.max_model_bytes,
        )
        try:
            installer.follow(source.directive(settings.at), source)
        finally:
            give_back(settings.data_dir)
    if installer.problem or installer.outcome is None:
        raise UntrustedError(installer.problem or f"{folder} holds nothing for this gateway")
    return installer.outcome
