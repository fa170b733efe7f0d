"""File systems that a test makes as root, and an agent that keeps its data on one."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foreshock_wire import topics
from tests.agent.process import Agent
from tests.agent.rig import AT, Client, sample, wait_for, write_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a `size` like 6m; yield where it is."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, how: str) -> None:
    """Mount it otherwise: `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def gateway_on(
    disk: Path, folder: Path, port: int = 1, *, cloud_port: int | None = None, extra: str = ""
) -> Agent:
    """Return an agent in `folder` that has its data, and nothing else, on that disk."""
    gate = folder / "gate"
    gate.mkdir()
    (gate / "data").symlink_to(disk)
    return Agent(write_settings(gate, local_port=port, cloud_port=cloud_port, extra=extra))


def raise_alarm(client: Client, machine: str) -> bytes:
    """Publish what raises an alarm; return its message when the plant has it."""
    hot = [sample(slot, temperature=95.0, pressure=1.0) for slot in range(12)]
    client.publish_all((f"plant/{machine}/sample", payload) for payload in hot)
    topic = topics.alarm(AT, machine)
    wait_for(lambda: topic in client.latest, f"the alarm of {machine}")
    return client.latest[topic]
