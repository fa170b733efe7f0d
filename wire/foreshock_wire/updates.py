"""Control messages between fleet and gateway: what shall run, how far it is, blocks of files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from foreshock_wire.messages import Count, Epoch, Finite, Id, Int64, Message, Seq, Sha256, Site
from foreshock_wire.signing import FILE_NAME_PATTERN


class ModelRef(Message):
    """A model file: content-addressed, with what a transfer needs to know."""

    sha256: Sha256
    size: int = Field(gt=0, le=1 << 30)
    block_bytes: int = Field(default=131_072, ge=1024, le=1 << 20)
    name: str
    version: str


class TrialTerms(Message):
    """How a gateway proves a model before it commits, in blocks of `block_s` of machine time.

    In the shadow blocks the champion decides and the candidate is scored beside it, in the trial
    blocks the other way round; each block ends in a `LiveHealth`.
    """

    block_s: Annotated[float, Field(ge=0.1, le=30 * 86_400, allow_inf_nan=False)] = 3600.0
    shadow_blocks: Annotated[int, Field(ge=0, le=10_000)] = 6
    trial_blocks: Annotated[int, Field(ge=0, le=10_000)] = 18

    @property
    def blocks(self) -> int:
        """How many blocks there are in all."""
        return self.shadow_blocks + self.trial_blocks


class Desired(Message):
    """What one gateway shall run; `counter` only ever grows.

    It travels inside an `Envelope`, signed, bound to one gateway of one site and to the time
    from `issued_ns` to `expires_ns`; without these, no gateway follows it. Without `trial` the
    model is committed once it has passed its self-test.
    """

    gateway: Id
    counter: Seq
    model: ModelRef
    site: Site | None = None
    issued_ns: Int64 | None = None
    expires_ns: Int64 | None = None
    trial: TrialTerms | None = None


class Halt(Message):
    """The emergency stop of a whole fleet, or its end; only a higher `number` changes anything.

    It travels inside an `Envelope`, signed like a directive, retained. While it stands, a gateway
    changes no model: neither forward nor back.
    """

    number: Seq
    halted: bool
    reason: str = ""
    issued_ns: Int64


class Signature(Message):
    """A signature in hex over `signing.signed_bytes`, and the TUF key id it is by."""

    keyid: Sha256
    sig: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){1,4096}$")]


class Envelope(Message):
    """A signed directive: `payload` is the exact JSON text of a `Desired`, parsed once verified."""

    payload: Annotated[str, Field(max_length=65_536)]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=16)]


class DeviceState(StrEnum):
    """How far a gateway is with a directive (docs/adr/0006)."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    SELF_TEST = "self_test"
    SHADOW = "shadow"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


class Report(Message):
    """What a gateway runs, how far it is with its directive, and its accounts.

    `problem` tells why it follows no directive at all: one that cannot be verified has no counter.
    `session` is minted at each start of the process: two that alternate are two gateways with one
    identity. `drift` has, by feature, the population stability index against the model's reference.
    """

    gateway: Id
    state: DeviceState | None = None
    counter: Count = 0
    reason: str = ""
    model: Sha256 | None = None
    version: str = ""
    accounts: dict[str, Int64] = Field(default_factory=dict)
    problem: str = ""
    session: Epoch | None = None
    drift: Annotated[dict[str, Finite], Field(max_length=64)] = Field(default_factory=dict)


class BlockRequest(Message):
    """A gateway asks for one block of a model file."""

    sha256: Sha256
    index: Count


class FileRequest(Message):
    """A gateway asks for one block (`FILE_BLOCK_BYTES`) of a metadata file of the repository.

    A shorter answer is the last block; an empty one to block 0 says that there is no such file.
    """

    name: Annotated[str, Field(pattern=FILE_NAME_PATTERN)]
    index: Count
