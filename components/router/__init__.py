"""TrafficRouter: what stands in front of both origins and decides, user by user, which one answers.

Invariants:
- The flag is seeded once and never written again by the program: the commands own it, an `up` cannot undo a cutover.
- A router only ever takes a flag with a higher (epoch, v). The databases say who may write, a router knows it early.
- Both kinds have the same buckets and decisions: they share `flag.mjs`. The Worker's text stands in the stack's state,
  nginx's in its image, so that the same revision gives the same router from any machine.
- Forcing a side and changing the flag need tokens that are made here and readable only in Secrets Manager.
- Customers come in through Cloudflare's network only, whichever kind.

Cost drivers:
- Worker: requests and CPU time; each request of a customer is one. KV: reads (about one a second for each place of
  the edge that has traffic); writes are the commands'. Durable Object: as many requests, and the seconds it is awake.
- Nginx: Fargate vCPU and memory of its tasks by the second, its load balancer (see `Balancer`), and the data that goes
  through NAT to the origins, by the GiB.
- Workers Logs by line (`sampling`); rate limiting and custom rules within the zone's plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.router.nginx import NginxRouter, make_nginx
from components.router.waf import Firewall, make_firewall
from components.router.worker import FLAG_KEY, CloudflareRouter, make_worker

__all__ = [
    "CLOUDFLARE_NETWORKS",
    "FLAG_KEY",
    "CloudflareRouter",
    "Firewall",
    "NginxRouter",
    "RouterArgs",
    "TrafficRouter",
]

CLOUDFLARE_NETWORKS = (
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "108.162.192.0/18",
    "131.0.72.0/22",
    "141.101.64.0/18",
    "162.158.0.0/15",
    "172.64.0.0/13",
    "173.245.48.0/20",
    "188.114.96.0/20",
    "190.93.240.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
)
"""Where Cloudflare's requests come from, as published at https://www.cloudflare.com/ips-v4 (unchanged since 2021)."""


@dataclass(frozen=True)
class RouterArgs:
    """Arguments of `TrafficRouter`."""

    zone_id: str
    """Cloudflare's id of the zone that the shop's host belongs to."""
    host: str
    """Name in DNS that customers use."""
    mysql_origin: str
    """Base URL of the origin in front of MySQL."""
    aurora_origin: str
    """Base URL of the origin in front of Aurora."""
    salt: str
    """Mixed into every user's bucket; another one moves all users, so it stays for the whole migration."""
    force_token: Input[str]
    """Token with which a request may choose its side (probes of the gate and the cutover)."""
    kind: CloudflareRouter | NginxRouter
    """What the router is: a Worker at Cloudflare's edge, or nginx on ECS."""
    hold_ms: int = 30_000
    """How long a write is held while neither side may write, at most, in ms. 30 s: the pause that the requirements
    allow a cutover; 1 s to 2 min."""
    firewall: Firewall | None = None
    """Custom rules and rate limit of the zone. None: they are another stack's, or nobody's; a zone has one set."""

    def __post_init__(self) -> None:
        demand(
            self,
            mysql_origin=(self.mysql_origin.startswith("https://"), f"an https:// URL, not {self.mysql_origin}"),
            aurora_origin=(self.aurora_origin.startswith("https://"), f"an https:// URL, not {self.aurora_origin}"),
            hold_ms=(1000 <= self.hold_ms <= 120_000, f"1000 to 120000 ms, not {self.hold_ms}"),
        )


class TrafficRouter(Component):
    """The shop's front door."""

    url: str
    """Base URL for customers."""
    namespace_id: Output[str] | None
    """The KV namespace with the flag; none with nginx, which asks the origins."""

    def __init__(self, name: str, args: RouterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.url = f"https://{args.host}"
        self.namespace_id = None
        match args.kind:
            case CloudflareRouter():
                self.namespace_id = make_worker(self, name, args, args.kind)
            case NginxRouter():
                make_nginx(self, name, args, args.kind)
        if args.firewall is not None:
            make_firewall(self, name, args.zone_id, args.host, args.firewall)
        self.register_outputs({"url": self.url, "namespaceId": self.namespace_id})
