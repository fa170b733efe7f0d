"""MLflow's own pages on a tracking folder: on loopback, elsewhere only behind a login.

MLflow without a login lets whoever reaches it read and change everything; it is never exposed so.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_trainer.tracking import ARTIFACTS, DATABASE, TrackingError
from foreshock_wire.broker import is_this_machine

if TYPE_CHECKING:
    from pathlib import Path

LOGINS: Final = "ui-logins.db"
LOGIN_SETTINGS: Final = "ui-login.ini"
SHORTEST_PASSWORD: Final = 12
ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, never listened on by itself
START_S: Final = 120.0
LOOK_S: Final = 0.1
STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Login:
    """Who may look, by HTTP's basic authentication."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pages are; port 0 means a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    login: Login | None = None

    def __post_init__(self) -> None:
        if self.login is None and not is_this_machine(self.host):
            raise TrackingError(
                f"{self.host} is not this machine's loopback, and MLflow without a login would let "
                "anybody change models: give --username and --password-file, or reach it through "
                "`ssh -L`"
            )
        if self.login and len(self.login.password) < SHORTEST_PASSWORD:
            raise TrackingError(
                f"the password has fewer than {SHORTEST_PASSWORD} characters: choose a longer one"
            )


class Pages:
    """The running server; `url` is its address.

    Raises:
        TrackingError: there is no tracking folder, or the server does not start.
    """

    def __init__(self, root: Path, place: Place) -> None:
        root = root.resolve()
        if not (root / DATABASE).exists():
            raise TrackingError(
                f"{root} holds no {DATABASE}: train a model with `foreshock trainer retrain` first"
            )
        port = place.port or free_port(place.host)
        shown = "127.0.0.1" if place.host in ANY_ADDRESS else place.host
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        self.process = subprocess.Popen(
            _command(root, place, port),
            env=_environment(root, place),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and everything that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    continue
        self.process.wait()

    def _wait(self) -> None:
        deadline_s = time.monotonic() + START_S
        while not _answers(f"{self.url}/health"):
            if self.process.poll() is not None:
                raise TrackingError(
                    f"MLflow ended with {self.process.returncode} before it answered: is the port "
                    "of --port taken?"
                )
            if time.monotonic() > deadline_s:
                raise TrackingError(f"MLflow did not answer at {self.url} within {START_S:.0f} s")
            time.sleep(LOOK_S)


def free_port(host: str) -> int:
    """Return a TCP port that is free now.

    Raises:
        TrackingError: the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise TrackingError(f"{host} cannot be listened on: {error.strerror or error}") from None


def _command(root: Path, place: Place, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", place.host, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{root / DATABASE}"]
    command += ["--default-artifact-root", (root / ARTIFACTS).as_uri(), "--no-serve-artifacts"]
    if not is_this_machine(place.host):
        # Its guard against foreign Host headers knows loopback only, unless it is told.
        named = "*" if place.host in ANY_ADDRESS else f"{place.host},{place.host}:{port}"
        command += ["--allowed-hosts", named]
    return [*command, "--app-name", "basic-auth"] if place.login else command


def _environment(root: Path, place: Place) -> dict[str, str]:
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if place.login:
        # Made anew at each start: the password file is the truth, not what it was once.
        (root / LOGINS).unlink(missing_ok=True)
        settings = root / LOGIN_SETTINGS
        settings.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{root / LOGINS}\nadmin_username = {place.login.username}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
            encoding="utf-8",
        )
        environment |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": place.login.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        }
    return environment


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
