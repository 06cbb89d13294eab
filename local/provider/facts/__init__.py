"""How the real providers validate, name and compare the resources of the program, from the JSON files beside
this one (one a field, named like the tables of the control plane).

Per token: `required`, `replace` (a change makes a new resource), `replaceOnKind` (which of them is given decides),
`computed` (the cloud fills it in when unset), `secret`, `conflicts`, `exactlyOneOf`, `requiredWith` (the first needs
the others), `enums`, `anyCase`, `ranges`, `formats`, `name` (auto-naming), `identity` (the input that makes it unique,
besides an auto-name), `defaults`, `refreshes` (outputs that a change of an input makes anew), `sets` (lists without an
order). A dotted path with `[]` goes through lists. `formats` name the checks of `FORMATS`; `json` compares by meaning.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from local.provider.values import DEFAULTS, UNKNOWN, Asset, Plain, at_path, has_unknown

RANDOM_HEX = 7

Facts = Mapping[str, Any]
Change = Literal["add", "delete", "update"]


@dataclass(frozen=True)
class Failure:
    """An input that the cloud would refuse."""

    property: str
    reason: str


@dataclass(frozen=True)
class Difference:
    """A property that a program and a state differ in."""

    path: str
    change: Change
    replaces: bool


@cache
def _all() -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    for file in sorted(Path(__file__).parent.glob("*.json")):
        found |= json.loads(file.read_text())
    return found


def facts_of(token: str) -> Facts:
    """The facts of a resource type; none for one that is in no table (its handler will refuse it by name)."""
    return _all().get(token, {})


# --- names ------------------------------------------------------------------------------------------------------------


def with_defaults(token: str, urn_name: str, old: Plain, new: Plain, seed: bytes) -> tuple[Plain, list[Failure]]:
    """The inputs with what the provider fills in: defaults, and a name that stays the same from update to update."""
    facts = facts_of(token)
    filled = {name: value for name, value in facts.get("defaults", {}).items() if name not in new}
    failures: list[Failure] = []
    naming = facts.get("name")
    if naming and naming["property"] not in new and f"{naming['property']}Prefix" not in new:
        name = naming["property"]
        if name in old and name in old.get(DEFAULTS, ()):
            filled[name] = old[name]
        else:
            filled[name], failures = _new_name(naming, urn_name, seed)
    return ({**new, **filled, DEFAULTS: sorted(filled)} if filled else dict(new)), failures


def _new_name(naming: Facts, urn_name: str, seed: bytes) -> tuple[str, list[Failure]]:
    base = naming.get("prefix", "") + (urn_name.lower() if naming.get("lower") else urn_name)
    if naming.get("random") is False:
        return base, []
    random = (
        hashlib.sha256(seed + base.encode()).hexdigest()[:RANDOM_HEX] if seed else secrets.token_hex(4)[:RANDOM_HEX]
    )
    name, longest = f"{base}-{random}", naming.get("maxLength")
    if longest and len(name) > longest:
        return name, [
            Failure(
                naming["property"],
                (
                    f"name '{base}' plus {RANDOM_HEX} random chars is longer than maximum length {longest}: "
                    "use a shorter resource name, or set an explicit name"
                ),
            )
        ]
    return name, []


# --- checks -----------------------------------------------------------------------------------------------------------


def check(token: str, inputs: Plain) -> list[Failure]:
    """Everything the cloud would refuse in these inputs; what is not known yet passes."""
    facts = facts_of(token)
    failures = [
        Failure(path, "missing required property")
        for required in facts.get("required", ())
        for path, value in at_path(inputs, required)
        if value is None
    ]
    for group in facts.get("exactlyOneOf", ()):
        given = [name for name in group if _given(inputs, name)]
        if _parent_given(inputs, group[0]) and len(given) != 1:
            have = "none is" if not given else f"{' and '.join(given)} are"
            failures.append(
                Failure(given[0] if given else group[0], f"exactly one of {', '.join(group)} must be set, {have}")
            )
    for one, other in facts.get("conflicts", ()):
        if _given(inputs, one) and _given(inputs, other):
            failures.append(Failure(one, f"conflicts with {other}: only one of them can be set"))
    for has, *needs in facts.get("requiredWith", ()):
        failures += [
            Failure(has, f"needs {need} to be set as well")
            for need in needs
            if _given(inputs, has) and not _given(inputs, need)
        ]
    any_case = facts.get("anyCase", ())
    for prop, allowed in facts.get("enums", {}).items():
        for path, value in _known(inputs, prop):
            choices = [c.lower() for c in allowed] if prop in any_case else allowed
            custom = prop == "engine" and str(value).startswith("custom-")
            if not custom and (str(value).lower() if prop in any_case else value) not in choices:
                shown = ", ".join(repr(c) for c in allowed)
                failures.append(Failure(path, f"expected one of {shown}, got {value!r}"))
    for prop, (low, high) in facts.get("ranges", {}).items():
        for path, value in _known(inputs, prop):
            if (
                not isinstance(value, bool | int | float)
                or (low is not None and value < low)
                or (high is not None and value > high)
            ):
                bounds = " and ".join(
                    f"{word} {limit}" for word, limit in (("at least", low), ("at most", high)) if limit is not None
                )
                failures.append(Failure(path, f"expected a number {bounds}, got {value!r}"))
    for prop, format in facts.get("formats", {}).items():
        if format.endswith("items"):
            values = [(path, value) for path, value in at_path(inputs, prop) if isinstance(value, list)]
        else:
            values = _known(inputs, prop)
        failures += [Failure(path, reason) for path, value in values if (reason := _misfit(format, value))]
    return failures


def _known(inputs: Plain, prop: str) -> list[tuple[str, Any]]:
    """What is there and known at a path; of a list, its items."""
    found = [(path, value) for path, value in at_path(inputs, prop) if value is not None]
    items = [
        (f"{path}[{i}]", item) for path, value in found if isinstance(value, list) for i, item in enumerate(value)
    ] + [(path, value) for path, value in found if not isinstance(value, list)]
    return [(path, value) for path, value in items if not has_unknown(value)]


def _given(inputs: Plain, prop: str) -> bool:
    return any(value is not None and value is not False and value != [] for _, value in at_path(inputs, prop))


def _parent_given(inputs: Plain, prop: str) -> bool:
    parent = prop.rpartition(".")[0]
    return not parent or _given(inputs, parent)


def _is_network(smallest: int, largest: int, version: Literal[4, 6]) -> Callable[[str], bool]:
    def test(text: str) -> bool:
        network = ipaddress.ip_network(text, strict=True)
        return network.version == version and smallest <= network.prefixlen <= largest and "/" in text

    return test


def _is_json(text: str) -> bool:
    return text == "" or json.loads(text) is not None


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _is_one_of(*good: int, fits: Callable[[int], bool] = lambda n: False) -> Callable[[Any], bool]:
    return lambda n: n in good or fits(n)


def _is_dms_name(longest: int) -> Callable[[str], bool]:
    return lambda t: bool(re.fullmatch(r"[A-Za-z](?:-?[A-Za-z0-9])+", t)) and len(t) <= longest


_DAYS = "(?:sun|mon|tue|wed|thu|fri|sat)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"

FORMATS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "alarm period": (
        "10, 20, 30 or a multiple of 60 seconds",
        _is_one_of(1, 5, 10, 20, 30, fits=lambda n: n % 60 == 0),
    ),
    "extended statistic": (
        "such as p95, tm90 or TM(10%:90%)",
        _matches(r"(?:p|tm|wm|tc|ts)(?:\d{1,2}(?:\.\d+)?|100)|IQM|(?:TM|WM|PR|TC|TS)\([^)]*:[^)]*\)"),
    ),
    "arn": ("an ARN (arn:partition:service:region:account:resource)", _matches(r"|arn:[\w-]+:[\w-]+:[^:]*:[^:]*:.+")),
    "backup name": ("1 to 50 letters, digits, hyphens, underscores and periods", _matches(r"[\w.-]{1,50}")),
    "cidr": ("an IPv4 network in CIDR form with no host bits set", _is_network(0, 32, 4)),
    "vpc cidr": ("an IPv4 network from /16 to /28 with no host bits set", _is_network(16, 28, 4)),
    "cidr6": ("an IPv6 network in CIDR form with no host bits set", _is_network(0, 128, 6)),
    "daily window": ("hh24:mi-hh24:mi", _matches(rf"|{_TIME}-{_TIME}")),
    "weekly window": (
        "ddd:hh24:mi-ddd:hh24:mi",
        lambda t: bool(re.fullmatch(rf"|{_DAYS}:{_TIME}-{_DAYS}:{_TIME}", t.lower())),
    ),
    "database name": (
        "lower-case letters, digits and hyphens (groups also periods), starting with a letter, no double hyphen and "
        "none at the end",
        lambda t: bool(re.fullmatch(r"[a-z][a-z0-9.-]*", t)) and "--" not in t and not t.endswith("-"),
    ),
    "snapshot name": (
        "letters, digits and hyphens, starting with a letter, no double hyphen and none at the end",
        lambda t: bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", t)) and "--" not in t and not t.endswith("-"),
    ),
    "cluster snapshot name": (
        "1 to 63 lower-case letters, digits and hyphens, starting with a letter, no double hyphen and none at the end",
        lambda t: bool(re.fullmatch(r"[a-z][a-z0-9-]{0,62}", t)) and "--" not in t and not t.endswith("-"),
    ),
    "dms name": ("2 to 255 letters, digits and single hyphens, a letter first, no hyphen last", _is_dms_name(255)),
    "dms instance": ("2 to 63 letters, digits and single hyphens, a letter first, no hyphen last", _is_dms_name(63)),
    "dms resource": ("2 to 31 letters, digits and single hyphens, a letter first, no hyphen last", _is_dms_name(31)),
    "dms group": (
        "1 to 255 letters, digits, periods, spaces, underscores and hyphens, but not 'default'",
        lambda t: bool(re.fullmatch(r"[A-Za-z0-9. _-]{1,255}", t)) and t != "default",
    ),
    "dns ttl": ("1 (automatic) or 30 to 86400 seconds", _is_one_of(1, fits=lambda n: 30 <= n <= 86400)),
    "domain": ("a domain name without a full stop at the end", lambda t: not t.endswith(".")),
    "ecs name": ("1 to 255 letters, digits, hyphens and underscores", _matches(r"[\w-]{1,255}")),
    "insights retention": (
        "7, 731 or a multiple of 31",
        _is_one_of(7, 731, fits=lambda n: n % 31 == 0 and 7 < n < 731),
    ),
    "json": ("JSON text", _is_json),
    "kms alias": (
        "'alias/' and letters, digits, '/', '_', '-', not 'alias/aws...'",
        lambda t: bool(re.fullmatch(r"alias/[\w/:-]+", t)) and not t.startswith("alias/aws"),
    ),
    "load balancer name": (
        "at most 32 letters, digits and hyphens, none of these first or last, not starting with 'internal-'",
        lambda t: (
            bool(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?", t)) and not t.startswith("internal-")
        ),
    ),
    "log group streams": (
        "the ARN of a log group with :* at its end",
        _matches(r"arn:[\w-]+:logs:[^:]+:\d+:log-group:[^:]+:\*"),
    ),
    "path": ("a path of 1 to 1024 characters that starts with /", _matches(r"/.{0,1023}")),
    "plain name": ("1 to 50 letters, digits and underscores", _matches(r"\w{1,50}")),
    "recovery window": ("0, or 7 to 30 days", _is_one_of(0, fits=lambda n: 7 <= n <= 30)),
    "secret name": ("1 to 512 letters, digits and /_+=.@-", _matches(r"[\w/+=.@-]{1,512}")),
    "slow start": ("0, or 30 to 900 seconds", _is_one_of(0, fits=lambda n: 30 <= n <= 900)),
    "vault name": ("2 to 50 letters, digits, hyphens and underscores", _matches(r"[\w-]{2,50}")),
}


def _misfit(format: str, value: Any) -> str | None:
    if length := re.fullmatch(r"(\d+) to (\d+) (?:characters|items)", format):
        return None if int(length[1]) <= len(value) <= int(length[2]) else f"expected {format}, got {len(value)}"
    description, fits = FORMATS[format]
    try:
        good = fits(value)
    except (ValueError, TypeError, AttributeError):
        good = False
    return None if good else f"expected {description}, got {value!r}"


# --- differences ------------------------------------------------------------------------------------------------------


def differences(token: str, state: Plain, old_inputs: Plain | None, new: Plain) -> list[Difference]:
    """What must change for the state to become what the program says.

    A property that is unset and computed is the cloud's business. One that is unset, was set and is not computed is
    taken away. `old_inputs` are None when they are not known.
    """
    facts = facts_of(token)
    found: dict[str, Change] = {}
    compare = _Comparison(facts)
    for name, value in new.items():
        if name != DEFAULTS:
            found |= compare.values(name, name, state.get(name), value, (old_inputs or {}).get(name))
    for name in old_inputs or {}:
        if name not in new and name in state and name not in compare.computed and name != DEFAULTS:
            found[name] = "delete"
    kinds = facts.get("replaceOnKind", ())
    moved = [name for name in kinds if found.get(name) in ("add", "delete")]
    return [Difference(path, change, _replaces(facts, path) or path in moved) for path, change in found.items()]


def _replaces(facts: Facts, path: str) -> bool:
    """Whether the facts say so of this path, or of a block that it is in."""
    plain = re.sub(r'\["[^"]*"\]', ".key", re.sub(r"\[\d+\]", "[]", path))
    replacing = facts.get("replace", ())
    parts = plain.split(".")
    prefixes = {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return bool(prefixes & set(replacing) or {p.removesuffix("[]") for p in prefixes} & set(replacing))


class _Comparison:
    """Compares a state with new inputs by a type's facts."""

    def __init__(self, facts: Facts) -> None:
        self.computed = set(facts.get("computed", ()))
        self._sets = set(facts.get("sets", ()))
        self._json = {name for name, format in facts.get("formats", {}).items() if format == "json"}
        self._any_case = set(facts.get("anyCase", ()))

    def values(self, path: str, fact: str, old: Any, new: Any, asked: Any) -> dict[str, Change]:
        """`fact` is the path as facts write it; `asked` is what the program said before."""
        if new == UNKNOWN or isinstance(new, Asset):
            if isinstance(new, Asset) and isinstance(asked, Asset) and new.sha256 == asked.sha256:
                return {}
            return {path: "add" if old is None else "update"}
        if old is None:
            return {} if new in (None, [], {}, "") else {path: "add"}
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            found: dict[str, Change] = {}
            was: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
            for name, value in new.items():
                found |= self.values(_child(path, name), f"{fact}.{name}", old.get(name), value, was.get(name))
            free = fact.split(".")[0] in ("tags", "connectorConfiguration", "metadata")
            for name in old if free else was:
                if name not in new and name in old and f"{fact}.{name}" not in self.computed:
                    found[_child(path, name)] = "delete"
            return found
        if isinstance(new, list) and isinstance(old, list):
            if fact in self._sets:
                old, new, asked = (sorted(v, key=_order) if isinstance(v, list) else v for v in (old, new, asked))
            if len(old) != len(new):
                return {path: "update"}
            found = {}
            for i, (before, after) in enumerate(zip(old, new, strict=True)):
                asked_item = asked[i] if isinstance(asked, list) and i < len(asked) else None
                found |= self.values(f"{path}[{i}]", f"{fact}[]", before, after, asked_item)
            return found
        return {} if self._same(fact, old, new) else {path: "update"}

    def _same(self, fact: str, old: Any, new: Any) -> bool:
        if old == new:
            return True
        if isinstance(old, str) and isinstance(new, str):
            if fact in self._any_case:
                return old.lower() == new.lower()
            if fact in self._json:
                try:
                    return bool(json.loads(old) == json.loads(new))
                except ValueError:
                    return False
        return False


