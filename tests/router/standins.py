"""Runs the Worker under the real workerd, between stand-ins for KV and the two origins that a test can look into."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from components.router.script import SHARED, bundled
from contract.flag import Flag, Side
from local import parts

WORKER = bundled("worker.mjs")
FLAG = SHARED.read_text()
FLAG_OBJECT = bundled("flag_object.mjs")
ADMIN = "may change"
ROOT = Path(__file__).parents[2]
SALT = "s1"
TOKEN = "let me"


@dataclass
class Seen:
    """A request as a stand-in got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What a stand-in answers; `cut` closes the connection in place of an answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


class Server:
    """An HTTP server in a thread that answers with what `answer` returns."""

    def __init__(self, answer: Callable[[Seen], Reply], host: str = "127.0.0.1", port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.close_connection = True
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    return
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, self.rfile.read(length))
                reply = answer(seen)
                if reply.cut:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                if seen.method != "HEAD":  # or the body would be taken for the next answer on this connection
                    self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Quiet((host, port), Handler)
        self.address = f"{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Origin:
    """Behaves as the contract says: 421 with its flag where it may not, else it counts the request as executed."""

    def __init__(self, side: Side, flag: Flag, host: str = "127.0.0.1", port: int = 0) -> None:
        self.side = side
        self.flag = flag
        self.executed: list[Seen] = []
        self.polls = 0
        self.lose_answers = False
        self.status = 200
        self._lock = threading.Lock()
        self._server = Server(self._answer, host, port)
        self.url = f"http://{self._server.address}"

    def _answer(self, seen: Seen) -> Reply:
        with self._lock:
            flag = self.flag
            if seen.path == "/__zdm/flag":
                self.polls += 1
                return Reply(body=flag.to_json().encode())
            headers = {"x-zdm-side": self.side.value}
            known = int(seen.headers.get("x-zdm-epoch", -1)), int(seen.headers.get("x-zdm-v", -1))
            if (flag.epoch, flag.v) > known:
                headers["x-zdm-flag"] = flag.to_json()
            write = seen.method not in ("GET", "HEAD")
            forced = seen.headers.get("x-zdm-forced") == "1"
            if not (flag.may_write(self.side) if write else forced or flag.may_read(self.side)):
                return Reply(421, headers={**headers, "x-zdm-flag": flag.to_json()})
            if self.status == 200:
                self.executed.append(seen)
            return Reply(self.status, json.dumps({"side": self.side}).encode(), headers, cut=self.lose_answers)

    def close(self) -> None:
        self._server.close()


