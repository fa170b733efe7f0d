"""How much goes up on a day, and how fast a backlog does: the rules, and the uplink under them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.settings import SettingsError, UplinkSettings, load
from foreshock_agent.uplink.budget import (
    RESERVE,
    STEPS_A_DAY,
    DayBudget,
    Moment,
    Spent,
    allowance,
    local_moment,
    read_spent,
)
from foreshock_agent.uplink.outbox import Outbox
from foreshock_agent.uplink.pace import Pace, longest_wait_s
from foreshock_agent.uplink.uplink import Uplink
from foreshock_wire import topics
from foreshock_wire.messages import UpAck
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, Bench, healthy, sample, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PER_DAY = 1_000_000
TODAY = 740_000
IN_1970 = 719_163
SENDS = st.lists(
    st.tuples(
        st.sampled_from(list(Stream)),
        st.integers(1, PER_DAY // 4),
        st.floats(0, 0.3, allow_nan=False),
        st.booleans(),
    ),
    max_size=120,
)


@given(SENDS)
def test_no_day_takes_more_than_its_bytes_whatever_is_killed_when(
    tmp_path_factory: pytest.TempPathFactory,
    sends: list[tuple[Stream, int, float, bool]],
) -> None:
    path = tmp_path_factory.mktemp("day") / "day.json"
    at = [Moment(TODAY, 1.0)]
    sent: dict[int, int] = {}

    def begin() -> DayBudget:
        return DayBudget(PER_DAY, path, lambda: 0, lambda _: at[0])

    budget = begin()
    for stream, size, later, killed in sends:
        budget = begin() if killed else budget
        left = at[0].remaining - later
        at[0] = at[0]._replace(remaining=left) if left > 0 else Moment(at[0].day + 1, 1.0)
        if budget.allows(stream, size):
            budget.charge(size)
            sent[at[0].day] = sent.get(at[0].day, 0) + size
    assert all(count <= PER_DAY for count in sent.values())


@given(st.integers(0, 2 * PER_DAY), st.floats(0, 1), st.integers(0, 3))
def test_the_more_urgent_may_always_send_what_the_less_urgent_may(
    count: int, remaining: float, days: int
) -> None:
    spent, at = Spent(TODAY, count), Moment(TODAY + days, remaining)
    left = [allowance(stream, PER_DAY, spent, at) for stream in Stream]
    assert left == sorted(left, reverse=True)
    assert left[0] == (max(0, PER_DAY - count) if days == 0 else PER_DAY)


@given(st.floats(0, 1))
def test_readings_leave_a_reserve_that_melts_as_the_day_goes_by(remaining: float) -> None:
    at = Moment(TODAY, remaining)
    most = allowance(Stream.READINGS, PER_DAY, Spent(), at)
    assert most == pytest.approx(PER_DAY * (1 - RESERVE[Stream.READINGS] * remaining), abs=1)
    after = Spent(at.day, most)
    assert allowance(Stream.READINGS, PER_DAY, after, at) == 0
    assert allowance(Stream.ALARMS, PER_DAY, after, at) == PER_DAY - most


def test_a_kill_costs_a_hundredth_of_the_day_at_most(tmp_path: Path) -> None:
    path = tmp_path / "day.json"
    day = Moment(TODAY, 1.0)
    budget = DayBudget(PER_DAY, path, lambda: 0, lambda _: day)
    for _ in range(50):
        budget.charge(997)
        said = read_spent(path).count
        assert budget.gauges()["uplink_bytes_today"] <= said
        assert said <= budget.gauges()["uplink_bytes_today"] + PER_DAY // STEPS_A_DAY


def test_a_clock_that_was_wrong_neither_doubles_a_day_nor_closes_it_for_good() -> None:
    spent = Spent(TODAY, PER_DAY)
    assert spent.on(TODAY - 1).count == PER_DAY  # set back across midnight
    assert spent.on(TODAY + 1).count == 0
    assert Spent(999_999, PER_DAY).on(TODAY).count == 0  # it had been far ahead


def test_a_gateway_that_starts_without_its_time_has_one_budget_a_day(tmp_path: Path) -> None:
    day = [Moment(TODAY, 0.5)]

    def begin() -> DayBudget:
        return DayBudget(PER_DAY, tmp_path / "day.json", lambda: 0, lambda _: day[0])

    def left(budget: DayBudget) -> int:
        return PER_DAY - int(budget.gauges()["uplink_bytes_today"])

    step = PER_DAY // STEPS_A_DAY
    begin().charge(PER_DAY // 2)
    day[0] = Moment(IN_1970, 1.0)
    begin().charge(PER_DAY // 4)
    budget = begin()
    assert PER_DAY // 4 - 3 * step <= left(budget) <= PER_DAY // 4
    day[0] = Moment(TODAY, 0.4)
    assert left(budget) <= PER_DAY // 4, "it was today, and is still"
    day[0] = Moment(TODAY + 1, 0.4)
    assert PER_DAY - PER_DAY // 4 - 3 * step <= left(budget) <= PER_DAY - PER_DAY // 4
    assert left(begin()) <= PER_DAY - PER_DAY // 4, "what went up without a time may be of today"


def test_a_gateway_that_never_gets_its_time_has_a_budget_every_day() -> None:
    spent = Spent(IN_1970, PER_DAY, TODAY, PER_DAY // 2)
    assert spent.on(IN_1970).count == PER_DAY
    assert spent.on(IN_1970 + 1).count == 0
    assert Spent(IN_1970 + 5, PER_DAY).on(IN_1970).count == PER_DAY, "started once more"


def test_a_damaged_file_counts_the_day_anew(tmp_path: Path) -> None:
    path = tmp_path / "day.json"
    for text in ("", "{", "[]", '{"day": "x", "count": 1}'):
        path.write_text(text)
        assert read_spent(path) == Spent()


def test_the_day_is_the_civil_one_of_this_machine() -> None:
    now = local_moment(1_780_000_000_000_000_000)
    assert 0 < now.remaining <= 1
    assert local_moment(1_780_000_000_000_000_000 + 86_400 * 10**9).day == now.day + 1


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5_000)), min_size=1, max_size=80))
def test_a_pace_is_never_exceeded_by_more_than_a_burst_and_one_upload(
    steps: list[tuple[float, int]],
) -> None:
    pace, now_s, sent = Pace(1_000), 0.0, 0
    for pause_s, size in steps:
        now_s += pause_s
        if pace.free_at(now_s):
            pace.charge(size, now_s)
            sent += size
    assert sent <= 1_000 * (now_s + 1) + 5_000


def test_a_pace_lets_everything_through_in_time() -> None:
    pace, now_s = Pace(1_000), 0.0
    for _ in range(20):
        while not pace.free_at(now_s):
            now_s += 0.1
        pace.charge(2_000, now_s)
    assert now_s == pytest.approx(20 * 2 - 3, abs=1.5)


def test_a_short_outage_costs_no_wait_and_a_long_one_a_minute_at_most() -> None:
    assert longest_wait_s(0) == 0
    assert longest_wait_s(4) == 2
    assert longest_wait_s(86_400) == 60


@dataclass
class Lake:
    """Sends everything that may go, answers at once, and notes what went up."""

    bench: Bench
    budget: DayBudget
    settings: UplinkSettings
    sent: list[tuple[Stream, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.bench.settings.database)
        self.uplink = Uplink(
            AT,
            self.settings,
            outbox=lambda: self.outbox,
            publish=self._publish,
            post=self.bench.step,
            clock=self.bench.clock,
            budget=self.budget,
        )

    def _publish(self, topic: str, payload: bytes) -> bool:
        self.sent.append((topics.parse_uplink(topic)[1], len(payload)))
        return True

    def fill(self, slots: int) -> None:
        """Store healthy readings, many in a commit."""
        for first in range(0, slots, 50):
            slots_now = range(first, first + 50)
            deliveries = [self.bench.delivery(healthy(1, slot), "pump-1") for slot in slots_now]
            self.bench.step(*deliveries)
        self.bench.commit()

    def alarm(self, begin: int) -> None:
        """Raise one."""
        self.bench.take(*[sample(begin + slot, temperature=95.0) for slot in range(10)])

    def serve(self) -> int:
        """Serve each stream once; return how many bytes went up."""
        before = len(self.sent)
        for stream in Stream:
            self.uplink._serve(stream, self.outbox)  # noqa: SLF001 - one turn of its thread
            under_way = self.uplink._under_way.get(stream)  # noqa: SLF001
            if under_way is not None and under_way.tries:
                parcel = under_way.parcel
                ack = UpAck(epoch=parcel.epoch, stream=stream, seq=parcel.last_seq)
                self.uplink.on_ack(ack.to_bytes())
        self.bench.commit()
        return sum(size for _, size in self.sent[before:])


@pytest.fixture
def make_lake(tmp_path: Path) -> Iterator[Callable[..., Lake]]:
    made: list[Lake] = []

    def make(moment: Callable[[int], Moment] = local_moment, **settings: float) -> Lake:
        bench = Bench(tmp_path / str(len(made)), extra="[limits.temperature]\nhigh = 90")
        uplink = UplinkSettings.model_validate({"batch_records": 50, **settings})
        path = bench.settings.uplink_spent
        budget = DayBudget(uplink.bytes_per_day, path, bench.clock.now_ns, moment)
        made.append(Lake(bench, budget, uplink))
        return made[-1]

    yield make
    for one in made:
        one.outbox.close()
        one.bench.close()


def test_on_a_small_plan_an_alarm_goes_up_today_and_the_readings_as_far_as_it_goes(
    make_lake: Callable[..., Lake],
) -> None:
    day = [Moment(TODAY, 1.0)]
    lake = make_lake(lambda _: day[0], bytes_per_day=20_000)
    lake.fill(2_000)
    while lake.serve():
        pass
    assert {stream for stream, _ in lake.sent} == {Stream.SCORES, Stream.READINGS}
    before = len(lake.sent)
    lake.alarm(2_001)
    assert lake.serve()
    assert [stream for stream, _ in lake.sent[before:]] == [Stream.ALARMS, Stream.SCORES]
    while lake.serve():
        pass
    assert Stream.READINGS not in {stream for stream, _ in lake.sent[before:]}
    assert sum(size for _, size in lake.sent) <= 20_000

    sent_before = len(lake.sent)
    day[0] = Moment(TODAY + 1, 1.0)
    while lake.serve():
        pass
    assert 14_000 - 2_000 < sum(size for _, size in lake.sent[sent_before:]) <= 20_000
    assert lake.bench.store.accounts["readings.delivered"] > 0


def test_more_alarms_than_a_day_holds_go_up_day_by_day(make_lake: Callable[..., Lake]) -> None:
    """As after weeks without a centre, on a plan that is not made for it."""
    day = [Moment(TODAY, 1.0)]
    lake = make_lake(lambda _: day[0], bytes_per_day=20_000)
    for slot in range(10):
        for machine in range(60):
            lake.bench.step(lake.bench.delivery(sample(slot, temperature=95.0), f"pump-{machine}"))
    lake.bench.commit()
    for _ in range(10):
        before = len(lake.sent)
        while lake.serve():
            pass
        assert sum(size for _, size in lake.sent[before:]) <= 20_000
        day[0] = Moment(day[0].day + 1, 1.0)
    assert lake.bench.store.accounts["alarms.delivered"] == 60


def test_a_backlog_goes_up_at_its_pace_and_an_alarm_does_not_wait_for_it(
    make_lake: Callable[..., Lake],
) -> None:
    lake = make_lake(max_bytes_per_s=200)
    lake.fill(500)
    begin_s = lake.bench.clock.seconds
    for _ in range(30):  # a second each
        lake.serve()
    took_s = lake.bench.clock.seconds - begin_s
    assert 0.5 * 200 * took_s < sum(size for _, size in lake.sent) < 200 * took_s + 2_000
    before = len(lake.sent)
    lake.alarm(501)
    lake.serve()
    assert lake.sent[before][0] is Stream.ALARMS


def test_after_a_long_outage_the_backlog_waits_a_random_while_and_alarms_do_not(
    make_lake: Callable[..., Lake],
) -> None:
    waits = []
    for _ in range(8):
        lake = make_lake()
        lake.alarm(0)
        lake.bench.clock.seconds += 600
        lake.uplink.reconnected()
        lake.serve()
        assert lake.sent[0][0] is Stream.ALARMS
        begin_s = lake.bench.clock.seconds
        while Stream.READINGS not in {stream for stream, _ in lake.sent}:
            lake.serve()
        waits.append(lake.bench.clock.seconds - begin_s)
    assert max(waits) <= 61
    assert max(waits) - min(waits) > 5


def test_a_budget_that_holds_no_upload_is_refused(tmp_path: Path) -> None:
    config = write_settings(tmp_path)
    text = config.read_text().replace("[uplink]", "[uplink]\nbytes_per_day = 5000")
    config.write_text(text)
    with pytest.raises(SettingsError, match="bytes_per_day 5000 does not hold two uploads of 100"):
        load(config)
