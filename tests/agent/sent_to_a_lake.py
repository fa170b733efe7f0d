"""All that an agent's database still has to send goes into a real lake, which accounts for it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from foreshock_agent.items import LakeAcked
from foreshock_agent.uplink.outbox import Outbox
from foreshock_trainer.audit import audit
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.tables import GAPS
from foreshock_wire import topics
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, Bench

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_trainer.lake import Lake


def send(lake: Lake, database: Path, limit: int = 10) -> list[LakeAcked]:
    """Send what waits, as far as the outbox gives it; return the lake's answers."""
    messages = []
    with closing(Outbox(database)) as outbox:
        for stream in Stream:
            marks: dict[str, int] = {}
            while parcel := outbox.next_parcel(stream, marks, limit):
                messages.append(Message(topics.uplink(AT, stream), parcel.payload, 0))
                marks[parcel.epoch] = parcel.last_seq
    answers = Ingest(lake).take(messages) if messages else []
    assert all(ack.expected is None for _, ack in answers)
    return [LakeAcked(ack.epoch, Stream(ack.stream), ack.seq) for _, ack in answers]


def drain(lake: Lake, bench: Bench) -> None:
    """Send until nothing waits; the agent hears all answers."""
    while answers := send(lake, bench.settings.database):
        bench.step(*answers)
        bench.commit()


def assert_whole(lake: Lake) -> None:
    """Every seq stands in the lake once, as a row or in a tombstone."""
    for account in audit(lake):
        assert account.whole, account


def rows(lake: Lake, stream: Stream) -> int:
    """How many rows of a stream the lake has."""
    return int(lake.ask(str(stream), "SELECT count(*) AS n FROM t").to_pylist()[0]["n"])


def dropped(lake: Lake, stream: Stream) -> int:
    """How many records of a stream tombstones tell of."""
    found = lake.ask(GAPS, "SELECT * FROM t").to_pylist()
    return sum(
        row["last_seq"] - row["first_seq"] + 1 for row in found if row["stream"] == str(stream)
    )
