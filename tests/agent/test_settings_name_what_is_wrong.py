from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_agent.settings import SettingsError, load
from tests.agent.rig import write_settings

if TYPE_CHECKING:
    from pathlib import Path


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path)
    return str(caught.value)


def test_a_whole_file_is_read_with_units_and_defaults(tmp_path: Path) -> None:
    settings = load(write_settings(tmp_path, cloud_port=1884, extra="[limits.pressure]\nhigh = 8"))
    assert settings.at.root == "foreshock/v1/works/gate-1"
    assert settings.database == tmp_path / "data" / "agent.db"
    assert settings.cloud is not None
    assert settings.cloud.port == 1884
    assert settings.limits["pressure"].high == 8.0
    assert settings.windows.period_s == 60
    assert settings.max_ahead_s == 3600


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("interval_s = 0.2", "intervall_s = 0.2", "commit.intervall_s"),
        ("[windows]", "[windws]", "windws"),
        ("stride = 2", "stride = 0", "windows.stride"),
        ("stride = 2", 'stride = "two"', "windows.stride"),
        ("period_s = 60", "period_s = nan", "windows.period_s"),
        ("period_s = 60", "period_s = 1e-12", "windows.period_s"),
        ("period_s = 60", "period_s = 1e9", "windows"),
        ("stride = 2", f"stride = 1{'0' * 30}", "windows"),
        ("stride = 2", "stride = 2\nlateness_s = 1e12", "windows.lateness_s"),
        ("off_delay_s = 600", "off_delay_s = 1e300", "alarms.off_delay_s"),
        ('adapter = "json_object"', 'adapter = "xml"', "sources.0.adapter"),
        ('site = "works"', 'site = "The Works"', "site"),
        ('site = "works"', "", "site"),
        ("plant/{machine}/sample", "plant/sample", "sources.0.topic"),
        ("plant/{machine}/sample", "plant/pump-{machine}/sample", "sources.0.topic"),
        ("plant/{machine}/sample", "plant/{machine}/{machine}", "sources.0.topic"),
        ("plant/{machine}/sample", "plant/{machine}/#", "sources.0.topic"),
        ("plant/{machine}/sample", "plant/{machin}/{machine}", "sources.0.topic"),
        ("plant/{machine}/sample", "{machine}/sample", "sources.0.topic"),
        ("plant/{machine}/sample", "foreshock/v1/{machine}/sample", "sources.0.topic"),
        ("plain/{machine}/{channel}", "plain/{machine}", "sources.1"),
        ('"pressure"]', '"temperature"]', "channels"),
        ("port = 1883", "port = 70000", "local.port"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, right: str, wrong: str, named: str) -> None:
    path = write_settings(tmp_path)
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    message = refusal(path)
    assert str(path) in message
    assert named in message


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("[limits.presure]\nhigh = 8", "limits.presure"),
        ("[limits.pressure]\nlow = 9\nhigh = 8", "limits.pressure"),
        ("[limits.pressure]", "limits.pressure"),
        ("[limits.pressure]\nhigh = inf", "limits.pressure.high"),
        ("[retention]\naround_alarms_h = 1e9", "retention.around_alarms_h"),
        ("[retention]\nkeep_delivered_h = 1e9", "retention.keep_delivered_h"),
    ],
)
def test_limits_without_sense_are_refused(tmp_path: Path, extra: str, named: str) -> None:
    assert named in refusal(write_settings(tmp_path, extra=extra))


@pytest.mark.parametrize("host", ["broker.example.com", "192.0.2.7"])
def test_a_network_is_not_crossed_without_tls(tmp_path: Path, host: str) -> None:
    path = write_settings(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("[local]", f'[local]\nhost = "{host}"'))
    message = refusal(path)
    assert "local" in message
    assert "tls = true" in message
    for allowed in ("tls = true", "insecure = true"):
        path.write_text(text.replace("[local]", f'[local]\nhost = "{host}"\n{allowed}'))
        assert load(path).local.host == host


def test_loopback_needs_no_tls(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    for host in ("localhost", "127.0.0.1", "::1"):
        path.write_text(path.read_text().replace("[local]", f'[local]\nhost = "{host}"', 1))
        assert load(path).local.host == host
        path = write_settings(tmp_path)


SOCKET = 'host = "unix:/run/broker/agent.sock"'


def test_a_socket_of_this_machine_stands_in_the_place_of_host_and_port(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    path.write_text(path.read_text().replace("port = 1883", SOCKET))
    assert str(load(path).local.address) == "unix:/run/broker/agent.sock"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (f"{SOCKET}\nport = 1883", "leave out port"),
        (f'{SOCKET}\ntls = true\nca_file = "ca.pem"', "leave out ca_file, tls"),
        ('host = "unix:agent.sock"', "the whole path"),
        (f'host = "unix:/{"x" * 103}"', "too long"),
    ],
)
def test_a_socket_that_cannot_be_meant_is_refused(tmp_path: Path, wrong: str, named: str) -> None:
    path = write_settings(tmp_path)
    path.write_text(path.read_text().replace("port = 1883", wrong))
    assert "local: " in refusal(path)
    assert named in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"site = ", b"\xff\xfe\x00", b"site = 1" + 5000 * b"0", b"site = " + 9999 * b"["],
    ids=["cut", "binary", "endless", "deep"],
)
def test_a_file_that_is_no_toml_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    assert "is not TOML" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no-such.toml" in refusal(tmp_path / "no-such.toml")
