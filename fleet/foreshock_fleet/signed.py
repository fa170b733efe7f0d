"""The signed metadata of the repository (The Update Framework, specification 1.0.x).

Root says which keys count for which role; it is signed by a threshold of keys that are kept
offline. Targets lists the released model files and delegates the signing of directives; snapshot
and timestamp say which metadata is current. Files are written in the order targets, snapshot,
timestamp, so that a reader sees the state before a change or after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from foreshock_fleet.errors import RepositoryError
from foreshock_wire.files import locked
from foreshock_wire.signing import DIRECTIVE_ROLE, target_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from securesystemslib.signer import Signer

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.repository import Repository

ROOT: Final = Root.type
TARGETS: Final = Targets.type
SNAPSHOT: Final = Snapshot.type
TIMESTAMP: Final = Timestamp.type
DIRECTIVE: Final = DIRECTIVE_ROLE
ROLES: Final = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DIRECTIVE)
VALID_D: Final = {ROOT: 365, TARGETS: 365, SNAPSHOT: 30, TIMESTAMP: 7}
"""Days from signature to expiry; a gateway that was away longer waits for a fresh signature."""

RENEW_AT: Final = 0.5
"""The share of its validity that a role may have left before it is signed again."""


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """Who may sign for a role, and how long what was signed holds; a directive has no file."""

    role: str
    keyids: tuple[str, ...]
    threshold: int
    version: int | None = None
    expires: datetime | None = None


class SignedRepository:
    """Reads and signs the metadata of one repository; `now` is passed in."""

    def __init__(self, repository: Repository) -> None:
        self._files = repository

    @property
    def exists(self) -> bool:
        """Whether the repository was set up."""
        return self._newest_root() > 0

    def root_bytes(self) -> bytes:
        """Return the newest root metadata: what a gateway is provisioned with."""
        return self._read(f"{self._need_root()}.{ROOT}.json")

    def statuses(self) -> list[RoleStatus]:
        """Return every role with its keys, its version and its expiry."""
        root, targets = self._root(), self._targets()
        signed: dict[str, Metadata[Any]] = {ROOT: root, **self._online(targets)}
        return [
            _status(name, _role_of(name, root.signed, targets.signed), signed.get(name))
            for name in ROLES
        ]

    def status(self, role: str) -> RoleStatus:
        """Return one role's keys, version and expiry."""
        return next(one for one in self.statuses() if one.role == role)

    # Changes ------------------------------------------------------------------------------------

    def create(
        self, root_keys: KeyFolder, keys: KeyFolder, *, count: int, threshold: int, now: datetime
    ) -> None:
        """Make all keys and the first metadata.

        Raises:
            RepositoryError: there is one already.
        """
        with self._locked():
            if self.exists:
                raise RepositoryError(
                    f"{self._files.directory} is set up already; new keys come with "
                    "`foreshock fleet keys rotate`"
                )
            root = Root(expires=_expiry(ROOT, now), consistent_snapshot=True)
            root_signers = [root_keys.create(ROOT) for _ in range(count)]
            root.roles[ROOT].threshold = threshold
            for signer in root_signers:
                root.add_key(signer.public_key, ROOT)
            for name in (TARGETS, SNAPSHOT, TIMESTAMP):
                root.add_key(keys.create(name).public_key, name)
            targets = Metadata(Targets(expires=_expiry(TARGETS, now), delegations=_delegations()))
            targets.signed.add_key(keys.create(DIRECTIVE).public_key, DIRECTIVE)
            self._sign_targets(targets, root, keys)
            # The root comes last: a set-up that was interrupted is none, and begins again.
            self._sign_down(targets, root, keys, now)
            self._write_root(Metadata(root), root_signers)

    def add_target(
        self, sha256: str, size: int, custom: dict[str, Any], keys: KeyFolder, now: datetime
    ) -> None:
        """List a model file as released."""
        path = target_path(sha256)
        target = TargetFile(size, {"sha256": sha256}, path, {"custom": custom})
        with self._locked():
            targets = self._targets()
            targets.signed.targets[path] = target
            self._publish_targets(targets, self._root().signed, keys, now)

    def withdraw(self, sha256: str, keys: KeyFolder, now: datetime) -> None:
        """Take a model file from the list, so that no gateway accepts it any more.

        Raises:
            RepositoryError: it is not listed.
        """
        with self._locked():
            targets = self._targets()
            if targets.signed.targets.pop(target_path(sha256), None) is None:
                raise RepositoryError(f"model {sha256[:12]} is not a signed release")
            self._publish_targets(targets, self._root().signed, keys, now)

    def lists(self, sha256: str) -> bool:
        """Say whether a model file is released."""
        return target_path(sha256) in self._targets().signed.targets

    def renew(self, keys: KeyFolder, now: datetime) -> list[str]:
        """Sign snapshot and timestamp again where they are half used up; return which.

        Targets too, where its key is here: without it, what a publisher signed stays as it is.
        """
        with self._locked():
            return self._sign_due(self._root().signed, keys, now)

    def _sign_due(self, root: Root, keys: KeyFolder, now: datetime) -> list[str]:
        targets = self._targets()
        due = [
            role for role, file in self._online(targets).items() if _is_due(role, file, root, now)
        ]
        if TARGETS in due and not keys.signers(root.roles[TARGETS].keyids):
            due.remove(TARGETS)
        if TARGETS in due:
            self._publish_targets(targets, root, keys, now)
        elif SNAPSHOT in due:
            self._sign_down(targets, root, keys, now)
        elif TIMESTAMP in due:
            self._sign_timestamp(self._snapshot(), root, keys, now)
        return due

    def _online(self, targets: Metadata[Targets]) -> dict[str, Metadata[Any]]:
        return {TARGETS: targets, SNAPSHOT: self._snapshot(), TIMESTAMP: self._timestamp()}

    def sign_for_travel(
        self, keys: KeyFolder, now: datetime, days: int, carry: Callable[[], None]
    ) -> None:
        """Let `carry` copy metadata that is valid for `days`, then sign for the line again.

        A stick travels longer than the line may be silent; the versions go on, so a gateway that
        saw the stick follows the line afterwards.
        """
        with self._locked():
            root, targets = self._root().signed, self._targets()
            self._sign_down(targets, root, keys, now, days)
            carry()
            self._sign_down(targets, root, keys, now)

    def renew_root(self, root_keys: KeyFolder, now: datetime) -> None:
        """Sign the root again with a later expiry."""
        with self._locked():
            root = self._root()
            signers = self._root_signers(root.signed, root_keys)
            self._next_root(root.signed, signers, now)

    def rotate(
        self,
        role: str,
        root_keys: KeyFolder | None,
        keys: KeyFolder,
        now: datetime,
        keyid: str | None = None,
    ) -> tuple[str, ...]:
        """Give a role new keys in place of all its old ones, or of `keyid`; return the old ids.

        Raises:
            RepositoryError: no such role or key, or the root keys are not named.
        """
        with self._locked():
            root, targets = self._root().signed, self._targets()
            old = _chosen(_role_of(role, root, targets.signed), role, keyid)
            if role == DIRECTIVE:
                _replace(targets.signed, role, old, keys)
                self._publish_targets(targets, root, keys, now)
                return old
            if root_keys is None:
                raise RepositoryError(f"the root signs who may sign {role}: name its keys' folder")
            signers = self._root_signers(root, root_keys)
            new = _replace(root, role, old, root_keys if role == ROOT else keys)
            self._next_root(root, signers + (new if role == ROOT else []), now)
            self._sign_due(root, keys, now)
            return old

    def _root_signers(self, root: Root, keys: KeyFolder) -> list[Signer]:
        role = root.roles[ROOT]
        return keys.need(ROOT, role.keyids, role.threshold)

    def _next_root(self, root: Root, signers: list[Signer], now: datetime) -> None:
        root.version, root.expires = root.version + 1, _expiry(ROOT, now)
        self._write_root(Metadata(root), signers)

    def _write_root(self, root: Metadata[Root], signers: Iterable[Signer]) -> None:
        _sign(root, signers)
        self._write(f"{root.signed.version}.{ROOT}.json", root)

    def _publish_targets(
        self, targets: Metadata[Targets], root: Root, keys: KeyFolder, now: datetime
    ) -> None:
        targets.signed.version += 1
        targets.signed.expires = _expiry(TARGETS, now)
        self._sign_targets(targets, root, keys)
        self._sign_down(targets, root, keys, now)

    def _sign_targets(self, targets: Metadata[Targets], root: Root, keys: KeyFolder) -> None:
        _sign(targets, _signers(TARGETS, root, keys))
        self._write(f"{targets.signed.version}.{TARGETS}.json", targets)

    def _sign_down(
        self,
        targets: Metadata[Targets],
        root: Root,
        keys: KeyFolder,
        now: datetime,
        days: int | None = None,
    ) -> None:
        """Sign a snapshot of these targets, and a timestamp of that."""
        version = self._snapshot().signed.version + 1 if self._has_timestamp() else 1
        meta = {f"{TARGETS}.json": _meta_of(targets)}
        snapshot = Metadata(Snapshot(version, expires=_expiry(SNAPSHOT, now, days), meta=meta))
        _sign(snapshot, _signers(SNAPSHOT, root, keys))
        self._write(f"{version}.{SNAPSHOT}.json", snapshot)
        self._sign_timestamp(snapshot, root, keys, now, days)

    def _sign_timestamp(
        self,
        snapshot: Metadata[Snapshot],
        root: Root,
        keys: KeyFolder,
        now: datetime,
        days: int | None = None,
    ) -> None:
        version = self._timestamp().signed.version + 1 if self._has_timestamp() else 1
        signed = Timestamp(
            version, expires=_expiry(TIMESTAMP, now, days), snapshot_meta=_meta_of(snapshot)
        )
        timestamp = Metadata(signed)
        _sign(timestamp, _signers(TIMESTAMP, root, keys))
        self._write(f"{TIMESTAMP}.json", timestamp)

    # Files --------------------------------------------------------------------------------------

    def _locked(self) -> AbstractContextManager[Iterator[None]]:
        return locked(self._files.directory / "sign.lock")  # type: ignore[return-value]

    def _newest_root(self) -> int:
        names = self._files.metadata.glob(f"*.{ROOT}.json")
        return max((int(path.name.partition(".")[0]) for path in names), default=0)

    def _need_root(self) -> int:
        version = self._newest_root()
        if not version:
            raise RepositoryError(
                f"{self._files.directory} has no signing keys yet: "
                "`foreshock fleet keys init` makes them"
            )
        return version

    def _root(self) -> Metadata[Root]:
        return self._load(f"{self._need_root()}.{ROOT}.json")

    def _has_timestamp(self) -> bool:
        return (self._files.metadata / f"{TIMESTAMP}.json").exists()

    def _timestamp(self) -> Metadata[Timestamp]:
        return self._load(f"{TIMESTAMP}.json")

    def _snapshot(self) -> Metadata[Snapshot]:
        version = self._timestamp().signed.snapshot_meta.version
        return self._load(f"{version}.{SNAPSHOT}.json")

    def _targets(self) -> Metadata[Targets]:
        version = self._snapshot().signed.meta[f"{TARGETS}.json"].version
        return self._load(f"{version}.{TARGETS}.json")

    def _load(self, name: str) -> Metadata[Any]:
        try:
            return Metadata.from_bytes(self._read(name))
        except TufError as error:
            raise RepositoryError(f"{self._files.metadata / name} is damaged: {error}") from None

    def _read(self, name: str) -> bytes:
        try:
            return (self._files.metadata / name).read_bytes()
        except OSError as error:
            path = self._files.metadata / name
            raise RepositoryError(f"{path} cannot be read: {error.strerror}") from None

    def _write(self, name: str, metadata: Metadata[Any]) -> None:
        self._files.write_metadata(name, metadata.to_bytes())


