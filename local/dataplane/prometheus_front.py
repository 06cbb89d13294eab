"""The managed service's paths in front of a Prometheus server: samples come to `api/v1/remote_write` there, and to
`api/v1/write` here. Everything else has the same path.
"""

from __future__ import annotations

import sys

from aiohttp import ClientSession, ClientTimeout, web

MANAGED, OWN = "/api/v1/remote_write", "/api/v1/write"
HOP_BY_HOP = frozenset({"connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"})
"""Headers of one connection; the client below decodes and measures bodies itself."""
MOST_BYTES = 32 << 20


def application(server: str) -> web.Application:
    """`server` is the base URL of Prometheus, without a path."""

    async def forward(request: web.Request) -> web.Response:
        path = request.path_qs
        if request.path.endswith(MANAGED):
            path = path.replace(MANAGED, OWN, 1)
        keep = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP - {"content-encoding"}}
        session: ClientSession = request.app["session"]
        async with session.request(
            request.method, server + path, headers=keep, data=await request.read(), allow_redirects=False
        ) as answer:
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            return web.Response(status=answer.status, headers=headers, body=await answer.read())

    async def start(app: web.Application) -> None:
        app["session"] = ClientSession(timeout=ClientTimeout(total=60))

    async def stop(app: web.Application) -> None:
        await app["session"].close()

    made = web.Application(client_max_size=MOST_BYTES)
    made.router.add_route("*", "/{path:.*}", forward)
    made.on_startup.append(start)
    made.on_cleanup.append(stop)
    return made


if __name__ == "__main__":
    web.run_app(application(sys.argv[3]), host=sys.argv[1], port=int(sys.argv[2]), access_log=None, print=None)
