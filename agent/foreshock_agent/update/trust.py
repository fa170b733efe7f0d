"""Who may update this gateway, until updates are signed: a broker on this very machine."""

from __future__ import annotations

import ipaddress
from typing import Final

UNSIGNED: Final = (
    "updates are not signed yet: accepted from a loopback broker only, and the cloud broker of "
    "this gateway is on another address"
)


def is_loopback_address(address: str) -> bool:
    """Say whether an IPv4 or IPv6 address (scope id and IPv4-mapped form allowed) is loopback."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback


def is_loopback(connection: object) -> bool:
    """Say whether a connected socket's peer is this machine; a closed or absent socket is not.

    The peer's address is what counts, not the name in the settings: a name can be pointed
    anywhere. A tunnel that ends on this machine looks like loopback, which signing will close.
    """
    try:
        # Plain, TLS and paho's own sockets share nothing but this method; a websocket lacks it.
        peer = connection.getpeername()  # type: ignore[attr-defined]
    except (OSError, AttributeError):
        return False
    # A Unix socket's peer is a path, and cannot be elsewhere.
    return is_loopback_address(str(peer[0])) if isinstance(peer, tuple) else True
