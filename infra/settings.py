"""The stack's settings: read, checked as a whole, typed. `docs/settings.md` lists each of them.

Invariants:
- All mistakes are found at once, each with the setting's name (`group.setting`), before any resource is touched.
- A rule over several settings is checked as soon as each of them is valid by itself.
- A setting that nobody knows is a mistake too: it is most likely misspelt.
- What a stack's file does not say is the environment's default (`environments.py`), else the group's (`groups.py`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_origin

import pulumi
from pydantic import TypeAdapter, ValidationError

from infra import groups
from infra.environments import DEFAULTS, POSTURES, Environment, Posture
from infra.groups import Group, setting_name

ROOT = Path(__file__).resolve().parent.parent
G = TypeVar("G", bound=Group)


class SettingsError(Exception):
    """Lists every mistake in the settings of a stack."""

    def __init__(self, stack: str, mistakes: list[str]) -> None:
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        super().__init__("\n".join([f"{count} in the settings of stack {stack}:", *(f"  {m}" for m in mistakes)]))
        self.mistakes = mistakes


class Settings(Group):
    """One stack's settings."""

    environment: Environment = "dev"
    """dev, staging or prod. Decides the defaults, and protection and redundancy that no setting can weaken."""
    region: groups.Region = "ap-southeast-1"
    """AWS region of everything in the stack."""
    owner: groups.Tag = "platform"
    """Tag owner, on every resource."""
    cost_centre: groups.Tag = "shop-migration"
    """Tag cost-centre, on every resource."""
    data_class: Literal["internal", "confidential", "personal"] = "personal"
    """Tag data-class, on every resource: internal, confidential or personal."""
    database: groups.Identifier = "ecommerce"
    """Name of the database, the same on both sides."""
    decommission: bool = False
    """The stack is to be destroyed: the next `up` lifts its protection against deletion. Final snapshots, the archive,
    backups and auditors' logs stay."""
    account: groups.Account = groups.Account()
    network: groups.Network = groups.Network()
    source: groups.Source = groups.Source()
    aurora: groups.Aurora = groups.Aurora()
    backups: groups.Backups = groups.Backups()
    snapshots: groups.Snapshots = groups.Snapshots()
    archive: groups.Archive = groups.Archive()
    kafka: groups.Kafka = groups.Kafka()
    cdc: groups.Cdc = groups.Cdc()
    dms: groups.Dms = groups.Dms()
    sizing: groups.Sizing = groups.Sizing()
    service: groups.Service = groups.Service()
    router: groups.Router = groups.Router()
    observability: groups.Observability = groups.Observability()
    security: groups.Security = groups.Security()
    cost: groups.Cost = groups.Cost()
    kpis: groups.Kpis = groups.Kpis()
    promotion: groups.Promotion = groups.Promotion()

    @property
    def posture(self) -> Posture:
        """The environment's; a stack on its way out lets go of what can be made again, but keeps final snapshots."""
        usual = POSTURES[self.environment]
        return replace(usual, deletion_protection=False, keep_buckets=False) if self.decommission else usual

    @property
    def keeps_records(self) -> bool:
        """Whether archive, vault and the auditors' logs stay as long as something is in them, whatever becomes of the
        stack."""
        return POSTURES[self.environment].keep_buckets

    @property
    def root(self) -> Path:
        """What relative paths are relative to: the project."""
        return ROOT

    @property
    def plugin_path(self) -> Path:
        """A relative path is relative to the project."""
        return ROOT / self.cdc.plugin

    @property
    def existing_mysql(self) -> bool:
        return self.source.existing.host != ""

    @property
    def tags(self) -> dict[str, str]:
        """On every resource that can have tags."""
        return {
            "environment": self.environment,
            "cost-centre": self.cost_centre,
            "owner": self.owner,
            "data-class": self.data_class,
            **({"decommission": "true"} if self.decommission else {}),
        }


