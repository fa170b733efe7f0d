"""Signing keys: Ed25519, one PEM file a key, for its owner's eyes only, a passphrase if wished.

What a key is for stands in the signed metadata; the file's name only helps to find it. A secret is
never logged and never part of an error's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from foreshock_fleet.errors import KeyFileError, MissingKeyError
from foreshock_wire.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from securesystemslib.signer import Signer

SHORT: Final = 12
"""How much of a key id is shown, and stands in a file's name."""

_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The private keys in `directory`; `passphrase` opens those that have one."""

    directory: Path
    passphrase: bytes | None = None

    def create(self, role: str) -> Signer:
        """Make a key for a role and keep it, encrypted if there is a passphrase.

        Raises:
            KeyFileError: the other keys here have a passphrase, and none was given.
        """
        if not self.passphrase and any(_is_encrypted(path) for path in self._files("*")):
            raise KeyFileError(
                f"the keys in {self.directory} have a passphrase: name the file that holds it"
            )
        key = Ed25519PrivateKey.generate()
        signer = CryptoSigner(key)
        lock = BestAvailableEncryption(self.passphrase) if self.passphrase else NoEncryption()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.directory / f"{role}.{signer.public_key.keyid[:SHORT]}.pem"
        write_durably(path, pem, mode=0o600)
        return signer

    def signers(self, keyids: Iterable[str]) -> list[Signer]:
        """Return a signer for each of the keys that is here.

        Raises:
            KeyFileError: a key file is open to others, damaged, or its passphrase is another.
        """
        found = (self._load(path) for keyid in keyids for path in self._files(keyid))
        return list(found)

    def need(self, role: str, keyids: Iterable[str], threshold: int = 1) -> list[Signer]:
        """Return signers for a role, enough for its threshold.

        Raises:
            MissingKeyError: too few of its keys are here.
            KeyFileError: see `signers`.
        """
        wanted = list(keyids)
        signers = self.signers(wanted)
        if len(signers) < threshold:
            names = ", ".join(keyid[:SHORT] for keyid in wanted)
            raise MissingKeyError(
                f"{role} needs {threshold} of the keys {names}, and {len(signers)} of them "
                f"{'is' if len(signers) == 1 else 'are'} in {self.directory}: name the folder "
                "that holds them, or rotate the role to keys that you have"
            )
        return signers

    def has(self, keyid: str) -> bool:
        """Say whether the key's file is here; it is not opened."""
        return bool(self._files(keyid))

    def remove(self, keyid: str) -> None:
        """Delete a key that was revoked."""
        for path in self._files(keyid):
            path.unlink()

    def _files(self, keyid: str) -> list[Path]:
        return sorted(self.directory.glob(f"*.{keyid[:SHORT]}.pem"))

    def _load(self, path: Path) -> Signer:
        try:
            if path.stat().st_mode & _OTHERS:
                raise KeyFileError(f"key {path} is open to others: chmod 600 {path}")
            pem = path.read_bytes()
        except OSError as error:
            raise KeyFileError(f"key {path} cannot be read: {error.strerror}") from None
        encrypted = _is_encrypted(path)
        if encrypted and not self.passphrase:
            raise KeyFileError(f"key {path} has a passphrase: name the file that holds it")
        try:
            key = load_pem_private_key(pem, self.passphrase if encrypted else None)
        except (ValueError, TypeError):
            raise KeyFileError(
                f"key {path} cannot be opened: another passphrase, or the file is damaged"
            ) from None
        return CryptoSigner(key)


def _is_encrypted(path: Path) -> bool:
    return b"ENCRYPTED" in path.read_bytes()


def read_passphrase(path: Path | None) -> bytes | None:
    """Return the first line of a passphrase file that only its owner can read.

    Raises:
        KeyFileError: it is absent, empty, or open to others.
    """
    if path is None:
        return None
    try:
        if path.stat().st_mode & _OTHERS:
            raise KeyFileError(f"passphrase file {path} is open to others: chmod 600 {path}")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise KeyFileError(f"passphrase file {path}: {error.strerror}") from None
    if not lines or not lines[0]:
        raise KeyFileError(f"passphrase file {path} is empty")
    return lines[0]
