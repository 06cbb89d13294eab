"""Both routers with all they can have, under the real engine and in front of the same origins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pulumi
import pulumi_aws as aws
import pytest
from pulumi import ResourceOptions

from components.balancer import Balancer, BalancerArgs, Targets
from components.network import prefix_list
from components.place import Place
from components.router import CLOUDFLARE_NETWORKS, CloudflareRouter, Firewall, NginxRouter, RouterArgs, TrafficRouter
from contract.flag import Flag, Side, Writes, bucket_of, parse_flag
from local.environment import connect_to
from tests.cloud import Cloud, Program, changes
from tests.router.standins import Origin
from tests.router.test_router import until

pytestmark = pytest.mark.real

ZONE = "1" * 32
BEARER = {"authorization": "Bearer may change"}
LOW = next(f"u{i}" for i in range(10**6) if bucket_of(f"u{i}", "zdm-dev") < 100)


def program(entry: str = "custom-domain", hold_ms: int = 4000, tasks: int = 2) -> Program:
    def declare() -> None:
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.40.0.0/16")
        subnets = [
            aws.ec2.Subnet(
                f"net-{i}", vpc_id=vpc.id, cidr_block=f"10.40.{i}.0/24", availability_zone=f"us-east-1{z}"
            ).id
            for i, z in enumerate("ab")
        ]
        cluster = aws.ecs.Cluster("services")
        secret = aws.secretsmanager.Secret("force", name="force")
        version = aws.secretsmanager.SecretVersion(
            "force", secret_id=secret.id, secret_string='{"username": "router", "password": "let me"}'
        )
        key = aws.kms.Key("key", description="test")
        edge = prefix_list("edge", CLOUDFLARE_NETWORKS, ResourceOptions())
        place = Place(
            prefix="zdm-dev", account_id="123456789012", region="us-east-1", vpc_id=vpc.id,
            public_subnet_ids=subnets, private_subnet_ids=subnets, cluster_arn=cluster.arn, cluster_name=cluster.name,
            secrets_key_arn=key.arn, logs_key_arn=key.arn, edge_prefix_list_id=edge.id, zone_id=ZONE,
            alarm_topic_arn="arn:aws:sns:us-east-1:123456789012:t", deletion_protection=False,
        )  # fmt: skip
        origins = [
            Balancer(
                f"{side}-api",
                BalancerArgs(f"{side}-api.example", ZONE, vpc.id, subnets, edge.id, Targets(8080, "/healthz"),
                             deletion_protection=False),
            )
            for side in Side
        ]  # fmt: skip
        common = RouterArgs(
            zone_id=ZONE,
            host="edge.example",
            mysql_origin=origins[0].url,
            aurora_origin=origins[1].url,
            salt="zdm-dev",
            force_token="let me",
            kind=CloudflareRouter("0" * 32, "edge", "may change", entry, sampling=0.5, logpush=True),  # type: ignore[arg-type]
            hold_ms=hold_ms,
            firewall=Firewall(operator_networks=["203.0.113.0/24"]),
        )
        made = TrafficRouter("edge", common)
        pulumi.export("namespace", made.namespace_id)
        shop = NginxRouter(place, "zdm-router:1", secret.arn, count=tasks)
        TrafficRouter(
            "shop",
            replace(common, host="shop.example", kind=shop, firewall=None),
            ResourceOptions(depends_on=[*origins, version]),
        )

    return declare


def test_both_routers(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = cloud.use(program())
    stack.up()
    there = connect_to(cloud.local())
    assert set(there) == {f"https://{name}.example" for name in ("edge", "shop", "mysql-api", "aurora-api")}
    started = Flag(1, 1, 0.0)
    sides = [
        Origin(side, started, there[f"https://{side}-api.example"].removeprefix("http://").partition(":")[0], 8080)
        for side in Side
    ]
    edge, shop = (httpx.Client(base_url=there[f"https://{name}.example"], timeout=20) for name in ("edge", "shop"))
    try:
        for client in (edge, shop):
            until(lambda client=client: client.get("/x").headers.get("x-zdm-route") == "mysql")  # type: ignore[misc]
            assert client.post("/orders", content=b"1").headers["x-zdm-why"] == "writer"
        assert edge.put("/__zdm/router/flag", content=Flag(2, 1, 5.0).to_json()).status_code == 401
        pilot = Flag(2, 1, 5.0)
        for origin in sides:
            origin.flag = pilot
        put = edge.put("/__zdm/router/flag", content=pilot.to_json(), headers=BEARER)
        assert (
            put.status_code,
            edge.put("/__zdm/router/flag", content=started.to_json(), headers=BEARER).status_code,
        ) == (
            200,
            409,
        )
        for client in (edge, shop):
            until(lambda client=client: client.get("/x", headers={"x-user-id": LOW}).headers["x-zdm-route"] == "aurora")  # type: ignore[misc]
        masters = {p.pid for p in cloud.local().processes() if p.name.startswith("ecs-shop")}
        assert len(masters) == 2 and all(b"nginx" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in masters)

        assert set(changes(stack.up())) == {"same"}, "a second up changes nothing"
        assert masters == {p.pid for p in cloud.local().processes() if p.name.startswith("ecs-shop")}

        stack = cloud.use(program(entry="route", hold_ms=5000))
        changed = stack.up()
        assert changed.summary.resource_changes and {"update", "create", "delete"} <= set(changes(changed))
        assert parse_flag(edge.get("/__zdm/router/flag", headers=BEARER).text) == pilot, (
            "the object outlives its router"
        )
        for client in (edge, shop):
            assert client.get("/__zdm/router").json()["holdMs"] == 5000
        assert connect_to(cloud.local())["https://edge.example"] == there["https://edge.example"]

        opened = Flag(6, 3, 100.0, Writes.OPEN, Side.AURORA)
        for origin in sides:
            origin.flag = opened
        for client in (edge, shop):
            assert client.post("/orders", content=b"2").headers["x-zdm-route"] == "aurora"
    finally:
        for origin in sides:
            origin.close()
    stack.destroy()
    assert not [p.name for p in cloud.local().processes() if p.running()]
    assert not json.loads(json.dumps(cloud.local().records.all()))
