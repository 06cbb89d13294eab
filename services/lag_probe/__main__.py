"""`python -m services.lag_probe`: see `services.lag_probe.settings` for its environment.

/metrics for Prometheus, /targets for its service discovery, /healthz: 200 while samples are taken.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.exceptions import BotoCoreError, ClientError

from services.lag_probe.metrics import CONTENT_TYPE, Metrics
from services.lag_probe.probe import Probe
from services.lag_probe.settings import Settings, SettingsError, settings_from
from services.lag_probe.targets import Discovery

STALE_SECONDS = 60.0
"""A probe that has not finished a sample for this long (every part has a shorter time-out) does not live any more."""


class Server(ThreadingHTTPServer):
    """Answers from what the probe last knew."""

    daemon_threads = True

    def __init__(self, settings: Settings, probe: Probe, metrics: Metrics) -> None:
        self.probe, self.metrics = probe, metrics
        self.discovery, self.discovering = Discovery(settings), threading.Lock()
        super().__init__((settings.host, settings.port), Handler)


class Handler(BaseHTTPRequestHandler):
    """The three paths."""

    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE, self.server.metrics.text())
        elif path == "/healthz":
            alive = time.monotonic() - self.server.probe.last < STALE_SECONDS
            self._answer(200 if alive else 503, "text/plain", b"ok\n" if alive else b"no sample for a minute\n")
        elif path == "/targets":
            self._targets()
        else:
            self._answer(404, "text/plain", b"/metrics, /targets or /healthz\n")

    def _targets(self) -> None:
        try:
            with self.server.discovering:
                found = self.server.discovery.targets()
        except (BotoCoreError, ClientError) as e:
            self.server.metrics.failed("ecs")
            self._answer(503, "text/plain", f"{e}\n".encode())  # Prometheus keeps the targets it has
        else:
            self._answer(200, "application/json", json.dumps(found).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log is for samples."""


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = settings_from(os.environ)
    except SettingsError as e:
        sys.exit(str(e))
    metrics = Metrics()
    probe = Probe(settings, metrics, say=lambda line: print(line, flush=True))
    probe.last = time.monotonic()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = Server(settings, probe, metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    probe.run(stopped)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
