"""Boot a Debian gateway and let the agent live in it as deployed: `make gateway_test`.

systemd-nspawn boots a Debian of debootstrap with Mosquitto; the wheel, the unit and the broker's
settings of `deploy/` are put in, and the agent must score inside its whole sandbox, reload on
`systemctl reload`, and be started again by the watchdog when it hangs. The tree is kept in
var/gateway; a run leaves nothing in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreshock_agent.update.store import ModelStore
from foreshock_converter.sample import CHANNELS, tiny_model
from scripts.trees import SEARCHED, quiet, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "agent.txt"
DEPLOY = ROOT / "deploy"
SUITE = "bookworm"  # its Python is 3.11, the oldest that the product supports
PACKAGES = "systemd,systemd-sysv,dbus,mosquitto,python3,python3-venv"
SITE = "opt/foreshock/lib/python3.11/site-packages"
PROGRAM = "/opt/foreshock/bin/foreshock"
CONFIG = "/etc/foreshock/agent.toml"
UNIT = "foreshock-agent"
SOCKET = "/run/foreshock-broker/agent.sock"
SOCKETS_MODE = "srwxrwx--- mosquitto"
WAIT_S = 120.0
MINUTES = 40
FIRST_END = 4  # of a window of 8 minutes, every 2, of which half must be there

SETTINGS = """\
site = "works"
gateway = "gw-1"
data_dir = "/var/lib/foreshock"
channels = ["temperature", "pressure"]

[[sources]]
topic = "plant/{machine}/sample"

[commit]
interval_s = 0.5

[health]
port = 9464
"""
PUBLISHER = """\
import json, random, sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.connect("127.0.0.1")
client.loop_start()
first, count = map(int, sys.argv[1:])
for slot in range(first, first + count):
    body = {"t": (1704067200 + 60 * slot) * 10**9, "temperature": 50 + random.random()}
    body["pressure"] = 60 + random.random()
    client.publish("plant/pump-1/sample", json.dumps(body), qos=1).wait_for_publish()
