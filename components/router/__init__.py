"""TrafficRouter: the Cloudflare Worker in front of both origins, and the KV namespace with its flag.

Invariants:
- The flag is seeded once and never written again by the program: the commands own it, an `up` cannot undo a cutover.
- The script's text is part of the stack's state, so that the same revision gives the same Worker from any machine.
- Forcing a side needs a token that is made here and readable only in Secrets Manager.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi_cloudflare as cloudflare
from pulumi import Input, Output, ResourceOptions

from components.base import ArgumentError, Component, demand
from contract.flag import Flag

SCRIPT = Path(__file__).parent / "worker.mjs"
MODULE = "worker.mjs"
FLAG_KEY = "flag"
COMPATIBILITY_DATE = "2026-01-01"
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
    """`host` is what customers use; the origins are base URLs. `hold_ms` is how long a write is held at most."""

    account_id: str
    zone_id: str
    script_name: str
    host: str
    mysql_origin: str
    aurora_origin: str
    salt: str
    force_token: Input[str]
    hold_ms: int = 30_000
    script: Path = SCRIPT

    def __post_init__(self) -> None:
        demand(
            self,
            mysql_origin=(self.mysql_origin.startswith("https://"), f"an https:// URL, not {self.mysql_origin}"),
            aurora_origin=(self.aurora_origin.startswith("https://"), f"an https:// URL, not {self.aurora_origin}"),
            hold_ms=(1000 <= self.hold_ms <= 120_000, f"1000 to 120000 ms, not {self.hold_ms}"),
        )


def bindings(args: RouterArgs, namespace_id: Input[str]) -> list[cloudflare.WorkersScriptBindingArgs]:
    """What the Worker is given. Its names are the Worker's, in `worker.mjs`."""
    plain = {
        "MYSQL_ORIGIN": args.mysql_origin,
        "AURORA_ORIGIN": args.aurora_origin,
        "FLAG_KEY": FLAG_KEY,
        "SALT": args.salt,
        "HOLD_MS": str(args.hold_ms),
    }
    binding = cloudflare.WorkersScriptBindingArgs
    return [
        binding(name="FLAGS", type="kv_namespace", namespace_id=namespace_id),
        *(binding(name=name, type="plain_text", text=text) for name, text in plain.items()),
        binding(name="FORCE_TOKEN", type="secret_text", text=args.force_token),
    ]


def read_script(path: Path) -> str:
    """The Worker's text. Raises `ArgumentError` if it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise ArgumentError(f"RouterArgs.script: cannot read the Worker's script {path}: {e.strerror}") from e


class TrafficRouter(Component):
    """Outputs: `url` for customers, and the namespace of the flag."""

    url: str
    namespace_id: Output[str]

    def __init__(self, name: str, args: RouterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        text = read_script(args.script)
        namespace = cloudflare.WorkersKvNamespace(
            f"{name}-flags",
            account_id=args.account_id,
            title=f"{args.script_name}-flags",
            opts=self.child(),
        )
        flag = cloudflare.WorkersKv(
            f"{name}-flag",
            account_id=args.account_id,
            namespace_id=namespace.id,
            key_name=FLAG_KEY,
            value=Flag().to_json(),
            opts=self.child(ResourceOptions(ignore_changes=["value"])),
        )
        worker = cloudflare.WorkersScript(
            f"{name}-worker",
            account_id=args.account_id,
            script_name=args.script_name,
            content=text,
            main_module=MODULE,
            compatibility_date=COMPATIBILITY_DATE,
            bindings=bindings(args, namespace.id),
            observability=cloudflare.WorkersScriptObservabilityArgs(enabled=True, head_sampling_rate=0.01),
            opts=self.child(ResourceOptions(depends_on=[flag])),
        )
        # The address is never reached: the route hands every request for this name to the Worker.
        record = cloudflare.DnsRecord(
            f"{name}-host",
            zone_id=args.zone_id,
            name=args.host,
            type="AAAA",
            content="100::",
            proxied=True,
            ttl=1,
            comment="answered by the traffic router",
            opts=self.child(),
        )
        cloudflare.WorkersRoute(
            f"{name}-route",
            zone_id=args.zone_id,
            pattern=f"{args.host}/*",
            script=worker.script_name,
            opts=self.child(ResourceOptions(depends_on=[record])),
        )
        self.url = f"https://{args.host}"
        self.namespace_id = namespace.id
        self.register_outputs({"url": self.url, "namespaceId": self.namespace_id})
