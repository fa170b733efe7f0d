from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.update.trust import is_loopback, is_loopback_address

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("192.168.1.4", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - not bound, judged
        ("localhost", False),
        ("", False),
    ],
)
def test_the_peers_address_decides(address: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback_address(address) is loopback


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_real_connection_to_this_machine_is_loopback(family: int, address: str) -> None:
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((address, 0))
        listener.listen()
        client.connect(listener.getsockname())
        assert is_loopback(client)


def test_a_unix_socket_is_loopback(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "broker"))
        listener.listen()
        client.connect(str(tmp_path / "broker"))
        assert is_loopback(client)


def test_no_connection_is_not_trusted() -> None:
    with socket.socket() as never_connected:
        assert not is_loopback(never_connected)
    assert not is_loopback(None)
