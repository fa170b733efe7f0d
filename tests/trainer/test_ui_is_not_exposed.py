"""MLflow's pages: on loopback for whoever sits there, elsewhere and on request behind a login."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock_trainer.cli import cli
from foreshock_trainer.mlflow_ui import Login, Pages, Place
from foreshock_trainer.tracking import Tracking, TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "correct horse battery"  # noqa: S105 - of this test's own server
SEARCH = "/api/2.0/mlflow/registered-models/search"


@contextmanager
def shown(root: Path, *options: str) -> Iterator[str]:
    """Run the command as a process until SIGTERM, which must end all that it started."""
    command = [sys.executable, "-m", "foreshock", "trainer", "ui", "--tracking", str(root)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[3]
        yield url
        process.terminate()
        assert process.wait(30) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=5)  # noqa: S310 - our own server
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(url: str, password: str | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url)  # noqa: S310 - our own server
    if password is not None:
        word = base64.b64encode(f"ops:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    try:
        with closing(urllib.request.urlopen(request, timeout=30)) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    opened = Tracking(root, create=True)
    figures = {"test_f1": 0.9}
    run = opened.record("pumps", b"model", parameters={}, figures=figures, tags={}, files={})
    opened.register("pumps", run, tags={})
    return root


def test_a_login_is_asked_for_and_what_is_behind_it_is_the_registry(
    tracking: Path, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    login = ("--username", "ops", "--password-file", str(tmp_path / "password"))
    with shown(tracking, *login) as url:
        assert url.startswith("http://127.0.0.1:")
        assert ask(url + SEARCH)[0] == 401
        assert ask(url + SEARCH, "wrong password")[0] == 401
        status, body = ask(url + SEARCH, PASSWORD)
    assert status == 200
    (model,) = json.loads(body)["registered_models"]
    assert model["name"] == "pumps"
    assert PASSWORD not in (tracking / "ui-login.ini").read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.com"])  # noqa: S104
def test_another_address_without_a_login_is_refused(tracking: Path, host: str) -> None:
    result = CliRunner().invoke(cli, ["ui", "--tracking", str(tracking), "--host", host])
    assert isinstance(result.exception, TrackingError)
    assert "--password-file" in str(result.exception)


def test_a_weak_password_half_a_login_and_no_folder_are_refused(
    tracking: Path, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("short\n")
    weak = ["--username", "ops", "--password-file", str(tmp_path / "password")]
    for options, problem in ((weak, "12 characters"), (weak[:2], "both")):
        result = CliRunner().invoke(cli, ["ui", "--tracking", str(tracking), *options])
        assert problem in str(result.exception) + result.output
    with pytest.raises(TrackingError, match="foreshock trainer retrain"):
        Pages(tmp_path, Place())


def test_an_address_that_is_not_this_machines_is_told(tracking: Path) -> None:
    with pytest.raises(TrackingError, match="cannot be listened on"):
        Pages(tracking, Place("192.0.2.7", 0, Login("ops", PASSWORD)))
