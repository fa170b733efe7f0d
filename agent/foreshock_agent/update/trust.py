"""What this gateway believes: the root it was given, and what is signed by keys that root names.

Nothing that comes from outside is parsed beyond what a signature check needs before it is
verified. The clock has no say here (see `times.py`): signatures, versions, hashes and the floor do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from foreshock_agent.update.errors import UntrustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from foreshock_wire.updates import Desired, Envelope, Halt, ModelRef

    ReadMetadata = Callable[[str], Iterator[bytes]]
    """Gives a metadata file's blocks, or raises `NoSuchFileError`."""


class Trusted(Protocol):
    """One verified state of the repository."""

    def directive(self, envelope: Envelope) -> Desired:
        """Return the directive, parsed after its signatures were verified.

        Raises:
            UntrustedError: too few of the keys that may sign directives have signed it.
        """

    def halt(self, envelope: Envelope) -> Halt:
        """Return the emergency stop, or its end, parsed after its signatures were verified.

        Raises:
            UntrustedError: too few of the keys that may sign directives have signed it.
        """

    def check_released(self, ref: ModelRef) -> None:
        """Check that a model file is a signed release.

        Raises:
            UntrustedError: it is not, or its size is another.
        """

    def expires_ns(self) -> Mapping[str, int]:
        """Return when each metadata file expires, UTC ns."""


class Trust:
    """The provisioned `root` file and the metadata that was verified since, kept in `directory`."""

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory, self._root = directory, root

    def refresh(self, read: ReadMetadata, floor_ns: int) -> Trusted:
        """Bring the metadata up to date and verify it; what expired before the floor is refused.

        Raises:
            UntrustedError: there is no root of trust, or the repository does not verify.
        """
        # 0.2 s and some MiB, which a gateway pays when the first directive comes.
        from foreshock_agent.update.tuf_client import refresh  # noqa: PLC0415

        return refresh(self._directory, self._bootstrap(), read, floor_ns)

    def _bootstrap(self) -> bytes:
        try:
            return self._root.read_bytes()
        except OSError as error:
            raise UntrustedError(
                f"this gateway has no root of trust ({self._root}: {error.strerror}), so it "
                "follows no directive: give it the fleet's root.json"
            ) from None
