"""Examples come from readings in arrival order, and hold what the gateway's own windower held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from foreshock_plant.recorder import record
from foreshock_rules.windows import Windower, WindowSpec
from foreshock_trainer.examples import Examples, NoExamplesError, examples_of, tracks
from foreshock_trainer.folder import ingest_folder
from foreshock_trainer.label_files import add_labels
from foreshock_trainer.lake import Lake
from foreshock_trainer.tables import columns_of
from foreshock_wire.batch import FLAG_FUTURE

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

HOUR_NS = 3_600_000_000_000
SPEC = WindowSpec(
    ("temperature", "pressure", "vibration", "torque", "motor_power"), HOUR_NS // 2, 48, 4, 0.5, 0
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("plant")
    record(folder / "recorded", machines=4, hours=900, seed=5, progress=lambda _: None)
    lake = Lake(folder / "lake", create=True)
    ingest_folder(lake, folder / "recorded", progress=lambda _: None)
    return lake


@pytest.fixture(scope="module")
def examples(lake: Lake) -> Examples:
    return examples_of(lake, SPEC, horizon_h=48)


def test_every_example_is_a_window_that_the_gateway_scored(lake: Lake, examples: Examples) -> None:
    checked = 0
    for machine, track in enumerate(tracks(lake, examples.machines, SPEC.channels)):
        windower = Windower(SPEC)
        seen: dict[int, npt.NDArray[np.float32]] = {}
        for channel, time_ns, value in zip(
            track.channel.tolist(), track.time_ns.tolist(), track.value.tolist(), strict=True
        ):
            seen |= dict(windower.add(channel, time_ns, value)[1])
        rows = np.flatnonzero(examples.machine == machine)
        for row in rows:
            assert np.array_equal(
                examples.windows[row], seen[int(examples.end_ns[row])], equal_nan=True
            )
        checked += len(rows)

    assert checked == len(examples) > 100


def test_every_window_is_an_example_or_counted_with_its_reason(
    lake: Lake, examples: Examples
) -> None:
    windows = 0
    for track in tracks(lake, examples.machines, SPEC.channels):
        windower = Windower(SPEC)
        windows += sum(
            len(windower.add(int(c), int(t), float(v))[1])
            for c, t, v in zip(track.channel, track.time_ns, track.value, strict=True)
        )

    assert len(examples) + sum(examples.dropped.values()) == windows
    assert set(examples.dropped) <= {"downtime", "intervened", "unobserved", "too_late"}


def test_labels_lie_within_the_horizon_and_carry_their_mode(examples: Examples) -> None:
    lead = examples.lead_time_h[examples.label]

    assert examples.label.any()
    assert ((lead >= 0) & (lead <= 48)).all()
    assert (examples.mode[examples.label] >= 0).all()
    beyond = examples.lead_time_h[~examples.label]
    assert (np.isnan(beyond) | (beyond > 48)).all()


def test_a_lake_without_failures_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoExamplesError, match="foreshock trainer labels add"):
        examples_of(Lake(tmp_path / "lake", create=True), SPEC, horizon_h=48)


def test_work_orders_vouch_only_for_what_was_ingested_before_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", create=True)
    add_readings(lake, "1", "pump-1", "pump-2", "pump-3", hours=range(200))
    add_label(lake, tmp_path, "pump-1,1970-01-01T00:00:00Z,installed,,")
    add_label(lake, tmp_path, "pump-2,1970-01-05T04:00:00Z,failure,bearing_wear,")
    add_readings(lake, "2", "pump-1", "pump-2", "pump-3", hours=range(200, 400))

    seen = examples_of(lake, SPEC, horizon_h=48)

    # pump-1 ran on, but 199 h was the last that its work orders can have known.
    assert newest_h(seen, "pump-1") == 150
    assert newest_h(seen, "pump-2") == 100
    assert seen.end_ns[seen.label].min() == 52 * HOUR_NS
    assert (seen.machines, seen.unknown_machines) == (("pump-1", "pump-2"), ("pump-3",))

    add_label(lake, tmp_path, "pump-2,1970-01-05T10:00:00Z,repaired,bearing_wear,")
    told_again = examples_of(lake, SPEC, horizon_h=48)
    assert newest_h(told_again, "pump-1") == newest_h(told_again, "pump-2") == 350


def test_a_reading_from_the_future_is_left_out_as_the_gateway_left_it_out(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", create=True)
    add_readings(lake, "1", "pump-1", hours=range(20))
    add_readings(lake, "2", "pump-1", hours=range(9000, 9001), flags=FLAG_FUTURE)
    add_readings(lake, "3", "pump-1", hours=range(20, 40))

    (track,) = tracks(lake, ["pump-1"], SPEC.channels)

    assert track.time_ns.max() == 39 * HOUR_NS
    assert len(track.time_ns) == 40 * len(SPEC.channels)


def newest_h(examples: Examples, machine: str) -> int:
    rows = examples.machine == examples.machines.index(machine)
    return int(examples.end_ns[rows].max()) // HOUR_NS


def add_readings(lake: Lake, epoch: str, *machines: str, hours: range, flags: int = 0) -> None:
    grid = [(m, c, h) for h in hours for m in machines for c in SPEC.channels]
    rows = pa.table(
        {
            "site": ["hall"] * len(grid),
            "gateway": ["gateway-1"] * len(grid),
            "epoch": [epoch] * len(grid),
            "seq": range(1, len(grid) + 1),
            "machine": [m for m, _, _ in grid],
            "time_ns": [h * HOUR_NS for _, _, h in grid],
            "channel": [c for _, c, _ in grid],
            "value": [float(h % 24) for _, _, h in grid],
            "received_ns": [h * HOUR_NS for _, _, h in grid],
            "flags": [flags] * len(grid),
        },
        schema=columns_of("readings"),
    )
    lake.append("readings", rows, {f"gateway-1/{epoch}/readings": len(grid)})


def add_label(lake: Lake, folder: Path, row: str) -> None:
    file = folder / "events.csv"
    file.write_text(f"machine,time,kind,mode,detail\n{row}\n", encoding="utf-8")
    assert add_labels(lake, file).added == 1


def test_progress_ends_at_the_number_of_machines(lake: Lake) -> None:
    told: list[tuple[int, int]] = []

    examples_of(lake, SPEC, horizon_h=48, progress=lambda done, total: told.append((done, total)))

    assert told == [(i, 4) for i in range(1, 5)]
