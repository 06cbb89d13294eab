"""IAM documents held against what AWS documents of each action: `assert_sound(document)`.

Built on parliament, which knows every action's resource types and condition keys. Findings:
- UNKNOWN_ACTION, UNKNOWN_PREFIX, UNKNOWN_CONDITION_FOR_ACTION, UNKNOWN_OPERATOR, UNKNOWN_PRINCIPAL: not known to AWS
- INVALID_ARN, RESOURCE_MISMATCH: an ARN is malformed, or none of a statement's resources is of the action's type
- WILDCARD_ACTION: an Allow of `*` or `service:*`
- RESOURCE_STAR: an Allow of everything, where the action can be bound to a resource and no condition narrows it
- the rest of parliament's list: duplicate Sids, types of condition values, missing version, malformed statements

What is not looked at, and why, stands at `_noise` and `_known_otherwise`. Besides:
- trust policies have no Resource; they are read as if they named a role
- in a resource's own policy `Resource: *` is that resource, and `kms:*` for the account's root is how AWS says that the
  account's IAM decides
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pkg_resources, which parliament reads its data with
    import parliament

Statement = Mapping[str, Any]
_TRUSTED = "arn:aws:iam::123456789012:role/trusted"


@dataclass(frozen=True)
class Finding:
    """`issue` is one of the names above, `what` the action, key or ARN it is about, else the statement's Sid."""

    issue: str
    what: str
    text: str

    @property
    def key(self) -> str:
        """What `allow` names it by: `RESOURCE_STAR ec2:DescribeVpcs`."""
        return f"{self.issue} {self.what}"


def assert_sound(document: str, *, allow: Collection[str] = ()) -> None:
    """AssertionError with each finding that `allow` does not name (`Finding.key`), and each name without one."""
    found = findings(document)
    wrong = [f"{f.key}: {f.text}" for f in found if f.key not in allow]
    wrong += [f"{key}: allowed, but not found: take it out" for key in allow if key not in {f.key for f in found}]
    if wrong:
        raise AssertionError("\n".join([*wrong, "in this document:", json.dumps(json.loads(document), indent=1)]))


def findings(document: str) -> list[Finding]:
    """All findings of a policy of an identity or a resource, or of a role's trust policy."""
    policy = json.loads(document)
    statements = [_with_resource(statement) for statement in as_list(policy.get("Statement", []))]
    found: list[Finding] = []
    for statement in statements:  # one by one, so that each finding knows the one it is about
        found += [*_too_wide(statement), *_parliaments({**policy, "Statement": [statement]}, statement)]
    known = {f.issue for f in found}
    whole = _analyse({**policy, "Statement": statements})._findings  # of what spans statements
    found += [Finding(f.issue, "document", str(f.detail)) for f in whole if f.issue not in known]
    return list(dict.fromkeys(found))


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _analyse(policy: Mapping[str, Any]) -> Any:
    return parliament.analyze_policy_string(json.dumps(policy))


def _alone(statement: Statement) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement]}


def _with_resource(statement: Statement) -> Statement:
    trust = "Principal" in statement and "Resource" not in statement and "NotResource" not in statement
    return {**statement, "Resource": _TRUSTED} if trust else statement


def _principals(statement: Statement, kind: str) -> list[str]:
    principal = statement.get("Principal")
    return as_list(principal.get(kind, [])) if isinstance(principal, Mapping) else []


def _parliaments(policy: Mapping[str, Any], statement: Statement) -> Iterator[Finding]:
    sid = str(statement.get("Sid") or statement.get("Action"))
    for found in _analyse(policy).findings:
        detail = found.detail or ""
        if found.issue == "RESOURCE_MISMATCH":
            for entry in detail:
                text = f"statement {sid} names no resource like {entry['required_format']}"
                yield Finding(found.issue, entry["action"], text)
        elif found.issue == "UNKNOWN_CONDITION_FOR_ACTION":
            key, action = re.fullmatch(r"Unknown condition (\S+) for action (\S+)", detail).groups()  # type: ignore[union-attr]
            if not _known_otherwise(key, statement):
                yield Finding(found.issue, key, f"statement {sid}: {action} does not know this key")
        elif not _noise(found.issue, str(detail)):
            where = found.location.get("string") if isinstance(found.location, Mapping) else None
            yield Finding(found.issue, str(where or sid), f"statement {sid}: {detail or found.issue}")


def _noise(issue: str, detail: str) -> bool:
    """Findings of parliament that say nothing about a document."""
    match issue:
        case "RESOURCE_STAR":
            return True  # `_too_wide` says it action by action, and leaves out what a condition narrows
        case "MISMATCHED_TYPE_BUT_USABLE":
            return True  # `StringEquals` on an ARN without wildcards is exact, and right
        case "UNKNOWN_FEDERATION_SOURCE":
            return ":oidc-provider/" in detail  # parliament knows SAML and four web providers only
        case "MISMATCHED_TYPE":
            decimals = re.fullmatch(r"Type mismatch: \S+ requires a value of type Numeric but given (\[.*\])", detail)
            if decimals:  # parliament takes whole numbers only
                return all(re.fullmatch(r"'?\d+\.\d+'?", value) for value in decimals[1].strip("[]").split(", "))
            # encryption contexts are strings that hold ARNs; AWS's own key policies compare them so
            return "ArnLike requires a value of type Arn but given String" in detail
    return False


def _known_otherwise(key: str, statement: Statement) -> bool:
    """Whether a condition key is right although parliament does not know it for some action of the statement.

    - keys of an OIDC provider are called by its address
    - a Deny does not apply to those actions of a wildcard that lack the key, as meant; one action must know it
    """
    provider = key.rpartition(":")[0]
    if any(str(federated).endswith(f":oidc-provider/{provider}") for federated in _principals(statement, "Federated")):
        return True
    if statement["Effect"] != "Deny":
        return False
    wide = [action for action in as_list(statement.get("Action", [])) if "*" in action]
    actions = [f"{each['service']}:{each['action']}" for action in wide for each in parliament.expand_action(action)]
    return any(
        all(f"Unknown condition {key} " not in str(found.detail) for found in _analyse(_alone(one)).findings)
        for one in ({**statement, "Action": action} for action in actions)
    )


def _too_wide(statement: Statement) -> Iterator[Finding]:
    if statement.get("Effect") != "Allow":
        return
    sid, owners = statement.get("Sid"), _principals(statement, "AWS")
    leaves_it_to_iam = bool(owners) and all(str(owner).endswith(":root") for owner in owners)
    for action in as_list(statement.get("Action", [])):
        if action == "*" or (action.endswith(":*") and not (action == "kms:*" and leaves_it_to_iam)):
            yield Finding("WILDCARD_ACTION", action, f"statement {sid} allows every action")
    if "NotAction" in statement:
        yield Finding("WILDCARD_ACTION", "NotAction", f"statement {sid} allows all but a few actions")
    if "*" in as_list(statement.get("Resource", [])) and not {"Principal", "Condition"} & set(statement):
        bindable = {action for each in _analyse(_alone(statement)).statements for action in each.resource_star}
        for action in sorted(bindable):
            yield Finding("RESOURCE_STAR", action, f"statement {sid}: name its resources, or bind it by a condition")
