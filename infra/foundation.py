"""What everything else stands on: provider and tags, CI's access, keys, network, the alarms' topic, logs for auditors.

Invariants:
- Every AWS resource goes through one provider (copies of backups through one of their region), with the mandatory tags.
- What the account's owner made, and a shared network, are taken from the other stack's outputs and not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, InvokeOptions, Output, ResourceOptions

from components.alert_topic import AlertTopic, AlertTopicArgs, Slack
from components.ci_access import CiAccess, CiAccessArgs, State, bound_roles
from components.credentials import Credential, CredentialArgs, Login, Rotation
from components.encryption import Encryption, EncryptionArgs
from components.endpoints import USED, AwsApis, Endpoints
from components.firewall import Firewall, FirewallArgs
from components.flow_logs import FlowLogs
from components.network import Network, NetworkArgs
from components.tags import require_tags
from infra.settings import Settings


@dataclass(frozen=True)
class Ground:
    """The network that the stack lives in, its own or another stack's."""

    vpc_id: Output[str]
    public_subnet_ids: Sequence[Output[str]]
    private_subnet_ids: Sequence[Output[str]]
    data_subnet_ids: Sequence[Output[str]]
    apis: AwsApis
    nat_addresses: Sequence[Output[str]]

    def to_outputs(self) -> dict[str, Any]:
        return {
            "vpcId": self.vpc_id,
            "publicSubnetIds": list(self.public_subnet_ids),
            "privateSubnetIds": list(self.private_subnet_ids),
            "dataSubnetIds": list(self.data_subnet_ids),
            "endpointsSecurityGroup": self.apis.endpoint_group_id or "",
            "endpointsPrefixList": self.apis.s3_prefix_list_id or "",
            "natAddresses": list(self.nat_addresses),
        }


