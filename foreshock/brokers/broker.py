"""A broker in a child process: one address for its whole life, through every stop and start."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, Self

from foreshock.brokers.errors import BrokerError
from foreshock.brokers.ports import LOOPBACK, answers, free_port

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.02
LOG_TAIL_CHARS: Final = 2000

__all__ = ["Broker", "BrokerError"]


class Broker(ABC):
    """A broker on loopback; a context manager that starts it and stops it.

    `host` and `port` stay the same across restarts, `folder` holds `log` and whatever else the
    broker keeps. The child lives as long as its standard input stays open, so it ends with the
    process that started it, even with one that is killed (the parent-death signal of Linux would
    also fire when only the thread that started it ends).
    """

    kind: ClassVar[str]
    kill_signal: ClassVar[signal.Signals] = signal.SIGKILL
    host: Final = LOOPBACK

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = free_port() if port is None else port
        self.log = self.folder / "broker.log"
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Write what the broker needs into `folder` and return the command that runs it.

        Raises:
            BrokerError: it is not installed here.
        """

    @property
    def address(self) -> str:
        """`host:port`, as settings and commands take it."""
        return f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the child process lives."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it and return when it accepts sessions; nothing happens if it runs already.

        Raises:
            BrokerError: it is not installed, the port is taken, or it did not come up in time.
        """
        if self.running:
            return
        if answers(self.host, self.port):
            raise BrokerError(f"another broker already answers on {self.address}: stop it first")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the parent's: it ends us in order
            )
        self._await_ready(self._child)

    def stop(self) -> None:
        """End it in order: it may save what it keeps; nothing happens if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would: at once, with nothing saved."""
        self._end(self.kill_signal)

    def freeze(self) -> None:
        """Stop its processes where they are: connections stay open and nobody is answered."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal_all(signal.SIGCONT)

    def restart(self) -> None:
        """Stop in order and start again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await_ready(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.host, self.port):
            code = child.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                what = f"ended with code {code}" if code is not None else "does not answer"
                raise BrokerError(f"{self.kind} broker on {self.address} {what}: {self._tail()}")
            time.sleep(POLL_S)

    def _end(self, how: signal.Signals) -> None:
        self.thaw()  # a frozen one would not hear it
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(how)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if child.stdin:
            child.stdin.close()

    def _signal_all(self, what: signal.Signals) -> None:
        if self.running and self._child is not None:
            os.killpg(self._child.pid, what)

    def _tail(self) -> str:
        text = self.log.read_text(errors="replace").strip()
        return text[-LOG_TAIL_CHARS:] or f"its log {self.log} is empty"
