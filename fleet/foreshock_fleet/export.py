"""The repository on a stick: what a plant without a line to the centre is updated from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from foreshock_fleet.errors import RepositoryError
from foreshock_wire.files import write_durably
from foreshock_wire.signing import directive_path, target_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from foreshock_fleet.directives import DirectiveSigner
    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.repository import Repository
    from foreshock_fleet.signed import SignedRepository
    from foreshock_fleet.state import Directive

DAY_NS: Final = 86_400 * 10**9


class Exporter:
    """Copies a repository and signs what must hold as long as a stick travels."""

    def __init__(
        self,
        repository: Repository,
        signed: SignedRepository,
        keys: KeyFolder,
        signer: DirectiveSigner,
    ) -> None:
        self._repository, self._signed = repository, signed
        self._keys, self._signer = keys, signer

    def export(self, to: Path, directives: Sequence[Directive], now: datetime, days: int) -> None:
        """Write the models of these directives, the directives, and metadata valid for `days`.

        Raises:
            RepositoryError: the folder cannot be written.
        """
        try:
            self._models(to, {one.desired.model.sha256 for one in directives})
            for one in directives:
                self._directive(to, one, now, days)
            self._signed.sign_for_travel(self._keys, now, days, lambda: self._metadata(to))
        except OSError as error:
            raise RepositoryError(f"{to} cannot be written: {error.strerror}") from None

    def _models(self, to: Path, hashes: set[str]) -> None:
        (to / "targets").mkdir(parents=True, exist_ok=True)
        for sha256 in sorted(hashes):
            shutil.copyfile(self._repository.path(sha256), to / "targets" / target_path(sha256))

    def _directive(self, to: Path, directive: Directive, now: datetime, days: int) -> None:
        at, now_ns = directive.at, int(now.timestamp()) * 10**9
        envelope = self._signer.sign(at, directive.desired, now_ns, days * DAY_NS)
        path = to / directive_path(at.site, at.gateway)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, envelope.to_bytes())

    def _metadata(self, to: Path) -> None:
        shutil.copytree(self._repository.metadata, to / "metadata", dirs_exist_ok=True)
