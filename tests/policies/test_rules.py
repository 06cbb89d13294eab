"""Each rule of the policy pack, broken and kept, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies.governance import TAGS, can_have_tags
from policies.identity import FOR_EVERYTHING
from policies.pack import ALL, default_tags
from policies.rule import UNKNOWN, Resource, Rule, StackRule

RULES = {rule.name: rule for rule in ALL}
TAGGED = {"environment": "prod", "cost-centre": "shop", "owner": "platform", "data-class": "personal"}


def policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "S", "Effect": "Allow", **statement}]})


def in_prod(**props: Any) -> dict[str, Any]:
    return {**props, "tags": {"environment": "prod"}}


def in_dev(**props: Any) -> dict[str, Any]:
    return {**props, "tags": {"environment": "dev"}}


CLUSTER, INSTANCE = "aws:rds/cluster:Cluster", "aws:rds/instance:Instance"
MEMBER, KAFKA = "aws:rds/clusterInstance:ClusterInstance", "aws:msk/cluster:Cluster"
LISTENER, TASK, ROLE = "aws:lb/listener:Listener", "aws:ecs/taskDefinition:TaskDefinition", "aws:iam/role:Role"
TLS = {"encryptionInTransit": {"clientBroker": "TLS", "inCluster": True}}
PRIVATE = {"storageEncrypted": True, "kmsKeyId": "arn:key"}
CONTAINER = "registry.example/zdm-orders"

# rule, type, inputs that break it, what it says, inputs that keep it
CASES: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [
    ("databases-encrypted", CLUSTER, {}, "storageEncrypted must be true", PRIVATE),
    ("databases-encrypted", INSTANCE, {"storageEncrypted": True}, "kmsKeyId must be set", PRIVATE),
    (
        "databases-encrypted",
        INSTANCE,
        {**PRIVATE, "storageEncrypted": False},
        "not False",
        {**PRIVATE, "kmsKeyId": UNKNOWN},
    ),
    (
        "brokers-encrypted",
        KAFKA,
        {},
        "encryptionAtRestKmsKeyArn",
        {"encryptionInfo": {"encryptionAtRestKmsKeyArn": "k"}},
    ),
    ("volumes-encrypted", "aws:ebs/volume:Volume", {"encrypted": False}, "encrypted", {"encrypted": True}),
    ("volumes-encrypted", "aws:ebs/snapshotCopy:SnapshotCopy", {}, "encrypted", {"encrypted": True}),
    (
        "server-disks-encrypted",
        "aws:ec2/instance:Instance",
        {},
        "rootBlockDevice",
        {"rootBlockDevice": {"encrypted": True}},
    ),
    (
        "server-disks-encrypted",
        "aws:ec2/instance:Instance",
        {"rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{"encrypted": True}, {}]},
        "ebsBlockDevices.encrypted",
        {"rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{"encrypted": True}]},
    ),
    ("topics-encrypted", "aws:sns/topic:Topic", {}, "kmsMasterKeyId", {"kmsMasterKeyId": "k"}),
    ("logs-encrypted", "aws:cloudwatch/logGroup:LogGroup", {}, "kmsKeyId", {"kmsKeyId": UNKNOWN}),
    ("logs-encrypted", "aws:cloudtrail/trail:Trail", {}, "kmsKeyId", {"kmsKeyId": "k"}),
    ("secrets-encrypted", "aws:secretsmanager/secret:Secret", {}, "kmsKeyId", {"kmsKeyId": "k"}),
    (
        "images-encrypted",
        "aws:ecr/repository:Repository",
        {"encryptionConfigurations": [{"encryptionType": "AES256"}]},
        "encryptionType must be KMS or KMS_DSSE, not 'AES256'",
        {"encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "k"}]},
    ),
    ("vaults-encrypted", "aws:backup/vault:Vault", {}, "kmsKeyArn", {"kmsKeyArn": "k"}),
    ("dms-encrypted", "aws:dms/replicationInstance:ReplicationInstance", {}, "kmsKeyArn", {"kmsKeyArn": "k"}),
    (
        "dms-serverless-encrypted",
        "aws:dms/replicationConfig:ReplicationConfig",
        {"computeConfig": {}},
        "computeConfig.kmsKeyId",
        {"computeConfig": {"kmsKeyId": "k"}},
    ),
    ("metrics-encrypted", "aws:amp/workspace:Workspace", {}, "kmsKeyArn", {"kmsKeyArn": "k"}),
    ("keys-rotate", "aws:kms/key:Key", {"enableKeyRotation": False}, "enableKeyRotation", {"enableKeyRotation": True}),
    (
        "listeners-tls",
        LISTENER,
        {"protocol": "HTTP", "defaultActions": [{"type": "forward"}]},
        "protocol must be HTTPS or TLS",
        {"protocol": "HTTP", "defaultActions": [{"type": "redirect", "redirect": {"protocol": "HTTPS"}}]},
    ),
    (
        "listeners-tls",
        LISTENER,
        {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-2016-08"},
        "sslPolicy must begin with ELBSecurityPolicy-TLS13-1-2",
        {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06"},
    ),
    ("kafka-tls", KAFKA, {}, "clientBroker must be TLS", {"encryptionInfo": TLS}),
    (
        "kafka-tls",
        KAFKA,
        {"encryptionInfo": TLS, "clientAuthentication": {"unauthenticated": True}},
        "unauthenticated must not be true",
        {"encryptionInfo": TLS, "clientAuthentication": {"unauthenticated": False}},
    ),
    (
        "postgres-asks-for-tls",
        "aws:rds/clusterParameterGroup:ClusterParameterGroup",
        {"family": "aurora-postgresql15", "parameters": [{"name": "rds.force_ssl", "value": "0"}]},
        "rds.force_ssl must be on, not '0'",
        {"family": "aurora-postgresql15", "parameters": [{"name": "rds.force_ssl", "value": "1"}]},
    ),
    (
        "mysql-asks-for-tls",
        "aws:rds/parameterGroup:ParameterGroup",
        {"family": "mysql8.4", "parameters": []},
        "require_secure_transport must be on",
        {"family": "mysql8.4", "parameters": [{"name": "require_secure_transport", "value": "ON"}]},
    ),
    ("proxy-tls", "aws:rds/proxy:Proxy", {"requireTls": False}, "requireTls must be true", {"requireTls": True}),
    ("dms-tls", "aws:dms/endpoint:Endpoint", {"sslMode": "none"}, "not 'none'", {"sslMode": "verify-full"}),
    ("databases-private", INSTANCE, {"publiclyAccessible": True}, "must be false", {"publiclyAccessible": False}),
    ("databases-private", MEMBER, {}, "publiclyAccessible must be false", {"publiclyAccessible": False}),
    (
        "brokers-private",
        KAFKA,
        {"brokerNodeGroupInfo": {"connectivityInfo": {"publicAccess": {"type": "SERVICE_PROVIDED_EIPS"}}}},
        "SERVICE_PROVIDED_EIPS",
        {"brokerNodeGroupInfo": {"connectivityInfo": {}}},
    ),
    (
        "tasks-private",
        "aws:ecs/service:Service",
        {"networkConfiguration": {"assignPublicIp": True}},
        "assignPublicIp",
        {"networkConfiguration": {"assignPublicIp": False}},
    ),
    ("backups-kept", CLUSTER, {"backupRetentionPeriod": 6.0}, "at least 7, not 6", {"backupRetentionPeriod": 7.0}),
    ("backups-kept", INSTANCE, {}, "at least 7", {"backupRetentionPeriod": 35}),
    (
        "production-protected",
        CLUSTER,
        in_prod(deletionProtection=False),
        "deletionProtection must be true",
        in_dev(deletionProtection=False),
    ),
    (
        "production-snapshotted",
        INSTANCE,
        in_prod(skipFinalSnapshot=True),
        "skipFinalSnapshot must be false",
        in_prod(skipFinalSnapshot=False, finalSnapshotIdentifier=UNKNOWN),
    ),
    ("production-kept", "aws:s3/bucket:Bucket", in_prod(forceDestroy=True), "forceDestroy", in_dev(forceDestroy=True)),
    ("production-kept", "aws:ecr/repository:Repository", in_prod(forceDelete=True), "forceDelete", in_prod()),
    (
        "production-secrets-kept",
        "aws:secretsmanager/secret:Secret",
        in_prod(recoveryWindowInDays=0),
        "at least 7",
        in_dev(recoveryWindowInDays=0),
    ),
    ("logs-kept", "aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 0}, "at least 1", {"retentionInDays": 30}),
    (
        "iam-actions-named",
        "aws:iam/rolePolicy:RolePolicy",
        {"policy": policy(Action=["s3:GetObject", "rds:*"], Resource="arn:x")},
        "statement S allows rds:*",
        {"policy": policy(Action="s3:Get*", Resource="arn:x")},
    ),
    (
        "iam-actions-named",
        "aws:iam/policy:Policy",
        {"policy": policy(NotAction="iam:*", Resource="*")},
        "all actions but some",
        {"policy": policy(Effect="Deny", Action="*", Resource="*")},
    ),
    (
        "iam-actions-named",
        "aws:kms/key:Key",
        {"policy": policy(Action="kms:*", Resource="*", Principal={"AWS": "arn:aws:iam::1:role/r"})},
        "kms:*",
        {"policy": policy(Action="kms:*", Resource="*", Principal={"AWS": "arn:aws:iam::1:root"})},
    ),
    (
        "iam-actions-named",
        ROLE,
        {
            "assumeRolePolicy": UNKNOWN,
            "inlinePolicies": [{"name": "n", "policy": policy(Action="*", Resource="arn:x")}],
        },
        "allows *",
        {"assumeRolePolicy": UNKNOWN, "inlinePolicies": [{"name": "n", "policy": UNKNOWN}]},
    ),
    (
        "iam-resources-named",
        "aws:iam/rolePolicy:RolePolicy",
        {"policy": policy(Action=["kms:Decrypt", "ecr:GetAuthorizationToken"], Resource="*")},
        "statement S allows kms:Decrypt for every resource",
        {"policy": policy(Action="ecr:GetAuthorizationToken", Resource="*")},
    ),
    (
        "iam-resources-named",
        "aws:iam/rolePolicy:RolePolicy",
        {"policy": policy(Action="rds:DescribeDBClusters", Resource=["arn:x", "*"])},
        "for every resource",
        {"policy": policy(Action="rds:DescribeDBClusters", Resource="*", Condition={"StringEquals": {"a:b": "c"}})},
    ),
    (
        "iam-principals-named",
        ROLE,
        {"assumeRolePolicy": policy(Action="sts:AssumeRole", Principal={"AWS": "*"})},
        "trusts everybody",
        {"assumeRolePolicy": policy(Action="sts:AssumeRole", Principal={"Service": "ecs-tasks.amazonaws.com"})},
    ),
    (
        "iam-principals-named",
        "aws:sns/topicPolicy:TopicPolicy",
        {"policy": policy(Action="sns:Publish", Resource="arn:x", Principal="*")},
        "trusts everybody",
        {"policy": policy(Effect="Deny", Action="sns:Publish", Resource="arn:x", Principal="*")},
    ),
    (
        "tagged",
        "aws:sqs/queue:Queue",
        {"tags": {"owner": "x"}},
        "environment, cost-centre, data-class",
        {"tags": TAGGED},
    ),
    ("tagged", "aws:s3/bucket:Bucket", {}, "tags are missing", {"tagsAll": TAGGED}),
    (
        "groups-auto-named",
        "aws:rds/parameterGroup:ParameterGroup",
        {"name": "my-group"},
        "name is fixed: 'my-group'",
        {"name": "parameters-mysql-0a1b2c3"},
    ),
    (
        "groups-auto-named",
        "aws:rds/clusterParameterGroup:ClusterParameterGroup",
        {"name": "g"},
        "fixed",
        {"namePrefix": "g-"},
    ),
    ("versions-pinned", CLUSTER, {"engine": "aurora-postgresql"}, "engineVersion must be set", {"engineVersion": "15"}),
    (
        "versions-pinned",
        MEMBER,
        {"engine": "aurora-postgresql", "engineVersion": "15.10", "autoMinorVersionUpgrade": True},
        "engineVersion 15.10 names a minor version",
        {"engine": "aurora-postgresql", "engineVersion": "15", "autoMinorVersionUpgrade": True},
    ),
    (
        "versions-pinned",
        INSTANCE,
        {"engine": "mysql", "engineVersion": "8.4.6"},
        "autoMinorVersionUpgrade would change it",
        {"engine": "mysql", "engineVersion": "8.4.6", "autoMinorVersionUpgrade": False},
    ),
    (
        "images-pinned",
        TASK,
        {"containerDefinitions": json.dumps([{"name": "api", "image": f"{CONTAINER}:latest"}])},
        "container api runs registry.example/zdm-orders:latest",
        {"containerDefinitions": json.dumps([{"name": "api", "image": f"{CONTAINER}:1.4"}])},
    ),
    (
        "images-pinned",
        TASK,
        {"containerDefinitions": json.dumps([{"name": "api", "image": f"localhost:5000/{CONTAINER}"}])},
        "whichever that is",
        {"containerDefinitions": UNKNOWN},
    ),
    (
        "images-by-digest",
        TASK,
        in_prod(containerDefinitions=json.dumps([{"name": "api", "image": f"{CONTAINER}:1.4"}])),
        "a tag that can be moved",
        in_prod(containerDefinitions=json.dumps([{"name": "api", "image": f"{CONTAINER}@sha256:{'0' * 64}"}])),
    ),
]


def rule_of(name: str) -> Rule:
    rule = RULES[name]
    assert isinstance(rule, Rule)
    return rule


@pytest.mark.parametrize(("name", "kind", "broken", "says", "kept"), CASES)
def test_a_rule_is_broken_and_kept(
    name: str, kind: str, broken: dict[str, Any], says: str, kept: dict[str, Any]
) -> None:
    rule = rule_of(name)
    found = rule.violations(Resource(kind, "thing", broken))
    assert any(says in text for text in found), found
    assert all(rule.way_out in text for text in found)
    assert rule.violations(Resource(kind, "thing", kept)) == []
    assert rule.violations(Resource("aws:some/other:Thing", "thing", broken, TAGGED)) == []


@pytest.mark.parametrize("rule", [rule for rule in ALL if isinstance(rule, Rule)], ids=lambda rule: rule.name)
def test_a_rule_waits_for_what_is_not_known_yet(rule: Rule) -> None:
    inputs = {key: UNKNOWN for _, _, broken, _, kept in CASES for key in {**broken, **kept} if key != "rootBlockDevice"}
    for kind in rule.types or ["aws:s3/bucket:Bucket"]:
        assert rule.violations(Resource(kind, "thing", {**inputs, "rootBlockDevice": {"encrypted": UNKNOWN}})) == []


def named(kind: str, name: str, refers: dict[str, list[str]] | None = None, **props: Any) -> Resource:
    return Resource(kind, name, props, urn=f"urn:{name}", refers=refers or {})


BUCKET = named("aws:s3/bucket:Bucket", "bucket")
FLAGS = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
OF_BUCKET = {"bucket": ["urn:bucket"]}
PLAIN = policy(
    Effect="Deny", Action="s3:*", Principal="*", Resource="arn:x", Condition={"Bool": {"aws:SecureTransport": "false"}}
)
GROUP = named("aws:ec2/securityGroup:SecurityGroup", "group")
BALANCER = named("aws:lb/loadBalancer:LoadBalancer", "balancer", {"securityGroups": ["urn:group"]})
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OF_GROUP = {"securityGroupId": ["urn:group"]}


def ingress(network: str, port: float = 443.0, to: float | None = None) -> Resource:
    return named(INGRESS, "rule", OF_GROUP, cidrIpv4=network, fromPort=port, toPort=to or port)


SETTINGS = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"

# rule, resources that break it, what it says, resources that keep it
STACKS: list[tuple[str, list[Resource], str, list[Resource]]] = [
    ("buckets-encrypted", [BUCKET], "encryption", [BUCKET, named(SETTINGS, "settings", OF_BUCKET)]),
    ("buckets-encrypted", [BUCKET, named(SETTINGS, "of another")], "encryption", []),
    ("buckets-tls", [BUCKET], "TLS", [BUCKET, named("aws:s3/bucketPolicy:BucketPolicy", "p", OF_BUCKET, policy=PLAIN)]),
    (
        "buckets-tls",
        [
            BUCKET,
            named(
                "aws:s3/bucketPolicy:BucketPolicy",
                "p",
                OF_BUCKET,
                policy=policy(Action="s3:GetObject", Principal={"AWS": "arn:x"}, Resource="arn:y"),
            ),
        ],
        "refuses requests without TLS",
        [BUCKET, named("aws:s3/bucketPolicy:BucketPolicy", "p", OF_BUCKET, policy=UNKNOWN)],
    ),
    ("buckets-private", [BUCKET], "made public", [BUCKET, named(BLOCK, "block", OF_BUCKET, **FLAGS)]),
    ("buckets-private", [BUCKET, named(BLOCK, "b", OF_BUCKET, **{**FLAGS, "ignorePublicAcls": False})], "public", []),
    (
        "ingress-closed",
        [GROUP, ingress("0.0.0.0/0")],
        "everywhere to port 443",
        [GROUP, BALANCER, ingress("0.0.0.0/0")],
    ),
    ("ingress-closed", [GROUP, BALANCER, ingress("0.0.0.0/0", 5432.0)], "to port 5432", [GROUP, ingress("10.0.0.0/8")]),
    ("ingress-closed", [GROUP, BALANCER, ingress("0.0.0.0/0", 443.0, 444.0)], "443 to 444", []),
    ("ingress-closed", [GROUP, ingress("64.0.0.0/2", 22.0)], "everywhere", [GROUP, ingress("203.0.113.0/24", 22.0)]),
    (
        "ingress-closed",
        [named("aws:ec2/securityGroup:SecurityGroup", "g", ingress=[{"ipv6CidrBlocks": ["::/0"], "fromPort": 22}])],
        "everywhere",
        [named("aws:ec2/securityGroup:SecurityGroup", "g", ingress=[{"self": True}])],
    ),
    (
        "ingress-closed",
        [named("aws:ec2/securityGroupRule:SecurityGroupRule", "r", type="ingress", cidrBlocks=["0.0.0.0/0"])],
        "everywhere",
        [named("aws:ec2/securityGroupRule:SecurityGroupRule", "r", type="egress", cidrBlocks=["0.0.0.0/0"])],
    ),
]


@pytest.mark.parametrize(("name", "broken", "says", "kept"), STACKS)
def test_a_rule_of_the_stack_is_broken_and_kept(
    name: str, broken: list[Resource], says: str, kept: list[Resource]
) -> None:
    rule = RULES[name]
    assert isinstance(rule, StackRule)
    found = rule.violations(broken)
    assert any(says in text and rule.way_out in text for _, text in found), found
    assert rule.violations(kept) == []


def test_every_rule_is_broken_by_a_test() -> None:
    assert {name for name, *_ in CASES} | {name for name, *_ in STACKS} == set(RULES)
    assert len(RULES) == len(ALL), "two rules have one name"


def test_tags_of_the_provider_count_and_what_cannot_have_tags_needs_none() -> None:
    tagged = rule_of("tagged")
    bucket = "aws:s3/bucket:Bucket"
    assert tagged.violations(Resource(bucket, "b", {}, default_tags(json.dumps({"tags": TAGGED})))) == []
    assert tagged.violations(Resource(bucket, "b", {}, default_tags({"tags": {**TAGGED, "owner": ""}}))) != []
    assert tagged.violations(Resource("aws:rds/clusterRoleAssociation:ClusterRoleAssociation", "r")) == []
    assert not can_have_tags("aws:iam/rolePolicy:RolePolicy")
    assert can_have_tags("aws:kms/key:Key")
    assert set(TAGS) == set(TAGGED)


def test_a_production_on_its_way_out_is_not_protected_but_leaves_snapshots() -> None:
    leaving = Resource(CLUSTER, "c", {}, {"environment": "prod", "decommission": "true"})
    assert rule_of("production-protected").violations(leaving) == []
    assert rule_of("production-snapshotted").violations(leaving) != []


def test_what_has_no_environment_is_treated_like_production() -> None:
    assert rule_of("production-protected").violations(Resource(CLUSTER, "c", {"deletionProtection": False})) != []


def test_actions_for_everything_are_those_that_aws_cannot_bind() -> None:
    from tests.policy_lint import findings

    for action in sorted(FOR_EVERYTHING):
        assert findings(policy(Action=action, Resource="*")) == [], action
