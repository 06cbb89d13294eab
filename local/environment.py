"""How to reach the local cloud of a stack: what its services and the commands find in their environment.

The variables are those that boto3 and Cloudflare's clients read by themselves, and two of ours: `ZDM_CONNECT_TO` (base
URL -> where to connect, as `curl --connect-to` does) stands in for DNS, TLS and load balancers,
`ZDM_KAFKA_SECURITY_PROTOCOL` for IAM. Against the real cloud none of them is set, and nothing else differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local.provider.settings import ACCOUNT

if TYPE_CHECKING:
    from local.stack import LocalStack

AWS_PORT = 5000
CLOUDFLARE_PORT = 8788
WORKER_PORT = 8787

_SCRIPT = "cloudflare:index/workersScript:WorkersScript"
_ROUTE = "cloudflare:index/workersRoute:WorkersRoute"
_DOMAIN = "cloudflare:index/workersCustomDomain:WorkersCustomDomain"
_DNS = "cloudflare:index/dnsRecord:DnsRecord"
_LISTENER = "aws:lb/listener:Listener"


def environment(stack_name: str) -> dict[str, str]:
    """The variables for a process that talks to this stack; empty if there is no such local stack."""
    from local.stack import existing_stack

    stack = existing_stack(stack_name)
    if stack is None:
        return {}
    return {
        **aws_environment(stack),
        "CLOUDFLARE_BASE_URL": f"http://{stack.address('cloudflare')}:{CLOUDFLARE_PORT}/client/v4",
        "CLOUDFLARE_API_TOKEN": api_token(stack),
        "ZDM_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "ZDM_CONNECT_TO": json.dumps(connect_to(stack)),
    }


def aws_environment(stack: LocalStack, region: str | None = None) -> dict[str, str]:
    """What boto3 needs to talk to the stack's API server."""
    home_region = region or _region(stack)
    return {
        "AWS_ENDPOINT_URL": f"http://{stack.address('aws')}:{AWS_PORT}",
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": "local",
        "AWS_REGION": home_region,
        "AWS_DEFAULT_REGION": home_region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def api_token(stack: LocalStack) -> str:
    """The token that the stack's Cloudflare API asks for. Made once; only this user can read it."""
    import secrets

    from local.processes import write_atomically

    file = stack.home / "cloudflare.token"
    with stack.lock("cloudflare.token"):
        if not file.exists():
            write_atomically(file, secrets.token_hex(20), mode=0o600)
        return file.read_text()


def connect_to(stack: LocalStack) -> dict[str, str]:
    """Where every public base URL of the stack leads, by routes and custom domains (Workers) and DNS (balancers)."""
    found: dict[str, str] = {}
    for record in stack.records.all(_DNS):
        origin = _origin(stack, str(record.outputs.get("content", "")))
        if origin:
            found[f"https://{record.outputs['name']}"] = origin
    scripts = {r.outputs["scriptName"] for r in stack.records.all(_SCRIPT)}
    for record in stack.records.all(_ROUTE):
        host = str(record.outputs["pattern"]).removeprefix("https://").removeprefix("http://").partition("/")[0]
        if record.outputs.get("script") in scripts:
            found[f"https://{host}"] = worker_url(stack, record.outputs["script"])
    for record in stack.records.all(_DOMAIN):
        if record.outputs["service"] in scripts:
            found[f"https://{record.outputs['hostname']}"] = worker_url(stack, record.outputs["service"])
    return found


def resolve(stack: LocalStack, url: str) -> str | None:
    """`url` with its origin replaced by the address on this machine; None if the stack does not serve it."""
    parts = urlsplit(url)
    target = connect_to(stack).get(f"{parts.scheme}://{parts.netloc}")
    return target + url.removeprefix(f"{parts.scheme}://{parts.netloc}") if target else None


def worker_url(stack: LocalStack, script: str) -> str:
    """Where a Worker listens. The first script of a stack has the address `router`; a further one gets its own."""
    first = stack.home / "router.script"
    with stack.lock("router.script"):
        if not first.exists():
            first.write_text(script)
        role = "router" if first.read_text() == script else f"router-{script}"
    return f"http://{stack.address(role)}:{WORKER_PORT}"


def _origin(stack: LocalStack, host: str) -> str | None:
    """A load balancer's host name -> its listener -> target group -> address and port of the containers."""
    for balancer in stack.records.find("aws:lb/loadBalancer:LoadBalancer", dnsName=host):
        for listener in stack.records.find(_LISTENER, loadBalancerArn=balancer.id):
            weights = target_groups(listener.outputs)
            for arn in sorted(weights, key=lambda arn: -weights[arn]):
                group = stack.records.get("aws:lb/targetGroup:TargetGroup", arn)
                if group:
                    return f"http://{target_address(stack, arn)}:{group.outputs['port']}"
    return None


def target_address(stack: LocalStack, target_group: str) -> str | None:
    """Where the targets of a group listen: the first of a listener at the load balancer's own address, any other at
    one of its own, so that which gets the requests is the listener's to say. None: no listener has the group."""
    for listener in stack.records.all(_LISTENER):
        groups = list(target_groups(listener.outputs))
        balancer = stack.records.get("aws:lb/loadBalancer:LoadBalancer", listener.outputs["loadBalancerArn"])
        if target_group in groups and balancer is not None:
            first = groups.index(target_group) == 0
            return str(balancer.outputs["dnsName"] if first else stack.address(f"targets-{target_group.split('/')[1]}"))
    return None


def target_groups(listener: Mapping[str, Any]) -> dict[str, int]:
    """The target groups that a listener forwards to, each with its weight, in the listener's order."""
    weights = {}
    for action in listener.get("defaultActions") or ():
        if action.get("targetGroupArn"):
            weights[action["targetGroupArn"]] = 1
        for group in (action.get("forward") or {}).get("targetGroups", ()):
            weights[group["arn"]] = int(group.get("weight", 1))
    return weights


def _region(stack: LocalStack) -> str:
    """The region of the stack's first regional resource; us-east-1 before there is any."""
    return next((r.outputs["region"] for r in stack.records.all() if r.outputs.get("region")), "us-east-1")
