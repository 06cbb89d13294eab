"""A stack declared against recorded resources: no engine, no cloud, just what the program asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, set_mocks

from infra.settings import parse_settings
from tests.arns import ACCOUNT, arn_of


@dataclass
class Recorded(mocks.Mocks):
    """Keeps every resource that is registered, by name; computed values are made up but well-formed."""

    resources: dict[str, mocks.MockResourceArgs] = field(default_factory=dict)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        assert args.name not in self.resources, f"two resources are called {args.name}"
        self.resources[args.name] = args
        made = {
            "arn": arn_of(args.typ, str(args.inputs.get("bucket") or args.inputs.get("name") or args.name)),
            "name": args.inputs.get("name") or args.name,
            "latestRevision": 1,
        }
        match args.typ:
            case "aws:rds/cluster:Cluster":
                made |= {
                    "endpoint": "writer.aurora",
                    "readerEndpoint": "reader.aurora",
                    "engineVersionActual": "15.10",
                    "masterUserSecrets": [{"secretArn": arn_of("aws:secretsmanager/secret:Secret", "aurora-master")}],
                }
            case "aws:rds/instance:Instance":
                made |= {
                    "address": "source.mysql",
                    "masterUserSecrets": [{"secretArn": arn_of("aws:secretsmanager/secret:Secret", "mysql-master")}],
                }
            case "aws:msk/cluster:Cluster":
                made |= {
                    "bootstrapBrokersSaslIam": "b-1:9098,b-2:9098",
                    "arn": f"arn:aws:kafka:ap-southeast-1:{ACCOUNT}:cluster/zdm-test/abc-1",
                }
            case "aws:acm/certificate:Certificate":
                made |= {
                    "domainValidationOptions": [
                        {
                            "domainName": args.inputs["domainName"],
                            "resourceRecordName": "_proof.example.",
                            "resourceRecordType": "CNAME",
                            "resourceRecordValue": "_value.acm.",
                        }
                    ]
                }
            case "aws:lb/loadBalancer:LoadBalancer":
                made |= {"dnsName": f"{args.name}.elb"}
        return f"{args.name}-id", {**args.inputs, **made}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        match args.token:
            case "aws:index/getAvailabilityZones:getAvailabilityZones":
                return {"names": [f"ap-southeast-1{letter}" for letter in "abc"]}
            case "aws:index/getCallerIdentity:getCallerIdentity":
                return {"accountId": ACCOUNT}
            case "aws:index/getPartition:getPartition":
                return {"partition": "aws"}
            case "aws:secretsmanager/getRandomPassword:getRandomPassword":
                return {"randomPassword": "a" * 32}
        raise AssertionError(f"unexpected call of {args.token}")

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Inputs of the resources of one type (the part after the last colon), by name."""
        return {name: args.inputs for name, args in self.resources.items() if args.typ.endswith(f":{kind}")}


def nested(**settings: object) -> dict[str, Any]:
    """Settings by path (`aurora.readers`) as the nested groups that a stack's file has."""
    made: dict[str, Any] = {}
    for path, value in settings.items():
        *groups, name = path.split(".")
        group = made
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = value
    return made


@dataclass
class Declared:
    """A declared stack: its resources and the resolved outputs."""

    recorded: Recorded
    outputs: dict[str, Any]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ZIP where the setting says it is."""
    path = tmp_path / "debezium.zip"
    path.write_bytes(b"PK")
    return str(path)


@pytest.fixture
def declare(plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Declared]]:
    script = tmp_path / "worker.mjs"
    script.write_text("export default {}")
    asyncio.set_event_loop(asyncio.new_event_loop())

    def run(**settings: object) -> Declared:
        from components import router
        from infra import stack

        monkeypatch.setattr(router.RouterArgs, "__init__", _with_script(router.RouterArgs.__init__, script))
        recorded = Recorded()
        set_mocks(recorded, project="zdm", stack="test", preview=False)
        parsed = parse_settings(nested(**{"cdc.plugin": plugin, **settings}), "test")
        outputs: dict[str, Any] = {}

        @pulumi.runtime.test
        def resolve() -> pulumi.Output[None]:
            return pulumi.Output.from_input(dict(stack.build(parsed))).apply(outputs.update)

        resolve()
        return Declared(recorded, outputs)

    yield run


def _with_script(init: Callable[..., None], script: Path) -> Callable[..., None]:
    def patched(self: object, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{"script": script, **kwargs})

    return patched
