"""`fleet serve` reaches a broker that wants TLS and a login, and no network in the clear."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock.cli import cli
from tests.fleet.conftest import set_up_signing
from tests.secured import USER, Secured, secured_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secured(tmp_path: Path, mosquitto_binary: str) -> Iterator[Secured]:
    with secured_broker(tmp_path, mosquitto_binary) as running:
        yield running


@pytest.mark.needs("mosquitto")
def test_tls_and_a_login_let_the_coordinator_in(secured: Secured, tmp_path: Path) -> None:
    set_up_signing(tmp_path / "fleet")
    where = f"mqtts://127.0.0.1:{secured.port}"
    serving = subprocess.Popen(
        [
            *(sys.executable, "-m", "foreshock", "fleet", "serve", "--json", "--broker", where),
            *("--ca-file", str(secured.ca), "--username", USER),
            *("--password-file", str(secured.password), "--state", str(tmp_path / "fleet")),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        assert json.loads(serving.stdout.readline()) == {"coordinating": where}
    finally:
        serving.terminate()
        serving.communicate(timeout=30)
    assert serving.returncode == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--broker", "mqtt.example.com:1883"), "mqtts://mqtt.example.com:8883"),
        (("--broker", "localhost:1883", "--ca-file", "ca.pem"), "--ca-file needs TLS"),
        (("--broker", "nonsense:"), "is not HOST:PORT"),
    ],
)
def test_what_would_cross_a_network_in_the_clear_or_is_no_broker_is_refused(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    done = CliRunner().invoke(cli, ["fleet", "serve", "--state", str(tmp_path), *options])
    assert done.exit_code == 1
    assert told in done.stderr
