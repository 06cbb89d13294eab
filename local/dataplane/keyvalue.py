"""Workers KV on one machine: a server with Cloudflare's REST API and workerd's KV protocol over the same values.

Values are in one SQLite file and survive a restart. Like Cloudflare's, the API (`/client/v4/...`) wants the stack's
token, and readers at the edge (workerd, by namespace header) may see old values: `ZDM_KV_EDGE_LAG` seconds (default 0)
rehearse the up to 60 s of the real one.

    python -m local.dataplane.keyvalue ADDRESS PORT DATABASE TOKEN-FILE
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from local.environment import CLOUDFLARE_PORT, api_token
from local.provider.handler import Handler, HandlerError, Properties

if TYPE_CHECKING:
    from aiohttp import web

    from local.stack import LocalStack

PROCESS = "cloudflare-api"
NAMESPACE_HEADER = "x-zdm-namespace"
START_SECONDS = 30
VALUE_BYTES = 25 << 20  # Cloudflare's limit for a value
KEY_BYTES = 512
SMALLEST_TTL = 60


# --- the values -------------------------------------------------------------------------------------------------------


class Store:
    """Namespaces and their values, durable."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE IF NOT EXISTS namespace (id TEXT PRIMARY KEY, account TEXT NOT NULL, title TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS entry (namespace TEXT NOT NULL REFERENCES namespace, key TEXT NOT NULL,"
            " value BLOB NOT NULL, metadata TEXT, expires REAL, PRIMARY KEY (namespace, key));"
        )

    def namespaces(self, account: str) -> list[tuple[str, str]]:
        return self._db.execute("SELECT id, title FROM namespace WHERE account=? ORDER BY title", [account]).fetchall()

    def exists(self, namespace: str) -> bool:
        return bool(self._db.execute("SELECT 1 FROM namespace WHERE id=?", [namespace]).fetchone())

    def create(self, account: str, title: str) -> str | None:
        """A new namespace's id; None if the account has one with this title."""
        if any(known == title for _, known in self.namespaces(account)):
            return None
        id = secrets.token_hex(16)
        self._db.execute("INSERT INTO namespace VALUES (?, ?, ?)", [id, account, title])
        return id

    def rename(self, namespace: str, title: str) -> None:
        self._db.execute("UPDATE namespace SET title=? WHERE id=?", [title, namespace])

    def drop(self, namespace: str) -> None:
        self._db.execute("DELETE FROM entry WHERE namespace=?", [namespace])
        self._db.execute("DELETE FROM namespace WHERE id=?", [namespace])

    def get(self, namespace: str, key: str) -> tuple[bytes, str | None] | None:
        return self._db.execute(
            "SELECT value, metadata FROM entry WHERE namespace=? AND key=? AND (expires IS NULL OR expires>?)",
            [namespace, key, time.time()],
        ).fetchone()

    def put(self, namespace: str, key: str, value: bytes, metadata: str | None, expires: float | None) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)", [namespace, key, value, metadata, expires]
        )

    def delete(self, namespace: str, key: str) -> None:
        self._db.execute("DELETE FROM entry WHERE namespace=? AND key=?", [namespace, key])

    def keys(self, namespace: str, prefix: str) -> list[Properties]:
        rows = self._db.execute(
            "SELECT key, metadata, expires FROM entry WHERE namespace=? AND substr(key, 1, ?)=? "
            "AND (expires IS NULL OR expires>?) ORDER BY key",
            [namespace, len(prefix), prefix, time.time()],
        )
        return [
            {
                "name": key,
                **({"metadata": json.loads(metadata)} if metadata else {}),
                **({"expiration": int(expires)} if expires else {}),
            }
            for key, metadata, expires in rows
        ]


class Edge:
    """What a reader far away sees: a value read once stays as it was for `lag` seconds."""

    def __init__(self, store: Store, lag: float) -> None:
        self._store = store
        self._lag = lag
        self._seen: dict[tuple[str, str], tuple[float, tuple[bytes, str | None] | None]] = {}

    def get(self, namespace: str, key: str) -> tuple[bytes, str | None] | None:
        if self._lag <= 0:
            return self._store.get(namespace, key)
        known = self._seen.get((namespace, key))
        if known is None or time.monotonic() - known[0] >= self._lag:
            known = self._seen[namespace, key] = (time.monotonic(), self._store.get(namespace, key))
        return known[1]


# --- the server -------------------------------------------------------------------------------------------------------


