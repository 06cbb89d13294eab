"""The provider plugins under the real engine: small programs against a real API server, workerd and key-value store."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import httpx
import psycopg
import pulumi
import pulumi_aws as aws
import pulumi_cloudflare as cloudflare
import pytest
from pulumi import automation as auto

from local.environment import environment
from local.stack import LocalStack, existing_stack, listening_networks
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real



SCRIPT = """export default { async fetch(request, env) {
  const path = new URL(request.url).pathname;
  if (path === "/flag") return new Response(await env.FLAGS.get("flag", { cacheTtl: 60 }));
  return Response.json({ origin: env.ORIGIN, salt: env.SALT, token: env.TOKEN });
} }"""


def network(setting: str = "500", name: str | None = None, cidr: str = "10.0.0.0/16") -> Program:
    def program() -> None:
        vpc = aws.ec2.Vpc("net", cidr_block=cidr, enable_dns_hostnames=True, tags={"Name": "net"})
        group = aws.rds.ParameterGroup(
            "group", name=name, family="mysql8.0", parameters=[{"name": "long_query_time", "value": setting}]
        )
        secret = aws.secretsmanager.Secret("app", recovery_window_in_days=0)
        aws.secretsmanager.SecretVersion(
            "app", secret_id=secret.id, secret_string=pulumi.Output.secret('{"password": "very-hidden"}')
        )
        pulumi.export("vpc", vpc.id)
        pulumi.export("tags", vpc.tags_all)
        pulumi.export("group", group.name)

    return program


def worker(salt: str = "s", port: int = 8080) -> Program:
    def program() -> None:
        namespace = cloudflare.WorkersKvNamespace("flags", account_id="a", title="flags")
        cloudflare.WorkersKv(
            "flag",
            account_id="a",
            namespace_id=namespace.id,
            key_name="flag",
            value="{}",
            opts=pulumi.ResourceOptions(ignore_changes=["value"]),
        )
        script = cloudflare.WorkersScript(
            "router",
            account_id="a",
            script_name="router",
            main_module="router.mjs",
            content=SCRIPT,
            bindings=[
                {"name": "FLAGS", "type": "kv_namespace", "namespace_id": namespace.id},
                {"name": "ORIGIN", "type": "plain_text", "text": "https://api.example/v1"},
                {"name": "SALT", "type": "plain_text", "text": salt},
                {"name": "TOKEN", "type": "secret_text", "text": pulumi.Output.secret("very-hidden")},
            ],
        )
        cloudflare.WorkersRoute("route", zone_id="z", pattern="shop.example/*", script=script.script_name)
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        subnets = [aws.ec2.Subnet(f"s{i}", vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24") for i in range(2)]
        balancer = aws.lb.LoadBalancer("lb", subnets=[s.id for s in subnets], load_balancer_type="application")
        target = aws.lb.TargetGroup(f"to-{port}", port=port, protocol="HTTP", vpc_id=vpc.id, target_type="ip")
        aws.lb.Listener(
            "http",
            load_balancer_arn=balancer.arn,
            port=80,
            protocol="HTTP",
            default_actions=[{"type": "forward", "target_group_arn": target.arn}],
        )
        cloudflare.DnsRecord("api", zone_id="z", name="api.example", type="CNAME", ttl=60, content=balancer.dns_name)
        pulumi.export("namespace", namespace.id)

    return program


def connect(local: LocalStack, origin: str) -> str:
    return json.loads(environment(local.name)["ZDM_CONNECT_TO"])[origin]


def assert_nothing_left(local: LocalStack) -> None:
    assert local.records.all() == []
    assert local.processes() == []
    assert int(local.address("aws").split(".")[1]) not in listening_networks()


def test_preview_up_update_replace_destroy(cloud: Cloud) -> None:
    preview = cloud.use(network()).preview()
    assert preview.change_summary["create"] == 5
    assert existing_stack("dev", Path(os.environ["ZDM_HOME"])) is None, "a preview leaves nothing behind"

    first = cloud.use(network()).up()
    assert changes(first) == {"create": 5}
    assert first.outputs["tags"].value == {"Name": "net", "owner": "platform"}
    assert changes(cloud.use(network()).up()) == {"same": 5}

    updated = cloud.use(network(setting="900")).up()
    assert changes(updated) == {"same": 4, "update": 1}
    group = first.outputs["group"].value
    rds = client("rds")
    kept = rds.describe_db_parameters(DBParameterGroupName=group)["Parameters"]
    assert {p["ParameterName"]: p["ParameterValue"] for p in kept}["long_query_time"] == "900"

    replaced = cloud.use(network(setting="900", cidr="10.1.0.0/16")).up()
    assert changes(replaced) == {"same": 4, "replace": 1}
    assert replaced.outputs["vpc"].value != first.outputs["vpc"].value

    assert "very-hidden" not in cloud.state()
    local = cloud.local()
    assert changes(cloud.use(network()).destroy()) == {"delete": 5}
    assert_nothing_left(local)


def test_bad_input_and_unknown_types_are_refused_by_name(cloud: Cloud) -> None:
    def bad() -> None:
        aws.ec2.Vpc("net", cidr_block="10.0.0.0/8")

    def unknown() -> None:
        aws.sqs.Queue("queue")

    def function() -> None:
        pulumi.export("ami", aws.ec2.get_ami(most_recent=True).id)

    with pytest.raises(auto.CommandError, match=r"cidrBlock[\s\S]*from /16 to /28"):
        cloud.use(bad).up()
    with pytest.raises(auto.CommandError, match="does not know the resource type aws:sqs/queue:Queue"):
        cloud.use(unknown).preview()
    with pytest.raises(auto.CommandError, match="does not know the function aws:ec2/getAmi:getAmi"):
        cloud.use(function).preview()


def test_the_api_server_forgets_nothing_and_what_is_lost_is_made_again(cloud: Cloud) -> None:
    first = cloud.use(network()).up()
    local = cloud.local()
    pid = local.process("aws-control-plane").pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert changes(cloud.use(network()).up(refresh=True)) == {"same": 5}
    assert local.process("aws-control-plane").pid not in (None, pid)

    local.process("aws-control-plane").stop()
    (local.home / "data/aws/requests.jsonl").unlink()
    again = cloud.use(network()).up(refresh=True)
    assert changes(again)["create"] >= 4
    assert again.outputs["vpc"].value != first.outputs["vpc"].value
    cloud.use(network()).destroy()
    assert_nothing_left(local)


def test_a_worker_with_its_values_and_origins(cloud: Cloud) -> None:
    made = cloud.use(worker()).up()
    local = cloud.local()
    shop = connect(local, "https://shop.example")
    origin = connect(local, "https://api.example")
    assert httpx.get(shop).json() == {"origin": f"{origin}/v1", "salt": "s", "token": "very-hidden"}
    assert "very-hidden" not in cloud.state()

    there = environment("dev")
    base = f"{there['CLOUDFLARE_BASE_URL']}/accounts/a/storage/kv/namespaces/{made.outputs['namespace'].value}"
    assert httpx.put(f"{base}/values/flag", content='{"v": 1}').status_code == 403
    headers = {"authorization": f"Bearer {there['CLOUDFLARE_API_TOKEN']}"}
    assert httpx.put(f"{base}/values/flag", content='{"v": 1}', headers=headers).json()["success"]
    assert httpx.get(f"{base}/values/flag", headers=headers).text == '{"v": 1}'
    assert httpx.get(f"{shop}/flag").json() == {"v": 1}
    assert changes(cloud.use(worker()).up(refresh=True)) == {"same": 12}, "the seed does not undo what was written"

    for name in ("worker-router", "cloudflare-api"):
        pid = local.process(name).pid
        assert pid
        os.kill(pid, signal.SIGKILL)
    assert changes(cloud.use(worker()).up(refresh=True)) == {"same": 11, "update": 1}
    assert httpx.get(f"{shop}/flag").json() == {"v": 1}

    changed = cloud.use(worker(salt='"new"\n', port=9000)).up()
    assert changes(changed)["update"] == 2
    assert httpx.get(shop).json() == {
        "origin": origin.replace(":8080", ":9000") + "/v1",
        "salt": '"new"\n',
        "token": "very-hidden",
    }

    cloud.use(worker()).destroy()
    assert_nothing_left(local)


def test_two_stacks_side_by_side(cloud: Cloud) -> None:
    cloud.use(worker("one"), "one").up()
    cloud.use(worker("two"), "two").up()
    one, two = cloud.local("one"), cloud.local("two")
    assert httpx.get(connect(one, "https://shop.example")).json()["salt"] == "one"
    assert httpx.get(connect(two, "https://shop.example")).json()["salt"] == "two"
    cloud.use(worker("one"), "one").destroy()
    assert_nothing_left(one)
    assert httpx.get(connect(two, "https://shop.example")).json()["salt"] == "two"
    cloud.use(worker("two"), "two").destroy()
    assert_nothing_left(two)


def test_a_far_edge_sees_old_values_for_a_while(tmp_path: Path) -> None:
    from local.dataplane.keyvalue import Edge, Store

    store = Store(tmp_path / "values.sqlite")
    namespace = store.create("a", "flags")
    assert namespace and store.create("a", "flags") is None
    edge = Edge(store, lag=0.2)
    store.put(namespace, "flag", b"old", None, None)
    assert edge.get(namespace, "flag") == (b"old", None)
    store.put(namespace, "flag", b"new", None, None)
    assert edge.get(namespace, "flag") == (b"old", None) and store.get(namespace, "flag") == (b"new", None)
    deadline = time.monotonic() + 5
    while edge.get(namespace, "flag") != (b"new", None):
        assert time.monotonic() < deadline
    assert Store(tmp_path / "values.sqlite").get(namespace, "flag") == (b"new", None), "values are on disk"


def database(engine_name: str = "aurora-postgresql", name: str = "shop") -> Program:
    def program() -> None:
        cluster = aws.rds.Cluster(
            "db",
            engine=engine_name,
            master_username="admin",
            master_password="a password of 22 chars",
            database_name=name,
            backup_retention_period=1,
            skip_final_snapshot=True,
        )
        aws.rds.ClusterInstance(
            "writer", cluster_identifier=cluster.id, engine=cluster.engine, instance_class="db.t4g.medium"
        )
        pulumi.export("host", cluster.endpoint)
        pulumi.export("id", cluster.id)

    return program


def serves(host: str, name: str) -> bool:
    try:
        with psycopg.connect(
            host=host,
            user="admin",
            password="a password of 22 chars",
            dbname=name,
            sslmode="require",
            connect_timeout=5,
        ) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_another_engine_replaces_a_real_cluster(cloud: Cloud) -> None:
    made = cloud.use(database()).up()
    first = made.outputs["host"].value
    assert serves(first, "shop")

    planned = cloud.use(database("aurora-mysql")).preview().change_summary
    assert {str(getattr(op, "value", op)): n for op, n in planned.items()}["replace"] == 2
    assert serves(first, "shop")

    replaced = cloud.use(database(name="store")).up()
    assert changes(replaced)["replace"] == 2
    assert replaced.outputs["id"].value != made.outputs["id"].value
    assert serves(replaced.outputs["host"].value, "store") and not serves(replaced.outputs["host"].value, "shop")

    local = cloud.local()
    cloud.use(database(name="store")).destroy()
    assert_nothing_left(local)
