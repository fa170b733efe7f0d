"""What signer and verifier must agree on beyond TUF itself: names, sizes, and the signed bytes."""

from __future__ import annotations

from typing import Final

PAYLOAD_TYPE: Final = "application/vnd.foreshock.desired+json"
HALT_TYPE: Final = "application/vnd.foreshock.halt+json"
DIRECTIVE_ROLE: Final = "directive"
"""The delegated targets role whose keys sign directives (TUF specification, section 4.5)."""

FILE_BLOCK_BYTES: Final = 65_536
"""Metadata files of the repository travel in blocks of this size."""

FILE_NAME_PATTERN: Final = r"^([1-9][0-9]{0,8}\.)?[a-z]{1,32}\.json$"
"""A metadata file: `timestamp.json`, `12.snapshot.json` (TUF specification, section 3.2)."""


def signed_bytes(payload: str, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return what is signed for a payload: DSSE's pre-authentication encoding.

    The type stands in the signed bytes, so that no signature over TUF metadata (which may be by
    the same key) can be passed off as one over a directive, and none over a directive as one over
    an emergency stop. Source: DSSE 1.0.2, protocol.md.
    """
    kind, body = payload_type.encode(), payload.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def target_path(sha256: str) -> str:
    """Return the TUF target path of a model file: it is addressed by its hash alone."""
    return f"{sha256}.onnx"


def directive_path(site: str, gateway: str) -> str:
    """Return where a gateway's directive stands in a repository that is carried on a stick."""
    return f"directives/{site}/{gateway}.json"