def _child(path: str, name: str) -> str:
    """The path of a member, quoted as the engine wants it when the name is no identifier."""
    return f"{path}.{name}" if re.fullmatch(r"\w+", name) else f'{path}["{name}"]'


def _order(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def delete_first(token: str, state: Plain, new: Plain) -> bool:
    """Whether a replacement must wait until the old one is gone: the two would have the same given name."""
    facts = facts_of(token)
    name = facts.get("identity") or facts.get("name", {}).get("property")
    if not name or facts.get("name", {}).get("random") is False or name not in new or name in new.get(DEFAULTS, ()):
        return False
    return bool(new[name] == state.get(name))


def refreshed(token: str, changed: list[Difference]) -> set[str]:
    """The outputs that an update in these properties makes anew, so that a preview must not promise the old ones."""
    refreshes = facts_of(token).get("refreshes", {})
    roots = {re.split(r"[.\[]", difference.path)[0] for difference in changed}
    return {output for prop, outputs in refreshes.items() if prop in roots for output in outputs}


def computed_outputs(token: str) -> list[str]:
    """The top-level properties that the cloud fills in."""
    return [name for name in facts_of(token).get("computed", ()) if "." not in name and "[" not in name]


def secret_outputs(token: str) -> set[str]:
    """The top-level properties that are secret, or have a secret part."""
    return {re.split(r"[.\[]", name)[0] for name in facts_of(token).get("secret", ())}
