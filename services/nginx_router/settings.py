"""The router's settings, all from the environment; every mistake is reported at once.

MYSQL_ORIGIN, AURORA_ORIGIN  base URLs of the origins
SALT                         mixed into the users' buckets
HOLD_MS                      how long a write is held at most, default 30000
MAX_HELD                     writes that may be held at a time, default 1000; each takes some 350 KiB and its body
FORCE_TOKEN                  token with which a request may choose its side; empty: none may
READ_YOUR_WRITES_MS          how long a user reads from the writer after a write, default 5000
POLL_MS                      how often the origins are asked for the flag, default 500
MAX_BODY_BYTES               longest body, default 1048576; it is kept in memory until the request is done
RESOLVER                     name server for the origins' addresses, default: those of /etc/resolv.conf
ZDM_BIND                     host:port to listen on, default 0.0.0.0:8080
ZDM_CONNECT_TO               JSON, base URL -> where to connect instead; on one machine only
ZDM_TASK_DIR                 folder for temporary files, default: the system's
NGINX_MODULES                folder with ngx_http_js_module.so, default /usr/lib/nginx/modules
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


class SettingsError(ValueError):
    """Settings are missing or wrong; the message lists all of them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests of one side go."""

    url: str
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module's text for the variables."""

    mysql: Origin
    aurora: Origin
    salt: str
    hold_ms: int
    max_held: int
    read_your_writes_ms: int
    poll_ms: int
    max_body_bytes: int
    resolvers: tuple[str, ...]
    bind: str
    modules: Path


def settings_from(env: Mapping[str, str], resolv_conf: str = "") -> Settings:
    """Reads the settings. Raises `SettingsError` that names every variable that is missing or wrong."""
    wrong: list[str] = []
    moved: dict[str, str] = json.loads(env.get("ZDM_CONNECT_TO") or "{}")

    def origin(name: str) -> Origin:
        url = (env.get(name) or "").rstrip("/")
        url = moved.get(url, url)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
            wrong.append(f"{name} must be a base URL such as https://mysql-api.example, not {env.get(name)!r}")
            return Origin("", "", 0, False)
        tls = parts.scheme == "https"
        return Origin(url, parts.hostname, parts.port or (443 if tls else 80), tls)

    def number(name: str, default: int, low: int, high: int) -> int:
        text = env.get(name) or str(default)
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            wrong.append(f"{name} must be a number from {low} to {high}, not {text!r}")
            return default
        return int(text)

    bind = env.get("ZDM_BIND") or "0.0.0.0:8080"
    if not bind.rpartition(":")[0] or not bind.rpartition(":")[2].isdigit():
        wrong.append(f"ZDM_BIND must be host:port, not {bind!r}")
    servers = tuple((env.get("RESOLVER") or "").split()) or _servers(resolv_conf)
    settings = Settings(
        mysql=origin("MYSQL_ORIGIN"),
        aurora=origin("AURORA_ORIGIN"),
        salt=env.get("SALT") or "",
        hold_ms=number("HOLD_MS", 30_000, 1, 120_000),
        max_held=number("MAX_HELD", 1000, 0, 100_000),
        read_your_writes_ms=number("READ_YOUR_WRITES_MS", 5000, 0, 60_000),
        poll_ms=number("POLL_MS", 500, 10, 60_000),
        max_body_bytes=number("MAX_BODY_BYTES", 1 << 20, 1, 100 << 20),
        resolvers=servers,
        bind=bind,
        modules=Path(env.get("NGINX_MODULES") or "/usr/lib/nginx/modules"),
    )
    if wrong:
        raise SettingsError("the router's settings do not fit:\n" + "\n".join(f"  {line}" for line in wrong))
    return settings


def _servers(resolv_conf: str) -> tuple[str, ...]:
    """The name servers of a resolv.conf as nginx wants them."""
    words = [line.split() for line in resolv_conf.splitlines()]
    found = [w[1].partition("%")[0] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return tuple(f"[{server}]" if ":" in server else server for server in found)
