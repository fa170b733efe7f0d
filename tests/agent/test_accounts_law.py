"""received = stored + duplicate + rejected, and stored = delivered + pending, whatever comes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent import pipeline
from foreshock_agent.intake.dead_letters import KEPT
from foreshock_agent.items import LakeAcked, SessionBegan
from foreshock_agent.mqtt.link import Delivery
from foreshock_agent.store.accounts import broken_laws, total
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, BEGIN_NS, MINUTE_NS, Bench, Ledger, sample

if TYPE_CHECKING:
    import pytest

STAMP = BEGIN_NS


@dataclass(frozen=True)
class Commit:
    """The commit interval passes."""


@dataclass(frozen=True)
class Kill:
    """The process dies and starts again."""


values = st.sampled_from([50.0, 61.5, float("nan"), float("inf"), 1e39, -1.0])
names = st.sampled_from(["temperature", "pressure", "humidity", "Not An Id"])
stamps = st.integers(0, 12).map(lambda slot: STAMP + slot * MINUTE_NS) | st.sampled_from(
    [-1, 2**62, 2**62 - 1, "noon", None]
)
objects = st.builds(
    lambda t, channels: json.dumps({"t": t, **channels}).encode(),
    stamps,
    st.dictionaries(names, values, max_size=3),
)
payloads = objects | st.sampled_from([b"", b"{", b"[]", b"7", b"nan", b"x" * 300_000])
deliveries = st.builds(
    Delivery,
    topic=st.sampled_from(
        [
            "plant/pump-1/sample",
            "plant/pump-2/sample",
            "plant/Pump/sample",
            "plain/pump-1/pressure",
            "nowhere",
            f"{AT.root}/machines/pump-1/alarm/command",
        ]
    ),
    payload=payloads,
    packet_id=st.integers(1, 4),
    qos=st.sampled_from([0, 1, 1, 1]),
    dup=st.booleans(),
    connection=st.integers(1, 2),
)
happenings = st.lists(
    deliveries
    | st.builds(SessionBegan, st.booleans())
    | st.integers(0, 30).map(lambda seq: LakeAcked("current", Stream.READINGS, seq))
    | st.just(Commit())
    | st.just(Kill()),
    max_size=40,
)


@given(happenings)
def test_the_accounts_add_up_after_every_commit_and_every_kill(story: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for happening in story:
            match happening:
                case Kill():
                    bench.close()
                    bench = Bench(Path(folder))
                case Commit():
                    bench.commit()
                case LakeAcked(_, stream, seq):
                    bench.step(LakeAcked(bench.store.epoch, stream, seq))
                case Delivery() | SessionBegan():
                    bench.step(happening)
                case _:
                    raise AssertionError(happening)
            ledger = Ledger.read(bench.settings.database)
            assert ledger.broken == []
            assert total(ledger.accounts, "readings.stored") == len(ledger.readings)
        bench.commit()
        ledger = Ledger.read(bench.settings.database)
        assert ledger.broken == []
        assert ledger.accounts == bench.store.accounts.snapshot()
        assert len(set(ledger.readings)) == len(ledger.readings)
        bench.close()


@given(st.permutations([sample(slot, temperature=1.0, pressure=2.0) for slot in range(6)] * 2))
def test_each_reading_is_stored_once_in_whatever_order_copies_come(copies: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.take(*copies)
        accounts = bench.store.accounts.snapshot()
        assert accounts["readings.received"] == 24
        assert accounts["readings.stored"] == accounts["readings.duplicate"] == 12
        assert accounts["messages.stored"] == accounts["messages.duplicate"] == 6
        bench.close()


def test_a_law_that_is_broken_is_told_with_its_figures() -> None:
    accounts = {"readings.received": 5, "readings.stored": 3, "readings.rejected.bad_time": 1}
    assert broken_laws(accounts, 3) == [
        "readings: received 5 != stored 3 + duplicate 0 + rejected 1"
    ]
    accounts["readings.duplicate"] = 1
    assert broken_laws(accounts, 3) == []
    assert "delivered 0 + pending 2" in broken_laws(accounts, 2)[0]


def test_quarantine_keeps_the_newest_and_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    count = KEPT + 50
    bench.step(
        *(
            Delivery("plant/pump-1/sample", b"{" * 9000 + b"%d" % n, n + 1, 1, False, 1)  # noqa: FBT003
            for n in range(count)
        )
    )
    bench.commit()
    ledger = Ledger.read(bench.settings.database)
    assert ledger.quarantined == KEPT
    assert ledger.accounts["messages.rejected.malformed"] == count
    assert ledger.broken == []
    assert bench.settings.database.stat().st_size < KEPT * 9000
    bench.close()


def test_a_message_without_a_stamp_is_known_again_when_the_broker_repeats_it(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    first = Delivery("plain/pump-1/pressure", b"7", 1, 1, dup=False, connection=1)
    bench.step(first)
    bench.commit()
    assert bench.acked == [first]
    bench.close()

    bench = Bench(tmp_path)
    bench.clock.utc_ns += 5
    bench.step(SessionBegan(session_present=True))
    bench.step(Delivery("plain/pump-1/pressure", b"7", 1, 1, dup=True, connection=1))
    bench.clock.utc_ns += 5
    bench.step(Delivery("plain/pump-1/pressure", b"7", 2, 1, dup=False, connection=1))
    bench.commit()
    accounts = bench.store.accounts.snapshot()
    assert accounts["messages.duplicate"] == 1
    assert accounts["readings.stored"] == 2
    bench.close()


def test_in_a_new_session_a_packet_id_says_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.step(Delivery("plain/pump-1/pressure", b"7", 1, 1, dup=False, connection=1))
    bench.commit()
    bench.clock.utc_ns += 5
    bench.step(SessionBegan(session_present=False))
    bench.step(Delivery("plain/pump-1/pressure", b"7", 1, 1, dup=True, connection=2))
    bench.commit()
    assert bench.store.accounts.snapshot()["readings.stored"] == 2
    bench.close()


def test_nothing_is_acknowledged_before_its_commit(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(sample(0, temperature=1), machine="pump-2")
    bench.acked.clear()
    message = Delivery("plant/pump-1/sample", sample(0, temperature=1), 1, 1, False, 1)  # noqa: FBT003
    bench.step(message)
    assert bench.acked == []
    assert len(Ledger.read(bench.settings.database).readings) == 1
    bench.commit()
    assert bench.acked == [message]
    assert len(Ledger.read(bench.settings.database).readings) == 2
    bench.close()


def test_many_readings_are_committed_before_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_READINGS", 6)
    bench = Bench(tmp_path)
    for slot in range(4):
        bench.step(bench.delivery(sample(slot, temperature=1, pressure=2), "pump-1"))
    assert len(bench.acked) == 3
    assert len(Ledger.read(bench.settings.database).readings) == 6
    bench.close()
