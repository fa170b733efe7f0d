from __future__ import annotations

import pytest

from foreshock_agent.addresses import is_loopback_address


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
