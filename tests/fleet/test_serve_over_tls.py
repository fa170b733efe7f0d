"""`fleet serve` reaches a broker by TLS and a login or by a socket, no network in the clear."""

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
from tests.sockets import socket_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secured(tmp_path: Path, mosquitto_binary: str) -> Iterator[Secured]:
    with secured_broker(tmp_path, mosquitto_binary) as running:
        yield running


@pytest.mark.needs("mosquitto")
def test_tls_and_a_login_let_the_coordinator_in(secured: Secured, tmp_path: Path) -> None:
    login = ("--username", USER, "--password-file", str(secured.password))
    check_serves(
        tmp_path, f"mqtts://127.0.0.1:{secured.port}", "--ca-file", str(secured.ca), *login
    )


@pytest.mark.needs("mosquitto")
def test_a_socket_lets_the_coordinator_in(tmp_path: Path) -> None:
    with socket_broker(tmp_path / "broker") as broker:
        check_serves(tmp_path, broker.socket)


def check_serves(tmp_path: Path, where: str, *options: str) -> None:
    """A coordinator says that it has connected to this broker, and ends when it is told to."""
    set_up_signing(tmp_path / "fleet")
    serving = subprocess.Popen(
        [
            *(sys.executable, "-m", "foreshock", "fleet", "serve", "--json", "--broker", where),
            *(*options, "--state", str(tmp_path / "fleet")),
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