client.disconnect()
"""
ENTRY = """\
#!/opt/foreshock/bin/python
import sys
from foreshock.cli import main
sys.exit(main())
"""
HEALTH = """\
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9464/healthz", timeout=10).read().decode())
"""


def refusal() -> str | None:
    """Say why this machine cannot boot a gateway, and the way out; None when it can."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "make gateway_test boots a container: run it on Linux as root"
    for program, package in (
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(program, path=SEARCHED) is None:
            return f"make gateway_test needs {program}: apt-get install {package}"
    return None


def mirror() -> list[str]:
    """Return the archive that this machine's apt takes Debian from; debootstrap's own if none."""
    asked = ("apt-get", "indextargets", "--format", "$(REPO_URI)", f"Release: {SUITE}")
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return found[:1]


def make_tree() -> Path:
    """Make the tree unless it stands: Debian, Mosquitto, and the agent's lock in /opt/foreshock."""
    digest = hashlib.sha256(LOCK.read_bytes() + f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
    tree = ROOT / "var" / "gateway" / digest
    if tree.is_dir():
        return tree
    partial = tree.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    say(f"makes {tree.relative_to(ROOT)} from Debian {SUITE}, once; minutes")
    options = ("--variant=minbase", f"--include={PACKAGES}")
    quiet("debootstrap", *options, SUITE, str(partial), *mirror())
    quiet("chroot", str(partial), "python3", "-m", "venv", "--without-pip", "/opt/foreshock")
    install(partial, "--require-hashes", "--no-deps", "-r", str(LOCK))
    partial.rename(tree)
    return tree


def install(root: Path, *what: str) -> None:
    """Put packages into the gateway's environment."""
    uv = str(Path(sys.executable).with_name("uv"))
    options = ("--quiet", "--python-version", "3.11", "--target", str(root / SITE))
    quiet(uv, "pip", "install", *options, *what)


class Gateway:
    """A booted tree; `root` is its file system as it sees it."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", "--target", str(leader), "--all"]
        self.root = Path(f"/proc/{leader}/root")

    def run(self, *command: str, data: str | None = None) -> str:
        """Run a command in it and return what it said."""
        done = subprocess.run(
            [*self._enter, *command], input=data, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed in the gateway: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def python(self, program: str, *arguments: str) -> str:
        """Run a program in the agent's own Python."""
        return self.run("/opt/foreshock/bin/python", "-", *arguments, data=program)

    def shown(self, name: str) -> str:
        """Return a property of the agent's unit."""
        return self.run("systemctl", "show", "--value", "-p", name, UNIT)

    def status(self) -> dict[str, Any]:
        """Return what the agent says of its database."""
        said = self.run(PROGRAM, "agent", "status", "--json", "--config", CONFIG)
        report: dict[str, Any] = json.loads(said)
        return report


@contextmanager
def booted(tree: Path) -> Iterator[Gateway]:
    """Boot the tree under a file system in memory, with a network of its own; end it again."""
    log = (ROOT / "var" / "gateway" / "console.log").open("wb")
    options = ("--boot", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit")
    command = ["systemd-nspawn", "--quiet", *options, "--console=pipe", f"--directory={tree}"]
    with log:
        container = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    try:
        wait_for(lambda: children.read_text().split(), "the container's first process")
        gateway = Gateway(int(children.read_text().split()[0]))
        wait_for(lambda: is_up(gateway), "its system bus")
        yield gateway
        gateway.run("systemctl", "poweroff")
        container.wait(WAIT_S)
    finally:
        container.terminate()
        container.wait(WAIT_S)


def is_up(gateway: Gateway) -> bool:
    """Say whether systemd answers there and the broker runs."""
    asked = [*gateway._enter, "systemctl", "is-active", "mosquitto"]  # noqa: SLF001 - may fail
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {WAIT_S:g} s in vain for {what}")
        time.sleep(0.2)


def expect(what: str, found: object, wanted: object) -> None:
    """Say what was found, and end when it is not what was wanted."""
    if found != wanted:
        sys.exit(f"{what}: found {found!r}, wanted {wanted!r}")
    say(f"{what}: {found}")


def deploy(gateway: Gateway, wheel: Path) -> str:
    """Install and start the agent with a model, as on a gateway; return the model's hash."""
    install(gateway.root, "--no-deps", str(wheel))
    write(gateway, PROGRAM, ENTRY)
    (gateway.root / PROGRAM[1:]).chmod(0o755)
    write(gateway, CONFIG, SETTINGS)
    copy(gateway, f"systemd/{UNIT}.service", "/etc/systemd/system")
    for name in ("delivery.conf", "gateway.conf"):
        copy(gateway, f"mosquitto/{name}", "/etc/mosquitto/conf.d")
    model = tiny_model(CHANNELS[:2], length=8, stride=2, period_s=60.0, seed=1)
    sha256 = ModelStore(gateway.root / "var/lib/private/foreshock/models").install(model)
    gateway.run("systemctl", "restart", "mosquitto")
    start(gateway)
    return sha256


def start(gateway: Gateway) -> None:
    """Start the agent anew by its unit as it is now; returns when it says that it is ready."""
    gateway.run("systemctl", "daemon-reload")
    gateway.run("systemctl", "restart", UNIT)


def copy(gateway: Gateway, name: str, folder: str) -> None:
    """Copy a file of `deploy/` into a folder of the gateway."""
    source = DEPLOY / name
    write(gateway, f"{folder}/{source.name}", source.read_text(encoding="utf-8"))


def write(gateway: Gateway, path: str, text: str) -> None:
    """Write a file of the gateway."""
    target = gateway.root / path[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def check_sandbox(gateway: Gateway) -> None:
    """The process itself has no capability, a system call filter, and no way to new code."""
    pid = gateway.shown("MainPID")
    lines = (gateway.root / "proc" / pid / "status").read_text().splitlines()
    of = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    expect("capabilities", int(of["CapEff"], 16), 0)
    expect("system calls are filtered", of["Seccomp"], "2")
    expect(
        "memory is never writable and executable", gateway.shown("MemoryDenyWriteExecute"), "yes"
    )
    expect("user is its own", gateway.shown("DynamicUser"), "yes")


def check_scores(gateway: Gateway, sha256: str) -> None:
    """Readings come in over Mosquitto, and the model scores them in the sandbox."""
    gateway.python(PUBLISHER, "0", str(MINUTES))
    wait_for(lambda: stored(gateway) == 2 * MINUTES, "the readings")
    report = gateway.status()
    expect("model", report["model"], sha256)
    expect("scores", report["pending"]["scores"], (MINUTES - 1 - FIRST_END) // 2 + 1)
    expect("broken laws", report["broken_laws"], [])
    health = json.loads(gateway.python(HEALTH))
    expect("faults of the model", health["model_faults"], 0)


def stored(gateway: Gateway) -> int:
    """Return how many readings the agent has committed."""
    return int(gateway.status()["accounts"].get("readings.stored", 0))


def check_reload(gateway: Gateway) -> None:
    """`systemctl reload` takes a setting over in the same process."""
    pid = gateway.shown("MainPID")
    write(gateway, CONFIG, SETTINGS.replace("interval_s = 0.5", "interval_s = 0.25"))
    gateway.run("systemctl", "reload", UNIT)
    wait_for(lambda: gateway.status()["reload"], "the reload")
    expect("reloaded", gateway.status()["reload"]["applied"], ["commit.interval_s"])
    expect("process goes on", gateway.shown("MainPID"), pid)


def check_socket(gateway: Gateway) -> None:
    """The agent leaves the broker's port for its socket, which its group lets it open."""
    copy(gateway, "mosquitto/socket.conf", "/etc/mosquitto/conf.d")
    for unit, drop_in in (("mosquitto", "foreshock"), (UNIT, "socket")):
        folder = f"{unit}.service.d"
        copy(gateway, f"systemd/{folder}/{drop_in}.conf", f"/etc/systemd/system/{folder}")
    write(gateway, CONFIG, f'{SETTINGS}\n[local]\nhost = "unix:{SOCKET}"\n')
    gateway.run("systemctl", "daemon-reload")
    gateway.run("systemctl", "restart", "mosquitto")
    start(gateway)
    before = stored(gateway)
    gateway.python(PUBLISHER, str(MINUTES), str(MINUTES))
    wait_for(lambda: stored(gateway) == before + 2 * MINUTES, "readings by the socket")
    expect("who may open the socket", gateway.run("stat", "-c", "%A %G", SOCKET), SOCKETS_MODE)


def check_watchdog(gateway: Gateway) -> None:
    """An agent that hangs is ended by systemd's watchdog and started again; nothing is lost."""
    drop_in = "[Service]\nWatchdogSec=5\nTimeoutAbortSec=5\n"  # not a minute, as on a gateway
    write(gateway, f"/run/systemd/system/{UNIT}.service.d/soon.conf", drop_in)
    start(gateway)
    pid = gateway.shown("MainPID")
    gateway.run("systemctl", "kill", "--signal=SIGSTOP", "--kill-who=main", UNIT)
    gateway.python(PUBLISHER, str(2 * MINUTES), str(MINUTES))
    wait_for(lambda: gateway.shown("NRestarts") == "1", "systemd to end what hangs")
    wait_for(lambda: gateway.shown("ActiveState") == "active", "the next start")
    say(f"systemd has ended process {pid} and started {gateway.shown('MainPID')}")
    wait_for(lambda: stored(gateway) == 6 * MINUTES, "what came meanwhile")
    expect("broken laws", gateway.status()["broken_laws"], [])


def main() -> int:
    """Boot and check; 0 when all holds, 1 when not, 2 when this machine cannot boot one."""
    parser = argparse.ArgumentParser(
        description="Boot a Debian gateway and let the agent live in it.",
        epilog="Example: make gateway_test",
    )
    parser.parse_args()
    if (why := refusal()) is not None:
        print(why, file=sys.stderr)
        return 2
    began_s = time.monotonic()
    tree = make_tree()
    dist = ROOT / "var" / "gateway" / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    quiet(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist))
    with booted(tree) as gateway:
        sha256 = deploy(gateway, next(dist.glob("*.whl")))
        check_sandbox(gateway)
        check_scores(gateway, sha256)
        check_reload(gateway)
        check_socket(gateway)
        check_watchdog(gateway)
    say(f"the gateway holds, in {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
