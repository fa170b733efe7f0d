"""What a machine's windows took while the gateway's clock was wrong does not end its watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.mqtt.link import Delivery
from foreshock_wire.messages import AlarmState
from tests.agent.rig import MINUTE_NS, Bench, Ledger

if TYPE_CHECKING:
    from pathlib import Path

HOUR_NS: Final = 60 * MINUTE_NS
HOT: Final = "[limits.temperature]\nhigh = 80"
NOW_NS: Final = 1_780_000_000_000_000_000


def gateway_at(folder: Path, utc_ns: int) -> Bench:
    bench = Bench(folder, extra=HOT, utc_ns=utc_ns)
    bench.clock.booted_ns = utc_ns - HOUR_NS
    return bench


def set_to(bench: Bench, utc_ns: int) -> None:
    bench.clock.booted_ns += utc_ns - bench.clock.utc_ns
    bench.clock.utc_ns = utc_ns


def hears_heat(bench: Bench, topic: str, count: int = 20) -> None:
    """Hear a hot minute after the other, by the bench's clock and by the machine's."""
    for minute in range(count):
        bench.clock.utc_ns += MINUTE_NS
        payload = b'{"t": %d, "temperature": 95.0, "pressure": 1.0}' % bench.clock.utc_ns
        value = payload if topic.startswith("plant") else b"95.0"
        bench.step(Delivery(topic, value, minute + 1, 1, dup=False, connection=1))
        bench.commit()


@pytest.mark.parametrize("killed", [False, True])
def test_a_stamp_that_only_a_clock_without_its_time_let_through_blinds_nobody(
    tmp_path: Path, *, killed: bool
) -> None:
    bench = gateway_at(tmp_path, 2 * HOUR_NS)
    far_ns = NOW_NS + 70 * 365 * 24 * HOUR_NS
    for minute in range(20):
        stamp_ns = far_ns + minute * MINUTE_NS
        bench.take(b'{"t": %d, "temperature": 20.0, "pressure": 1.0}' % stamp_ns)
    judge = bench.pipeline._judge  # noqa: SLF001
    assert judge._heads["pump-1"].time_ns > far_ns, "it was scored there"  # noqa: SLF001
    if killed:
        bench.close()
        bench = gateway_at(tmp_path, NOW_NS)
    set_to(bench, NOW_NS)
    hears_heat(bench, "plant/pump-1/sample", 2)
    if killed:
        bench.close()
        bench = gateway_at(tmp_path, NOW_NS + 2 * MINUTE_NS)
    hears_heat(bench, "plant/pump-1/sample")
    state = bench.pipeline._judge.state("pump-1")  # noqa: SLF001
    assert state is AlarmState.UNACKNOWLEDGED
    ledger = Ledger.read(bench.settings.database)
    assert ledger.broken == []
    ends = [time_ns for _, time_ns, *_ in ledger.scores]
    assert len(ends) == len(set(ends)), "no window is scored twice"
    config = str(tmp_path / "agent.toml")
    replayed = CliRunner().invoke(cli, ["replay", "--config", config, "--check"])
    assert replayed.exit_code == 0, replayed.output
    bench.close()


def test_a_machine_without_a_clock_is_watched_on_when_the_gateways_is_set_back(
    tmp_path: Path,
) -> None:
    bench = gateway_at(tmp_path, NOW_NS)
    hears_heat(bench, "plain/pump-1/pressure")
    set_to(bench, NOW_NS - 24 * HOUR_NS)
    hears_heat(bench, "plain/pump-1/temperature")
    state = bench.pipeline._judge.state("pump-1")  # noqa: SLF001
    assert state is AlarmState.UNACKNOWLEDGED
    bench.close()


def test_a_clock_that_falls_behind_costs_no_machine_its_windows(tmp_path: Path) -> None:
    bench = gateway_at(tmp_path, NOW_NS)
    hears_heat(bench, "plant/pump-1/sample")
    rings = bench.machines._rings  # noqa: SLF001
    before = rings.saved(0)
    set_to(bench, NOW_NS - 24 * HOUR_NS)
    stamp_ns = NOW_NS + 21 * MINUTE_NS
    bench.take(b'{"t": %d, "temperature": 95.0, "pressure": 1.0}' % stamp_ns)
    assert rings.saved(0) == before
    bench.close()