def application(store: Store, token: str, lag: float = 0.0) -> web.Application:
    """Both protocols over one store."""
    from aiohttp import web

    edge = Edge(store, lag)

    def answer(result: Any, status: int = 200, code: int = 0, message: str = "", **more: Any) -> web.Response:
        errors = [{"code": code, "message": message}] if message else []
        body = {"success": not errors, "errors": errors, "messages": [], "result": result, **more}
        return web.json_response(body, status=status)

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/client/v4/"):
            if request.headers.get("authorization") != f"Bearer {token}":
                return answer(None, 403, 10000, "Authentication error")
            namespace = request.match_info.get("namespace")
            if namespace is not None and not store.exists(namespace):
                return answer(None, 404, 10013, f"get namespace: '{namespace}' not found")
        return await handler(request)

    async def list_namespaces(request: web.Request) -> web.Response:
        found = store.namespaces(request.match_info["account"])
        result = [{"id": id, "title": title, "supports_url_encoding": True} for id, title in found]
        return answer(
            result, result_info={"page": 1, "per_page": len(result), "count": len(result), "total_count": len(result)}
        )

    async def create_namespace(request: web.Request) -> web.Response:
        title = (await request.json()).get("title")
        if not title:
            return answer(None, 400, 10019, "missing title")
        id = store.create(request.match_info["account"], title)
        if id is None:
            return answer(None, 400, 10014, f"a namespace with this account ID and title already exists: {title}")
        return answer({"id": id, "title": title, "supports_url_encoding": True})

    async def get_namespace(request: web.Request) -> web.Response:
        id, known = request.match_info["namespace"], dict(store.namespaces(request.match_info["account"]))
        if id not in known:
            return answer(None, 404, 10013, f"get namespace: '{id}' not found")
        return answer({"id": id, "title": known[id], "supports_url_encoding": True})

    async def rename_namespace(request: web.Request) -> web.Response:
        store.rename(request.match_info["namespace"], (await request.json())["title"])
        return await get_namespace(request)

    async def drop_namespace(request: web.Request) -> web.Response:
        store.drop(request.match_info["namespace"])
        return answer(None)

    async def list_keys(request: web.Request) -> web.Response:
        keys = store.keys(request.match_info["namespace"], request.query.get("prefix", ""))
        return answer(keys, result_info={"count": len(keys), "cursor": ""})

    async def get_value(request: web.Request) -> web.Response:
        found = store.get(request.match_info["namespace"], request.match_info["key"])
        if found is None:
            return answer(None, 404, 10009, "get: 'key not found'")
        return web.Response(body=found[0], content_type="application/octet-stream")

    async def get_metadata(request: web.Request) -> web.Response:
        found = store.get(request.match_info["namespace"], request.match_info["key"])
        if found is None:
            return answer(None, 404, 10009, "get: 'key not found'")
        return answer(json.loads(found[1]) if found[1] else None)

    async def put_value(request: web.Request) -> web.Response:
        metadata = None
        if request.content_type == "multipart/form-data":
            form = await request.post()
            part = form["value"]
            value = part.file.read() if isinstance(part, web.FileField) else str(part).encode()
            metadata = str(form["metadata"]) if form.get("metadata") else None
        else:
            value = await request.read()
        return put(request.match_info["namespace"], request.match_info["key"], value, metadata, request)

    def put(namespace: str, key: str, value: bytes, metadata: str | None, request: web.Request) -> web.Response:
        ttl = request.query.get("expiration_ttl")
        if ttl and int(ttl) < SMALLEST_TTL:
            return answer(
                None, 400, 10033, f"Invalid expiration_ttl of {ttl}. Expiration TTL must be at least {SMALLEST_TTL}."
            )
        if not key or len(key.encode()) > KEY_BYTES:
            return answer(None, 414, 10030, f"key length must be 1 to {KEY_BYTES} bytes")
        expires = (
            time.time() + int(ttl)
            if ttl
            else float(request.query["expiration"])
            if request.query.get("expiration")
            else None
        )
        store.put(namespace, key, value, metadata, expires)
        return answer(None)

    async def delete_value(request: web.Request) -> web.Response:
        store.delete(request.match_info["namespace"], request.match_info["key"])
        return answer(None)

    async def worker(request: web.Request) -> web.Response:
        """workerd's protocol: the key is the path, the namespace a header that its configuration injects."""
        namespace, key = request.headers.get(NAMESPACE_HEADER, ""), unquote(request.rel_url.raw_path[1:])
        if not store.exists(namespace):
            return web.Response(status=404, text=f"there is no namespace {namespace!r}")
        if request.method == "GET" and not key:
            keys = store.keys(namespace, request.query.get("prefix", ""))
            return web.json_response({"keys": keys, "list_complete": True})
        if request.method == "GET":
            found = edge.get(namespace, key)
            if found is None:
                return web.Response(status=404)
            return web.Response(body=found[0], headers={"CF-KV-Metadata": found[1]} if found[1] else None)
        if request.method == "PUT":
            return put(namespace, key, await request.read(), request.headers.get("CF-KV-Metadata"), request)
        if request.method == "DELETE":
            return await _deleted(store, namespace, key)
        return web.Response(status=405)

    app = web.Application(middlewares=[guard], client_max_size=VALUE_BYTES)
    base = "/client/v4/accounts/{account}/storage/kv/namespaces"
    app.add_routes(
        [
            web.get(base, list_namespaces),
            web.post(base, create_namespace),
            web.get(base + "/{namespace}", get_namespace),
            web.put(base + "/{namespace}", rename_namespace),
            web.delete(base + "/{namespace}", drop_namespace),
            web.get(base + "/{namespace}/keys", list_keys),
            web.get(base + "/{namespace}/values/{key}", get_value),
            web.put(base + "/{namespace}/values/{key}", put_value),
            web.delete(base + "/{namespace}/values/{key}", delete_value),
            web.get(base + "/{namespace}/metadata/{key}", get_metadata),
            web.route("*", "/{path:.*}", worker),
        ]
    )
    return app


