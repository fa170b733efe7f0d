"""The demo as a visitor runs it: every part real, a summary that adds up, and no process left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "foreshock", "demo", "--keep", str(folder), "--json", *arguments]


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of running processes that name the folder."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if str(folder) in line and str(os.getpid()) not in line.split()]


def wait_until_gone(folder: Path) -> list[str]:
    deadline_s = time.monotonic() + 10
    while (left := processes_of(folder)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return left


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo") / "show"
    done = subprocess.run(
        command(folder, "--seconds", "40", "--past", "30"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_every_published_reading_is_in_the_lake_once(shown: tuple[Path, dict[str, Any]]) -> None:
    readings = shown[1]["readings"]
    assert readings["published"] > 10_000
    assert readings["published"] == readings["stored"] == readings["delivered"]
    assert (readings["lost"], readings["duplicated"], readings["rejected"]) == (0, 0, 0)


def test_the_uplink_was_away_and_a_second_model_is_on_every_gateway(
    shown: tuple[Path, dict[str, Any]],
) -> None:
    summary = shown[1]
    assert summary["uplink_cut_s"] >= 10
    first, second = (model["sha256"] for model in summary["models"])
    assert first != second
    assert [gateway["model"] for gateway in summary["gateways"]] == [second] * 3


def test_alarms_come_before_failures_and_quickly(shown: tuple[Path, dict[str, Any]]) -> None:
    summary = shown[1]
    assert summary["alarms"]["true"] >= 1
    assert summary["alarms"]["lead_time_h_p50"] > 0
    assert summary["latency_ms"]["p50"] is not None


def test_an_alarm_carries_its_reason(shown: tuple[Path, dict[str, Any]]) -> None:
    from deltalake import DeltaTable  # noqa: PLC0415 - heavy

    table = DeltaTable(str(shown[0] / "lake" / "alarms")).to_pyarrow_table(columns=["body"])
    alarms = [json.loads(body) for body in table.column("body").to_pylist()]
    judged = [alarm for alarm in alarms if alarm["source"] == "model"]
    assert judged
    for alarm in judged:
        assert alarm["reasons"][0]["contribution"] > 0
        assert alarm["mode"]
        assert alarm["advice"]


def test_no_process_is_left(shown: tuple[Path, dict[str, Any]]) -> None:
    assert wait_until_gone(shown[0]) == []


SMALL = ("--seconds", "20", "--gateways", "1", "--machines", "3", "--past", "30")


def test_the_exit_code_is_not_0_when_the_summary_does_not_add_up(tmp_path: Path) -> None:
    """One more line in the plant's own log: a message that nobody ever got."""
    folder = tmp_path / "show"
    child = subprocess.Popen(command(folder, *SMALL), stdout=subprocess.PIPE, text=True)
    log = folder / "plant" / "published.jsonl"
    threading.Thread(target=_append_when_there, args=(log, child), daemon=True).start()
    out, _ = child.communicate()
    summary = json.loads(out.splitlines()[-1])
    assert child.returncode == 1, out[-3000:]
    assert summary["readings"]["lost"] == 1
    assert any("not in the lake" in problem for problem in summary["problems"])


def _append_when_there(log: Path, child: subprocess.Popen[str]) -> None:
    while child.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    payload = json.dumps({"t": 1_704_067_200_000_000_001, "pressure": 1.0})
    entry = {"machine": "pump-01", "time_ns": 1_704_067_200_000_000_001, "published_ns": 0}
    with log.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry | {"payload": payload}) + "\n")


def test_ctrl_c_in_a_terminal_leaves_no_process(tmp_path: Path) -> None:
    """In a terminal of its own, so that the live view is drawn."""
    folder = tmp_path / "show"
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "foreshock", "demo", "--keep", str(folder), *SMALL],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    shown = read_until(ours, b"agents online")
    assert len(processes_of(folder)) > 3
    child.send_signal(signal.SIGINT)
    shown += read_until(ours, None)
    assert child.wait() not in {0, None}
    assert wait_until_gone(folder) == []
    assert b"what happened" in shown
    assert b"Aborted" in shown
    assert b"Traceback" not in shown


def read_until(terminal: int, text: bytes | None) -> bytes:
    """Read from a terminal until a text stands there, or until nobody writes any more."""
    shown = b""
    while text is None or text not in shown:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    return shown
