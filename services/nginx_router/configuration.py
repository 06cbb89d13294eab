"""nginx's configuration: one text from the settings. Paths in it are relative to nginx's prefix (`nginx -p`)."""

from __future__ import annotations

import json
from pathlib import Path

from services.nginx_router.settings import Origin, Settings

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "components" / "router"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
IDLE_SECONDS = 60
"""How long a connection to an origin is kept for the next request: shorter than the origin keeps it (75 s)."""
SPARE_BYTES = 64 << 10
"""How much more than the longest body the memory for one has: chunks have heads, and nothing goes into files."""


def configuration(settings: Settings, user: str = "", certificates: Path = CERTIFICATES) -> str:
    """The whole nginx.conf. `user` is whom the workers run as if the master is root: `name group`."""
    sides = {"mysql": settings.mysql, "aurora": settings.aurora}
    environment = {
        "MYSQL_ORIGIN": settings.mysql.url,
        "AURORA_ORIGIN": settings.aurora.url,
        "SALT": settings.salt,
        "HOLD_MS": str(settings.hold_ms),
        "MAX_HELD": str(settings.max_held),
        "READ_YOUR_WRITES_MS": str(settings.read_your_writes_ms),
    }
    tls = any(origin.tls for origin in sides.values())
    http = [
        "access_log off;",
        "server_tokens off;",
        "default_type application/json;",
        *(f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        *([f"resolver {' '.join(settings.resolvers)};", "resolver_timeout 5s;"] if settings.resolvers else []),
        "js_engine qjs;",
        f"js_path {_quoted(str(HERE))};",
        f"js_path {_quoted(str(SHARED))};",
        "js_import router from router.mjs;",
        "js_shared_dict_zone zone=flags:64k;",
        "js_shared_dict_zone zone=said:64k;",
        "js_shared_dict_zone zone=lease:32k timeout=2s;",
        f"js_shared_dict_zone zone=waiting:{64 + settings.max_held // 4}k timeout=120s;",
        "js_fetch_timeout 1s;",
        *([f"js_fetch_trusted_certificate {_quoted(str(certificates))};"] if tls else []),
        *(f"js_var ${name} {default};" for name, default in VARIABLES.items()),
        "js_set $zdm_learned router.learn;",
        'map $upstream_http_x_zdm_flag $zdm_news { "" ""; default $zdm_learned; }',
        # what customers speak with Cloudflare or the load balancer, not what that speaks with us
        "map $http_x_forwarded_proto $zdm_scheme { default $scheme; https https; http http; }",
        *(_upstream(side, origin, settings) for side, origin in sides.items()),
        _block("server", _server(settings, sides, certificates)),
    ]
    lines = [
        f"load_module {_quoted(str(settings.modules / 'ngx_http_js_module.so'))};",
        *([f"user {user};"] if user else []),
        "daemon off;",
        "pid nginx.pid;",
        "error_log stderr warn;",
        "worker_processes auto;",
        f"worker_shutdown_timeout {settings.hold_ms // 1000 + 5}s;",
        *(f"env {_quoted(f'{name}={value}')};" for name, value in environment.items()),
        "env FORCE_TOKEN;",
        "events { worker_connections 16384; }",
        _block("http", http),
    ]
    return "\n".join(lines) + "\n"


VARIABLES = {
    "zdm_since": '""',
    "zdm_tries": "0",
    "zdm_sent": '""',
    "zdm_side": '""',
    "zdm_avoid": '""',
    "zdm_why": '""',
    "zdm_held": '""',
    "zdm_mark": '""',
    "zdm_epoch": '""',
    "zdm_v": '""',
    "zdm_forced": '""',
}
"""What router.mjs keeps of a request between its redirects."""


def _upstream(side: str, origin: Origin, settings: Settings) -> str:
    """One origin. Its name is resolved again as its DNS record says, where there is a name server to ask."""
    resolve = " resolve" if settings.resolvers and not origin.host.replace(".", "").isdigit() else ""
    return _block(
        f"upstream {side}",
        [
            f"zone {side} 64k;",
            f"server {origin.host}:{origin.port}{resolve} max_fails=0;",
            "keepalive 256;",
            f"keepalive_timeout {IDLE_SECONDS}s;",
        ],
    )


def _server(settings: Settings, sides: dict[str, Origin], certificates: Path) -> list[str]:
    return [
        f"listen {settings.bind} backlog=4096 reuseport;",
        f"client_max_body_size {settings.max_body_bytes};",
        f"client_body_buffer_size {settings.max_body_bytes + SPARE_BYTES};",
        "client_header_buffer_size 4k;",
        f"keepalive_timeout {IDLE_SECONDS + 15}s;",
        "keepalive_requests 100000;",
        "recursive_error_pages on;",
        "error_page 413 = @too_large;",
        "location / { js_content router.route; }",
        'location = /healthz { return 200 \'{"status":"ok"}\'; }',
        "location = /__zdm/router { js_content router.health; }",
        "location ^~ /__zdm/ { js_content router.hidden; }",
        "location = /metrics { js_content router.hidden; }",
        f"location @poll {{ js_periodic router.poll interval={settings.poll_ms}ms; }}",
        _block("location @too_large", _too_large(settings)),
        "location @again { js_content router.again; }",
        "location @lost { js_content router.lost; }",
        *(
            _block(f"location @{side}_{kind}", _send(side, kind == "write", origin, certificates))
            for side, origin in sides.items()
            for kind in ("read", "write")
        ),
    ]


def _too_large(settings: Settings) -> list[str]:
    detail = f"a body has at most {settings.max_body_bytes} bytes"
    body = json.dumps({"error": {"code": "too-large", "detail": [detail]}})
    return [
        "add_header x-zdm-route none always;",
        "add_header x-zdm-why too-large always;",
        "add_header cache-control no-store always;",
        f"return 413 '{body}';",
    ]


def _send(side: str, write: bool, origin: Origin, certificates: Path) -> list[str]:
    """Sends a request to one side. A write is sent once; a read may be sent again where a connection was stale."""
    scheme = "https" if origin.tls else "http"
    default = origin.port == (443 if origin.tls else 80)
    verified = [
        "proxy_ssl_server_name on;",
        f"proxy_ssl_name {origin.host};",
        "proxy_ssl_verify on;",
        "proxy_ssl_verify_depth 4;",
        "proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        f"proxy_ssl_trusted_certificate {_quoted(str(certificates))};",
    ]
    return [
        f"set $zdm_side {side};",
        f"proxy_pass {scheme}://{side};",
        "proxy_http_version 1.1;",
        *(verified if origin.tls else []),
        f"proxy_set_header Host {origin.host if default else f'{origin.host}:{origin.port}'};",
        'proxy_set_header Connection "";',
        "proxy_set_header X-Forwarded-Host $host;",
        "proxy_set_header X-Forwarded-Proto $zdm_scheme;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header X-Zdm-Epoch $zdm_epoch;",
        "proxy_set_header X-Zdm-V $zdm_v;",
        "proxy_set_header X-Zdm-Forced $zdm_forced;",
        *(f'proxy_set_header {name} "";' for name in ("X-Zdm-Flag", "X-Zdm-Force", "X-Zdm-Force-Token")),
        "proxy_connect_timeout 5s;",
        "proxy_send_timeout 30s;",
        "proxy_read_timeout 30s;",
        "proxy_request_buffering on;",
        "proxy_max_temp_file_size 0;",
        "proxy_redirect off;",
        "proxy_hide_header X-Zdm-Flag;",
        *(["proxy_next_upstream off;"] if write else ["proxy_next_upstream error;", "proxy_next_upstream_tries 2;"]),
        f"add_header x-zdm-route {side} always;",
        "add_header x-zdm-why $zdm_why always;",
        "add_header x-zdm-held-ms $zdm_held always;",
        "add_header set-cookie $zdm_mark;",
        "add_header x-zdm-news $zdm_news always;",  # always empty, so never there: it is looked at, and that is all
        "proxy_intercept_errors on;",
        "error_page 413 = @too_large;",
        *(
            ["error_page 421 = @again;", "error_page 502 504 = @lost;"]
            if write
            else ["error_page 421 502 503 504 = @again;"]
        ),
    ]


def _block(head: str, lines: list[str]) -> str:
    return head + " {\n" + "".join(f"  {line}\n" for text in lines for line in text.splitlines()) + "}"


def _quoted(text: str) -> str:
    """A word of the configuration. `$` has no escape in it: what may stand here has none."""
    return json.dumps(text, ensure_ascii=False)
