from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_trainer.inbox import Accepted, Inbox, Refused, Repeat, Upload, accept
from foreshock_wire.batch import Readings
from foreshock_wire.messages import Gap, RecordBatch, UpAck, UpRecord
from foreshock_wire.topics import Gateway, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

AT = Gateway("works", "gw-1")
LAST = 40


def records(first: int, last: int, epoch: str = "e1") -> Upload:
    some = tuple(UpRecord(seq=seq, body={"n": seq}) for seq in range(first, last + 1))
    return Upload(AT, Stream.EVENTS, RecordBatch(epoch=epoch, records=some))


def gap(first: int, last: int) -> Upload:
    body = Gap(epoch="e1", first_seq=first, last_seq=last, reason="retention")
    return Upload(AT, Stream.EVENTS, body)


def seqs(upload: Upload) -> list[int]:
    return list(range(upload.first_seq, upload.last_seq + 1))


def test_the_next_upload_is_accepted_whole() -> None:
    upload = records(6, 9)
    assert accept(5, upload) == Accepted(upload)


def test_an_upload_that_overlaps_the_mark_is_trimmed() -> None:
    assert accept(7, records(6, 9)) == Accepted(records(8, 9))
    assert accept(7, gap(6, 9)) == Accepted(gap(8, 9))


def test_telemetry_is_trimmed_by_record(make_readings: Callable[..., Readings]) -> None:
    upload = Upload(AT, Stream.READINGS, make_readings("e1", 6, 4))
    decision = accept(7, upload)
    assert isinstance(decision, Accepted)
    assert isinstance(decision.upload.body, Readings)
    assert list(decision.upload.body.value) == [8.0, 9.0]
    assert (decision.upload.first_seq, decision.upload.last_seq) == (8, 9)


@pytest.mark.parametrize("mark", [9, 10, 1000])
def test_an_upload_at_or_below_the_mark_is_a_repeat(mark: int) -> None:
    assert accept(mark, records(6, 9)) == Repeat(mark)


@pytest.mark.parametrize("mark", [0, 1, 4])
def test_an_upload_that_would_leave_a_hole_is_refused(mark: int) -> None:
    assert accept(mark, records(6, 9)) == Refused(mark + 1)


def test_two_uploads_of_a_stream_share_a_round() -> None:
    inbox = Inbox(lambda _: 0)
    inbox.offer(records(1, 3))
    inbox.offer(records(2, 5))
    assert [seqs(upload) for upload in inbox.accepted] == [[1, 2, 3], [4, 5]]
    assert inbox.answers() == [(AT, UpAck(epoch="e1", stream="events", seq=5))]


def test_epochs_have_marks_of_their_own() -> None:
    inbox = Inbox(lambda key: 7 if key.epoch == "e1" else 0)
    assert inbox.offer(records(1, 7)) == Repeat(7)
    assert isinstance(inbox.offer(records(1, 7, epoch="e2")), Accepted)


def test_a_refusal_is_answered_with_what_is_expected() -> None:
    inbox = Inbox(lambda _: 5)
    inbox.offer(records(9, 12))
    assert inbox.answers() == [(AT, UpAck(epoch="e1", stream="events", seq=5, expected=6))]


def test_what_was_refused_before_its_predecessor_is_asked_for_again() -> None:
    inbox = Inbox(lambda _: 5)
    inbox.offer(records(9, 12))
    inbox.offer(records(6, 8))
    assert inbox.answers() == [(AT, UpAck(epoch="e1", stream="events", seq=8, expected=9))]


def test_a_refusal_that_came_another_way_is_settled() -> None:
    inbox = Inbox(lambda _: 5)
    inbox.offer(records(9, 12))
    inbox.offer(records(6, 12))
    assert inbox.answers() == [(AT, UpAck(epoch="e1", stream="events", seq=12))]


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int]:
    first = draw(st.integers(1, LAST))
    return first, draw(st.integers(first, min(LAST, first + 9)))


ROUNDS = st.lists(st.tuples(st.lists(spans(), max_size=8), st.booleans()), max_size=20)


@given(ROUNDS)
def test_any_interleaving_of_resends_stores_the_sequence_exactly_once(
    rounds: list[tuple[list[tuple[int, int]], bool]],
) -> None:
    """Rounds of any uploads, some lost before their commit; then the sender resends in order."""
    stored: list[int] = []
    in_order = [([(first, first + 4)], True) for first in range(1, LAST, 5)]
    for uploads, commits in [*rounds, *in_order]:
        mark = len(stored)
        inbox = Inbox(lambda _, mark=mark: mark)  # type: ignore[misc]
        for first, last in uploads:
            inbox.offer(records(first, last))
        if commits:
            stored += [seq for upload in inbox.accepted for seq in seqs(upload)]
            assert all(ack.seq == len(stored) for _, ack in inbox.answers())
        assert stored == list(range(1, len(stored) + 1))
    assert stored == list(range(1, LAST + 1))
