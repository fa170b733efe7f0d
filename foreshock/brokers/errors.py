"""What goes wrong with a broker of our own."""

from __future__ import annotations

from foreshock_wire.errors import ForeshockError


class BrokerError(ForeshockError):
    """A broker that cannot run here, does not come up, or does not exist."""
