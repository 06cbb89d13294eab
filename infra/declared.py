"""A stack declared without an engine: what the program asks for. For the pages made from the code, and for tests.

Invariants:
- Nothing is made anywhere; computed values are made up, but of the form that the cloud gives them.
- No two resources have one name (a component and its main resource may).
"""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pulumi
import yaml
from pulumi.runtime import mocks, set_mocks

from infra.arns import ACCOUNT, REGION, arn_of
from infra.environments import Environment
from infra.settings import ROOT, Settings, parse_settings

ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)
PARTS_OF_PLUGIN = (
    "debezium-connector-mysql/debezium-connector-mysql-3.6.0.Final.jar",
    "debezium-connector-mysql/zdm-converters.jar",
    "debezium-connector-postgres/debezium-connector-postgres-3.6.0.Final.jar",
    "debezium-connector-postgres/zdm-converters.jar",
    "debezium-connector-jdbc/debezium-connector-jdbc-3.6.0.Final.jar",
)


@dataclass
class Declared:
    """A declared stack: resources and components by name, the type of each resource's parent, the resolved outputs."""

    resources: dict[str, mocks.MockResourceArgs] = field(default_factory=dict)
    components: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Inputs of the resources of one type (the part after the last colon), by name."""
        return {name: args.inputs for name, args in self.resources.items() if args.typ.endswith(f":{kind}")}


class _Cloud(mocks.Mocks):
    """Keeps every resource that is registered."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            self._declared.components[args.name] = args.typ
            return None, {}
        if args.name in self._declared.resources:
            raise AssertionError(f"two resources are called {args.name}")
        self._declared.resources[args.name] = args
        return f"{args.name}-id", {**args.inputs, **_computed(args)}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:  # type: ignore[override]
        match args.token:
            case "aws:index/getAvailabilityZones:getAvailabilityZones":
                return {"names": [f"{REGION}{letter}" for letter in "abc"]}
            case "aws:index/getCallerIdentity:getCallerIdentity":
                return {"accountId": ACCOUNT}
            case "aws:index/getPartition:getPartition":
                return {"partition": "aws"}
            case "aws:secretsmanager/getRandomPassword:getRandomPassword":
                return {"randomPassword": "a" * 32}
        raise AssertionError(f"unexpected call of {args.token}")


class _Monitor(mocks.MockMonitor):
    """Notes the type of each resource's parent."""

    def __init__(self, declared: Declared) -> None:
        super().__init__(_Cloud(declared))
        self._declared = declared

    def RegisterResource(self, request: Any) -> Any:
        if request.custom:
            self._declared.parents[request.name] = _type(request.parent)
        register: Any = super().RegisterResource
        return register(request)


def _type(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2] if urn else ""


def _computed(args: mocks.MockResourceArgs) -> dict[str, Any]:
    """What the cloud would fill in."""
    made: dict[str, Any] = {
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
        case "aws:rds/clusterEndpoint:ClusterEndpoint" | "aws:rds/proxy:Proxy":
            made |= {"endpoint": f"{args.name}.aurora"}
        case "aws:rds/clusterEndpoint:ClusterEndpoint":
            made |= {"endpoint": f"{args.name}.aurora"}
        case "aws:rds/instance:Instance":
            made |= {
                "address": "source.mysql",
                "masterUserSecrets": [{"secretArn": arn_of("aws:secretsmanager/secret:Secret", "mysql-master")}],
            }
        case "aws:msk/cluster:Cluster":
            made |= {
                "bootstrapBrokersSaslIam": "b-1:9098,b-2:9098",
                "arn": arn_of(args.typ, args.inputs["clusterName"]),
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
        case "aws:ec2/eip:Eip":
            made |= {"publicIp": "203.0.113.1"}
        case "aws:ecr/repository:Repository":
            made |= {"repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{args.inputs['name']}"}
        case "aws:ec2/vpcEndpoint:VpcEndpoint":
            made |= {"prefixListId": "pl-0a1b2c3d"}
        case "aws:amp/workspace:Workspace":
            made |= {"prometheusEndpoint": f"https://aps-workspaces.{REGION}.amazonaws.com/workspaces/ws-1/"}
        case dms if dms.startswith("aws:dms/"):
            made |= {f"{dms.split('/')[1].split(':')[0]}Arn": made["arn"]}
        case "aws:lb/loadBalancer:LoadBalancer":
            made |= {"dnsName": f"{args.name}.elb", "arnSuffix": f"app/{args.name}/1"}
    return made


def declare_settings(settings: Settings, stack: str = "test") -> Declared:
    """The stack that these settings make."""
    from infra.stack import build

    declared = Declared()
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor: Any = _Monitor(declared)
    pulumi.runtime.settings.ROOT.set(None)  # or the transformations of a stack declared before would apply
    set_mocks(monitor.mocks, project="zdm", stack=stack, preview=False, monitor=monitor)

    def resolve() -> pulumi.Output[None]:
        return pulumi.Output.from_input(dict(build(settings))).apply(declared.outputs.update)

    run: Any = pulumi.runtime.test
    run(resolve)()
    return declared


def settings_in(file: Path) -> dict[str, Any]:
    """The settings that a stack's file gives, without the project's name."""
    own: Mapping[str, Any] = yaml.safe_load(file.read_text())["config"]
    return {key.partition(":")[2]: value for key, value in own.items()}


def stand_in_plugin(folder: Path) -> Path:
    """A ZIP that has what the connectors' ZIP must have, with nothing inside."""
    path = folder / "debezium.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in PARTS_OF_PLUGIN:
            archive.writestr(zipfile.ZipInfo(part), "")
    return path


def declare(environment: Environment) -> Declared:
    """The stack of an environment, as its file in the project says."""
    given = settings_in(ROOT / f"Pulumi.{environment}.yaml")
    with TemporaryDirectory() as folder:
        given["cdc"] = {**given.get("cdc", {}), "plugin": str(stand_in_plugin(Path(folder)))}
        return declare_settings(parse_settings(given, environment), environment)
