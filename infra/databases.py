"""The two databases of a stack, and the accounts on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output, ResourceOptions

from components.aurora import AuroraArgs, AuroraCluster
from components.aurora_options import Provisioned, ReaderScaling, Reports, Serverless, version_policy
from components.aurora_proxy import AuroraProxy, AuroraProxyArgs
from components.credentials import Credential, Login
from components.database_masters import ManagedMaster
from components.database_monitoring import Monitoring
from components.database_restore import FromPointInTime, FromSnapshot, Restore
from components.databases import Backups, DatabaseAccess, DatabaseServer, Placement, Protection
from components.network import Endpoint
from components.parameter_groups import ParameterGroups, ParameterGroupsArgs
from components.source_mysql import SourceMySQL, SourceMySQLArgs
from contract.dual import DUAL_USER
from infra.foundation import Foundation


@dataclass(frozen=True)
class Source:
    """The MySQL that is left, made here or there before."""

    endpoint: Endpoint
    admin_secret: Input[str]
    server: SourceMySQL | None = None

    @property
    def ready(self) -> list[pulumi.Resource]:
        return [self.server] if self.server else []


class Databases:
    """Source, target, parameters, and an account for each who connects."""

    def __init__(self, base: Foundation) -> None:
        s = self.settings = base.settings
        self.base = base
        # Refused by the engine before anything is deleted: RDS's own protection would only be met half-way.
        self.opts = ResourceOptions.merge(base.opts, ResourceOptions(protect=s.posture.deletion_protection))
        self.groups = ParameterGroups(
            "parameters",
            ParameterGroupsArgs(
                aurora_version=s.aurora.version,
                mysql_version=None if s.existing_mysql else s.source.version,
                profile=s.aurora.profile,
                # DMS reads a binary log without checksums only (its user guide, "Using a MySQL-compatible database").
                mysql={**({"binlog_checksum": "NONE"} if s.dms.enabled else {}), **s.source.parameters},
                aurora=s.aurora.parameters,
                max_connections=s.aurora.max_connections or None,
                reports=s.aurora.report_readers > 0,
            ),
            base.opts,
        )
        self.backups = Backups(s.backups.days, s.backups.window, s.backups.maintenance)
        server = DatabaseServer(
            database=s.database,
            placement=Placement(
                base.ground.vpc_id,
                base.ground.data_subnet_ids,
                base.encryption.data_key_arn,
                base.encryption.secrets_key_arn,
                s.network.operator_cidrs,
                account_id=base.account_id,
                logs_key_arn=base.encryption.logs_key_arn,
                partition=base.partition,
            ),
            backups=self.backups,
            protection=Protection(
                s.posture.deletion_protection,
                s.posture.final_snapshot,
                s.posture.apply_immediately,
            ),
            monitoring=Monitoring(s.aurora.insights, s.aurora.monitoring_seconds, s.posture.log_days),
        )
        self.source = self._source(server)
        self.aurora = self._aurora(server)
        there = self.source.endpoint
        mysql = Login("mysql", there.host, there.port, s.database)
        aurora = Login("postgres", self.aurora.endpoint.host, self.aurora.endpoint.port, s.database)
        account = base.credential
        self.mysql_cdc = account("mysql-cdc", "zdm_cdc", "capture of the MySQL source", login=mysql)
        self.mysql_app = account(
            "mysql-app",
            "shop_app",
            "the shop's API on MySQL",
            login=mysql,
            rotated_by=s.security.mysql_rotation_lambda,
        )
        self.mysql_sink = account("mysql-sink", "zdm_sink", "the way back into MySQL", login=mysql)
        self.aurora_sink = account("aurora-sink", "zdm_sink", "replication into Aurora", login=aurora)
        self.aurora_app = account(
            "aurora-app",
            "shop_app",
            "the shop's API on Aurora",
            login=aurora,
            rotated_by=s.security.aurora_rotation_lambda,
        )
        self.aurora_cdc = account("aurora-cdc", "zdm_reverse", "capture of Aurora, for the way back", login=aurora)
        self.mysql_probe: Credential | None = None
        self.aurora_probe: Credential | None = None
        if s.observability.prometheus:
            self.mysql_probe = account("mysql-probe", "zdm_probe", "what measures the lag, on MySQL", login=mysql)
            self.aurora_probe = account("aurora-probe", "zdm_probe", "what measures the lag, on Aurora", login=aurora)
        self.aurora_dual: Credential | None = None
        if s.service.dual:
            self.aurora_dual = account("aurora-dual", DUAL_USER, "second writes of MySQL's service", login=aurora)
        self.proxy = self._proxy() if s.aurora.proxy else None

    def mysql_as(self, account: Credential) -> DatabaseAccess:
        return DatabaseAccess(self.source.endpoint, account.account, self.source.ready)

    def aurora_as(self, account: Credential) -> DatabaseAccess:
        return DatabaseAccess(self.aurora.endpoint, account.account, self.aurora.instances)

    @property
    def app_on_aurora(self) -> DatabaseAccess:
        """How the shop's API reaches Aurora: through the proxy where there is one."""
        if self.proxy is None:
            return self.aurora_as(self.aurora_app)
        return DatabaseAccess(self.proxy.endpoint, self.aurora_app.account, [self.proxy])

    def _source(self, server: DatabaseServer) -> Source:
        s = self.settings
        if self.groups.mysql is None:
            there = s.source.existing
            return Source(Endpoint(there.host, there.port, cidr=there.cidr), there.secret)
        mysql = SourceMySQL(
            "mysql",
            SourceMySQLArgs(
                server,
                self.groups.mysql,
                version=s.source.version,
                instance_class=s.source.instance_class,
                storage_gib=s.source.storage_gib,
                storage_limit_gib=max(100, s.source.storage_gib * 2),
                multi_az=s.posture.multi_az,
                restore=FromSnapshot(s.source.restore_snapshot) if s.source.restore_snapshot else None,
            ),
            self.base.opts,
        )
        return Source(mysql.endpoint, mysql.admin_secret_arn, mysql)

    def _aurora(self, server: DatabaseServer) -> AuroraCluster:
        a = self.settings.aurora
        reports = None
        if self.groups.aurora_reports is not None:
            reports = Reports(self.groups.aurora_reports, a.report_readers)
        return AuroraCluster(
            "aurora",
            AuroraArgs(
                server,
                self.groups.aurora_cluster,
                self.groups.aurora_instance,
                Serverless(a.min_acu, a.max_acu) if a.capacity == "serverless" else Provisioned(a.instance_class),
                version=version_policy(a.version),
                readers=a.readers,
                scaling=ReaderScaling(a.max_readers + a.report_readers, a.scale_on, a.scale_target)
                if a.max_readers
                else None,
                reports=reports,
                master=ManagedMaster(a.master_rotation_days),
                restore=self._restore(),
                io_optimized=a.io_optimized,
                activity_stream=None if a.activity_stream == "off" else a.activity_stream,
            ),
            self.opts,
        )

    def _restore(self) -> Restore | None:
        a = self.settings.aurora
        if a.restore_snapshot:
            return FromSnapshot(a.restore_snapshot)
        return FromPointInTime(a.restore_from, a.restore_at or None) if a.restore_from else None

    def _proxy(self) -> AuroraProxy:
        base = self.base
        return AuroraProxy(
            "aurora-proxy",
            AuroraProxyArgs(
                account_id=base.account_id,
                vpc_id=base.ground.vpc_id,
                subnet_ids=base.ground.data_subnet_ids,
                secrets_key_arn=base.encryption.secrets_key_arn,
                cluster_identifier=self.aurora.identifier,
                cluster=self.aurora.endpoint,
                accounts=[self.aurora_app.account],
                ready=self.aurora.instances,
            ),
            base.opts,
        )

    def to_outputs(self) -> dict[str, Any]:
        s, server = self.settings, self.source.server
        nothing = Output.from_input("")
        return {
            "source": {
                "host": self.source.endpoint.host,
                "port": self.source.endpoint.port,
                "adminSecret": self.source.admin_secret,
                "cdcSecret": self.mysql_cdc.arn,
                "appSecret": self.mysql_app.arn,
                "instance": server.identifier if server else "",
                "servers": s.source.existing.server_ids,
                "volumes": s.source.existing.volume_ids,
                "binlogHours": s.source.binlog_hours,
            },
            "target": {
                "host": self.aurora.endpoint.host,
                "readerHost": self.aurora.reader_host,
                "port": self.aurora.endpoint.port,
                "engineVersion": self.aurora.version,
                "adminSecret": self.aurora.admin_secret_arn,
                "sinkSecret": self.aurora_sink.arn,
                "appSecret": self.aurora_app.arn,
                "dualSecret": self.aurora_dual.arn if self.aurora_dual else nothing,
                "cluster": self.aurora.identifier,
                "proxyHost": self.proxy.endpoint.host if self.proxy else "",
                "reportsHost": self.aurora.reports_host or nothing,
                "readers": s.aurora.readers,
                "profile": s.aurora.profile,
            },
        }
