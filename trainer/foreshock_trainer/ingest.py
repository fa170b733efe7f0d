"""Messages in, committed rows and answers out: the one path by which anything enters the lake.

`IngestWorker` feeds it from MQTT, `folder` from recorded files. What a message says is decided in
`inbox`; here is only the order of things: decode, decide, commit, and answer after the commit.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from foreshock_trainer.inbox import Inbox, Refused, Repeat, Upload
from foreshock_trainer.lake import Lake, LakeError, StaleMarksError
from foreshock_trainer.rows import gap_rows, rows_of
from foreshock_trainer.tables import GAPS, QUARANTINE, columns_of
from foreshock_trainer.uploads import decode_upload
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Gap, UpAck
from foreshock_wire.topics import Gateway, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

log = logging.getLogger(__name__)

MAX_QUARANTINED_BYTES: Final = 64 << 10
"""Of a message that cannot be read, this much is kept; its whole size is kept as a number."""
MAX_ATTEMPTS: Final = 10
"""How often a commit is decided anew when other writers are faster, before it counts as failed."""

Answer = tuple[Gateway, UpAck]


@dataclass(frozen=True, slots=True)
class Message:
    """An upload as it came: its topic, its bytes, and when (UTC ns)."""

    topic: str
    payload: bytes
    received_ns: int


@dataclass(slots=True)
class Counters:
    """What one ingest process has done so far."""

    messages: int = 0
    readings: int = 0
    scores: int = 0
    alarms: int = 0
    events: int = 0
    gaps: int = 0
    commits: int = 0
    repeats: int = 0
    refused: int = 0
    quarantined: int = 0
    conflicts: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)


class Ingest:
    """Takes rounds of messages into a lake, each record once.

    `on_unreadable` hears of each message that went to quarantine, and why; default: the log.
    """

    def __init__(
        self, lake: Lake, *, on_unreadable: Callable[[Message, str], None] | None = None
    ) -> None:
        self._lake = lake
        self._on_unreadable = on_unreadable or _log_unreadable
        self.counters = Counters()

    def take(self, messages: Sequence[Message]) -> list[Answer]:
        """Commit what is new in `messages` and return what to tell the gateways.

        Raises:
            LakeError: a table could not be written. Nothing may be answered; what a gateway hears
                no answer to, it sends again, and what was committed is then known as a repeat.
        """
        uploads: dict[Stream, list[Upload]] = {stream: [] for stream in Stream}
        nonsense: list[tuple[Message, str]] = []
        for message in messages:
            try:
                upload = decode_upload(message.topic, message.payload)
            except ForeshockError as error:
                nonsense.append((message, str(error)))
            else:
                uploads[upload.stream].append(upload)
        self.counters.messages += len(messages)
        self._quarantine(nonsense)
        return [
            answer
            for stream, batch in uploads.items()
            if batch
            for answer in self._until_current(stream, batch)
        ]

    def _until_current(self, stream: Stream, uploads: Sequence[Upload]) -> list[Answer]:
        for _ in range(MAX_ATTEMPTS):
            try:
                return self._commit(stream, uploads)
            except StaleMarksError as error:
                self.counters.conflicts += 1
                log.warning("deciding again: %s", error)
        raise LakeError(
            f"table {stream!s}: other writers were faster {MAX_ATTEMPTS} times; "
            "is a second worker running on the same shards?"
        )

    def _commit(self, stream: Stream, uploads: Sequence[Upload]) -> list[Answer]:
        inbox = Inbox(self._lake.mark_of)
        decisions = [inbox.offer(upload) for upload in uploads]
        new = inbox.accepted
        if new:
            self._append_gaps(new)
            rows = rows_of(stream, new)
            moved = {upload.key.app_id: inbox.marks[upload.key] for upload in new}
            self._append(stream, rows, moved)
        self.counters.repeats += sum(isinstance(said, Repeat) for said in decisions)
        self.counters.refused += sum(isinstance(said, Refused) for said in decisions)
        return inbox.answers()

    def _append_gaps(self, uploads: Iterable[Upload]) -> None:
        """Write tombstones before the mark moves past them, under marks of their own.

        Killed between the two commits, the stream's mark is behind; the tombstone comes again and
        its own mark says that it is there.
        """
        new = []
        marks: dict[str, int] = {}
        for upload in uploads:
            if not isinstance(upload.body, Gap):
                continue
            app = upload.key.app_id
            mark = marks.get(app, self._lake.transaction(GAPS, app))
            if upload.last_seq > mark:
                new.append(upload.after(mark))
                marks[app] = upload.last_seq
        if new:
            self._append(GAPS, gap_rows(new), marks)

    def _quarantine(self, nonsense: Sequence[tuple[Message, str]]) -> None:
        """Keep each unreadable message once, however often its sender repeats it."""
        self.counters.quarantined += len(nonsense)
        for message, reason in nonsense:
            self._on_unreadable(message, reason)
        for _ in range(MAX_ATTEMPTS):
            rows = {_fingerprint(message): (message, reason) for message, reason in nonsense}
            fresh = {app: row for app, row in rows.items() if not self._known(app)}
            if not fresh:
                return
            try:
                self._append(QUARANTINE, _quarantine_rows(fresh.values()), dict.fromkeys(fresh, 1))
            except StaleMarksError:
                self.counters.conflicts += 1
            else:
                return

    def _known(self, app: str) -> bool:
        return self._lake.transaction(QUARANTINE, app) > 0

    def _append(self, table: str, rows: pa.Table, transactions: dict[str, int]) -> None:
        self._lake.append(table, rows, transactions)
        self.counters.commits += 1
        if table != QUARANTINE:
            setattr(self.counters, table, getattr(self.counters, table) + len(rows))


def _log_unreadable(message: Message, reason: str) -> None:
    log.warning("quarantined a message on %r: %s", message.topic, reason)


def _fingerprint(message: Message) -> str:
    digest = hashlib.sha256(message.topic.encode() + b"\0" + message.payload)
    return digest.hexdigest()


def _quarantine_rows(nonsense: Iterable[tuple[Message, str]]) -> pa.Table:
    rows = [
        {
            "topic": message.topic,
            "received_ns": message.received_ns,
            "reason": reason,
            "payload_bytes": len(message.payload),
            "payload": message.payload[:MAX_QUARANTINED_BYTES],
        }
        for message, reason in nonsense
    ]
    return pa.Table.from_pylist(rows, schema=columns_of(QUARANTINE))
