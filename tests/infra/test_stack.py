"""What a stack is made of: the outputs keep the contract, and the rules of security hold for every resource."""

from __future__ import annotations

import json
from collections.abc import Callable

from contract.outputs import load_outputs
from infra.declared import Declared

Declare = Callable[..., Declared]
RUNNING = {"cdc.state": "running", "cdc.tables": '["orders", "customers"]', "cdc.booleans": '["orders.paid"]'}


def test_outputs_are_the_contracts(declare: Declare) -> None:
    outputs = load_outputs(declare(**RUNNING).outputs, "test")
    assert outputs.pipeline.tables == ["orders", "customers"]
    assert outputs.pipeline.sink_group == "connect-zdm-test-sink"
    assert outputs.target.reader_host == "reader.aurora"
    assert outputs.router.mysql_origin == "https://mysql-api.dev.example"


def test_connectors_exist_only_while_running(declare: Declare) -> None:
    assert declare().of("Connector") == {}


def test_capturing_adds_the_source_alone_without_a_snapshot(declare: Declare) -> None:
    recorded = declare(**{**RUNNING, "cdc.state": "capturing"})
    [source] = recorded.of("Connector").values()
    assert source["name"] == "zdm-test-source"
    assert source["connectorConfiguration"]["snapshot.mode"] == "no_data"
    pipeline = load_outputs(recorded.outputs, "test").pipeline
    assert (pipeline.state, pipeline.copy_) == ("capturing", "zdm")


def test_one_setting_says_how_rows_travel(declare: Declare) -> None:
    connectors = declare(**RUNNING, **{"cdc.copy": "debezium"}).of("Connector")
    assert connectors["cdc-source"]["connectorConfiguration"]["snapshot.mode"] == "initial"


def test_running_adds_both_connectors_with_stable_names(declare: Declare) -> None:
    connectors = declare(**RUNNING).of("Connector")
    assert {name: c["name"] for name, c in connectors.items()} == {
        "cdc-source": "zdm-test-source",
        "cdc-sink": "zdm-test-sink",
    }
    assert connectors["cdc-source"]["connectorConfiguration"]["database.hostname"] == "source.mysql"
    assert "writer.aurora:5432" in connectors["cdc-sink"]["connectorConfiguration"]["connection.url"]


def test_nothing_is_public_and_everything_is_encrypted(declare: Declare) -> None:
    recorded = declare(**RUNNING)
    for kind in ("Instance", "Cluster"):
        for name, inputs in recorded.of(kind).items():
            if "storageEncrypted" in inputs:
                assert inputs["storageEncrypted"] and inputs["kmsKeyId"], name
    for name, inputs in {**recorded.of("Instance"), **recorded.of("ClusterInstance")}.items():
        assert inputs["publiclyAccessible"] is False, name
        assert inputs["autoMinorVersionUpgrade"] is False, name
    assert all(inputs["kmsKeyId"] for inputs in {**recorded.of("LogGroup"), **recorded.of("Secret")}.values())
    kafka = recorded.of("Cluster")["kafka-cluster"]
    assert kafka["encryptionInfo"]["encryptionInTransit"] == {"clientBroker": "TLS", "inCluster": True}
    assert kafka["clientAuthentication"] == {"sasl": {"iam": True, "scram": False}, "unauthenticated": False}
    assert all(
        recorded.of("BucketPublicAccessBlock")["cdc-plugins-private"][flag] is True
        for flag in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    )


def test_rules_name_their_peer_and_databases_have_no_way_out(declare: Declare) -> None:
    recorded = declare(**RUNNING)
    groups = {f"{name}-id" for name in ("mysql-access", "aurora-access", "kafka-access")}
    for name, rule in recorded.of("SecurityGroupIngressRule").items():
        assert {"referencedSecurityGroupId", "prefixListId"} & set(rule), name
    for name, rule in recorded.of("SecurityGroupEgressRule").items():
        assert rule["securityGroupId"] not in groups, name
        assert rule.get("cidrIpv4") is None or rule["fromPort"] == rule["toPort"] == 443, name
    data_routes = [r for r in recorded.of("Route").values() if r["routeTableId"] == "network-data-table-id"]
    assert data_routes == []


