"""The demo's child processes: in sessions of their own, ended in order, none left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.05
LOG_TAIL_CHARS: Final = 1500


class DemoError(ForeshockError):
    """A part of the demo failed; the message holds the end of its log."""


class Crew:
    """Runs `foreshock` commands; what they print goes to a log file each.

    `meanwhile` is called now and then while `run` waits.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.meanwhile: Callable[[], None] = lambda: None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str) -> None:
        """Start `foreshock ARGUMENTS` in the background."""
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "foreshock", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, name: str, *arguments: str) -> dict[str, Any]:
        """Run `foreshock ARGUMENTS --json` to its end and return its last line's object.

        Raises:
            DemoError: it failed, or its last line is no JSON object.
        """
        self.start(name, *arguments, "--json")
        return self.finish(name)

    def finish(self, name: str) -> dict[str, Any]:
        """Wait for a process that was started with `--json` and return its object.

        Raises:
            DemoError: it failed, or its last line is no JSON object.
        """
        child = self._running[name]
        while (code := child.poll()) is None:
            self.check()
            self.meanwhile()
            time.sleep(POLL_S)
        del self._running[name]
        if code:
            raise DemoError(f"{name} failed with exit code {code}:\n{self._tail(name)}")
        try:
            found = json.loads(self._tail(name, chars=1 << 20).strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise DemoError(f"{name} ended without its result:\n{self._tail(name)}") from None
        if not isinstance(found, dict):
            raise DemoError(f"{name} ended without its result:\n{self._tail(name)}")
        return found

    def check(self) -> None:
        """Raise if a process ended with an error.

        Raises:
            DemoError: names it and shows the end of its log.
        """
        for name, child in list(self._running.items()):
            if child.poll():
                raise DemoError(
                    f"{name} ended with exit code {child.returncode}:\n{self._tail(name)}"
                )

    def alive(self, name: str) -> bool:
        """Say whether a process is running."""
        return name in self._running and self._running[name].poll() is None

    def stop(self, *names: str) -> None:
        """End processes politely, then firmly; without names, all of them, the newest first."""
        chosen = names or tuple(reversed(self._running))
        children = {name: self._running.pop(name) for name in chosen if name in self._running}
        for child in children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for child in children.values():
            try:
                child.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _tail(self, name: str, chars: int = LOG_TAIL_CHARS) -> str:
        return self._log(name).read_text(encoding="utf-8", errors="replace")[-chars:]
