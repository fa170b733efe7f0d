"""An S3-compatible server as a process, and a way to it on which answers and requests get lost."""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from foreshock.brokers.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "lakes"
START_S = 60
KEPT = frozenset({"connection", "keep-alive", "transfer-encoding", "server", "date"})
"""Headers that belong to one leg of the way."""


@contextmanager
def s3_server() -> Iterator[int]:
    """Run the server with an empty bucket; its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def environment(port: int) -> dict[str, str]:
    """What a process needs in its environment to find the bucket at a port of this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
    }


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    credential = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request"
    deadline_s = time.monotonic() + START_S
    while True:
        assert process.poll() is None, "the S3 server has ended"
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            link.request("PUT", f"/{BUCKET}", headers={"Authorization": credential})
            assert link.getresponse().status == HTTPStatus.OK
        except OSError:
            assert time.monotonic() < deadline_s, "the S3 server does not answer"
            time.sleep(0.05)
        else:
            return
        finally:
            link.close()


class _Way(BaseHTTPRequestHandler):
    """Passes a request on; some commits are refused, some done and their answer lost."""

    protocol_version = "HTTP/1.1"
    target: ClassVar[int]
    chance: ClassVar[random.Random]
    done: ClassVar[Counter[str]]
    share: ClassVar[float]
    lock: ClassVar[threading.Lock]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self._trouble()
        if trouble == "refused":
            self.send_response(HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        link = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        link.request(self.command, self.path, body, dict(self.headers))
        answer = link.getresponse()
        data = answer.read()
        link.close()
        if trouble == "lost":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in KEPT:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _trouble(self) -> str:
        if self.command != "PUT" or "/_delta_log/" not in self.path:
            return ""
        with self.lock:
            if self.chance.random() >= self.share:
                return ""
            kind = self.chance.choice(["refused", "lost"])
            self.done[kind] += 1
            return kind

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815 - the base's names


@contextmanager
def troubled_way(target: int, share: float, seed: int) -> Iterator[tuple[int, Counter[str]]]:
    """Stand before a server; a share of commits is refused, or done without an answer."""
    done: Counter[str] = Counter()
    way = type(
        "Way",
        (_Way,),
        {
            "target": target,
            "chance": random.Random(seed),  # noqa: S311 - repeatable, no secret
            "done": done,
            "share": share,
            "lock": threading.Lock(),
        },
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), way)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1], done
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
