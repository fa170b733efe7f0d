"""What goes wrong in the fleet on purpose, each with the way out."""

from __future__ import annotations

from foreshock_wire.errors import ForeshockError


class FleetError(ForeshockError):
    """Base of the fleet's errors."""


class UnknownReleaseError(FleetError):
    """A release that is not published here."""


class UnknownBlockError(FleetError):
    """A block of a file that is not published here, or beyond its end."""


class NoGatewayError(FleetError):
    """A rollout without anybody to roll out to."""


class RegistryError(FleetError):
    """A model that the registry does not have, or cannot give."""


class StateError(FleetError):
    """The fleet's folder cannot be opened, or somebody else serves it."""


class KeyFileError(FleetError):
    """A key or passphrase file that cannot be used."""


class MissingKeyError(FleetError):
    """A role's private keys are not here."""


class RepositoryError(FleetError):
    """The signed repository is absent, damaged, or there already."""


class PlanError(FleetError):
    """A rollout's plan that cannot be."""


class IllegalCommandError(FleetError):
    """A command that a rollout in this state does not take."""


class HaltedError(FleetError):
    """A change that is asked for while the emergency stop stands."""


class UnknownRolloutError(FleetError):
    """A rollout that never began."""
