"""A channel's role, from the command line to the features and to when a window is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.gathered import gather
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.label_files import add_labels
from foreshock_trainer.settings import LearnSettings, parse_channel
from foreshock_wire.batch import Readings
from foreshock_wire.errors import ForeshockError
from foreshock_wire.spec import Channel, Role
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_trainer.lake import Lake

HOUR_NS = 3_600_000_000_000
MACHINES = [f"pump-{i:02d}" for i in range(24)]
HOURS = 60


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("t24:degR", Channel("t24", "degR", Role.MEASURED)),
        ("t24:degR:measured", Channel("t24", "degR", Role.MEASURED)),
        ("cycle:cycles:context", Channel("cycle", "cycles", Role.CONTEXT)),
    ],
)
def test_a_channel_is_id_unit_and_role(text: str, channel: Channel) -> None:
    assert parse_channel(text) == channel


@pytest.mark.parametrize("text", ["t24", "t24:", "t24:degR:", "t24:degR:derived", "t24:degR:a:b"])
def test_a_channel_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ForeshockError, match=text):
        parse_channel(text)


@pytest.fixture
def filled(lake: Lake, tmp_path: Path) -> Lake:
    """Machines with a sensor and a counter that fail at the end of their last hour."""
    machine, hour, channel = (
        axis.reshape(-1) for axis in np.indices((len(MACHINES), HOURS, 2), dtype=np.int64)
    )
    counter = channel == 1
    batch = Readings(
        epoch="e1",
        first_seq=1,
        machines=MACHINES,
        channels=["heat", "cycle"],
        machine=machine.astype(np.uint16),
        channel=channel.astype(np.uint16),
        time_ns=np.where(counter, (hour + 1) * HOUR_NS, hour * HOUR_NS + HOUR_NS // 2),
        received_ns=np.arange(len(hour)),
        value=np.where(counter, hour + 1, np.sin(hour + machine)).astype(np.float32),
        flags=np.zeros(len(hour), np.uint8),
    )
    topic = uplink(Gateway("works", "gw-1"), Stream.READINGS)
    Ingest(lake).take([Message(topic, batch.to_bytes(), 0)])
    rows = [f"{name},1970-01-03T12:00:00Z,failure,wear," for name in MACHINES]
    events = tmp_path / "events.csv"
    events.write_text("\n".join(["machine,time,kind,mode,detail", *rows]) + "\n")
    add_labels(lake, events)
    return lake


def settings(lake: Lake, **more: object) -> LearnSettings:
    return LearnSettings(
        lake=str(lake.root),
        channels=(parse_channel("heat:K"), parse_channel("cycle:cycles:context")),
        period_s=3600.0,
        length=8,
        stride=1,
        min_fill=0.05,
        horizon_h=12.0,
        **more,  # type: ignore[arg-type]
    )


def test_a_counter_that_is_stamped_with_the_cycles_end_makes_the_last_window_due(
    filled: Lake,
) -> None:
    found = gather(settings(filled))
    examples = found.examples

    last = examples.end_ns == HOURS * HOUR_NS
    assert np.count_nonzero(last) == len(MACHINES)
    assert examples.label[last].all()
    assert (examples.lead_time_h[last] == 0).all()
    assert len(examples) == HOURS * len(MACHINES)
    assert np.count_nonzero(examples.label) == 13 * len(MACHINES)


def test_a_counter_has_the_features_of_context_only_and_counts_what_is_over(filled: Lake) -> None:
    found = gather(settings(filled))
    of_counter = [i for i, name in enumerate(found.names) if name.startswith("cycle.")]
    assert [found.names[i] for i in of_counter] == ["cycle.last", "cycle.sum"]
    # The reading that ends a window lies beyond it.
    assert np.nanmax(found.features[:, of_counter[0]]) == HOURS - 1


def test_a_context_channel_without_features_still_ends_the_windows(filled: Lake) -> None:
    with_it, without = gather(settings(filled)), gather(settings(filled, features=("time",)))
    np.testing.assert_array_equal(with_it.examples.windows, without.examples.windows)
    sensors = [not name.startswith("cycle.") for name in with_it.names]
    assert without.names == tuple(np.array(with_it.names)[sensors])
    np.testing.assert_array_equal(with_it.features[:, sensors], without.features)