def _status(name: str, role: Role, file: Metadata[Any] | None) -> RoleStatus:
    version, expires = (file.signed.version, file.signed.expires) if file else (None, None)
    return RoleStatus(name, tuple(role.keyids), role.threshold, version, expires)


def _expiry(role: str, now: datetime, days: int | None = None) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0) + timedelta(days=days or VALID_D[role])


def _is_due(role: str, file: Metadata[Any], root: Root, now: datetime) -> bool:
    left = file.signed.expires - now
    if left < RENEW_AT * timedelta(days=VALID_D[role]):
        return True
    # A rotation that was interrupted leaves a file that the new key has not signed.
    return not root.get_verification_result(role, file.signed_bytes, file.signatures).verified


def _delegations() -> Delegations:
    # No target has such a path: the role signs directives, which are no files of the repository.
    role = DelegatedRole(DIRECTIVE, [], 1, terminating=True, paths=[f"{DIRECTIVE}/*"])
    return Delegations({}, {DIRECTIVE: role})


def _role_of(name: str, root: Root, targets: Targets) -> Role:
    if name == DIRECTIVE:
        return targets.get_delegated_role(name)
    if name not in ROLES:
        raise RepositoryError(f"there is no role {name!r}: roles are {', '.join(ROLES)}")
    return root.roles[name]


def _chosen(role: Role, name: str, keyid: str | None) -> tuple[str, ...]:
    if keyid is None:
        return tuple(role.keyids)
    found = tuple(one for one in role.keyids if one.startswith(keyid))
    if len(found) != 1 or not keyid:
        raise RepositoryError(
            f"{keyid!r} is not one key of {name}: `foreshock fleet keys list` shows them"
        )
    return found


def _replace(
    signed: Root | Targets, role: str, old: tuple[str, ...], keys: KeyFolder
) -> list[Signer]:
    """Put as many new keys in the place of the old ones; return the new signers."""
    signers = [keys.create(role) for _ in old]
    for keyid in old:
        signed.revoke_key(keyid, role)
    for signer in signers:
        signed.add_key(signer.public_key, role)
    return signers


def _signers(role: str, root: Root, keys: KeyFolder) -> list[Signer]:
    return keys.need(role, root.roles[role].keyids, root.roles[role].threshold)


def _sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> None:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def _meta_of(metadata: Metadata[Any]) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), ["sha256"])
