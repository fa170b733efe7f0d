"""What the converter refuses, always by name and with the way out."""

from __future__ import annotations

from foreshock_wire.errors import ForeshockError


class UnsupportedModelError(ForeshockError):
    """An estimator, channel or spec that the converter does not turn into a graph."""


class ParityError(ForeshockError):
    """The graph does not repeat the boosters it was made from."""
