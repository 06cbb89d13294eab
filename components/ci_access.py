"""CiAccess: what GitHub's jobs may do in AWS, without any key that lasts.

Invariants:
- A job gets a role only through its environment (`repo:ORG/NAME:environment:...`): `preview-STACK` to look, `STACK` to
  change. The environment's own rules say who and which branches; a pull request of a fork gets no token at all.
- The role to look changes nothing. The role to change cannot lose backups, archives, keys or trails, cannot touch what
  another environment's tag marks, and cannot change the two roles, the boundary or the provider: a person does that.
- Each role that CI makes carries the boundary, and none may do more than the stack's parts do at run time.

Cost drivers:
- Nothing: roles, policies and the provider are free.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

from components.base import Component, demand
from components.ci_documents import (
    AUDIENCE,
    ISSUER,
    Scope,
    State,
    boundary,
    changing,
    drilling,
    evidence,
    never,
    reading,
    roles,
    trust,
)

__all__ = ["CiAccess", "CiAccessArgs", "State", "bound_roles"]

ROLE = "aws:iam/role:Role"


@dataclass(frozen=True)
class CiAccessArgs:
    """Whose jobs, for which stack."""

    prefix: str
    """`PROJECT-STACK`: names of the roles and the boundary begin with it."""
    stack: str
    """The stack; GitHub's environments are `preview-STACK` and `STACK`."""
    environment: str
    """Value of the tag `environment` on all that the stack makes: what has another is out of CI's reach."""
    account_id: str
    """The AWS account, 12 digits."""
    partition: str
    """AWS's partition, such as `aws`."""
    region: str
    """The one region in which CI may change anything."""
    repository: str
    """The repository on GitHub, `ORG/NAME`. No wildcard: another repository is another trust."""
    state: State | None = None
    """Bucket and key of the engine's state; None where it is kept elsewhere (Pulumi Cloud)."""
    provider: bool = False
    """Whether this stack makes GitHub's OIDC provider. An account has one: the stack that owns the account makes it."""
    session_minutes: int = 60
    """How long a job keeps its role, 60 to 720 minutes. 60 is AWS's least; a first `up` of prod takes about as long."""

    def __post_init__(self) -> None:
        key = self.state is None or re.fullmatch(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[\w-]+", self.state.key_arn)
        demand(
            self,
            prefix=(self.prefix.endswith(f"-{self.stack}"), f"PROJECT-{self.stack}, not {self.prefix!r}"),
            account_id=(bool(re.fullmatch(r"\d{12}", self.account_id)), f"12 digits, not {self.account_id!r}"),
            repository=(
                bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", self.repository)),
                f"ORG/NAME as on GitHub, without wildcards, not {self.repository!r}",
            ),
            state=(bool(key), "key_arn must be a key's ARN (not an alias'): IAM knows keys by it"),
            session_minutes=(60 <= self.session_minutes <= 720, f"60 to 720, not {self.session_minutes}"),
        )

    @property
    def scope(self) -> Scope:
        project = self.prefix.removesuffix(f"-{self.stack}")
        return Scope(project, self.stack, self.environment, self.account_id, self.partition, self.region, self.state)


class CiAccess(Component):
    """The provider (once an account), three roles, and the boundary of every other role."""

    preview_role_arn: Output[str]
    """Role of jobs in the environment `preview-STACK`: goes into its variable AWS_ROLE."""
    drill_role_arn: Output[str]
    """Role of jobs in the environment `drill-STACK`, which restore beside and delete that again: likewise."""
    deploy_role_arn: Output[str]
    """Role of jobs in the environment `STACK`: goes into its variable AWS_ROLE."""
    workload_boundary_arn: Output[str]
    """Permissions boundary for `bound_roles`."""

    def __init__(self, name: str, args: CiAccessArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        scope = args.scope
        made: list[pulumi.Resource] = []
        if args.provider:
            provider = aws.iam.OpenIdConnectProvider(
                f"{name}-github", url=f"https://{ISSUER}", client_id_lists=[AUDIENCE], opts=self.child()
            )
            made.append(provider)
        limit = aws.iam.Policy(
            f"{name}-boundary",
            name=scope.boundary_name,
            description=f"{args.prefix}: the most that a role made by CI may do",
            policy=boundary(scope),
            opts=self.child(),
        )
        self.workload_boundary_arn = limit.arn
        look = {"reading": reading(scope), "never": never(scope), "evidence": evidence(scope, write=False)}
        change = {**look, **changing(scope), "roles": roles(scope), "evidence": evidence(scope, write=True)}
        drill = {**look, "drilling": drilling(scope), "evidence": evidence(scope, write=True, promote=False)}
        self.preview_role_arn = self._role(name, "preview", f"preview-{args.stack}", look, args, made)
        self.drill_role_arn = self._role(name, "drill", f"drill-{args.stack}", drill, args, made)
        self.deploy_role_arn = self._role(name, "deploy", args.stack, change, args, made)
        self.register_outputs(
            {
                "previewRoleArn": self.preview_role_arn,
                "drillRoleArn": self.drill_role_arn,
                "deployRoleArn": self.deploy_role_arn,
                "workloadBoundaryArn": self.workload_boundary_arn,
            }
        )

    def _role(
        self,
        name: str,
        kind: str,
        environment: str,
        documents: dict[str, str],
        args: CiAccessArgs,
        after: list[pulumi.Resource],
    ) -> Output[str]:
        """A role whose documents are managed policies: together they are longer than inline ones may be."""
        scope = args.scope
        role = aws.iam.Role(
            f"{name}-{kind}",
            name=scope.role_name(kind),
            description=f"{args.prefix}: jobs of {args.repository} in the environment {environment}",
            assume_role_policy=trust(scope, args.repository, environment),
            max_session_duration=args.session_minutes * 60,
            opts=self.child(ResourceOptions(depends_on=after)),
        )
        for what, text in documents.items():
            policy = aws.iam.Policy(
                f"{name}-{kind}-{what}",
                name=f"{scope.role_name(kind)}-{what}",
                policy=_compact(text),
                opts=self.child(),
            )
            aws.iam.RolePolicyAttachment(
                f"{name}-{kind}-{what}-attached", role=role.name, policy_arn=policy.arn, opts=self.child()
            )
        return role.arn


def _compact(text: str) -> str:
    """Without white space: a managed policy has at most 6,144 characters."""
    return json.dumps(json.loads(text), separators=(",", ":"))


def bound_roles(boundary_arn: Input[str]) -> None:
    """Every role that the program makes from here on carries the boundary: CI may make no others."""

    def transform(args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        if args.type_ != ROLE:
            return None
        return ResourceTransformationResult({**args.props, "permissions_boundary": boundary_arn}, args.opts)

    pulumi.runtime.register_stack_transformation(transform)
