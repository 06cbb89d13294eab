"""DmsEndpoints: what AWS DMS reads and writes, over verified TLS, with accounts from Secrets Manager.

Invariants:
- Every connection is encrypted and the server's certificate verified. (For MySQL, DMS knows no TLS without that.)
- No password is in an endpoint: DMS reads host, port, user and password from the account's secret, by a role that can
  read these secrets and nothing else.
- A target's sessions skip foreign keys and triggers, and only they: a script of one statement runs at their beginning
  and ends with them. On PostgreSQL it sets `session_replication_role='replica'` (`GRANT SET ON PARAMETER` is needed),
  which must never be in a parameter group: the shop's sessions would then skip their foreign keys too. On MySQL, for
  the way back, it sets `sql_log_bin=0`, so that changes do not come forward again, `foreign_key_checks=0`, and UTC,
  in which TIMESTAMP is written (SESSION_VARIABLES_ADMIN is needed). DMS goes on when the script fails: check these
  rights before.

Cost drivers:
- None: endpoints and certificates are not billed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.databases import DatabaseAccess
from components.dms_settings import CONTROL_SCHEMA
from components.policies import assume_role, document, read_secrets

AS_REPLICA: Final = "SET session_replication_role='replica'"
WITHOUT_LOG: Final = "SET sql_log_bin=0, foreign_key_checks=0, time_zone='+00:00'"
HEARTBEAT_MINUTES: Final = 1
"""How often the way back writes a row of its own, so that its slot moves on while the shop is silent."""


@dataclass(frozen=True)
class Tls:
    """How a server proves itself."""

    authority: Path
    """PEM file with the certificates of the authority that signed the server's: for RDS and Aurora the region's
    bundle from truststore.pki.rds.amazonaws.com."""
    mode: Literal["verify-full", "verify-ca"] = "verify-full"
    """The certificate must be the authority's and, by default, name the host. `verify-ca` for a server of one's own
    whose certificate names another."""

    def __post_init__(self) -> None:
        there = self.authority.is_file() and "-----BEGIN CERTIFICATE-----" in self.authority.read_text(errors="replace")
        demand(
            self,
            authority=(
                there,
                f"no certificates in PEM form at {self.authority}: for RDS and Aurora get "
                "https://truststore.pki.rds.amazonaws.com/<region>/<region>-bundle.pem",
            ),
        )


@dataclass(frozen=True)
class DmsSource:
    """The MySQL that is read."""

    access: DatabaseAccess
    """Endpoint and account. The secret holds username, password, host and port; the account may read all tables and the
    binary log (SELECT, REPLICATION CLIENT, REPLICATION SLAVE). The log must have `binlog_format=ROW`, full row images
    and, as the user guide asks, `binlog_checksum=NONE` and no transaction compression."""
    tls: Tls
    """How MySQL proves itself."""
    time_zone: str = ""
    """The server's time zone, such as Asia/Ho_Chi_Minh, by which TIMESTAMP becomes UTC. Empty for UTC, as RDS has
    it."""
    poll_seconds: int = 1
    """How often an idle binary log is looked at. A second, since DMS's default, 5, is a good part of the lag
    allowed."""

    def __post_init__(self) -> None:
        demand(
            self,
            time_zone=(
                re.fullmatch(r"|[A-Za-z_]+(?:/[A-Za-z_+-]+\d*)*", self.time_zone) is not None,
                f"empty, or a name such as Asia/Ho_Chi_Minh, not {self.time_zone!r}",
            ),
            poll_seconds=(1 <= self.poll_seconds <= 60, f"1 to 60 seconds, not {self.poll_seconds}"),
        )


@dataclass(frozen=True)
class DmsTarget:
    """The Aurora PostgreSQL that is written."""

    access: DatabaseAccess
    """Endpoint (the writer's) and account. The secret holds username, password, host and port; the account may write
    the tables and has a schema `awsdms_control` of its own."""
    tls: Tls
    """How Aurora proves itself."""


@dataclass(frozen=True)
class WayBack:
    """From Aurora to MySQL, prepared and never started by the program: a cutover does that, at the position it has
    proven."""

    source: DatabaseAccess
    """Aurora, with an account that may replicate (`rds_replication`). The secret holds username, password, host,
    port."""
    target: DatabaseAccess
    """MySQL, with an account that may write the tables. The secret holds username, password, host, port."""


def access_policy(secret_arns: Sequence[str], key_arn: str) -> str:
    """What DMS may do to log in: read these secrets."""
    return document(*read_secrets(secret_arns, key_arn))


def slot_name(prefix: str) -> str:
    """The replication slot of the way back; PostgreSQL allows lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", prefix.lower()) + "_dms_back"


@dataclass(frozen=True)
class DmsEndpointsArgs:
    """Which databases, and by which keys."""

    prefix: str
    """Makes the endpoints' fixed names unique to the stack."""
    account_id: str
    """The account that DMS must act for when it reads secrets."""
    region: str
    """DMS reads secrets under the region's own principal."""
    database: str
    """The database on Aurora. (MySQL endpoints name none: one that did would put all tables into it.)"""
    data_key_arn: Input[str]
    """Encrypts what DMS keeps of an endpoint; another key replaces the endpoint."""
    secrets_key_arn: Input[str]
    """Decrypts the accounts."""
    source: DmsSource
    """The MySQL that is read."""
    target: DmsTarget
    """The Aurora that is written."""
    way_back: WayBack | None = None
    """The other direction; none by default, since it needs two more accounts."""


class DmsEndpoints(Component):
    """The endpoints of both ways, with the certificates and the role by which DMS reads the accounts."""

    source_arn: Output[str]
    """MySQL, read."""
    target_arn: Output[str]
    """Aurora, written."""
    back_source_arn: Output[str] | None
    """Aurora, read; None without a way back."""
    back_target_arn: Output[str] | None
    """MySQL, written; None without a way back."""

    def __init__(self, name: str, args: DmsEndpointsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._prefix, self._key = name, args.prefix, args.data_key_arn
        source, target, way_back = args.source, args.target, args.way_back
        accesses = [source.access, target.access, *([way_back.source, way_back.target] if way_back else [])]
        # The principal is the region's: DMS reads secrets under it, not under its global name.
        role = aws.iam.Role(
            f"{name}-secrets",
            assume_role_policy=assume_role(f"dms.{args.region}.amazonaws.com", args.account_id),
            description=f"{args.prefix}: AWS DMS reads its database accounts",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicy(
            f"{name}-secrets-rights",
            role=role.id,
            policy=Output.all(args.secrets_key_arn, *(access.account.secret_arn for access in accesses)).apply(
                lambda v: access_policy(sorted(set(v[1:])), v[0])
            ),
            opts=self.child(),
        )
        self._role_arn = Output.all(role.arn, rights.id).apply(lambda both: str(both[0]))
        mysql_authority = self._certificate("mysql", source.tls)
        aurora_authority = self._certificate("aurora", target.tls)
        mysql, aurora = aws.dms.EndpointMysqlSettingsArgs, aws.dms.EndpointPostgresSettingsArgs

        self.source_arn = self._endpoint(
            "source",
            source.access,
            source.tls,
            mysql_authority,
            mysql_settings=mysql(
                events_poll_interval=source.poll_seconds,
                server_timezone=source.time_zone or None,
                clean_source_metadata_on_mismatch=True,
            ),
        )
        self.target_arn = self._endpoint(
            "target",
            target.access,
            target.tls,
            aurora_authority,
            database=args.database,
            postgres_settings=aurora(after_connect_script=AS_REPLICA),
        )
        self.back_source_arn = self.back_target_arn = None
        if way_back:
            self.back_source_arn = self._endpoint(
                "back-source",
                way_back.source,
                target.tls,
                aurora_authority,
                database=args.database,
                postgres_settings=aurora(
                    # The slot is made by the cutover, at the position from which on changes must come back.
                    slot_name=slot_name(args.prefix),
                    plugin_name="test-decoding",
                    capture_ddls=False,
                    heartbeat_enable=True,
                    heartbeat_frequency=HEARTBEAT_MINUTES,
                    heartbeat_schema=CONTROL_SCHEMA,
                    fail_tasks_on_lob_truncation=True,
                ),
            )
            self.back_target_arn = self._endpoint(
                "back-target",
                way_back.target,
                source.tls,
                mysql_authority,
                mysql_settings=mysql(after_connect_script=WITHOUT_LOG, target_db_type="multiple-databases"),
            )
        self.register_outputs({"sourceArn": self.source_arn, "targetArn": self.target_arn})

    def _certificate(self, role: str, tls: Tls) -> Output[str]:
        """Named by its content: endpoints use the old one until they have the new one."""
        text = tls.authority.read_text()
        certificate = aws.dms.Certificate(
            f"{self._name}-{role}-authority",
            certificate_id=f"{self._prefix}-dms-{role}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
            certificate_pem=text,
            opts=self.child(),
        )
        return certificate.certificate_arn

    def _endpoint(
        self,
        role: str,
        access: DatabaseAccess,
        tls: Tls,
        authority: Output[str],
        *,
        database: str | None = None,
        mysql_settings: aws.dms.EndpointMysqlSettingsArgs | None = None,
        postgres_settings: aws.dms.EndpointPostgresSettingsArgs | None = None,
    ) -> Output[str]:
        endpoint = aws.dms.Endpoint(
            f"{self._name}-{role}",
            endpoint_id=f"{self._prefix}-dms-{role}",
            endpoint_type="target" if role.endswith("target") else "source",
            engine_name="aurora-postgresql" if postgres_settings else "mysql",
            database_name=database,
            certificate_arn=authority,
            ssl_mode=tls.mode,
            secrets_manager_arn=access.account.secret_arn,
            secrets_manager_access_role_arn=self._role_arn,
            kms_key_arn=self._key,
            mysql_settings=mysql_settings,
            postgres_settings=postgres_settings,
            # Else a change here is refused while a task runs; the tasks that ran are started again.
            pause_replication_tasks=True,
            opts=self.child(ResourceOptions(depends_on=list(access.ready), delete_before_replace=True)),
        )
        return endpoint.endpoint_arn
