"""A file on its way from a coordinator to a gateway, both real processes on a real Mosquitto."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.transfer_gateway import AT
from foreshock.brokers import MosquittoBroker
from foreshock_agent.update.fetch import HERE
from foreshock_agent.update.store import have_file
from foreshock_fleet.coordinator import repository_of
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import Release, now_ns, open_state
from foreshock_wire.updates import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT_S: Final = 180.0


@dataclass
class Heard:
    """What one life of the gateway said: the blocks that it asked for, and when it was done."""

    asked: list[int] = field(default_factory=list)
    began_s: float | None = None
    verified_s: float | None = None

    @property
    def seconds(self) -> float:
        """From the first request for a block until the whole file was verified and durable."""
        assert self.began_s is not None  # noqa: S101 - it has run
        assert self.verified_s is not None  # noqa: S101 - it has run
        return self.verified_s - self.began_s


class Centre:
    """A broker, a coordinator and a signed file of random bytes; a context manager."""

    def __init__(self, folder: Path, size: int, block_bytes: int) -> None:
        self.folder, self._block_bytes = folder, block_bytes
        self.data = os.urandom(size)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.broker = MosquittoBroker(folder / "broker")
        self.blocks = -(-size // block_bytes)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        fleet = self.folder / "fleet"
        repository = repository_of(fleet)
        signed, keys = SignedRepository(repository), KeyFolder(fleet / "keys")
        root_keys = KeyFolder(fleet / "root-keys")
        signed.create(root_keys, keys, count=1, threshold=1, now=datetime.now(UTC))
        repository.add(self.data)
        signed.add_target(self.sha256, len(self.data), {}, keys, datetime.now(UTC))
        self.root = signed.root_bytes()
        release = Release(
            *(self.sha256, len(self.data), self._block_bytes, "m", "1"),
            *(repository.path(self.sha256).name, now_ns()),
        )
        with contextlib.closing(open_state(fleet)) as state:
            state.add_release(release, "bench")
            state.note_report(AT, Report(gateway=AT.gateway), now_ns())
            state.start_rollout(self.sha256, "bench", now_ns())
        self._stack.enter_context(self.broker)
        command = [sys.executable, "-m", "foreshock", "fleet", "serve", "--json"]
        where = ["--broker", self.broker.address, "--state", str(fleet)]
        serving = subprocess.Popen([*command, *where], stdout=subprocess.PIPE)
        self._stack.callback(_kill, serving)
        assert serving.stdout is not None  # noqa: S101 - it is a pipe
        serving.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def gateway(self, name: str) -> Path:
        """Make a gateway's folder."""
        home = self.folder / name
        home.mkdir()
        (home / "root.json").write_bytes(self.root)
        return home

    def here(self, home: Path) -> set[int]:
        """Return the blocks that a gateway's disk holds of a file on its way."""
        marks = have_file(home / "models" / f"{self.sha256}.part")
        if not marks.exists():
            return set()
        blocks = marks.read_bytes()[-self.blocks :]
        return {index for index, mark in enumerate(blocks) if mark == HERE}

    def is_whole(self, home: Path) -> bool:
        """Say whether the file is there, byte by byte."""
        path = home / "models" / f"{self.sha256}.onnx"
        return path.exists() and path.read_bytes() == self.data


def fetch(port: int, home: Path, kill_when: Callable[[], bool] = lambda: False) -> Heard:
    """Let a gateway fetch the file, or kill it with SIGKILL on the way."""
    heard = Heard()
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.transfer_gateway", str(port), str(home)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    deadline = time.monotonic() + WAIT_S
    for line in child.stdout:
        _note(heard, json.loads(line))
        if heard.verified_s is not None or kill_when():
            break
        if time.monotonic() > deadline:
            _kill(child)
            raise TimeoutError(f"not fetched in {WAIT_S:g} s: {len(heard.asked)} blocks asked for")
    _kill(child) if heard.verified_s is None else child.communicate(timeout=30)
    return heard


def _note(heard: Heard, said: dict[str, Any]) -> None:
    if "asked" in said:
        heard.asked.append(said["asked"])
        heard.began_s = heard.began_s or said["at_s"]
    if said.get("state") == "verified":
        heard.verified_s = said["at_s"]


def _kill(child: subprocess.Popen[Any]) -> None:
    child.kill()
    child.communicate()
