"""The API's description: an OpenAPI 3.1 document, and a page of it for people that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.origin.answers import response
from services.origin.endpoints import MAX_ID, Endpoint
from services.origin.idempotency import HEADER, KEEP_HOURS, LONGEST, REPLAYED

Document = dict[str, Any]

_FLAG = {"x-zdm-flag": {"description": "who may write and who reads, as JSON", "schema": {"type": "string"}}}
_RETRY = {"retry-after": {"description": "seconds", "schema": {"type": "integer"}}}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}

RESPONSES: dict[int, Document] = {
    400: {"description": "The body is no JSON object, or the idempotency key is none.", "content": _ERROR},
    409: {
        "description": "The database refused the values; or a request with this idempotency key is under way.",
        "headers": _RETRY,
        "content": _ERROR,
    },
    413: {"description": "The body is too large.", "content": _ERROR},
    421: {
        "description": "This side may not do it now. Nothing was executed; the flag says who may.",
        "headers": _FLAG,
        "content": _ERROR,
    },
    422: {
        "description": "All mistakes of the request; or this idempotency key was sent with another request before.",
        "content": _ERROR,
    },
    500: {
        "description": "`unknown-outcome`: the write happened, or did not. With its idempotency key, repeat it.",
        "content": _ERROR,
    },
    503: {"description": "Nothing was executed, try again.", "headers": _RETRY, "content": _ERROR},
}
"""What every endpoint may answer beside its own success and 404."""

_READS, _WRITES = (421, 503), (400, 409, 413, 421, 422, 500, 503)

_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": f"Names the write. A repeat within {KEEP_HOURS} hours is answered as the first one was, "
    f"with `{REPLAYED}: true`, and executes nothing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[!-~]+$"},
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 0, "maximum": MAX_ID},
}
_SCHEMAS: Document = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "detail"],
                "properties": {
                    "code": {"type": "string"},
                    "detail": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
    },
}


def document(title: str, version: str, endpoints: Sequence[Endpoint]) -> Document:
    """The OpenAPI document of an API."""
    paths: dict[str, Document] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":int}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "responses": {str(status): answer for status, answer in RESPONSES.items()},
        },
    }


def _operation(endpoint: Endpoint) -> Document:
    writes = endpoint.body is not None
    parameters = [_ID] if endpoint.has_id else []
    if endpoint.query is not None:
        schema = {"type": "string", "minLength": 1}
        name, meaning = endpoint.query.name, endpoint.query.meaning
        parameters.append({"name": name, "in": "query", "required": True, "description": meaning, "schema": schema})
    answers: Document = {
        str(endpoint.status): {
            "description": "Done.",
            "content": {"application/json": {"schema": endpoint.answer}},
            **({"headers": {REPLAYED: {"schema": {"type": "string", "enum": ["true"]}}}} if writes else {}),
        }
    }
    if endpoint.missing:
        answers["404"] = {"description": endpoint.missing, "content": _ERROR}
    also = (*(_WRITES if writes else _READS), *([422] if endpoint.query is not None else []))
    answers |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in also}
    made: Document = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*parameters, *([_KEY] if writes else [])],
        "responses": dict(sorted(answers.items())),
    }
    if endpoint.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": endpoint.body.schema}}}
    return made


def routes(described: Document) -> list[Route]:
    """`/openapi.json` and `/docs`."""
    content, html = orjson.dumps(described), page(described)

    async def as_json(_: Request) -> Response:
        return response(200, content)

    async def as_page(_: Request) -> Response:
        return HTMLResponse(html, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    return [Route("/openapi.json", as_json), Route("/docs", as_page)]


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2433}"
    "h2{font-size:1.1rem;margin-top:2.5rem;border-top:1px solid #d5dae3;padding-top:1rem}code,pre{font-size:.9rem}"
    "h2 b{display:inline-block;min-width:3.5rem}pre{background:#f4f6f9;padding:.8rem;overflow-x:auto;margin:.5rem 0}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}"
    "th{white-space:nowrap;font-weight:600}summary{cursor:pointer}"
)


def page(described: Document) -> str:
    """The document for people."""
    info, parts = described["info"], []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(_section(method.upper(), path, operation, described["components"]["responses"]))
    title = escape(info["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f'<h1>{title} {escape(info["version"])}</h1><p>The same for programs: <a href="/openapi.json">openapi.json</a>'
        f" (OpenAPI {escape(described['openapi'])}).</p>{''.join(parts)}</html>"
    )


def _section(method: str, path: str, operation: Document, shared: Document) -> str:
    parameters = [
        (f"<code>{escape(p['name'])}</code>", f"in {p['in']}. {escape(p.get('description', ''))}")
        for p in operation["parameters"]
    ]
    body = operation.get("requestBody")
    answers = []
    for status, answer in operation["responses"].items():
        known = shared[status] if "$ref" in answer else answer
        schema = "" if "$ref" in answer or status == "404" else _schema(answer["content"])
        answers.append((status, escape(known["description"]) + schema))
    return (
        f'<h2 id="{escape(operation["operationId"])}"><b>{method}</b> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation['summary'])}</p>{_table(parameters)}"
        f"{_schema(body['content'], 'Body') if body else ''}{_table(answers)}"
    )


def _schema(content: Document, title: str = "Answer") -> str:
    text = orjson.dumps(content["application/json"]["schema"], option=orjson.OPT_INDENT_2).decode()
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{name}<td>{text}" for name, text in rows)
    return f"<table>{cells}</table>" if rows else ""
