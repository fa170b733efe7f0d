"""Stamps of a gateway whose clock had no time yet are put right for training, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_agent.mqtt.link import Delivery
from foreshock_rules.windows import WindowSpec
from foreshock_trainer.clocks import Clocks
from foreshock_trainer.examples import examples_of, tracks
from foreshock_trainer.labels import Kind, Label, put_labels
from foreshock_trainer.lake import Lake
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, sample
from tests.agent.sent_to_a_lake import drain

if TYPE_CHECKING:
    from pathlib import Path

UNSET_NS = 1_000 * MINUTE_NS
"""Soon after 1970: what the clock says when the machine boots."""

TRUE_NS = 1_790_000_000_000_000_000
"""What the time is then."""


class Gateway:
    """One boot of a gateway; its clock is off by `wrong_ns` until somebody sets it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake(folder / "lake", create=True)
        self.wrong_ns = UNSET_NS - TRUE_NS
        self.minutes = 0
        self.start()

    def start(self) -> None:
        self.bench = Bench(self.folder, utc_ns=self.now_ns)

    @property
    def now_ns(self) -> int:
        return TRUE_NS + self.minutes * MINUTE_NS + self.wrong_ns

    def stop(self) -> None:
        self.bench.commit()
        drain(self.lake, self.bench)
        self.bench.close()

    def hear(self, topic: str, payload: bytes) -> None:
        self.minutes += 1
        clock = self.bench.clock
        clock.utc_ns = self.now_ns
        clock.booted_ns = TRUE_NS + self.wrong_ns
        self.bench.step(Delivery(topic, payload, self.minutes, 1, dup=False, connection=1))

    def hear_plain(self, count: int) -> None:
        for _ in range(count):
            self.hear("plain/pump-1/temperature", b"50.5")

    def times(self, clocks: Clocks) -> list[int]:
        (track,) = tracks(self.lake, ["pump-1"], ["temperature"], clocks)
        return [int(time_ns) for time_ns in track.time_ns]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def minutes(*numbers: int) -> list[int]:
    return [TRUE_NS + number * MINUTE_NS for number in numbers]


def test_an_earlier_epoch_of_the_boot_and_all_before_the_clock_was_set(gateway: Gateway) -> None:
    gateway.hear_plain(3)
    gateway.stop()
    gateway.start()
    gateway.hear_plain(2)
    gateway.hear("plant/pump-1/sample", sample(0, temperature=51.0))
    gateway.wrong_ns = 0
    gateway.hear_plain(2)
    gateway.stop()

    stored = gateway.times(Clocks())
    wrong = [time_ns + UNSET_NS - TRUE_NS for time_ns in minutes(1, 2, 3, 4, 5)]
    assert stored == [*wrong, BEGIN_NS, *minutes(7, 8)]
    clocks = Clocks.read(gateway.lake.events())
    assert gateway.times(clocks) == [*minutes(1, 2, 3, 4, 5), BEGIN_NS, *minutes(7, 8)]


def test_a_clock_that_was_set_while_the_agent_was_away(gateway: Gateway) -> None:
    for _ in range(2):
        gateway.hear_plain(3)
        gateway.stop()
        gateway.start()
    gateway.stop()
    gateway.wrong_ns = 0
    for _ in range(2):
        gateway.start()
        gateway.hear_plain(2)
        gateway.stop()
    clocks = Clocks.read(gateway.lake.events())
    assert gateway.times(clocks) == minutes(*range(1, 11))


def test_a_clock_that_is_set_wrong_and_back(gateway: Gateway) -> None:
    gateway.wrong_ns = 0
    gateway.hear_plain(2)
    gateway.wrong_ns = 3 * 3600 * 10**9
    gateway.hear_plain(2)
    gateway.wrong_ns = 0
    gateway.hear_plain(1)
    gateway.stop()
    assert gateway.times(Clocks.read(gateway.lake.events())) == minutes(1, 2, 3, 4, 5)


def test_a_clock_that_never_got_its_time_is_left_as_it_is(gateway: Gateway) -> None:
    gateway.hear_plain(2)
    gateway.stop()
    clocks = Clocks.read(gateway.lake.events())
    assert gateway.times(clocks) == gateway.times(Clocks())


def test_a_window_meets_the_failure_that_it_led_to(gateway: Gateway) -> None:
    gateway.hear_plain(12)
    gateway.wrong_ns = 0
    gateway.hear_plain(1)
    gateway.stop()
    life = (("installed", 0), ("failure", 20), ("observed_until", 60))
    labels = [Label("pump-1", minutes(at)[0], Kind(kind), None, None) for kind, at in life]
    put_labels(gateway.lake, labels)
    cut = WindowSpec(("temperature",), MINUTE_NS, length=4, stride=1)
    examples = examples_of(gateway.lake, cut, horizon_h=1.0)
    assert len(examples) > 8
    assert examples.label.all()
    assert set(examples.failure_ns.tolist()) == set(minutes(20))


def test_a_note_that_says_nothing_is_left_out(gateway: Gateway) -> None:
    gateway.bench.store.add_record(Stream.EVENTS, '{"source": "clock", "step_ns": "much"}')
    gateway.hear_plain(1)
    gateway.stop()
    assert Clocks.read(gateway.lake.events()).epochs == {}
