"""A Mosquitto with a Unix socket beside its port."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from foreshock.brokers import MosquittoBroker

if TYPE_CHECKING:
    from collections.abc import Iterator


class SocketBroker(MosquittoBroker):
    """`socket` is the address of its socket, as settings and commands take it."""

    def __init__(self, folder: Path, path: Path) -> None:
        super().__init__(folder, extra=f"listener 0 {path}")
        self.socket = f"unix:{path}"


@contextmanager
def socket_broker(folder: Path) -> Iterator[SocketBroker]:
    """Run one that keeps its files in `folder`; a socket's path must be shorter than a test's."""
    with TemporaryDirectory() as short, SocketBroker(folder, Path(short) / "agent.sock") as broker:
        yield broker
