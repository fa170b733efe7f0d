"""The client workflow of The Update Framework, by python-tuf, over whatever reads the files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from securesystemslib.signer import Signature
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from foreshock_agent.update.errors import NoSuchFileError, UntrustedError
from foreshock_wire.errors import MessageError
from foreshock_wire.signing import (
    DIRECTIVE_ROLE,
    HALT_TYPE,
    PAYLOAD_TYPE,
    signed_bytes,
    target_path,
)
from foreshock_wire.updates import Desired, Halt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from foreshock_agent.update.trust import ReadMetadata
    from foreshock_wire.updates import Envelope, ModelRef

Signed = TypeVar("Signed", Desired, Halt)

NOT_FOUND: Final = 404
_BASE: Final = "metadata/"
_TOP_LEVEL: Final = ("root", "timestamp", "snapshot", "targets")


def refresh(directory: Path, bootstrap: bytes, read: ReadMetadata, floor_ns: int) -> Client:
    """Run the client workflow (specification, section 5) and return what is verified.

    Raises:
        UntrustedError: says what does not verify, or cannot be read.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        client = Client(directory, bootstrap, read, floor_ns)
        client.refresh()
    except OSError as error:
        raise UntrustedError(f"metadata in {directory} cannot be kept: {error}") from None
    except (RepositoryError, DownloadError) as error:
        raise UntrustedError(f"the repository does not verify: {_told(error)}") from None
    return client


class Client(Updater):
    """One verified state; its reference time is the floor, never this machine's clock."""

    def __init__(
        self, directory: Path, bootstrap: bytes, read: ReadMetadata, floor_ns: int
    ) -> None:
        super().__init__(
            str(directory),
            _BASE,
            fetcher=_Fetcher(read),
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=bootstrap,
        )
        self._trusted_set.reference_time = datetime.fromtimestamp(floor_ns / 1e9, UTC)

    def directive(self, envelope: Envelope) -> Desired:
        """Return the directive, parsed after its signatures were verified."""
        return self._verified(envelope, Desired, PAYLOAD_TYPE)

    def halt(self, envelope: Envelope) -> Halt:
        """Return the emergency stop, or its end, parsed after its signatures were verified."""
        return self._verified(envelope, Halt, HALT_TYPE)

    def _verified(self, envelope: Envelope, kind: type[Signed], payload_type: str) -> Signed:
        signatures = {one.keyid: Signature(one.keyid, one.sig) for one in envelope.signatures}
        payload = signed_bytes(envelope.payload, payload_type)
        try:
            result = self._trusted_set.targets.get_verification_result(
                DIRECTIVE_ROLE, payload, signatures
            )
        except ValueError as error:
            raise UntrustedError(f"nobody may sign directives: {error}") from None
        if not result:
            raise UntrustedError(
                f"the directive is not signed by this fleet: {len(result.signed)} of "
                f"{result.threshold} signatures verify"
            )
        try:
            return kind.from_bytes(envelope.payload)
        except MessageError as error:
            raise UntrustedError(f"the signed directive is none: {error}") from None

    def check_released(self, ref: ModelRef) -> None:
        """Check that a model file is a signed release of this size."""
        listed = self.get_targetinfo(target_path(ref.sha256))
        if listed is None or listed.hashes.get("sha256") != ref.sha256:
            raise UntrustedError(f"model {ref.sha256[:12]} is not a signed release")
        if listed.length != ref.size:
            raise UntrustedError(
                f"model {ref.sha256[:12]} is signed with {listed.length} bytes, "
                f"the directive promises {ref.size}"
            )

    def expires_ns(self) -> Mapping[str, int]:
        """Return when each metadata file expires, UTC ns."""
        return {
            f"{role} metadata": int(self._trusted_set[role].expires.timestamp()) * 10**9
            for role in _TOP_LEVEL
        }


class _Fetcher(FetcherInterface):
    """python-tuf's door to the outside; it bounds the bytes that it takes from here."""

    def __init__(self, read: ReadMetadata) -> None:
        self._read = read

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._read(url.removeprefix(_BASE))
        except NoSuchFileError as error:
            raise DownloadHTTPError(str(error), NOT_FOUND) from None


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
