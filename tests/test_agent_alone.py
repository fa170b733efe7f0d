"""A gateway installs `foreshock[agent]` and nothing else, and the agent works there."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_converter.sample import CHANNELS, synthetic_windows, tiny_model
from foreshock_wire import topics
from foreshock_wire.messages import Status
from foreshock_wire.model import Model
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "agent.txt"
CENTRE_ONLY = ("pandas", "scipy", "sklearn", "xgboost", "mlflow", "onnx", "pyarrow", "deltalake")
UPDATE_ONLY = ("tuf", "securesystemslib", "cryptography")
LARGEST_MB = 260
AT = Gateway("site-1", "gw-1")
NAMES = [channel.id for channel in CHANNELS]
PATIENCE_S = 60

pytestmark = pytest.mark.timeout(600)  # the first time, the packages come over the network


@dataclass(frozen=True, slots=True)
class Alone:
    """A clean environment that holds the agent and what it needs."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / "python"), "-I", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(self.folder / "bin" / "foreshock"), *arguments], cwd="/")

    def size_mb(self) -> float:
        files = (path.lstat() for path in self.folder.rglob("*") if not path.is_dir())
        return sum(status.st_size for status in files) / 1e6


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory,
    load_script: Callable[[str], ModuleType],
    absent_thing: Callable[..., NoReturn],
) -> Alone:
    folder = tmp_path_factory.mktemp("gateway")
    wheels = folder / "dist"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = wheels.glob("*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)

    into = ("--python", str(venv / "bin" / "python"))
    uv = (sys.executable, "-m", "uv", "-q", "pip", "install", *into, "--compile-bytecode")
    pip = (sys.executable, "-m", "pip", *into, "install", "-qq")
    locked = ("--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
    reach = load_script("environment").as_pip_reaches_out() | os.environ
    for install in (uv, pip):
        done = subprocess.run([*install, *locked], capture_output=True, check=False, env=reach)
        if done.returncode == 0:
            subprocess.run([*install, "--no-deps", str(wheel)], check=True, env=reach)
            return Alone(venv)
    return absent_thing("package-index", done.stderr.decode()[-300:])


@pytest.fixture(scope="module")
def model() -> bytes:
    return tiny_model()


def test_it_is_small_and_nothing_of_the_centre_is_there(
    alone: Alone, record_property: Callable[[str, object], None], say: Callable[[str], None]
) -> None:
    code = "import sys; from importlib.util import find_spec as f; "
    code += "print(*[name for name in sys.argv[1:] if f(name)])"
    found = alone.run("-c", code, *CENTRE_ONLY, "foreshock_agent")
    size_mb = alone.size_mb()

    assert found.stdout.split() == ["foreshock_agent"], found.stderr
    record_property("agent_environment_mb", round(size_mb))
    say(f"the agent's environment is {size_mb:.0f} MB")
    assert size_mb < LARGEST_MB


def test_every_module_of_the_agent_imports_there(alone: Alone) -> None:
    code = (
        "import importlib, pkgutil, foreshock_agent as top\n"
        "names = [m.name for m in pkgutil.walk_packages(top.__path__, 'foreshock_agent.')]\n"
        "print(len([importlib.import_module(name) for name in names]))"
    )
    done = alone.run("-W", "error", "-c", code)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_service_loads_what_an_update_needs_when_one_comes(alone: Alone) -> None:
    code = (
        "import sys, foreshock.cli, foreshock_agent.cli, foreshock_agent.lifetime, onnxruntime\n"
        "early = [name for name in sys.argv[1:] if name in sys.modules]\n"
        "import foreshock_agent.update.tuf_client\n"
        "print(json.dumps([early, [name for name in sys.argv[1:] if name in sys.modules]]))"
    )
    done = alone.run("-c", f"import json\n{code}", *UPDATE_ONLY)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], list(UPDATE_ONLY)]