class _Reader:
    """Reads groups of settings, collecting mistakes by path (`("aurora", "min_acu")`) instead of stopping at one."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[tuple[str, ...], str]] = []

    def group(self, kind: type[G], raw: object, defaults: Mapping[str, Any], path: tuple[str, ...]) -> G:
        try:
            given = _plain(raw, dict)
        except ValueError as e:
            self.mistakes.append((path, str(e)))
            given = {}
        if not isinstance(given, Mapping):
            self.mistakes.append((path, f"must be a mapping of settings, not {given!r}"))
            given = {}
        names = {setting_name(name): name for name in kind.model_fields}
        for key in given:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                hint = f"; did you mean {'.'.join([*map(setting_name, path), close[0]])}?" if close else ""
                self.mistakes.append(((*path, key), f"there is no such setting{hint}"))
        values: dict[str, Any] = {}
        for alias, name in names.items():
            field, here = kind.model_fields[name], (*path, name)
            annotation: Any = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, Group):
                values[name] = self.group(annotation, given.get(alias, {}), defaults.get(name, {}), here)
                continue
            value = given.get(alias, defaults.get(name, field.default))
            kept: TypeAdapter[Any] = TypeAdapter(
                Annotated[annotation, *field.metadata] if field.metadata else annotation
            )
            try:
                values[name] = kept.validate_python(_plain(value, annotation))
            except ValidationError as e:
                self.mistakes += [(here, _explain(error)) for error in e.errors()]
            except ValueError as e:
                self.mistakes.append((here, str(e)))
        return cast(G, kind.model_construct(**values))


def parse_settings(raw: Mapping[str, object], stack: str) -> Settings:
    """Checks settings given under their camelCase names, as text (lists and objects as JSON) or as values.

    Raises `SettingsError` with every mistake.
    """
    from infra.rules import RULES

    environment = str(raw.get("environment", "dev"))
    reader = _Reader()
    settings = reader.group(Settings, dict(raw), DEFAULTS.get(environment, {}), ())
    mistakes = reader.mistakes
    wrong = {path for path, _ in mistakes}
    for rule in RULES:
        paths = [tuple(name.split(".")) for name in rule.settings]
        if not any(path[: len(bad)] == bad for path in paths for bad in wrong):
            for found in rule.check(settings):
                named, text = (paths[0], found) if isinstance(found, str) else (tuple(found[0].split(".")), found[1])
                mistakes.append((named, text))
    if mistakes:
        order = {path: i for i, path in enumerate(_paths(Settings))}
        unique = dict.fromkeys(sorted(mistakes, key=lambda m: order.get(m[0], len(order))))
        raise SettingsError(stack, [f"{'.'.join(map(setting_name, path))}: {text}" for path, text in unique])
    return settings


def load_settings() -> Settings:
    """The settings of the stack that the engine runs. Raises `SettingsError`."""
    prefix = f"{pulumi.get_project()}:"
    known = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    return parse_settings(
        {k.removeprefix(prefix): v for k, v in known.items() if k.startswith(prefix)}, pulumi.get_stack()
    )


def _paths(kind: type[Group], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every group and setting, in the order in which they are declared."""
    found = []
    for name, field in kind.model_fields.items():
        found.append((*path, name))
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            found += _paths(field.annotation, (*path, name))
    return found


def _plain(value: object, kind: Any) -> object:
    """Configuration is text: lists and objects come as JSON, and a number's text must not be taken for one of many."""
    origin = get_origin(kind) or kind
    if isinstance(value, str) and origin in (list, dict):
        try:
            return json.loads(value)
        except json.JSONDecodeError as e:
            raise ValueError(f"must be a {'list' if origin is list else 'mapping'}, not {value!r}") from e
    if isinstance(value, str) and origin is Literal and re.fullmatch(r"\d+", value):
        return int(value)
    return value


def _explain(error: Any) -> str:
    """pydantic's words, with the place inside a list or mapping and the value that was given."""
    place = "".join(f"[{part}]" for part in error["loc"] if isinstance(part, int))
    text = str(error["msg"]).removeprefix("Value error, ")
    given = error["input"]
    return f"{place + ' ' if place else ''}{text}" + (f" (given: {given!r})" if given != "" else "")