async def _deleted(store: Store, namespace: str, key: str) -> web.Response:
    from aiohttp import web

    store.delete(namespace, key)
    return web.Response()


def main(address: str, port: int, database: Path, token: Path) -> None:
    from aiohttp import web

    lag = float(os.environ.get("ZDM_KV_EDGE_LAG") or 0)
    app = application(Store(database), token.read_text(), lag)
    web.run_app(app, host=address, port=port, access_log=None, print=lambda *_: None)


# --- the resources ----------------------------------------------------------------------------------------------------


class Api:
    """The Cloudflare API of a stack, with its server running."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.address = f"{stack.address('cloudflare')}:{CLOUDFLARE_PORT}"

    def running(self) -> bool:
        return self._stack.process(PROCESS).running()

    def start(self) -> None:
        from local.dataplane.cloud import accepts
        from local.stack import PROJECT

        token = api_token(self._stack)
        host, _, port = self.address.partition(":")
        self._stack.process(PROCESS).start(
            [
                sys.executable,
                "-m",
                "local.dataplane.keyvalue",
                host,
                port,
                str(self._stack.data("keyvalue") / "values.sqlite"),
                str(self._stack.home / "cloudflare.token"),
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            ready=lambda: bool(token) and accepts(host, int(port), 0.2),
            timeout=START_SECONDS,
        )

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The API's answer: what `result` holds, or the raw bytes of a value. None for what is not there."""
        import httpx

        self.start()
        url = f"http://{self.address}/client/v4/accounts/{path}"
        response = httpx.request(
            method, url, headers={"authorization": f"Bearer {api_token(self._stack)}"}, timeout=10, **options
        )
        if response.status_code == 404:
            return None
        if response.headers["content-type"].startswith("application/octet-stream"):
            return response.content
        content = response.json()
        if not content["success"]:
            raise HandlerError("Cloudflare API: " + "; ".join(e["message"] for e in content["errors"]))
        return content["result"] if content["result"] is not None else True


class Namespace(Handler):
    """`cloudflare.WorkersKvNamespace`."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        made = Api(stack).call("POST", self._path(inputs), json={"title": inputs["title"]})
        return made["id"], {**inputs, "supportsUrlEncoding": True}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        found = Api(stack).call("GET", f"{self._path(state)}/{id}")
        return {**state, "title": found["title"]} if found else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        Api(stack).call("PUT", f"{self._path(old)}/{id}", json={"title": new_inputs["title"]})
        return {**new_inputs, "supportsUrlEncoding": True}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        import shutil

        token = "cloudflare:index/workersKvNamespace:WorkersKvNamespace"
        if any(record.id != id for record in stack.records.all(token)):
            Api(stack).call("DELETE", f"{self._path(state)}/{id}")
            return
        stack.process(PROCESS).remove()
        shutil.rmtree(stack.data("keyvalue"), ignore_errors=True)

    @staticmethod
    def _path(properties: Properties) -> str:
        return f"{properties['accountId']}/storage/kv/namespaces"


class Entry(Handler):
    """`cloudflare.WorkersKv`: one key and its value."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        self._put(stack, inputs)
        return f"{inputs['namespaceId']}/{inputs['keyName']}", dict(inputs)

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        value = Api(stack).call("GET", self._path(state))
        return None if value is None else {**state, "value": value.decode()}

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        self._put(stack, new_inputs)
        return dict(new_inputs)

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        if stack.process(PROCESS).running():
            Api(stack).call("DELETE", self._path(state))

    @staticmethod
    def _put(stack: LocalStack, inputs: Properties) -> None:
        times = {"expiration_ttl": inputs.get("expirationTtl"), "expiration": inputs.get("expiration")}
        files = {"value": (None, inputs["value"]), "metadata": (None, inputs.get("metadata") or "")}
        if (
            Api(stack).call("PUT", Entry._path(inputs), files=files, params={k: v for k, v in times.items() if v})
            is None
        ):
            raise HandlerError(f"there is no KV namespace {inputs['namespaceId']}: run `up --refresh`")

    @staticmethod
    def _path(properties: Properties) -> str:
        key = quote(properties["keyName"], safe="")
        return f"{Namespace._path(properties)}/{properties['namespaceId']}/values/{key}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
