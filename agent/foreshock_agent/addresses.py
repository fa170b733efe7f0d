"""Whether an address is this machine."""

from __future__ import annotations

import ipaddress


def is_loopback_address(address: str) -> bool:
    """Say whether an IPv4 or IPv6 address (scope id and IPv4-mapped form allowed) is loopback."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback
