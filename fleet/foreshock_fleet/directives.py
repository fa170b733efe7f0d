"""Sign what a gateway shall run: for this gateway, with this counter, for the next days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_fleet.signed import DIRECTIVE
from foreshock_wire.signing import HALT_TYPE, PAYLOAD_TYPE, signed_bytes
from foreshock_wire.updates import Desired, Envelope, Signature

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.signed import SignedRepository
    from foreshock_wire.messages import Message
    from foreshock_wire.topics import Gateway
    from foreshock_wire.updates import Halt

VALID_NS: Final = 7 * 86_400 * 10**9
"""How long a directive may be followed after it was signed; open ones are signed ever anew."""


class DirectiveSigner:
    """Signs with the keys that the targets metadata names; `reload` follows a rotation."""

    def __init__(self, repository: SignedRepository, keys: KeyFolder) -> None:
        self._repository, self._keys = repository, keys
        self._signers: list[Signer] = []
        self.reload()

    def reload(self) -> None:
        """Load the keys that count now.

        Raises:
            FleetError: the repository is not set up, or its directive keys are not here.
        """
        role = self._repository.status(DIRECTIVE)
        self._signers = self._keys.need(DIRECTIVE, role.keyids, role.threshold)

    def sign(
        self, at: Gateway, desired: Desired, now_ns: int, valid_ns: int = VALID_NS
    ) -> Envelope:
        """Return the directive, bound to its gateway and to the time from now on, signed."""
        bound = desired.model_copy(
            update={"site": at.site, "issued_ns": now_ns, "expires_ns": now_ns + valid_ns}
        )
        return self._signed(bound, PAYLOAD_TYPE)

    def sign_halt(self, halt: Halt) -> Envelope:
        """Return the emergency stop, or its end, signed; it holds until a newer one comes."""
        return self._signed(halt, HALT_TYPE)

    def _signed(self, message: Message, payload_type: str) -> Envelope:
        payload = message.to_bytes().decode()
        found = [signer.sign(signed_bytes(payload, payload_type)) for signer in self._signers]
        return Envelope(
            payload=payload,
            signatures=tuple(Signature(keyid=one.keyid, sig=one.signature) for one in found),
        )
