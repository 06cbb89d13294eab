"""MSK beside the cluster itself (which is a real broker): passwords and sharing are kept, and checked as MSK does.

The API server has neither, for a cluster that it did not make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.provider.api import Api, Recorded, Values, server
from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.stack import LocalStack

CLUSTER = "aws:msk/cluster:Cluster"
SCRAM_PREFIX = "AmazonMSK_"


def _cluster(stack: LocalStack, values: Values) -> dict[str, Any]:
    found = stack.records.find(CLUSTER, arn=values["clusterArn"])
    if not found:
        raise HandlerError(f"NotFoundException: this stack has no MSK cluster {values['clusterArn']}")
    return found[0].outputs


def _users(stack: LocalStack, values: Values) -> None:
    """What MSK checks before it takes a secret."""
    sasl = (_cluster(stack, values).get("clientAuthentication") or {}).get("sasl") or {}
    if not sasl.get("scram"):
        raise HandlerError("BadRequestException: the cluster has no SCRAM: switch on clientAuthentication.sasl.scram")
    with server(stack, values["region"]) as api:
        for arn in values["secretArnLists"]:
            secret = api.client("secretsmanager").describe_secret(SecretId=arn)
            if not secret["Name"].startswith(SCRAM_PREFIX):
                raise HandlerError(f"BadRequestException: the secret {secret['Name']} must begin with {SCRAM_PREFIX}")
            if "alias/aws/" in secret.get("KmsKeyId", "alias/aws/"):
                raise HandlerError(f"BadRequestException: the secret {secret['Name']} is not under a customer key")


def _shared(stack: LocalStack, values: Values) -> None:
    """A policy is of use only where other VPCs can connect."""
    group = _cluster(stack, values).get("brokerNodeGroupInfo") or {}
    if not (group.get("connectivityInfo") or {}).get("vpcConnectivity"):
        raise HandlerError("BadRequestException: the cluster has no vpcConnectivity, so nobody could use its policy")


TABLE: dict[str, Api | Recorded] = {
    "aws:msk/scramSecretAssociation:ScramSecretAssociation": Recorded("{clusterArn}", on_create=_users),
    "aws:msk/clusterPolicy:ClusterPolicy": Recorded("{clusterArn}", {"currentVersion": "K1"}, on_create=_shared),
}
