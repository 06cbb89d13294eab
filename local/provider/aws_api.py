"""The AWS API server of a local stack: moto, with a memory.

moto keeps everything in its process. So every request that changed something is written to a journal, with a random
seed of its own, and a server that starts again replays the journal: all resources are back under the same ids. Requests
run one at a time, so that the order in the journal is the order in which they happened.

    python -m local.provider.aws_api ADDRESS PORT JOURNAL

The journal is the folder `data/aws` of its stack.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.provider.rds_api import RdsApi

PORT = 5000
INLINE_BYTES = 16_384  # a longer body becomes a file beside the journal

_READ_ONLY = re.compile(r"(?:(?:^|&)Action=|\.)(?:Describe|List|Get|BatchGet|Lookup)\w+(?:&|$)")

Environ = dict[str, Any]


class Journal:
    """Requests in the order in which they were carried out. The folder is private: requests carry secrets."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._home = home
        self._file = home / "requests.jsonl"
        self.length = 0

    def entries(self) -> Iterable[Environ]:
        """What to replay. A last line cut off by a crash was never answered, so it is dropped."""
        if not self._file.exists():
            return
        whole = self._file.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            os.truncate(self._file, len(complete))
        for line in complete.splitlines():
            entry = json.loads(line)
            body = entry.pop("body")
            content = base64.b64decode(body) if body is not None else (self._home / entry.pop("file")).read_bytes()
            self.length += 1
            yield {**entry["environ"], "wsgi.input": io.BytesIO(content)}

    def append(self, environ: Environ, body: bytes) -> None:
        kept = {k: v for k, v in environ.items() if isinstance(v, str) and not k.startswith("wsgi.")}
        entry: dict[str, Any] = {"environ": kept, "body": None}
        if len(body) > INLINE_BYTES:
            entry["file"] = hashlib.sha256(body).hexdigest()
            (self._home / entry["file"]).write_bytes(body)
        else:
            entry["body"] = base64.b64encode(body).decode()
        with open(self._file, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self.length += 1


class Application:
    """moto behind the journal, and before it the operations that are done by parts of this machine."""

    def __init__(self, journal: Journal, rds: RdsApi | None = None) -> None:
        from moto.moto_api._internal import mock_random
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        from local.provider import aws_patches

        aws_patches.apply()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._random = mock_random
        self._lock = threading.Lock()
        self._journal = journal
        self._rds = rds
        for environ in journal.entries():
            self._perform(environ, journal.length - 1, lambda *_: None)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length)) if length else b""
        if not length and "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        if self._rds and (answer := self._rds.answer(environ, body)):
            status_code, headers, content = answer
            start_response(f"{status_code} {HTTPStatus(status_code).phrase}", list(headers.items()))
            return [content]
        if self._only_reads(environ, body):
            with self._lock:
                return self._collect(environ, start_response)
        status: list[str] = []

        def remember(line: str, headers: Any, *rest: Any) -> Any:
            status.append(line)
            return start_response(line, headers, *rest)

        before = {**environ}
        with self._lock:
            performed = self._perform(environ, self._journal.length, remember)
            if status and status[0] < "400":
                self._journal.append(before, body)
        return performed

    def _perform(self, environ: Environ, number: int, start_response: Callable[..., Any]) -> list[bytes]:
        self._random.seed(f"zdm:{number}")
        base = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        return self._collect({**base, **environ}, start_response)

    def _collect(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        answer = self._moto(environ, start_response)
        try:
            return list(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    @staticmethod
    def _only_reads(environ: Environ, body: bytes) -> bool:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target or environ["REQUEST_METHOD"] == "POST":
            return bool(_READ_ONLY.search(target or body[:4096].decode("latin1")))
        return environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS")


def main(address: str, port: int, journal: Path) -> None:
    import logging

    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import run_simple

    from local.provider.rds_api import RdsApi
    from local.stack import LocalStack

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    os.environ.setdefault("MOTO_PORT", str(port))
    home = journal.parents[1]
    rds = RdsApi(LocalStack(home.name, home))
    application = Application(Journal(journal), rds)
    rds.keep_backups()
    run_simple(address, port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
