"""What MSK checks before it takes passwords or shares a cluster, the local cloud checks too."""

from __future__ import annotations

from typing import Any

import pytest

from local.dataplane import cloud
from local.provider.control_plane.streaming import CLUSTER, TABLE
from local.provider.handler import HandlerError
from local.stack import LocalStack

pytestmark = pytest.mark.real

REGION = "us-east-1"
ARN = "arn:aws:kafka:us-east-1:123456789012:cluster/k/0a1b-1"
USERS = TABLE["aws:msk/scramSecretAssociation:ScramSecretAssociation"]
POLICY = TABLE["aws:msk/clusterPolicy:ClusterPolicy"]


def cluster(stack: LocalStack, *, scram: bool, shared: bool = False) -> None:
    login: dict[str, Any] = {"sasl": {"iam": True, "scram": scram}}
    connectivity = {"vpcConnectivity": {"clientAuthentication": {"sasl": {"iam": True}}}} if shared else None
    group = {"connectivityInfo": connectivity}
    stack.records.put(CLUSTER, ARN, {}, {"arn": ARN, "clientAuthentication": login, "brokerNodeGroupInfo": group})


def associate(stack: LocalStack, *secrets: str) -> None:
    USERS.create(stack, "users", {"clusterArn": ARN, "secretArnLists": list(secrets), "region": REGION})


def test_passwords(stack: LocalStack) -> None:
    secrets = cloud.aws(stack, "secretsmanager", REGION)
    key = "arn:aws:kms:us-east-1:123456789012:key/0a1b"
    good = secrets.create_secret(Name="AmazonMSK_lister", SecretString="{}", KmsKeyId=key)["ARN"]
    other = secrets.create_secret(Name="lister", SecretString="{}", KmsKeyId=key)["ARN"]
    plain = secrets.create_secret(Name="AmazonMSK_plain", SecretString="{}")["ARN"]
    with pytest.raises(HandlerError, match="no MSK cluster"):
        associate(stack, good)
    cluster(stack, scram=False)
    with pytest.raises(HandlerError, match=r"no SCRAM: switch on clientAuthentication\.sasl\.scram"):
        associate(stack, good)
    cluster(stack, scram=True)
    with pytest.raises(HandlerError, match="the secret lister must begin with AmazonMSK_"):
        associate(stack, good, other)
    with pytest.raises(HandlerError, match="AmazonMSK_plain is not under a customer key"):
        associate(stack, plain)
    associate(stack, good)


def test_sharing(stack: LocalStack) -> None:
    inputs = {"clusterArn": ARN, "policy": "{}", "region": REGION}
    cluster(stack, scram=False)
    with pytest.raises(HandlerError, match="no vpcConnectivity"):
        POLICY.create(stack, "policy", dict(inputs))
    cluster(stack, scram=False, shared=True)
    assert POLICY.create(stack, "policy", dict(inputs))[0] == ARN
