"""What Cloudflare refuses, the local cloud refuses too: migrations done twice, objects of nobody, a second ruleset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.dataplane import workers
from local.provider.control_plane.cloudflare import RULESET, TABLE
from local.provider.handler import HandlerError
from local.stack import LocalStack, open_stack

OBJECTS = {
    "accountId": "a", "scriptName": "objects", "content": "export class Thing {}", "mainModule": "x.mjs",
    "migrations": {"newTag": "v1", "newSqliteClasses": ["Thing"]},
}  # fmt: skip


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    made = open_stack("dev", tmp_path)
    yield made
    for process in made.processes():
        process.remove(0)


def recorded(stack: LocalStack, inputs: dict[str, Any]) -> dict[str, Any]:
    id, state = workers.Script().create(stack, "x", inputs)
    stack.records.put(workers.SCRIPT, id, inputs, state)
    return state


def test_objects_alone_need_no_process_and_live_with_who_binds_them(stack: LocalStack) -> None:
    state = recorded(stack, OBJECTS)
    assert (state["localStatus"], state["migrationTag"]) == ("stored", "v1")
    assert workers.Script().needs_repair(workers.Script().read(stack, "objects", state) or {}) == []
    assert not list(stack.processes())
    binding = {"name": "T", "type": "durable_object_namespace", "className": "Thing", "scriptName": "objects"}
    user = {"scriptName": "user", "content": "", "mainModule": "y.mjs", "bindings": [binding]}
    text = workers.configuration(stack, user)
    assert 'durableObjectNamespace = (className = "Thing", serviceName = "objects")' in text
    assert 'embed "../objects/script"' in text and 'uniqueKey = "objects-Thing"' in text
    stack.records.put(workers.SCRIPT, "user", user, user)
    with pytest.raises(HandlerError, match="only one Worker"):
        workers.configuration(stack, {**user, "scriptName": "another"})
    with pytest.raises(HandlerError, match="10061"):
        workers.configuration(stack, {**user, "bindings": [{**binding, "scriptName": "nobody"}]})


def test_migrations_are_not_done_twice(stack: LocalStack) -> None:
    state = recorded(stack, OBJECTS)
    changed = {**OBJECTS, "content": "export class Thing { }"}
    with pytest.raises(HandlerError, match="10079"):
        workers.Script().update(stack, "objects", state, changed)
    following = {"oldTag": "v1", "newTag": "v2"}
    assert (
        workers.Script().update(stack, "objects", state, {**changed, "migrations": following})["migrationTag"] == "v2"
    )


def test_a_custom_domain_makes_its_own_dns_record(stack: LocalStack) -> None:
    domain = {"accountId": "a", "hostname": "shop.example", "service": "router"}
    assert workers.CustomDomain().create(stack, "x", domain)[1]["zoneName"] == "example"
    stack.records.put(workers.DNS_RECORD, "1", {}, {"name": "shop.example", "content": "100::"})
    with pytest.raises(HandlerError, match="100117"):
        workers.CustomDomain().create(stack, "x", domain)


def test_a_zone_has_one_ruleset_a_phase(stack: LocalStack) -> None:
    inputs = {"zoneId": "z", "kind": "zone", "name": "n", "phase": "http_ratelimit"}
    id, state = TABLE[RULESET].create(stack, "x", inputs)
    stack.records.put(RULESET, id, inputs, state)
    TABLE[RULESET].create(stack, "x", {**inputs, "phase": "http_request_firewall_custom"})
    TABLE[RULESET].create(stack, "x", {**inputs, "zoneId": "y"})
    with pytest.raises(HandlerError, match="20217"):
        TABLE[RULESET].create(stack, "x", {**inputs, "name": "m"})
