"""AuroraProxy: an RDS Proxy before the cluster's writer, so that many tasks share few connections.

Invariants:
- TLS on both sides, and log-in by secret only: the role may read exactly the accounts' secrets.
- The proxy is reached by security group, and the cluster lets it in by security group; no address range anywhere.
- It stands before the writer only: readers have an endpoint that spreads connections already.

Who is pinned: RDS Proxy shares a database connection between transactions, unless a session changes its state (SET,
PREPARE as SQL, temporary tables, LISTEN, sequences' currval, advisory locks); then the session keeps its connection to
the end. PostgreSQL has no filters against that. The shop's writes take an advisory lock (the fence) in each
transaction, so its write connections are pinned: there the proxy bounds their number and survives a failover, but does
not multiply them. `Pool.init_query` is for what all sessions set alike: said there, it pins nobody. Connection options
in the start-up message (`options=-c ...`) are refused by RDS Proxy. CDC and checks go to the cluster itself.

Cost drivers:
- By vCPU and hour of each instance in the cluster (Provisioned), or by ACU and hour with a minimum of 8 ACUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.databases import Account
from components.network import Endpoint, allow, security_group
from components.policies import assume_role, document, read_secrets

SESSION = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "30s",
    "application_name": "zdm-origin",
}
"""What the shop's API asks of each session when it connects directly."""


@dataclass(frozen=True)
class Pool:
    """How the proxy shares the database's connections."""

    max_percent: int = 80
    """Share of `max_connections` that the proxy may take, 1 to 100: the rest is for CDC, checks and operators."""
    idle_percent: int = 20
    """Share that stays open although nobody needs it, 0 to max_percent; each costs the database memory."""
    borrow_seconds: int = 5
    """How long a client waits for a free connection, 0 to 3600: as long as the shop's own pool does."""
    idle_client_seconds: int = 1800
    """After how long a silent client is dropped, 1 to 28800; half an hour is RDS Proxy's own value."""
    init_query: str = "; ".join(f"SET {name} = '{value}'" for name, value in SESSION.items())
    """What each new database connection runs first: the shop's session settings, which would pin a session later."""

    def __post_init__(self) -> None:
        demand(
            self,
            max_percent=(1 <= self.max_percent <= 100, f"1 to 100, not {self.max_percent}"),
            idle_percent=(0 <= self.idle_percent <= self.max_percent, f"0 to max_percent, not {self.idle_percent}"),
            borrow_seconds=(0 <= self.borrow_seconds <= 3600, f"0 to 3600, not {self.borrow_seconds}"),
            idle_client_seconds=(1 <= self.idle_client_seconds <= 28800, f"1 to 28800, not {self.idle_client_seconds}"),
        )


@dataclass(frozen=True)
class AuroraProxyArgs:
    """Before which cluster, for whom."""

    account_id: str
    """The AWS account: the role trusts RDS for it only."""
    vpc_id: Input[str]
    """The VPC."""
    subnet_ids: Sequence[Input[str]]
    """Two or more subnets of the data tier, in different zones."""
    secrets_key_arn: Input[str]
    """Key of the accounts' secrets."""
    cluster_identifier: Input[str]
    """The cluster."""
    cluster: Endpoint
    """Its writer, with the security group that lets the proxy in."""
    accounts: Sequence[Account]
    """Who may log in: the proxy knows no account but these."""
    pool: Pool = field(default_factory=Pool)
    """How connections are shared."""
    ready: Sequence[pulumi.Resource] = ()
    """The cluster's instances: a proxy without a writer behind it never becomes available."""

    def __post_init__(self) -> None:
        demand(
            self,
            subnet_ids=(len(self.subnet_ids) >= 2, "two or more, in different zones"),
            cluster=(self.cluster.security_group_id is not None, "an endpoint with a security group"),
            accounts=(len(self.accounts) > 0, "at least one, or nobody can log in"),
        )


def secrets_policy(secret_arns: Sequence[str], key_arn: str) -> str:
    """What the proxy may do: read the accounts that log in through it."""
    return document(*read_secrets(secret_arns, key_arn))


class AuroraProxy(Component):
    """The proxy with its role and target."""

    endpoint: Endpoint
    """Where clients connect instead of the cluster's writer."""

    def __init__(self, name: str, args: AuroraProxyArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        group = security_group(f"{name}-access", args.vpc_id, f"{name}: who may connect", self.child())
        ways = allow(f"{name}-to-cluster", group.id, args.cluster, self.child())
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=assume_role("rds.amazonaws.com", args.account_id),
            description=f"{name}: reads the accounts that log in",
            opts=self.child(),
        )
        arns = [account.secret_arn for account in args.accounts]
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            role=role.id,
            policy=Output.all(args.secrets_key_arn, *arns).apply(lambda v: secrets_policy(v[1:], v[0])),
            opts=self.child(),
        )
        proxy = aws.rds.Proxy(
            f"{name}-proxy",
            engine_family="POSTGRESQL",
            role_arn=role.arn,
            vpc_subnet_ids=list(args.subnet_ids),
            vpc_security_group_ids=[group.id],
            require_tls=True,
            idle_client_timeout=args.pool.idle_client_seconds,
            auths=[
                aws.rds.ProxyAuthArgs(
                    auth_scheme="SECRETS",
                    client_password_auth_type="POSTGRES_SCRAM_SHA_256",
                    iam_auth="DISABLED",
                    secret_arn=arn,
                )
                for arn in arns
            ],
            opts=self.child(ResourceOptions(depends_on=[rights])),
        )
        targets = aws.rds.ProxyDefaultTargetGroup(
            f"{name}-pool",
            db_proxy_name=proxy.name,
            connection_pool_config=aws.rds.ProxyDefaultTargetGroupConnectionPoolConfigArgs(
                max_connections_percent=args.pool.max_percent,
                max_idle_connections_percent=args.pool.idle_percent,
                connection_borrow_timeout=args.pool.borrow_seconds,
                init_query=args.pool.init_query,
            ),
            opts=self.child(),
        )
        target = aws.rds.ProxyTarget(
            f"{name}-target",
            db_proxy_name=proxy.name,
            target_group_name=targets.name,
            db_cluster_identifier=args.cluster_identifier,
            opts=self.child(ResourceOptions(depends_on=[*ways, *args.ready])),
        )
        host: Output[str] = Output.all(proxy.endpoint, target.id).apply(lambda both: str(both[0]))
        self.endpoint = Endpoint(host, args.cluster.port, security_group_id=group.id)
        self.register_outputs({"host": host, "port": args.cluster.port})
