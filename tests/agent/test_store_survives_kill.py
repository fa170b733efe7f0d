"""A process that is killed at random moments leaves a store that opens, adds up and goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foreshock_agent.items import LakeAcked
from foreshock_wire.model import Model
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, Ledger, healthy, sample

SLOTS = 120
KILLS = 3


def story(slot: int) -> list[tuple[str, bytes]]:
    """Return the messages of a minute: drop-outs, and late ones that fill windows afterwards."""
    found = []
    for machine in (1, 2):
        if (slot * 7 + machine) % 11:
            found.append((f"pump-{machine}", healthy(machine, slot)))
        if slot > 5 and slot % 13 == machine:
            late = sample(slot - 5, temperature=60.0 + machine)
            found.append((f"pump-{machine}", late))
    return found


def child(folder: Path, model: Path) -> None:
    """Go on from the stored place, telling each minute; a parent kills it."""
    bench = Bench(folder, Model.load(model))
    begin = _next_slot(bench)
    for slot in range(begin, SLOTS):
        bench.step(*(bench.delivery(payload, machine) for machine, payload in story(slot)))
        if slot % 3 == 0:
            bench.commit()
        sys.stdout.write(f"{slot}\n")
        sys.stdout.flush()
    bench.commit()
    bench.close()


def _next_slot(bench: Bench) -> int:
    """Repeat the minutes around the newest reading: the broker would redeliver them."""
    newest = max(bench.machines.newest_ns().tolist(), default=BEGIN_NS)
    return max(0, (newest - BEGIN_NS) // MINUTE_NS - 1)


@pytest.mark.timeout(300)
def test_killed_at_random_it_opens_adds_up_and_scores_as_if_nothing_had_been(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(model_bytes)
    dice = random.Random(3)  # noqa: S311 - a test's dice
    for _ in range(KILLS):
        _run_until(tmp_path / "killed", model, kill_after=dice.randrange(5, 30))
        ledger = Ledger.read(tmp_path / "killed" / "data" / "agent.db")
        assert ledger.broken == []
        assert len(set(ledger.readings)) == len(ledger.readings)
    _run_until(tmp_path / "killed", model, kill_after=None)
    _run_until(tmp_path / "whole", model, kill_after=None)
    killed, whole = (
        Ledger.read(tmp_path / name / "data" / "agent.db") for name in ("killed", "whole")
    )
    assert killed.broken == []
    assert sorted(killed.readings) == sorted(whole.readings)
    assert killed.scores == whole.scores
    assert len(whole.scores) > 80


def _run_until(folder: Path, model: Path, kill_after: int | None) -> None:
    command = [sys.executable, "-m", "tests.agent.test_store_survives_kill"]
    with subprocess.Popen([*command, str(folder), str(model)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for lines, _ in enumerate(process.stdout):
            if lines == kill_after:
                process.kill()
                break
        else:
            assert kill_after is None, "it ended before it was killed"
            assert process.wait() == 0


def test_windows_rebuilt_after_every_single_message_are_the_same(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    messages = [message for slot in range(60) for message in story(slot)]
    whole = _scores_with_restarts(tmp_path / "whole", model, messages, len(messages), 1)
    for snapshot_every in (1, 7, len(messages)):
        folder = tmp_path / f"often-{snapshot_every}"
        assert _scores_with_restarts(folder, model, messages, 1, snapshot_every) == whole
    assert len(whole) > 40


def _scores_with_restarts(
    folder: Path,
    model: Model,
    messages: list[tuple[str, bytes]],
    every: int,
    snapshot_every: int,
) -> list[Any]:
    bench = Bench(folder, model)
    for number, (machine, payload) in enumerate(messages):
        if number % every == 0:
            bench.close()
            bench = Bench(folder, model)
        bench.take(payload, machine=machine)
        bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2))
        if number % snapshot_every == 0:
            bench.trim(bench.scorer.window_spec.history_ns)
            bench.store.commit()
    scores = Ledger.read(bench.settings.database).scores
    bench.close()
    return scores


if __name__ == "__main__":
    child(Path(sys.argv[1]), Path(sys.argv[2]))