class Kv:
    """workerd's KV protocol, with one value for every key."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.reads = 0
        self._server = Server(self._answer)
        self.address = self._server.address

    def _answer(self, seen: Seen) -> Reply:
        self.reads += 1
        return Reply(404) if self.text is None else Reply(body=self.text.encode())

    def close(self) -> None:
        self._server.close()


@dataclass
class Setup:
    """A router with its surroundings. `set_flag` changes what both origins say, not what KV says."""

    url: str
    kv: Kv
    mysql: Origin
    aurora: Origin
    client: httpx.Client
    nginx: Nginx | None = None

    def set_flag(self, flag: Flag) -> None:
        self.mysql.flag = self.aurora.flag = flag


@contextmanager
def workerd(
    folder: Path, modules: dict[str, str], bindings: dict[str, str], kv: str, flag_object: str = ""
) -> Iterator[str]:
    """Runs a Worker of these modules (the first is the main one) and gives its base URL.

    `flag_object` is the script of the Durable Object's class, whose storage is in the folder and outlives the process.
    """
    with workerd_twice(folder, modules, bindings, kv, flag_object) as (url, _):
        yield url


@contextmanager
def workerd_twice(
    folder: Path, modules: dict[str, str], bindings: dict[str, str], kv: str, flag_object: str = ""
) -> Iterator[tuple[str, str]]:
    """The same Worker in two isolates, which share the stores and nothing else, as two of Cloudflare's places do."""
    text = []
    for name, value in bindings.items():
        text.append(f"(name = {json.dumps(name)}, text = {json.dumps(value)})")
    text.append('(name = "FLAGS", kvNamespace = "kv")')
    more, definitions = "", ""
    if flag_object:
        (folder / "flag_object.mjs").write_text(flag_object)
        (folder / "objects").mkdir(exist_ok=True)
        text.append('(name = "FLAG_OBJECT", durableObjectNamespace = (className = "FlagObject", serviceName = "flag"))')
        more = f"""(name = "flag", worker = .flag),
    (name = "objects", disk = (path = {json.dumps(str(folder / "objects"))}, writable = true)),"""
        definitions = """const flag :Workerd.Worker = (
  modules = [(name = "flag_object.mjs", esModule = embed "flag_object.mjs")],
  compatibilityDate = "2026-04-01",
  durableObjectNamespaces = [(className = "FlagObject", uniqueKey = "flag", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
);"""
    for name, source in modules.items():
        (folder / name).write_text(source)
    embedded = ", ".join(f'(name = "{name}", esModule = embed "{name}")' for name in modules)
    (folder / "config.capnp").write_text(f"""
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "twin", worker = .main),
    (name = "kv", external = (address = "{kv}", http = ())),
    (name = "internet", network = (allow = ["public", "private"])),
    {more}
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:0", http = (), service = "main"),
    (name = "twin", address = "127.0.0.1:0", http = (), service = "twin"),
  ],
);
const main :Workerd.Worker = (
  modules = [{embedded}],
  compatibilityDate = "2026-04-01",
  bindings = [{", ".join(text)}],
);
{definitions}
""")
    reading, writing = os.pipe()
    command = [*parts.require("workerd").command["workerd"], "serve", f"--control-fd={writing}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, str(folder / "config.capnp")], pass_fds=(writing,), stdout=log, stderr=log
        )
    os.close(writing)
    try:
        with open(reading) as control:
            lines = [control.readline() for _ in range(2)]
        assert all(lines), f"workerd did not start:\n{(folder / 'log').read_text()}"
        ports = {event["socket"]: event["port"] for event in map(json.loads, lines)}
        yield f"http://127.0.0.1:{ports['http']}", f"http://127.0.0.1:{ports['twin']}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def nginx(folder: Path, values: dict[str, str]) -> Iterator[Nginx]:
    """Runs the router that is nginx, and gives it once it listens."""
    part = parts.require("nginx")
    port = free_port()
    environment = {
        "PATH": f"{part.options['path']}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NGINX_MODULES": part.options["modules"],
        "ZDM_BIND": f"127.0.0.1:{port}",
        "TMPDIR": str(folder),
        **values,
    }
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.nginx_router"], env=environment, stdout=log, stderr=log
        )
    try:
        await_port(process, port, folder / "log")
        yield Nginx(f"http://127.0.0.1:{port}", process.pid, folder / "log")
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def bare_nginx(folder: Path, http: list[str], server: list[str]) -> Iterator[str]:
    """Runs nginx with njs and nothing of the router's configuration; gives its base URL."""
    part = parts.require("nginx")
    port = free_port()
    temporary = [f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    server = [f"listen 127.0.0.1:{port};", "client_body_buffer_size 1m;", "client_max_body_size 1m;", *server]
    (folder / "nginx.conf").write_text(f"""
load_module "{part.options["modules"]}/ngx_http_js_module.so";
daemon off; master_process off; pid {folder}/pid; error_log stderr warn; events {{}}
http {{ {" ".join([*temporary, "access_log off;", "js_engine qjs;", *http])} server {{ {" ".join(server)} }} }}
""")
    words = [*part.command["nginx"], "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        await_port(process, port, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@dataclass
class Nginx:
    """A running nginx: its base URL, the master's pid, its log."""

    url: str
    pid: int
    log: Path

    def workers(self) -> set[int]:
        return set(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))


Start = Callable[..., Setup]
