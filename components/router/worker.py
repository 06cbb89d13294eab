"""The router as a Cloudflare Worker: script, KV namespace, Durable Object, and how the shop's host leads to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pulumi_cloudflare as cloudflare
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.router.script import bundled
from contract.flag import Flag

if TYPE_CHECKING:
    from components.router import RouterArgs

MODULE = "worker.mjs"
OBJECT_MODULE = "flag_object.mjs"
OBJECT_CLASS = "FlagObject"
FLAG_KEY = "flag"
COMPATIBILITY_DATE = "2026-01-01"


@dataclass(frozen=True)
class CloudflareRouter:
    """The Worker in front of both origins."""

    account_id: str
    """Cloudflare's id of the account that the script, the namespace and the Durable Object belong to."""
    script_name: str
    """Name of the script, one in the account."""
    admin_token: Input[str] | None = None
    """Token for the commands that put the flag into the Durable Object. None: there is no such object, and a flip takes
    as long as KV, up to 60 s at the edges, where no origin says otherwise."""
    entry: Literal["route", "custom-domain"] = "route"
    """How the shop's host leads to the Worker. A route needs a proxied DNS record and leaves an address behind it that
    can be put back; a custom domain makes record and certificate itself, and refuses where a record exists."""
    sampling: float = 0.01
    """Share of the requests that Workers Logs keeps, 0 to 1. 0.01: lines are billed, and errors show in the origins."""
    logpush: bool = False
    """Whether the Worker's traces go to the account's Logpush job, if it has one. Off: not every plan has Logpush."""

    def __post_init__(self) -> None:
        demand(self, sampling=(0 <= self.sampling <= 1, f"0 to 1, not {self.sampling}"))


def bindings(args: RouterArgs, kind: CloudflareRouter) -> dict[str, Input[str]]:
    """The plain texts and secrets that the Worker is given, under its own names (`worker.mjs`)."""
    texts: dict[str, Input[str]] = {
        "MYSQL_ORIGIN": args.mysql_origin,
        "AURORA_ORIGIN": args.aurora_origin,
        "FLAG_KEY": FLAG_KEY,
        "SALT": args.salt,
        "HOLD_MS": str(args.hold_ms),
        "FORCE_TOKEN": args.force_token,
    }
    return texts if kind.admin_token is None else {**texts, "ADMIN_TOKEN": kind.admin_token}


SECRET = ("FORCE_TOKEN", "ADMIN_TOKEN")


def object_script_name(script_name: str, content: str) -> str:
    """Name of the script with the Durable Object's class: another text is another script.

    An upload with migrations does them, and Cloudflare refuses to do them twice: a script that has any cannot be
    changed by a program that says what there should be. A new text therefore gets a new script with an object of its
    own, which knows no flag until a command puts one; routers go on with what they have.
    """
    return f"{script_name}-flag-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def make_worker(owner: Component, name: str, args: RouterArgs, kind: CloudflareRouter) -> Output[str]:
    """Makes the Worker and what it needs; returns the id of the namespace with the flag."""
    namespace = cloudflare.WorkersKvNamespace(
        f"{name}-flags",
        account_id=kind.account_id,
        title=f"{kind.script_name}-flags",
        opts=owner.child(),
    )
    flag = cloudflare.WorkersKv(
        f"{name}-flag",
        account_id=kind.account_id,
        namespace_id=namespace.id,
        key_name=FLAG_KEY,
        value=Flag().to_json(),
        opts=owner.child(ResourceOptions(ignore_changes=["value"])),
    )
    binding = cloudflare.WorkersScriptBindingArgs
    bound = [
        binding(name="FLAGS", type="kv_namespace", namespace_id=namespace.id),
        *(
            binding(name=key, type="secret_text" if key in SECRET else "plain_text", text=text)
            for key, text in bindings(args, kind).items()
        ),
    ]
    if kind.admin_token is not None:
        objects = _flag_object(owner, name, kind)
        bound.append(
            binding(
                name="FLAG_OBJECT",
                type="durable_object_namespace",
                class_name=OBJECT_CLASS,
                script_name=objects.script_name,
            )
        )
    script = cloudflare.WorkersScript(
        f"{name}-worker",
        account_id=kind.account_id,
        script_name=kind.script_name,
        content=bundled(MODULE),
        main_module=MODULE,
        compatibility_date=COMPATIBILITY_DATE,
        bindings=bound,
        observability=cloudflare.WorkersScriptObservabilityArgs(enabled=True, head_sampling_rate=kind.sampling),
        logpush=kind.logpush,
        opts=owner.child(ResourceOptions(depends_on=[flag])),
    )
    _entry(owner, name, args, kind, script)
    return namespace.id


def _flag_object(owner: Component, name: str, kind: CloudflareRouter) -> cloudflare.WorkersScript:
    """The script that has the Durable Object's class, and nothing else."""
    content = bundled(OBJECT_MODULE)
    return cloudflare.WorkersScript(
        f"{name}-flag-object",
        account_id=kind.account_id,
        script_name=object_script_name(kind.script_name, content),
        content=content,
        main_module=OBJECT_MODULE,
        compatibility_date=COMPATIBILITY_DATE,
        migrations=cloudflare.WorkersScriptMigrationsArgs(new_tag="v1", new_sqlite_classes=[OBJECT_CLASS]),
        opts=owner.child(),
    )


def _entry(
    owner: Component, name: str, args: RouterArgs, kind: CloudflareRouter, script: cloudflare.WorkersScript
) -> None:
    """Hands the shop's host to the Worker."""
    if kind.entry == "custom-domain":
        cloudflare.WorkersCustomDomain(
            f"{name}-domain",
            account_id=kind.account_id,
            zone_id=args.zone_id,
            hostname=args.host,
            service=script.script_name,
            opts=owner.child(),
        )
        return
    # The address is never reached: the route hands every request for this name to the Worker. Cloudflare answers for a
    # proxied name itself and allows no other TTL than 1, "automatic" (300 s), which no change of ours waits for.
    record = cloudflare.DnsRecord(
        f"{name}-host",
        zone_id=args.zone_id,
        name=args.host,
        type="AAAA",
        content="100::",
        proxied=True,
        ttl=1,
        comment="answered by the traffic router",
        opts=owner.child(),
    )
    cloudflare.WorkersRoute(
        f"{name}-route",
        zone_id=args.zone_id,
        pattern=f"{args.host}/*",
        script=script.script_name,
        opts=owner.child(ResourceOptions(depends_on=[record])),
    )
