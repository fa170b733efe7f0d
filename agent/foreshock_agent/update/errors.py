"""Why an update did not happen; the text of each is the `reason` in the gateway's report."""

from __future__ import annotations

from foreshock_wire.errors import ForeshockError


class UpdateError(ForeshockError):
    """An update that ends here; the running model stays."""


class UntrustedError(UpdateError):
    """What came cannot be verified against this gateway's root of trust."""


class DeferredError(UpdateError):
    """The directive is genuine, and cannot be followed now: the time is in doubt or out."""


class NoSuchFileError(UpdateError):
    """The repository does not have this metadata file."""


class FetchError(UpdateError):
    """The file cannot be fetched, or is not the file that was promised."""


class TrialError(UpdateError):
    """The file did not pass its test in the child process."""


class InterruptedTrialError(UpdateError):
    """The test was left before it said anything about the file."""


class StoreError(UpdateError):
    """The model store cannot be read or written."""


class SwapError(UpdateError):
    """The pipeline went back to the model before."""
