"""The rule of exactly once: what a receiver does with an upload, decided from its mark alone.

A stream of a gateway's epoch is a strict sequence 1, 2, 3 ...; the mark is the last seq that the
lake holds. An upload is trimmed at the mark, acknowledged again when nothing is left of it, and
refused when it begins above mark + 1, so that no hole is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foreshock_wire.messages import Gap, RecordBatch, UpAck

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_wire.topics import Gateway, Stream
    from foreshock_wire.uploads import Body


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One stream of one epoch of a gateway: what has a mark."""

    gateway: str
    epoch: str
    stream: Stream

    @property
    def app_id(self) -> str:
        """The Delta application id whose transaction version is the mark."""
        return f"{self.gateway}/{self.epoch}/{self.stream}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A decoded upload: who sent it, on which stream, and the records seq by seq."""

    at: Gateway
    stream: Stream
    body: Body

    @property
    def key(self) -> StreamKey:
        """The stream whose mark it moves."""
        return StreamKey(self.at.gateway, self.body.epoch, self.stream)

    @property
    def first_seq(self) -> int:
        """The seq of its first record."""
        return (
            self.body.records[0].seq if isinstance(self.body, RecordBatch) else self.body.first_seq
        )

    @property
    def last_seq(self) -> int:
        """The seq of its last record."""
        return (
            self.body.records[-1].seq if isinstance(self.body, RecordBatch) else self.body.last_seq
        )

    def after(self, seq: int) -> Upload:
        """Return the part above `seq`, which must not be empty."""
        if seq < self.first_seq:
            return self
        return replace(self, body=_trim(self.body, seq))


def _trim(body: Body, seq: int) -> Body:
    if isinstance(body, Gap):
        return body.model_copy(update={"first_seq": seq + 1})
    if isinstance(body, RecordBatch):
        kept = tuple(record for record in body.records if record.seq > seq)
        return body.model_copy(update={"records": kept})
    return body.after(seq)


@dataclass(frozen=True, slots=True)
class Accepted:
    """To be stored: the part of the upload that is new; the mark becomes its last seq."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class Repeat:
    """Nothing new: acknowledge `seq` again, once it is stored."""

    seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It begins above the mark: ask for `expected` first."""

    expected: int


Decision = Accepted | Repeat | Refused


def accept(mark: int, upload: Upload) -> Decision:
    """Decide about one upload; `mark` is the last seq of its stream that is held (0: none)."""
    if upload.first_seq > mark + 1:
        return Refused(mark + 1)
    if upload.last_seq <= mark:
        return Repeat(mark)
    return Accepted(upload.after(mark))


class Inbox:
    """The uploads of one commit: each is decided against the lake's marks and its predecessors."""

    def __init__(self, mark: Callable[[StreamKey], int]) -> None:
        self._mark = mark
        self._addresses: dict[StreamKey, Gateway] = {}
        self._refused: dict[StreamKey, int] = {}
        self.marks: dict[StreamKey, int] = {}
        """The mark of each stream heard of, as it will be after the commit."""
        self.accepted: list[Upload] = []
        """What is to be stored, in order of arrival and already trimmed."""

    def offer(self, upload: Upload) -> Decision:
        """Decide about `upload` and remember it when it is accepted."""
        key = upload.key
        if key not in self.marks:
            self.marks[key] = self._mark(key)
            self._addresses[key] = upload.at
        decision = accept(self.marks[key], upload)
        if isinstance(decision, Accepted):
            self.accepted.append(decision.upload)
            self.marks[key] = upload.last_seq
        elif isinstance(decision, Refused):
            self._refused[key] = max(upload.last_seq, self._refused.get(key, 0))
        return decision

    def answers(self) -> list[tuple[Gateway, UpAck]]:
        """Return what to tell each gateway once the commit is done.

        One answer for a stream: it acknowledges the mark, and asks for the next seq when an upload
        was refused whose records did not come another way in the same round.
        """
        return [
            (
                self._addresses[key],
                UpAck(
                    epoch=key.epoch,
                    stream=key.stream,
                    seq=mark,
                    expected=mark + 1 if self._refused.get(key, 0) > mark else None,
                ),
            )
            for key, mark in self.marks.items()
        ]