class Foundation:
    """Made first, in the order of what depends on what."""

    def __init__(self, settings: Settings) -> None:
        s = self.settings = settings
        self.name = f"{pulumi.get_project()}-{pulumi.get_stack()}"
        require_tags(s.tags)
        self.provider = aws.Provider("aws", region=s.region, default_tags=aws.ProviderDefaultTagsArgs(tags=s.tags))
        self.opts = ResourceOptions(providers=[self.provider])
        self.own = ResourceOptions(provider=self.provider)
        ask = InvokeOptions(provider=self.provider)
        self.account_id = aws.get_caller_identity(opts=ask).account_id
        self.partition = aws.get_partition(opts=ask).partition
        self.account = self._account()
        self.ci = self._ci()
        self.encryption = Encryption(
            "encryption",
            EncryptionArgs(
                prefix=self.name,
                account_id=self.account_id,
                partition=self.partition,
                region=s.region,
                deletion_days=s.posture.key_days,
                keep=s.keeps_records,
                snapshot_accounts=s.snapshots.shared_with,
            ),
            self.opts,
        )
        self.ground = self._shared_ground() if s.network.stack else self._own_ground(ask)
        o = s.observability
        self.alerts = AlertTopic(
            "alerts",
            AlertTopicArgs(
                prefix=self.name,
                account_id=self.account_id,
                partition=self.partition,
                emails=o.emails,
                webhooks=o.webhooks,
                slack=Slack(o.slack_team, o.slack_channel) if o.slack_team else None,
                key_days=s.posture.key_days,
            ),
            self.opts,
        )
        self.firewall = self._firewall() if s.security.firewall != "off" else None

    def credential(
        self,
        role: str,
        username: str,
        what: str,
        *,
        login: Login | None = None,
        rotated_by: str = "",
        secret_name: str | None = None,
    ) -> Credential:
        """A generated account. `role` names its resources, and its secret unless that must have a name of its own."""
        return Credential(
            role,
            CredentialArgs(
                secret_name=secret_name or f"{self.name}/{role}",
                username=username,
                description=f"{self.name}: {what}",
                kms_key_arn=self.encryption.secrets_key_arn,
                recovery_days=self.settings.posture.secret_days,
                login=login,
                rotation=Rotation(rotated_by, self.settings.security.rotation_days) if rotated_by else None,
            ),
            self.opts,
        )

    def _account(self) -> Output[dict[str, Any]] | None:
        """The outputs of the account's owner, where another stack is it. A stack that is none is refused at preview."""
        s = self.settings
        if not s.account.stack:
            return None

        def check(account: dict[str, Any]) -> dict[str, Any]:
            if not account["owner"]:
                raise pulumi.RunError(f"account.stack: {s.account.stack} is not its account's owner (account.owner)")
            if account["id"] != self.account_id:
                raise pulumi.RunError(
                    f"account.stack: {s.account.stack} is in account {account['id']}, this stack in {self.account_id}"
                )
            return account

        return pulumi.StackReference(s.account.stack).require_output("account").apply(check)

    def _ci(self) -> CiAccess | None:
        s = self.settings
        if not s.account.repository:
            return None
        access = CiAccess(
            "ci",
            CiAccessArgs(
                prefix=self.name,
                stack=pulumi.get_stack(),
                environment=s.environment,
                account_id=self.account_id,
                partition=self.partition,
                region=s.region,
                repository=s.account.repository,
                state=State(s.account.state_bucket, s.account.state_key) if s.account.state_bucket else None,
                provider=s.account.owner,
            ),
            self.opts,
        )
        bound_roles(access.workload_boundary_arn)
        return access

    def _own_ground(self, ask: InvokeOptions) -> Ground:
        s = self.settings
        zones = sorted(aws.get_availability_zones(state="available", opts=ask).names)
        if len(zones) < s.network.zones:
            raise pulumi.RunError(f"network.zones: {s.region} has {len(zones)} available zones, not {s.network.zones}")
        # What the collector calls: tasks to scrape, and where samples go.
        watching = ("aps-workspaces", "ecs") if s.observability.prometheus else ()
        logged = {"all": "ALL", "rejected": "REJECT"}.get(s.network.flow_logs)
        network = Network(
            "network",
            NetworkArgs(
                region=s.region,
                zones=zones[: s.network.zones],
                cidr=s.network.cidr,
                nat_per_zone=s.posture.nat_per_zone,
                endpoints=Endpoints((*USED, *watching)) if s.network.endpoints else None,
                flow_logs=FlowLogs(
                    self.name,
                    self.account_id,
                    self.encryption.logs_key_arn,
                    s.posture.log_days,
                    "ALL" if logged == "ALL" else "REJECT",
                )
                if logged
                else None,
            ),
            self.opts,
        )
        return Ground(
            network.vpc_id,
            network.public_subnet_ids,
            network.private_subnet_ids,
            network.data_subnet_ids,
            network.apis,
            network.nat_addresses,
        )

    def _shared_ground(self) -> Ground:
        """Another stack's network. Its outputs are checked here, since the engine would only say what is not there."""
        s = self.settings
        shared = pulumi.StackReference(s.network.stack).require_output("network")

        def subnets(tier: str) -> list[Output[str]]:
            def pick(network: dict[str, Any], index: int) -> str:
                ids: list[str] = network[f"{tier}SubnetIds"]
                if len(ids) != s.network.zones:
                    raise pulumi.RunError(
                        f"network.zones: {s.network.stack} has {len(ids)} zones, this stack says {s.network.zones}"
                    )
                return ids[index]

            def at(index: int) -> Output[str]:
                return shared.apply(lambda network: pick(network, index))

            return [at(index) for index in range(s.network.zones)]

        group: Input[str] | None = shared["endpointsSecurityGroup"] if s.network.endpoints else None
        prefix_list: Input[str] | None = shared["endpointsPrefixList"] if s.network.endpoints else None
        return Ground(
            shared["vpcId"],
            subnets("public"),
            subnets("private"),
            subnets("data"),
            AwsApis(group, prefix_list),
            [shared["natAddresses"][index] for index in range(s.network.zones if s.posture.nat_per_zone else 1)],
        )

    def _firewall(self) -> Firewall:
        s = self.settings
        return Firewall(
            "firewall",
            FirewallArgs(
                prefix=self.name,
                account_id=self.account_id,
                partition=self.partition,
                region=s.region,
                logs_key_arn=self.encryption.logs_key_arn,
                log_days=s.posture.log_days,
                mode="count" if s.security.firewall == "count" else "block",
                requests_per_5_minutes=s.security.requests_per_5_minutes,
            ),
            self.opts,
        )

    def to_outputs(self) -> dict[str, Any]:
        return {
            "network": self.ground.to_outputs(),
            "account": {
                "id": self.account_id,
                # Known only once the owner's outputs were looked at.
                "owner": self.account.apply(lambda _: False) if self.account else self.settings.account.owner,
                "previewRole": self.ci.preview_role_arn if self.ci else "",
                "drillRole": self.ci.drill_role_arn if self.ci else "",
                "deployRole": self.ci.deploy_role_arn if self.ci else "",
            },
        }
