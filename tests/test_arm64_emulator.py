"""`make arm64` takes a QEMU that is new enough, or says how to come by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts import qemu

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def emulator(folder: Path, version: str, name: str = "qemu-aarch64") -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho 'qemu-aarch64 version {version} (Debian)'\n")
    program.chmod(0o755)
    return str(program)


def test_the_first_that_is_new_enough_is_taken(path: Path) -> None:
    emulator(path, "7.2.15")
    assert qemu.installed(None) is None
    assert qemu.installed(emulator(path, "10.0.13", "qemu-aarch64-static")) is not None
    assert qemu.installed(None) == "qemu-aarch64-static"
    assert qemu.provided(None, path / "kept") == "qemu-aarch64-static"
    assert qemu.refusal(None) is None


def test_without_debians_apt_the_way_by_hand_is_told(path: Path) -> None:
    emulator(path, "7.2.15")
    told = qemu.refusal(None)
    assert told is not None
    assert "dpkg-deb --extract" in told
    assert "--qemu var/qemu/usr/bin/qemu-aarch64" in told


def test_one_that_was_fetched_is_kept(path: Path) -> None:
    kept = emulator(path, "10.0.13", qemu.EMULATORS[0])
    assert qemu.provided("no-such-qemu", path) == kept


def test_a_named_one_that_is_too_old_is_no_excuse_for_another(path: Path) -> None:
    named = emulator(path, "7.2.15", "mine")
    assert qemu.refusal(named) == (
        f"{named} is no QEMU 10 or newer for arm64 programs: name another with --qemu"
    )
