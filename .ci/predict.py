"""Run `make run` as a user does, ask /predict for a point and a window, and end it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import Any

POINT = {"temperature": 60.0, "pressure": 5.0, "vibration": 2.0, "torque": 40.0, "motor_power": 9.0}
PATIENCE_S = 60


def ask(url: str, document: dict[str, Any]) -> dict[str, Any]:
    """Post a document to /predict and return the answer."""
    body = json.dumps(document).encode()
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/predict", body, head)  # noqa: S310 - our own loopback
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - the same
        said: dict[str, Any] = json.load(answer)
    print("asked", str(document)[:60], "-> probability", said["probability"], said["label_name"])
    return said


def try_out(server: subprocess.Popen[str]) -> None:
    """Read where the server listens and ask it twice."""
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="")
        if line.startswith("{") and "url" in line:
            url = json.loads(line)["url"].rstrip("/")
            break
    else:
        sys.exit("error: make run ended before it said where it serves")
    answers = [ask(url, POINT), ask(url, {"window": [list(POINT.values())] * 48})]
    if not all(0 <= said["probability"] <= 1 and said["label"] in {0, 1} for said in answers):
        sys.exit(f"error: /predict does not answer with a probability and a label: {answers}")


def main() -> None:
    """Start the server in a session of its own, try it out, and end the whole session."""
    command = ["make", "run", "ARGS=--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            try_out(server)
        finally:
            os.killpg(server.pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
