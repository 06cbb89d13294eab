"""The Grafana dashboards, against Grafana's own types (its SDK is generated from its schema) and promtool."""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import Dashboard

from components.alerts import Bounds, Watched, rule_groups
from components.dashboards_grafana import dashboards
from components.rules import Recording
from tests.components.promtool import accepted

BOUNDS = Bounds(throughput_per_second=5000)
BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in dashboards(BOUNDS).items()}
EACH = pytest.mark.parametrize("name", sorted(BOARDS))
register_default_plugins()


def misfits(value: Any, wanted: Any, path: str) -> list[str]:
    """Where a value is not of the type that Grafana's schema gives it."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any or wanted is object:
        return misfits(value, type(value), path) if hasattr(value, "to_json") else []
    if origin in (typing.Union, types.UnionType):
        found = [misfits(value, one, path) for one in arguments]
        return [] if any(not f for f in found) else min(found, key=len)
    if origin is typing.Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: no list"]
        return [m for i, item in enumerate(value) for m in misfits(item, arguments[0], f"{path}[{i}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        return [m for key, item in value.items() for m in misfits(item, arguments[1], f"{path}.{key}")]
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        known = [one.value for one in wanted]
        return [] if (value.value if isinstance(value, enum.Enum) else value) in known else [f"{path}: {value!r}"]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return []
    if isinstance(wanted, type) and not isinstance(value, wanted):
        return [f"{path}: {value!r} is no {wanted.__name__}"]
    if isinstance(value, UnknownDataquery):
        return [f"{path}: a query of no known data source"]
    if hasattr(value, "to_json"):
        hints = typing.get_type_hints(type(value), vars(__import__(type(value).__module__, fromlist=["x"])))
        return [m for key, hint in hints.items() for m in misfits(getattr(value, key), hint, f"{path}.{key}")]
    return []


def lost(written: Any, read: Any, path: str) -> list[str]:
    """What we wrote and Grafana's types do not know."""
    if isinstance(written, dict):
        if not isinstance(read, dict):
            return [path]
        return [
            m
            for k, v in written.items()
            for m in ([f"{path}.{k}"] if k not in read else lost(v, read[k], f"{path}.{k}"))
        ]
    if isinstance(written, list):
        if not isinstance(read, list) or len(read) != len(written):
            return [path]
        return [m for i, (a, b) in enumerate(zip(written, read, strict=True)) for m in lost(a, b, f"{path}[{i}]")]
    return [] if written == read else [f"{path}: {written!r} became {read!r}"]


def judged(board: dict[str, Any]) -> list[str]:
    parsed = Dashboard.from_json(board)
    return misfits(parsed, Dashboard, "") + lost(board, json.loads(json.dumps(parsed, cls=JSONEncoder)), "")


@EACH
def test_it_is_a_dashboard_as_grafana_knows_it(name: str) -> None:
    assert judged(BOARDS[name]) == []


def test_the_judge_sees_mistakes() -> None:
    for change, seen in (
        (lambda b: b.update(titel="x"), ".titel"),
        (lambda b: b["panels"][0]["options"].update(graphMode="wrong"), "graph_mode"),
        (lambda b: b["panels"][0]["gridPos"].update(w="6"), "grid_pos.w"),
        (lambda b: b["panels"][0]["targets"][0].update(expression="up"), "expression"),
        (lambda b: b["templating"]["list"][0].update(type="datasources"), "type_val"),
    ):
        board = json.loads(json.dumps(BOARDS["zdm-overview.json"]))
        change(board)
        assert any(seen in one for one in judged(board)), (seen, judged(board))


@EACH
def test_it_can_be_imported_anywhere_and_again(name: str) -> None:
    board = BOARDS[name]
    assert name == f"{board['uid']}.json" and re.fullmatch(r"[a-z][a-z-]{7,39}", board["uid"])
    assert "id" not in board and all("id" not in panel for panel in board["panels"])
    variables = {v["name"] for v in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["templating"]])
    assert set(re.findall(r"\$\{?(\w+)", text)) - {"labels", "value"} == variables, "every variable is there, and used"
    sources = {p["datasource"]["uid"] for p in board["panels"]} | {
        t["datasource"]["uid"] for p in board["panels"] for t in p["targets"]
    }
    assert sources <= {"${prometheus}", "${cloudwatch}"}
    assert all(t["datasource"] == p["datasource"] for p in board["panels"] for t in p["targets"])


@EACH
def test_panels_do_not_cover_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    titles = [panel["title"] for panel in BOARDS[name]["panels"]]
    assert len(set(titles)) == len(titles)


def expressions() -> list[str]:
    return sorted({t["expr"] for b in BOARDS.values() for p in b["panels"] for t in p["targets"] if "expr" in t})


@pytest.mark.real
def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"checked:{i}", "expr": expr} for i, expr in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    accepted("promtool", "check", "rules", tmp_path / "rules.yml")


def test_every_metric_that_is_shown_is_measured_by_someone() -> None:
    recorded = {r.record for g in rule_groups(BOUNDS, Watched(True, 3)) for r in g.rules if isinstance(r, Recording)}
    of_services = {f"zdm_request_seconds_{s}" for s in ("bucket", "count")} | {
        *("zdm_fence_epoch", "zdm_fenced_total", "zdm_unknown_outcomes_total"),
        *("process_resident_memory_bytes", "process_cpu_seconds_total"),
    }
    of_probe = {
        *("zdm_cdc_lag_seconds", "zdm_cdc_consumer_lag_records", "zdm_cdc_committed_offset"),
        *("zdm_cdc_heartbeat_age_seconds", "zdm_data_check_timestamp_seconds", "zdm_target_slot_wal_bytes"),
    }
    of_kafka = {
        *("kafka_controller_KafkaController_Value", "kafka_server_ReplicaManager_Value"),
        *("kafka_server_BrokerTopicMetrics_OneMinuteRate", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"),
    }
    known = recorded | of_services | of_probe | of_kafka | {"up", "ALERTS"}
    for expr in expressions():
        bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|ignoring|on|group_left)\s*\([^)]*\)|\"[^\"]*\"", "", expr)
        names = set(re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)) - {"or", "and", "ignoring", "group_left", "by"}
        assert {n for n in names if not re.search(rf"\b{n}\s*\(", bare)} <= known, expr
