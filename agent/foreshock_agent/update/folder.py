"""The repository as a folder: on a stick, for a plant without a line to the centre."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from foreshock_agent.update.errors import FetchError, NoSuchFileError, UntrustedError
from foreshock_wire.errors import MessageError
from foreshock_wire.signing import FILE_BLOCK_BYTES, directive_path, target_path
from foreshock_wire.updates import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock_wire.topics import Gateway
    from foreshock_wire.updates import ModelRef


class FolderSource:
    """A `Source` that reads what `foreshock fleet export` wrote."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def directive(self, at: Gateway) -> Envelope:
        """Return the directive for a gateway, not yet verified.

        Raises:
            UntrustedError: there is none, or it is no signed directive.
        """
        path = self._directory / directive_path(at.site, at.gateway)
        try:
            return Envelope.from_bytes(path.read_bytes())
        except OSError as error:
            raise UntrustedError(
                f"{self._directory} holds no directive for {at.site}/{at.gateway} "
                f"({error.strerror}): `foreshock fleet export` writes it once a rollout offers one"
            ) from None
        except MessageError as error:
            raise UntrustedError(f"{path} is no signed directive: {error}") from None

    def metadata(self, name: str) -> Iterator[bytes]:
        """Give a metadata file's blocks."""
        try:
            with (self._directory / "metadata" / name).open("rb") as file:
                while block := file.read(FILE_BLOCK_BYTES):
                    yield block
        except OSError as error:
            raise NoSuchFileError(f"{self._directory} has no {name}: {error.strerror}") from None

    def model(self, ref: ModelRef, part: Path) -> bool:
        """Copy a model file, no more of it than its signed size."""
        path = self._directory / "targets" / target_path(ref.sha256)
        try:
            if path.stat().st_size != ref.size:
                raise FetchError(f"{path} has another size than the {ref.size} bytes promised")
            shutil.copyfile(path, part)
        except OSError as error:
            raise FetchError(f"{path} cannot be copied: {error.strerror}") from None
        return False