def test_the_model_file_says_there_what_it_says_here(
    alone: Alone, model: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    code = (
        "import sys, json; from pathlib import Path; from foreshock_wire.model import Model\n"
        "model = Model.load(Path(sys.argv[1])); model.self_test()\n"
        "out = model.run(model.spec.golden.windows, explain=True)\n"
        "print(json.dumps([out.margin.tolist(), out.shapley.tolist()]))"
    )
    done = alone.run("-c", code, str(tmp_path / "model.onnx"))
    here = Model.load(model)
    assert here.spec.golden is not None
    expected = here.run(here.spec.golden.windows, explain=True)

    assert done.returncode == 0, done.stderr
    margin, shapley = json.loads(done.stdout)
    np.testing.assert_array_equal(np.float32(margin), expected.margin)
    np.testing.assert_array_equal(np.float32(shapley), expected.shapley)


def test_the_extras_that_are_not_there_are_named(alone: Alone) -> None:
    for name, extra in (("trainer", "trainer"), ("demo", "demo")):
        command = {"trainer": ["retrain", "--lake", "/nowhere", "--tracking", "/nowhere"]}
        done = alone.run("-m", "foreshock", name, *command.get(name, []))
        assert done.returncode == 1, done.stderr
        assert f"pip install 'foreshock[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_agent_scores_a_window_there(
    alone: Alone, model: bytes, tmp_path: Path, mosquitto_binary: str
) -> None:
    install = (
        "import sys; from pathlib import Path\n"
        "from foreshock_agent.update.store import ModelStore\n"
        "print(ModelStore(Path(sys.argv[1])).install(Path(sys.argv[2]).read_bytes()))"
    )
    (tmp_path / "model.onnx").write_bytes(model)
    installed = alone.run("-c", install, f"{tmp_path}/data/models", f"{tmp_path}/model.onnx")
    assert installed.returncode == 0, installed.stderr

    with broker(mosquitto_binary, tmp_path) as port, client(port) as (to_agent, heard):
        config = tmp_path / "agent.toml"
        config.write_text(settings(tmp_path / "data", port), "utf-8")
        agent = alone.start("agent", "run", "--config", str(config))
        try:
            first_matching(heard, topics.status(AT), lambda body: Status.from_bytes(body).online)
            publish_one_day(to_agent)
            score = first_matching(heard, topics.score(AT, "pump-1"), bool)
        finally:
            agent.terminate()
            agent.wait(PATIENCE_S)

    said = json.loads(score)
    assert said["model"] == installed.stdout.strip()
    assert 0 < said["probability"] < 1


def settings(data: Path, port: int) -> str:
    channels = json.dumps(NAMES)
    return (
        f'site = "{AT.site}"\ngateway = "{AT.gateway}"\ndata_dir = "{data}"\n'
        f"channels = {channels}\n[local]\nport = {port}\n"
        f'[[sources]]\ntopic = "plant/{{machine}}/sample"\nchannels = {channels}\n'
    )


def publish_one_day(to_agent: mqtt.Client) -> None:
    """Publish a window and a bit: 60 samples of 30 minutes, without gaps."""
    windows, _, _ = synthetic_windows(2, len(NAMES), 48)
    rows = windows.reshape(-1, len(NAMES))[:60]
    begin_ns = 1_704_067_200_000_000_000
    for number, row in enumerate(rows):
        pairs = zip(NAMES, map(float, row), strict=True)
        values = {name: value for name, value in pairs if not math.isnan(value)}
        sample = {"t": begin_ns + number * 1_800_000_000_000, **values}
        to_agent.publish("plant/pump-1/sample", json.dumps(sample), qos=1)


@contextmanager
def broker(binary: str, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", "utf-8")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextmanager
def client(port: int) -> Iterator[tuple[mqtt.Client, Queue[mqtt.MQTTMessage]]]:
    """A connected client that hears all that the agent publishes."""
    heard: Queue[mqtt.MQTTMessage] = Queue()
    listener = mqtt.Client(CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _client, _data, message: heard.put(message)
    listener.on_connect = lambda client, *_: client.subscribe(f"{AT.root}/#")
    listener.connect_async("127.0.0.1", port)
    listener.reconnect_delay_set(1, 1)
    listener.loop_start()
    try:
        yield listener, heard
    finally:
        listener.disconnect()
        listener.loop_stop()


def first_matching(
    heard: Queue[mqtt.MQTTMessage], topic: str, wanted: Callable[[bytes], bool]
) -> bytes:
    deadline = time.monotonic() + PATIENCE_S
    seen = []
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = heard.get(timeout=left)
        except Empty:
            break
        seen.append(message.topic)
        if message.topic == topic and wanted(bytes(message.payload)):
            return bytes(message.payload)
    pytest.fail(f"nothing on {topic} within {PATIENCE_S} s; heard {seen}")
