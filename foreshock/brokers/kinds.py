"""The two brokers: amqtt from Python, and the Mosquitto that is installed on the machine."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from foreshock.brokers import tether
from foreshock.brokers.broker import Broker
from foreshock.brokers.errors import BrokerError

if TYPE_CHECKING:
    import signal

DELIVERY_SETTINGS: Final = (
    Path(__file__).parent / "delivery.conf",
    Path(__file__).parents[2] / "deploy" / "mosquitto" / "delivery.conf",
)
"""Where Mosquitto's delivery settings lie: in an installed package, and in a source tree."""


class EmbeddedBroker(Broker):
    """amqtt in a process of its own; keeps nothing on disk, promises no delivery."""

    kind: ClassVar[str] = "embedded"

    def command(self) -> list[str]:
        """Return the command of `foreshock.brokers.embedded`.

        Raises:
            BrokerError: amqtt is not installed.
        """
        if find_spec("amqtt") is None:
            raise BrokerError("the embedded broker needs amqtt: pip install 'foreshock[demo]'")
        return [sys.executable, "-m", "foreshock.brokers.embedded", "--port", str(self.port)]


class MosquittoBroker(Broker):
    """The installed Mosquitto, with the delivery settings that a gateway gets.

    Sessions, queues and retained messages lie in `folder`; `extra` is appended to its
    configuration.
    """

    kind: ClassVar[str] = "mosquitto"
    kill_signal: ClassVar[signal.Signals] = tether.KILL

    def __init__(self, folder: Path, port: int | None = None, *, extra: str = "") -> None:
        super().__init__(folder, port)
        self._extra = extra

    def command(self) -> list[str]:
        """Write `mosquitto.conf` and return the command that runs it.

        Raises:
            BrokerError: Mosquitto is not installed.
        """
        config = self.folder / "mosquitto.conf"
        config.write_text(self._config())
        runner = [sys.executable, "-I", "-S", str(tether.__file__)]
        return [*runner, mosquitto_binary(), "-c", str(config)]

    def _config(self) -> str:
        return "\n".join(
            [
                "# Written by foreshock.brokers at every start; changes are lost.",
                f"listener {self.port} {self.host}",
                "allow_anonymous true",
                f"persistence_location {self.folder}/",
                "log_dest stderr",
                "log_type error",
                "log_type warning",
                "log_type notice",
                *(["user root"] if os.geteuid() == 0 else []),
                _delivery_settings(),
                self._extra,
            ]
        )


def mosquitto_binary() -> str:
    """Return the path of the installed Mosquitto.

    Raises:
        BrokerError: there is none.
    """
    # Debian installs it where an ordinary user's PATH does not look.
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise BrokerError(
            "mosquitto is not installed: apt install mosquitto (Debian) or "
            "brew install mosquitto (macOS)"
        )
    return found


def _delivery_settings() -> str:
    for path in DELIVERY_SETTINGS:
        if path.is_file():
            return path.read_text()
    raise BrokerError(f"Mosquitto's settings are missing: expected {DELIVERY_SETTINGS[-1]}")
