"""Brokers that the demo, the tests and the benchmarks start for themselves, on loopback only.

In: a kind ("embedded" or "mosquitto") and a folder. Out: a `Broker` that starts, stops, restarts
and dies on request, always at the same address, and never outlives the process that made it.
Open `broker` for the interface and `kinds` for the two implementations; a gateway and a centre
in production run their own broker and need none of this (docs/adr/0007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock.brokers.broker import Broker, BrokerError
from foreshock.brokers.kinds import EmbeddedBroker, MosquittoBroker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["BROKERS", "Broker", "BrokerError", "EmbeddedBroker", "MosquittoBroker", "make_broker"]

BROKERS: Final[Mapping[str, type[Broker]]] = {
    "embedded": EmbeddedBroker,
    "mosquitto": MosquittoBroker,
}
"""Every kind of broker by the name that a setting or a command line gives it."""


def make_broker(kind: str, folder: Path, port: int | None = None) -> Broker:
    """Return a broker of this kind, not yet started; its files go to `folder`.

    Raises:
        BrokerError: there is no such kind.
    """
    if kind not in BROKERS:
        raise BrokerError(f"there is no broker {kind!r}: choose one of {', '.join(BROKERS)}")
    return BROKERS[kind](folder, port)
