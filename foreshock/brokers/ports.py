"""Loopback ports: find a free one that stays free, and ask whether a broker answers on it."""

from __future__ import annotations

import random
import socket
from typing import Final

from foreshock.brokers.errors import BrokerError

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = range(20_000, 30_000)
"""Below the range from which Linux (32768) and macOS (49152) take ports for outgoing connections.

A broker that is away for a while must find its port free again. Inside that range it may not: a
client that keeps reconnecting to a free loopback port is sooner or later given that very port as
its own, and is then connected to itself.
"""
CONNECT: Final = bytes.fromhex("10 0c 0004 4d515454 04 02 0005 0000")
"""MQTT 3.1.1 CONNECT: clean session, keep-alive 5 s, the broker chooses the client id."""
CONNACK_ACCEPTED: Final = bytes.fromhex("20 02 00 00")
DISCONNECT: Final = bytes.fromhex("e0 00")


def free_port(attempts: int = 100) -> int:
    """Return a loopback TCP port that nobody listens on.

    Raises:
        BrokerError: every port that was tried is taken.
    """
    chance = random.SystemRandom()
    for port in chance.sample(PORTS, attempts):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise BrokerError(
        f"no free port among {attempts} tried in {PORTS.start}-{PORTS.stop - 1} on {LOOPBACK}: "
        "name one yourself, or stop what listens there"
    )


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Say whether an MQTT broker accepts a session at this address right now."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            link.sendall(CONNECT)
            accepted = link.recv(4, socket.MSG_WAITALL) == CONNACK_ACCEPTED
            link.sendall(DISCONNECT)
    except OSError:
        return False
    return accepted
