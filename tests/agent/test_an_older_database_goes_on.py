"""The database of an older agent: what waited to go up goes up with its keys, windows go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from foreshock_agent.store.database import connect
from foreshock_agent.store.schema import MIGRATIONS
from foreshock_agent.uplink.outbox import Outbox
from foreshock_wire.batch import Readings, decode
from foreshock_wire.model import Model
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, Ledger, healthy, write_settings

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    ("pump-1", channel, BEGIN_NS + slot * MINUTE_NS, float(slot))
    for slot in range(20)
    for channel in ("temperature", "pressure")
]
ACKED = 10


def write_version_1(folder: Path) -> None:
    """Write what version 1 wrote: a row a reading; the delivered ones trimmed, save a few."""
    write_settings(folder)
    (folder / "data").mkdir()
    with closing(connect(folder / "data" / "agent.db")) as db:
        MIGRATIONS[0](Database(db))
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO epochs VALUES (1, 'abc', 5)")
        for seq, row in enumerate(ROWS, start=1):
            if seq > ACKED or seq % 4 == 0:
                reading = (1, seq, *row, 7, 0)
                db.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", reading)
        for stream in Stream:
            db.execute("INSERT INTO cursors VALUES (1, ?, 1, 0)", (stream,))
        cursor = (len(ROWS) + 1, ACKED)
        db.execute("UPDATE cursors SET next_seq=?, acked_seq=? WHERE stream='readings'", cursor)
        db.execute("INSERT INTO machines VALUES ('pump-1', ?, 0)", (ROWS[-1][2],))
        counts = {"received": 40, "stored": 40, "delivered": ACKED}
        for name, count in counts.items():
            db.execute("INSERT INTO accounts VALUES (?, ?)", (f"readings.{name}", count))


def test_what_waited_goes_up_with_its_keys(tmp_path: Path) -> None:
    write_version_1(tmp_path)
    bench = Bench(tmp_path)
    ledger = Ledger.read(bench.settings.database)
    assert ledger.broken == []
    assert ledger.pending[Stream.READINGS] == 30
    with closing(Outbox(bench.settings.database)) as outbox:
        parcel = outbox.next_parcel(Stream.READINGS, {}, 100)
    assert parcel is not None
    assert (parcel.epoch, parcel.first_seq, parcel.last_seq) == ("abc", ACKED + 1, len(ROWS))
    batch = decode(parcel.payload, Readings)
    assert batch.time_ns.tolist() == [time_ns for _, _, time_ns, _ in ROWS[ACKED:]]
    assert batch.value.tolist() == [value for *_, value in ROWS[ACKED:]]
    bench.close()
    with closing(sqlite3.connect(bench.settings.database)) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'readings'").fetchall()


def test_copies_are_known_and_windows_go_on(tmp_path: Path, model_bytes: bytes) -> None:
    write_version_1(tmp_path)
    bench = Bench(tmp_path, Model.load(model_bytes))
    bench.take(healthy(1, 19), healthy(1, 20))
    assert bench.store.accounts["readings.duplicate"] == 2
    scores = Ledger.read(bench.settings.database).scores
    assert [(end - BEGIN_NS) // MINUTE_NS for _, end, *_ in scores] == [20]
    bench.close()
