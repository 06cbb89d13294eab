"""The API's description: valid, whole, the same as what the API takes and gives, and a page that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from contract.flag import Side
from services.orders.api import ENDPOINTS, VERSION
from services.orders.fields import Object
from services.origin.answers import Problem
from services.origin.endpoints import Endpoint
from services.origin.openapi import document
from tests.services.databases import Service

DOCUMENT = document("The shop", VERSION, ENDPOINTS)


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_endpoint_is_in_it_once() -> None:
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert sorted(names) == sorted(endpoint.name for endpoint in ENDPOINTS) and len(set(names)) == len(ENDPOINTS)
    for path, operations in DOCUMENT["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for operation in operations.values():
            parameters = operation["parameters"]
            assert {p["name"] for p in parameters if p["in"] == "path"} == named
            assert ("requestBody" in operation) == any(p["name"] == "idempotency-key" for p in parameters)


BODIES: dict[str, Object] = {e.name: e.body for e in ENDPOINTS if isinstance(e.body, Object)}
NAMES = sorted({name for body in BODIES.values() for name in body.fields} | {"product_id", "quantity"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12_000) | st.integers() | st.text(max_size=5)
    | st.sampled_from(["paid", "card", "gold", "late", "1", "1.50", "x" * 40]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_a_body_is_taken_exactly_if_its_schema_says_so(name: str, data: st.DataObject) -> None:
    """But for amounts, whose schema allows more (see there)."""
    body = BODIES[name]
    fields = {field: st.just(sample) | VALUES for field, sample in SAMPLES.items() if field in body.fields}
    required = {field: fields[field] for field in fields if field in body.schema["required"]}
    optional = {field: fields[field] for field in fields if field not in required}
    near = st.fixed_dictionaries(required, optional=optional)
    sent = data.draw(near | st.dictionaries(st.sampled_from(NAMES), VALUES))
    fits = Draft202012Validator(body.schema).is_valid(sent)
    try:
        body.body(sent)
    except Problem as e:
        assert e.status == 422 and e.detail
        assert not fits or all("an amount" in detail for detail in e.detail)
    else:
        assert fits


SAMPLES: dict[str, Any] = {
    "client_ref": "r", "customer_id": 1, "items": [{"product_id": 1, "quantity": 2}], "gift_wrap": 1, "note": None,
    "status": "paid", "delta": -3, "full_name": "A", "phone": None, "tier": "gold", "newsletter": True,
    "is_active": False, "loyalty_points": 7, "order_id": 1, "method": "card", "amount": "1.50", "card_token": "t",
    "payment_id": 1, "reason": "late", "comment": "c",
}  # fmt: skip


def test_there_is_a_sample_of_every_field() -> None:
    for body in BODIES.values():
        assert set(body.fields) <= set(SAMPLES)


@pytest.mark.real
def test_answers_are_as_described(origin: Service, side: Side) -> None:
    """Every endpoint once, in the table's order but with what others need first."""
    seen: dict[str, Any] = {}
    order = {endpoint.name: endpoint for endpoint in ENDPOINTS}
    for name in ["placeOrder", "takePayment", *(n for n in order if n not in ("placeOrder", "takePayment"))]:
        endpoint = order[name]
        answer = origin.client.request(endpoint.method, _url(endpoint), json=_sample(endpoint))
        assert answer.status_code == endpoint.status, (name, answer.text)
        seen[name] = answer.json()
        assert _misfits(endpoint, seen[name]) == [], name
    assert seen["getOrder"]["items"] and seen["findOrders"]


def _url(endpoint: Endpoint) -> str:
    return endpoint.path.replace("{id:int}", "1") + ("?ref=r" if endpoint.query else "")


def _sample(endpoint: Endpoint) -> dict[str, Any] | None:
    if not isinstance(endpoint.body, Object):
        return None
    return {name: SAMPLES[name] for name in endpoint.body.fields}


def _misfits(endpoint: Endpoint, answer: Any) -> list[str]:
    """What of the answer is not as described, or not described."""
    wrong = [e.message for e in Draft202012Validator(endpoint.answer).iter_errors(answer)]
    return [*wrong, *_extra(endpoint.answer, answer)]


def _extra(schema: dict[str, Any], answer: Any) -> Iterator[str]:
    if isinstance(answer, list):
        for item in answer:
            yield from _extra(schema["items"], item)
    elif isinstance(answer, dict):
        yield from answer.keys() - schema["properties"].keys()
        for name, value in answer.items():
            yield from _extra(schema["properties"].get(name, {"properties": {}}), value)


@pytest.mark.real
@pytest.mark.parametrize("side", [Side.AURORA], indirect=True)
def test_the_pages_are_served(origin: Service) -> None:
    assert origin.client.get("/openapi.json").json() == DOCUMENT
    page = origin.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in DOCUMENT["paths"]:
        assert path in page.text
    sources = re.findall(r"""(?:src|href)=["']?([^"'> ]+)|url\(([^)]+)\)|@import""", page.text)
    assert sources == [("/openapi.json", "")] and "<script" not in page.text
