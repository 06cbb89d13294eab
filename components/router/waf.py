"""What Cloudflare refuses before the router sees it: custom rules and rate limits of the zone.

A zone has one ruleset for each phase, so one stack of a zone can have them; the rules name the shop's host and leave
the zone's other hosts alone. Log-in and orders are one rate limit, because the smallest plan has one rule, with a
period of 10 seconds (https://developers.cloudflare.com/waf/rate-limiting-rules/, "Availability").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

import pulumi_cloudflare as cloudflare
from pulumi import ResourceOptions

from components.base import Component, demand

ADMIN_PATH = "/__zdm/"
"""Where the router answers those who operate it; all below is for them."""
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
INNER_HEADERS = ("x-zdm-epoch", "x-zdm-v", "x-zdm-forced")
"""What the router tells an origin. It takes them off a customer's request anyway."""
PROBES = (
    "/.env",
    "/.git/",
    "/wp-login.php",
    "/wp-admin/",
    "/xmlrpc.php",
    "/phpmyadmin",
    "/cgi-bin/",
    "/vendor/phpunit/",
)
"""Paths of other people's software: who asks for them looks for holes."""


@dataclass(frozen=True)
class Firewall:
    """The zone's rules for the shop's host. At most one stack of a zone can have them."""

    operator_networks: Sequence[str] = ()
    """Networks that may use the paths of those who operate the router (below `/__zdm/`). None: anybody who has the
    token, because operators' addresses are not known here."""
    limited_paths: Sequence[str] = ("/login", "/orders")
    """Beginnings of paths whose writes are counted by client address: guessing passwords and flooding orders."""
    requests: int = 50
    """Such writes that one address may make in a period before it is refused. 50 in 10 s: many customers share an
    address behind their provider's NAT, and a person makes few."""
    period: Literal[10, 60, 600] = 10
    """Seconds in which they are counted. 10 is what every plan has; 60 needs Pro, 600 Business."""

    def __post_init__(self) -> None:
        demand(
            self,
            operator_networks=(
                all(map(_is_network, self.operator_networks)),
                f"networks such as 203.0.113.0/24, not {list(self.operator_networks)}",
            ),
            limited_paths=(
                bool(self.limited_paths) and all(p.startswith("/") and '"' not in p for p in self.limited_paths),
                f"one or more paths from the root, not {list(self.limited_paths)}",
            ),
            requests=(self.requests >= 1, f"at least 1, not {self.requests}"),
        )


def custom_rules(host: str, firewall: Firewall) -> list[tuple[str, str]]:
    """Description and expression of what is blocked, in the rules language of Cloudflare."""
    here = f'http.host eq "{host}"'
    lowered = "lower(http.request.uri.path)"
    probes = " or ".join(f'{lowered} contains "{path}"' for path in PROBES)
    rules = [
        ("methods the shop does not have", f"({here} and not http.request.method in {{{_quoted(METHODS)}}})"),
        ("probes for holes of other software", f"({here} and ({probes}))"),
        (
            "headers that only the router may set",
            f"({here} and any(http.request.headers.names[*] in {{{_quoted(INNER_HEADERS)}}}))",
        ),
    ]
    operating = f'starts_with(http.request.uri.path, "{ADMIN_PATH}")'
    if firewall.operator_networks:
        networks = " ".join(firewall.operator_networks)
        rules.append(
            ("operating the router from elsewhere", f"({here} and {operating} and not ip.src in {{{networks}}})")
        )
    changing = (
        f'{operating} and http.request.method ne "GET" and not any(http.request.headers.names[*] eq "authorization")'
    )
    rules.append(("changing the flag without a token", f"({here} and {changing})"))
    return rules


def rate_limit(host: str, firewall: Firewall) -> str:
    """The expression of the requests that are counted."""
    paths = " or ".join(f'starts_with(http.request.uri.path, "{path}")' for path in firewall.limited_paths)
    return f'(http.host eq "{host}" and http.request.method ne "GET" and ({paths}))'


def make_firewall(owner: Component, name: str, zone_id: str, host: str, args: Firewall) -> None:
    """Makes the zone's rulesets. A replacement deletes first: a second set for a phase is refused."""
    opts = owner.child(ResourceOptions(delete_before_replace=True))
    cloudflare.Ruleset(
        f"{name}-firewall",
        zone_id=zone_id,
        kind="zone",
        name="zdm: the shop's firewall",
        description="custom rules of the migration's stack",
        phase="http_request_firewall_custom",
        rules=[
            cloudflare.RulesetRuleArgs(
                action="block", description=what, expression=expression, enabled=True, ref=_ref(what)
            )
            for what, expression in custom_rules(host, args)
        ],
        opts=opts,
    )
    cloudflare.Ruleset(
        f"{name}-rate-limit",
        zone_id=zone_id,
        kind="zone",
        name="zdm: the shop's rate limit",
        description="rate limits of the migration's stack",
        phase="http_ratelimit",
        rules=[
            cloudflare.RulesetRuleArgs(
                action="block",
                description="writes by one address",
                expression=rate_limit(host, args),
                enabled=True,
                ref=_ref("writes by one address"),
                ratelimit=cloudflare.RulesetRuleRatelimitArgs(
                    characteristics=["cf.colo.id", "ip.src"],
                    period=args.period,
                    requests_per_period=args.requests,
                    mitigation_timeout=args.period,
                ),
            )
        ],
        opts=opts,
    )


def _quoted(texts: Sequence[str]) -> str:
    return " ".join(f'"{text}"' for text in texts)


def _ref(description: str) -> str:
    """A rule's own name, so that a change of one leaves the others (and their figures) as they are."""
    return "zdm_" + description.replace(" ", "_")


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
