"""Encryption in transit: TLS 1.2 or newer, and nobody can do without."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from policies.encryption import BUCKET
from policies.rule import NOT_TRUE, TRUE, UNKNOWN, Resource, Rule, StackRule, companions, needs, one_of

POSTGRES_GROUP = "aws:rds/clusterParameterGroup:ClusterParameterGroup"
MYSQL_GROUP = "aws:rds/parameterGroup:ParameterGroup"
_ON = ("1", "on", "true")


def _listener(resource: Resource) -> Iterator[str]:
    protocol, policy = resource.at("protocol"), resource.at("sslPolicy")
    if protocol is UNKNOWN:
        return
    if protocol in ("HTTPS", "TLS"):
        if policy is not UNKNOWN and not str(policy).startswith("ELBSecurityPolicy-TLS13-1-2"):
            yield f"sslPolicy must begin with ELBSecurityPolicy-TLS13-1-2, not {policy!r}"
        return
    redirect = resource.at("defaultActions.redirect.protocol")
    if not (resource.at("defaultActions.type") == "redirect" and redirect == "HTTPS"):
        yield f"protocol must be HTTPS or TLS, or redirect to HTTPS, not {protocol!r}"


def _asks_for_tls(family: str, parameter: str) -> Rule:
    def check(resource: Resource) -> Iterator[str]:
        parameters = resource.props.get("parameters")
        if parameters is UNKNOWN or not str(resource.at("family")).startswith(family):
            return
        values = {entry.get("name"): entry.get("value") for entry in parameters or [] if isinstance(entry, Mapping)}
        value = values.get(parameter)
        if value is not UNKNOWN and str(value).lower() not in _ON:
            yield f"{parameter} must be on, not {value!r}"

    return Rule(
        "postgres-asks-for-tls" if family.endswith("postgresql") else "mysql-asks-for-tls",
        "The databases refuse connections without TLS.",
        f"Set {parameter} to 1 in the parameter group.",
        frozenset({POSTGRES_GROUP if family.endswith("postgresql") else MYSQL_GROUP}),
        check,
    )


def _buckets(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    for bucket, policies in companions(resources, BUCKET, "aws:s3/bucketPolicy:BucketPolicy", "bucket"):
        texts = [policy.at("policy") for policy in policies]
        if UNKNOWN not in texts and not any(refuses_plain_text(str(text)) for text in texts):
            yield bucket, "no policy of the bucket refuses requests without TLS"


def refuses_plain_text(document: str) -> bool:
    """Whether a bucket's policy denies everybody everything without TLS."""
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and statement.get("Action") in ("s3:*", ["s3:*"])
        and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for statement in json.loads(document)["Statement"]
    )


RULES: list[Rule | StackRule] = [
    Rule(
        "listeners-tls",
        "Load balancers speak TLS 1.2 or newer.",
        "Set protocol HTTPS and ssl_policy ELBSecurityPolicy-TLS13-1-2-2021-06.",
        frozenset({"aws:lb/listener:Listener"}),
        _listener,
    ),
    Rule(
        "kafka-tls",
        "Kafka speaks TLS, between brokers too, and knows who connects.",
        "Set encryption_info.encryption_in_transit to client_broker TLS and in_cluster, and client_authentication.",
        frozenset({"aws:msk/cluster:Cluster"}),
        needs(
            {
                "encryptionInfo.encryptionInTransit.clientBroker": one_of("TLS"),
                "encryptionInfo.encryptionInTransit.inCluster": TRUE,
                "clientAuthentication.unauthenticated": NOT_TRUE,
            }
        ),
    ),
    _asks_for_tls("aurora-postgresql", "rds.force_ssl"),
    _asks_for_tls("mysql", "require_secure_transport"),
    Rule(
        "proxy-tls",
        "The proxy of a database refuses connections without TLS.",
        "Set require_tls.",
        frozenset({"aws:rds/proxy:Proxy"}),
        needs({"requireTls": TRUE}),
    ),
    Rule(
        "dms-tls",
        "DMS connects with TLS and checks the server's certificate.",
        "Set ssl_mode and certificate_arn.",
        frozenset({"aws:dms/endpoint:Endpoint"}),
        needs({"sslMode": one_of("verify-ca", "verify-full")}),
    ),
    StackRule(
        "buckets-tls",
        "Buckets refuse requests without TLS.",
        "Add an aws.s3.BucketPolicy with components.policies.private_bucket.",
        _buckets,
    ),
]
