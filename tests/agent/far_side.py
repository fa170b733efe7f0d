"""A lake without a network: it takes parcels by the trainer's rule and keeps what they held."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from foreshock_agent.damage.errors import UnreadableError
from foreshock_agent.damage.mender import condemn
from foreshock_agent.items import LakeAcked, StoreTask
from foreshock_agent.uplink.outbox import Outbox
from foreshock_trainer.inbox import Inbox, StreamKey
from foreshock_trainer.uploads import decode_upload
from foreshock_wire import topics
from foreshock_wire.messages import Gap, RecordBatch
from foreshock_wire.topics import Stream
from tests.agent.rig import AT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_agent.uplink.outbox import Parcel
    from foreshock_wire.batch import Readings, Scores
    from tests.agent.rig import Bench

GIVEN_UP = 1_000
Key = tuple[str, Stream, int]
"""(epoch, stream, seq)"""


@dataclass
class FarSide:
    """What arrived, by key: a record's content, or the reason why it was dropped."""

    marks: dict[StreamKey, int] = field(default_factory=dict)
    records: dict[Key, object] = field(default_factory=dict)
    gaps: dict[Key, str] = field(default_factory=dict)
    unreadable: int = 0

    def take(self, parcel: Parcel) -> int:
        """Take a parcel; return the mark of its stream."""
        upload = decode_upload(topics.uplink(AT, parcel.stream), parcel.payload)
        inbox = Inbox(lambda key: self.marks.get(key, 0))
        inbox.offer(upload)
        for one in inbox.accepted:
            epoch, stream = one.key.epoch, Stream(one.key.stream)
            for seq, content in _contents(one.body):
                key = (epoch, stream, seq)
                assert key not in self.records
                assert key not in self.gaps
                if isinstance(one.body, Gap):
                    self.gaps[key] = one.body.reason
                else:
                    self.records[key] = content
        self.marks |= inbox.marks
        return self.marks[upload.key]

    def drain(self, bench: Bench, limit: int = 25) -> None:
        """Take everything that a bench's store can send, as its uplink would send it."""
        for stream in Stream:
            known: dict[str, int] = {}
            while (parcel := self._next(bench, stream, known, limit)) is not None:
                known[parcel.epoch] = self.take(parcel)
                bench.step(LakeAcked(parcel.epoch, stream, known[parcel.epoch]))
            bench.commit()

    def _next(
        self, bench: Bench, stream: Stream, known: dict[str, int], limit: int
    ) -> Parcel | None:
        with closing(Outbox(bench.settings.database)) as outbox:
            while True:
                try:
                    return outbox.next_parcel(stream, known, limit)
                except UnreadableError as error:
                    found = error
                self.unreadable += 1
                assert self.unreadable < GIVEN_UP, f"given up in vain: {found}"
                bench.step(StoreTask(partial(condemn, found)))
                bench.commit()


def _contents(body: Readings | Scores | RecordBatch | Gap) -> Iterator[tuple[int, object]]:
    if isinstance(body, Gap):
        yield from ((seq, None) for seq in range(body.first_seq, body.last_seq + 1))
    elif isinstance(body, RecordBatch):
        yield from ((record.seq, record.body) for record in body.records)
    else:
        for row in range(len(body)):
            tables = body.tables
            names = {
                column: getattr(body, table)[int(getattr(body, column)[row])]
                for column, table in tables.items()
            }
            values = {
                column: repr(getattr(body, column)[row])
                for column in body.columns
                if column not in tables
            }
            yield body.first_seq + row, names | values
