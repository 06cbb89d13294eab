"""What customers meet: the shop's API in front of each database, and the router in front of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.archive import Archive
from components.credentials import Credential
from components.dual_write import Capacity, DualWriteArgs, DualWriteService, Standby
from components.dual_write_alarms import Bounds
from components.dual_write_task import Task
from components.images import ImageRepository, ImageRepositoryArgs
from components.kafka import KafkaAccess
from components.network import prefix_list
from components.place import Place
from components.relay import MODULE as RELAY
from components.relay import Relay, RelayArgs
from components.router import CLOUDFLARE_NETWORKS, FLAG_KEY, CloudflareRouter, RouterArgs, TrafficRouter
from components.router.nginx import NginxRouter
from components.router.waf import Firewall
from contract.flag import Side
from infra.databases import Databases
from infra.foundation import Foundation


class Services:
    """The two origins and the router."""

    def __init__(
        self, base: Foundation, databases: Databases, archive: Archive | None, kafka: KafkaAccess | None
    ) -> None:
        s = self.settings = base.settings
        self.base = base
        self.cluster = aws.ecs.Cluster(
            "services",
            settings=[aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")],
            opts=base.own,
        )
        self.repository = self._repository("orders") if s.service.repository else None
        self.router_repository = None
        if s.service.repository and s.router.kind == "nginx":
            self.router_repository = self._repository("router")
        worker = s.router.kind == "cloudflare"
        edge = prefix_list("edge", CLOUDFLARE_NETWORKS, base.own)
        # The origins' load balancers let the router in: the Worker from Cloudflare's network, Nginx through NAT.
        routers = edge if worker else prefix_list("routers", _hosts(base.ground.nat_addresses), base.own)
        self.place = Place(
            prefix=base.name,
            account_id=base.account_id,
            region=s.region,
            vpc_id=base.ground.vpc_id,
            public_subnet_ids=base.ground.public_subnet_ids,
            private_subnet_ids=base.ground.private_subnet_ids,
            cluster_arn=self.cluster.arn,
            cluster_name=self.cluster.name,
            secrets_key_arn=base.encryption.secrets_key_arn,
            logs_key_arn=base.encryption.logs_key_arn,
            edge_prefix_list_id=routers.id,
            zone_id=s.router.zone_id,
            alarm_topic_arn=base.alerts.arn,
            apis=base.ground.apis,
            web_acl_arn=base.firewall.arn if base.firewall else None,
            access_log_bucket=archive.log_bucket if archive and s.security.access_logs else None,
            log_days=s.posture.log_days,
            deletion_protection=s.posture.deletion_protection,
        )
        accesses = {Side.MYSQL: databases.mysql_as(databases.mysql_app), Side.AURORA: databases.app_on_aurora}
        self.origins = {
            side: DualWriteService(
                f"{side}-api",
                DualWriteArgs(
                    side=side,
                    host=f"{side}-api.{s.router.domain}",
                    database_name=s.database,
                    database=access,
                    second=databases.aurora_as(databases.aurora_dual)
                    if side is Side.MYSQL and databases.aurora_dual
                    else None,
                    task=Task(s.service.image, s.service.module, s.service.cpu, s.service.memory),
                    place=self.place,
                    capacity=Capacity(
                        s.service.count,
                        max(s.service.count, s.service.max_count),
                        s.service.requests_per_second,
                    ),
                    standby=Standby(s.service.standby_image or None, s.service.active == "standby")
                    if s.service.standby
                    else None,
                    bounds=Bounds(s.kpis.error_rate, s.kpis.latency_p95_ms),
                ),
                base.opts,
            )
            for side, access in accesses.items()
        }
        self.relays = self._relays(databases, kafka) if kafka and s.service.relay else {}
        force = base.credential("router-force", "router", "token that lets a request force its side")
        self.admin = None
        if worker and s.router.fast_flips:
            self.admin = base.credential("router-admin", "router", "token that changes the flag in the router's store")
        self.router = TrafficRouter(
            "router",
            RouterArgs(
                zone_id=s.router.zone_id,
                host=f"shop.{s.router.domain}",
                mysql_origin=self.origins[Side.MYSQL].origin,
                aurora_origin=self.origins[Side.AURORA].origin,
                salt=base.name,
                force_token=force.password,
                kind=self._worker() if worker else self._nginx(replace(self.place, edge_prefix_list_id=edge.id), force),
                hold_ms=s.router.hold_ms,
                firewall=Firewall(s.router.operator_networks) if s.router.firewall else None,
            ),
            ResourceOptions.merge(base.opts, ResourceOptions(depends_on=list(self.origins.values()))),
        )

    def _relays(self, databases: Databases, kafka: KafkaAccess) -> dict[Side, Relay]:
        """Of both sides: each works while its side is the writer. Past the proxy, whose pool would end their locks."""
        s = self.settings
        accesses = {
            Side.MYSQL: databases.mysql_as(databases.mysql_app),
            Side.AURORA: databases.aurora_as(databases.aurora_app),
        }
        task = Task(s.service.image, RELAY)
        return {
            side: Relay(
                f"{side}-relay",
                RelayArgs(side, s.database, access, kafka, s.service.events_topic, task, self.place),
                self.base.opts,
            )
            for side, access in accesses.items()
        }

    def _repository(self, what: str) -> ImageRepository:
        return ImageRepository(
            f"images-{what}",
            ImageRepositoryArgs(
                repository_name=f"{self.base.name}-{what}",
                data_key_arn=self.base.encryption.data_key_arn,
                keep=self.settings.posture.keep_buckets,
            ),
            self.base.opts,
        )

    def _worker(self) -> CloudflareRouter:
        r = self.settings.router
        return CloudflareRouter(
            account_id=r.account_id,
            script_name=f"{self.base.name}-router",
            admin_token=self.admin.password if self.admin else None,
            entry=r.entry,
        )

    def _nginx(self, place: Place, force: Credential) -> NginxRouter:
        r = self.settings.router
        return NginxRouter(place, r.image, force.arn, r.cpu, r.memory, r.tasks)

    def to_outputs(self) -> dict[str, Any]:
        s = self.settings
        worker = s.router.kind == "cloudflare"

        def origin(service: DualWriteService) -> dict[str, Any]:
            standby = service.balancer.standby
            return {
                "service": service.service_name,
                "listenerArn": service.balancer.listener_arn,
                "targetGroupArn": service.balancer.target.arn,
                "standbyService": service.standby_service_name or "",
                "standbyTargetGroupArn": standby.arn if standby else "",
            }

        return {
            "services": {
                "cluster": self.cluster.name,
                "repository": self.repository.url if self.repository else "",
                "routerRepository": self.router_repository.url if self.router_repository else "",
                "mysql": origin(self.origins[Side.MYSQL]),
                "aurora": origin(self.origins[Side.AURORA]),
            },
            "router": {
                "kind": s.router.kind,
                "url": self.router.url,
                "accountId": s.router.account_id if worker else None,
                "namespaceId": self.router.namespace_id,
                "flagKey": FLAG_KEY if worker else None,
                "adminSecret": self.admin.arn if self.admin else None,
                "salt": self.base.name,
                "holdMs": s.router.hold_ms,
                "mysqlOrigin": self.origins[Side.MYSQL].origin,
                "auroraOrigin": self.origins[Side.AURORA].origin,
            },
        }


def _hosts(addresses: Sequence[Output[str]]) -> list[Output[str]]:
    """Addresses as the networks of one host each."""
    return [Output.concat(address, "/32") for address in addresses]
