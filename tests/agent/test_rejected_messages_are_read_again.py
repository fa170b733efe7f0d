"""What settings could not read is read by better ones: once, at its own time, in the accounts."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.items import StoreTask
from foreshock_agent.mqtt.link import Delivery
from foreshock_agent.store.store import Store
from foreshock_agent.update.store import ModelStore
from foreshock_wire.model import Model
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, Ledger, alarming, sample

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

WRONG = "plant/{machine}/sample"
RIGHT = "hall/{machine}/sample"


def hall(payload: bytes, topic: str = "hall/pump-1/sample") -> Delivery:
    return Delivery(topic, payload, 1, 1, dup=False, connection=1)


def rejecting(folder: Path, *messages: Delivery) -> Bench:
    bench = Bench(folder)
    for message in messages:
        bench.clock.utc_ns += MINUTE_NS
        bench.step(message)
    bench.commit()
    return bench


def mend(folder: Path) -> None:
    config = folder / "agent.toml"
    config.write_text(config.read_text().replace(WRONG, RIGHT))


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["rejected", "--config", str(folder / "agent.toml"), *options])


def told(folder: Path, *options: str) -> dict[str, Any]:
    done = run(folder, "--json", *options)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_they_are_stored_scored_and_alarm_as_they_would_have(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    messages = alarming(model)
    bench = rejecting(tmp_path, *(hall(one) for one in messages), hall(b"{"))
    ModelStore(bench.settings.models).install(model_bytes)
    assert told(tmp_path)["rejected"] == len(messages) + 1
    mend(tmp_path)
    before = Ledger.read(bench.settings.database)
    dry = told(tmp_path)
    assert (dry["readable"], dry["rejected"], dry["changed"]) == (len(messages), 1, {})
    assert dry["kept"] == dry["ever_rejected"] == len(messages) + 1
    assert Ledger.read(bench.settings.database) == before
    said = run(tmp_path).stdout
    assert "can be read now" in said
    assert "nothing was stored" in said
    bench.close()

    taken = told(tmp_path, "--yes")
    assert taken["changed"]["messages.stored"] == len(messages)
    assert taken["changed"]["letters.taken"] == len(messages)
    after = Ledger.read(bench.settings.database)
    assert after.broken == []
    assert len(after.readings) == dry["readings"] == taken["changed"]["readings.stored"]
    assert {time_ns for _, _, time_ns in after.readings} >= {BEGIN_NS, BEGIN_NS + 8 * MINUTE_NS}
    assert after.scores
    assert after.pending[Stream.ALARMS] == 1
    assert (after.quarantined, told(tmp_path, "--yes")["changed"]) == (1, {})


def test_what_brings_no_time_is_stored_at_the_time_it_came(tmp_path: Path) -> None:
    bench = rejecting(tmp_path, hall(b"50.5", "flat/pump-1/temperature"))
    came_ns = bench.clock.utc_ns
    bench.close()
    config = tmp_path / "agent.toml"
    config.write_text(config.read_text().replace("plain/{machine}", "flat/{machine}"))
    assert told(tmp_path, "--yes")["changed"]["readings.stored"] == 1
    assert Ledger.read(bench.settings.database).readings == [("pump-1", "temperature", came_ns)]


def test_what_may_be_stored_in_part_is_left_alone(tmp_path: Path) -> None:
    """One channel was no number: the other one was stored, and may be delivered and deleted."""
    part = hall(sample(1, temperature=50.0)[:-1] + b', "x": "n/a"}', "plant/pump-1/sample")
    bench = rejecting(tmp_path, part, hall(b"[" * 5000))
    assert bench.store.accounts["readings.stored"] == 1
    bench.close()
    found = told(tmp_path, "--yes")
    assert (found["maybe_stored"], found["cut"], found["readable"]) == (1, 1, 0)
    assert Ledger.read(bench.settings.database).quarantined == 2


def test_a_running_agent_is_named(tmp_path: Path) -> None:
    bench = rejecting(tmp_path, hall(sample(1, temperature=50.0)))
    mend(tmp_path)
    assert "agent runs" in str(run(tmp_path, "--yes").exception)
    bench.close()
    assert told(tmp_path, "--yes")["changed"]["readings.stored"] == 1


def test_a_disk_that_takes_no_readings_takes_no_letter_either(tmp_path: Path) -> None:
    bench = rejecting(tmp_path, hall(sample(1, temperature=50.0)))
    bench.store.shedding = True
    bench.step(StoreTask(partial(Store.release, letter_id=1)))
    bench.commit()
    assert Ledger.read(bench.settings.database).quarantined == 1
    bench.close()


@pytest.mark.needs("mount-rights")
def test_root_leaves_the_store_to_the_agents_user(tmp_path: Path) -> None:
    bench = rejecting(tmp_path, hall(sample(1, temperature=50.0)))
    bench.close()
    mend(tmp_path)
    nobody = 65534
    for path in (bench.settings.data_dir, *bench.settings.data_dir.rglob("*")):
        os.chown(path, nobody, nobody)
    assert told(tmp_path, "--yes")["changed"]["readings.stored"] == 1
    owners = {path.stat().st_uid for path in bench.settings.data_dir.rglob("*")}
    assert owners == {nobody}
