"""Why an update did not happen; the text of each is the `reason` in the gateway's report."""

from __future__ import annotations

from foreshock_wire.errors import ForeshockError


class UpdateError(ForeshockError):
    """An update that ends here; the running model stays."""


class UntrustedError(UpdateError):
    """The directive came from a place that may not update this gateway."""


class FetchError(UpdateError):
    """The file cannot be fetched, or is not the file that was promised."""


class TrialError(UpdateError):
    """The file did not pass its test in the child process."""


class InterruptedTrialError(UpdateError):
    """The test was left before it said anything about the file."""


class StoreError(UpdateError):
    """The model store cannot be read or written."""