def test_every_resource_gets_the_mandatory_tags(declare: Declare) -> None:
    recorded = declare(owner="payments")
    tags = json.loads(recorded.resources["aws"].inputs["defaultTags"])["tags"]
    assert tags == {
        "environment": "dev",
        "cost-centre": "shop-migration",
        "owner": "payments",
        "data-class": "personal",
    }
    for name, args in recorded.resources.items():
        if args.typ.startswith("aws:"):
            assert "::aws::" in (args.provider or ""), f"{name} goes through another provider"


def test_loads_balance_with_tls_1_2_or_newer(declare: Declare) -> None:
    for name, listener in declare().of("Listener").items():
        assert (listener["port"], listener["protocol"]) == (443, "HTTPS"), name
        assert listener["sslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06", name


PROD = {
    "environment": "prod",
    "network.zones": "3",
    "source.existing.host": "mysql.shop.internal",
    "aurora.readers": "2",
    "source.existing.cidr": "10.0.0.0/16",
    "source.existing.secret": "shop/mysql-admin",
}


def test_prod_uses_the_existing_server(declare: Declare) -> None:
    declared = declare(**PROD)
    assert declared.of("Instance") == {}
    source = load_outputs(declared.outputs, "test").source
    assert (source.host, source.admin_secret) == ("mysql.shop.internal", "shop/mysql-admin")
    assert declared.of("SecurityGroupEgressRule")["cdc-to-source-out"]["cidrIpv4"] == "10.0.0.0/16"


def test_prod_is_protected_against_loss(declare: Declare) -> None:
    recorded = declare(**PROD)
    cluster = recorded.of("Cluster")["aurora-cluster"]
    assert cluster["deletionProtection"] is True and cluster["skipFinalSnapshot"] is False
    assert cluster["finalSnapshotIdentifier"].startswith("aurora-final-")
    assert (cluster["backupRetentionPeriod"], cluster["preferredBackupWindow"]) == (14, "02:00-03:00")
    assert len(recorded.of("ClusterInstance")) == 4, "a writer, two readers and one for reports"
    assert len(recorded.of("NatGateway")) == 3
    assert recorded.of("Bucket")["cdc-plugins"]["forceDestroy"] is False


def test_dev_is_small_and_leaves_nothing(declare: Declare) -> None:
    recorded = declare()
    cluster = recorded.of("Cluster")["aurora-cluster"]
    assert cluster["deletionProtection"] is False and cluster["skipFinalSnapshot"] is True
    assert len(recorded.of("NatGateway")) == 1
    assert {s["recoveryWindowInDays"] for s in recorded.of("Secret").values()} == {0}


def test_flag_and_passwords_are_made_once(declare: Declare) -> None:
    recorded = declare()
    assert json.loads(recorded.of("WorkersKv")["router-flag"]["value"])["weight"] == 0.0
    assert json.loads(recorded.of("SecretVersion")["mysql-cdc-value"]["secretString"]["value"])["username"] == "zdm_cdc"


def test_provisioned_instances_have_no_scaling(declare: Declare) -> None:
    recorded = declare(**{"aurora.capacity": "provisioned", "aurora.instanceClass": "db.r7g.large"})
    assert "serverlessv2ScalingConfiguration" not in recorded.of("Cluster")["aurora-cluster"]
    assert {i["instanceClass"] for i in recorded.of("ClusterInstance").values()} == {"db.r7g.large"}


def test_only_mysqls_service_can_make_second_writes(declare: Declare) -> None:
    """And only where the setting says so."""
    plain = declare(**RUNNING)
    assert load_outputs(plain.outputs, "test").target.dual_secret == ""
    made = declare(**RUNNING, **{"service.dual": True})
    assert load_outputs(made.outputs, "test").target.dual_secret
    told = {}
    for name, task in made.of("TaskDefinition").items():
        [container] = json.loads(task["containerDefinitions"])
        told[name] = {entry["name"] for entry in container["environment"] + container["secrets"]}
    second = {"SECOND_HOST", "SECOND_PORT", "SECOND_USER", "SECOND_PASSWORD"}
    assert second <= told["mysql-api-task"] and not second & told["aurora-api-task"]
    assert {rule for rule in made.of("SecurityGroupEgressRule") if "mysql-api-to-second" in rule}
