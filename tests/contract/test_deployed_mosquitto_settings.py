"""The files of deploy/mosquitto work in Debian's configuration as they are."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from foreshock.brokers.kinds import mosquitto_binary
from foreshock.brokers.ports import LOOPBACK, answers, free_port
from tests.contract.peer import WAIT_S

DEPLOY = Path(__file__).parents[2] / "deploy" / "mosquitto"
DEBIAN = """
persistence true
persistence_location {folder}/
log_dest file {folder}/mosquitto.log
include_dir {folder}/conf.d
"""
"""/etc/mosquitto/mosquitto.conf of Debian 12, in a folder of its own and without its pid file."""


@pytest.mark.needs("mosquitto")
def test_the_deployed_files_start_under_debians_configuration(tmp_path: Path) -> None:
    port, included, short_folder = free_port(), tmp_path / "conf.d", tmp_path
    included.mkdir()
    for file in DEPLOY.glob("*.conf"):
        text = file.read_text().replace("listener 1883 ", f"listener {port} ")
        text = text.replace("/run/foreshock-broker/", f"{short_folder}/")
        (included / file.name).write_text(text)
    root = "user root\n" if os.geteuid() == 0 else ""
    config = tmp_path / "mosquitto.conf"
    config.write_text(root + DEBIAN.format(folder=tmp_path))
    with subprocess.Popen([mosquitto_binary(), "-c", str(config)]) as broker:
        try:
            deadline = time.monotonic() + WAIT_S
            while not answers(LOOPBACK, port):
                assert broker.poll() is None, (tmp_path / "mosquitto.log").read_text()
                assert time.monotonic() < deadline, "mosquitto does not answer"
                time.sleep(0.02)
        finally:
            broker.terminate()
    log = (tmp_path / "mosquitto.log").read_text()
    assert "Error" not in log
    assert (tmp_path / "mosquitto.db").exists()


def test_the_gateways_broker_listens_on_this_machine_only() -> None:
    text = "\n".join(file.read_text() for file in DEPLOY.glob("*.conf"))
    listeners = re.findall(r"^(?:listener|port|bind_address)\b.*$", text, flags=re.MULTILINE)
    assert sorted(listeners) == [
        "listener 0 /run/foreshock-broker/agent.sock",
        "listener 1883 127.0.0.1",
    ]
    assert "password" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
