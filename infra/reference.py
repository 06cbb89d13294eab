"""Writes `docs/components.md`, `docs/settings.md` and `docs/types.md` from the code: `python -m infra.reference`.

Invariants:
- Words stand once, beside what they describe: in docstrings of modules, arguments, outputs and settings.
- What is not described is an error, so that nothing new stays undocumented.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from contract.types_page import types_page
from infra.declared import ENVIRONMENTS, Declared, declare
from infra.environments import DEFAULTS, STAGING_SCALE, Environment
from infra.groups import Group, setting_name
from infra.settings import ROOT, Settings

COMPONENTS = ROOT / "components"


class Undescribed(Exception):
    """Names everything that has no words."""


# --- reading the components -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """An argument or an output, with its docstring as one line."""

    name: str
    type: str
    default: str | None
    text: str


@dataclass
class Class:
    """A class of a component's module: its arguments' dataclasses, or the component itself."""

    name: str
    text: str
    fields: list[Field] = field(default_factory=list)


@dataclass
class Module:
    """A module of `components/`, as its docstrings tell it."""

    path: str
    text: str
    sections: dict[str, list[str]]
    components: list[Class]
    arguments: list[Class]
    aliases: dict[str, str] = field(default_factory=dict)
    """`Capacity = Fixed | Autoscaled`, by name."""
    imports: dict[str, str] = field(default_factory=dict)
    """Names from other modules of `components/`, and the modules' paths."""


def _line(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()


def _sections(doc: str) -> tuple[str, dict[str, list[str]]]:
    """The first sentence, and the lists under headings such as `Invariants:`."""
    sections: dict[str, list[str]] = {}
    first, heading = doc.split("\n\n")[0], ""
    for line in doc.splitlines():
        if found := re.fullmatch(r"([A-Z][a-z]+(?: [a-z]+)?):", line):
            heading = found[1]
        elif line.startswith("- "):
            sections.setdefault(heading, []).append(line[2:])
        elif line.startswith("  ") and sections.get(heading):
            sections[heading][-1] += " " + line.strip()
    return _line(first), sections


def _fields(body: Sequence[ast.stmt], source: str) -> Iterator[Field]:
    for here, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            text = _line(after.value.value)
        default = _line(ast.get_source_segment(source, here.value)) if here.value else None
        if default and (made := re.fullmatch(r"field\(default_factory=(\w+)\)", default)):
            default = {"dict": "{}", "list": "[]"}.get(made[1], f"{made[1]}()")
        yield Field(here.target.id, _line(ast.get_source_segment(source, here.annotation)), default, text)


def read_module(path: Path) -> Module:
    """A module of `components/`."""
    source = path.read_text()
    tree = ast.parse(source)
    text, sections = _sections(ast.get_docstring(tree) or "")
    module = Module(path.relative_to(ROOT).as_posix(), text, sections, [], [])
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("components."):
            home = ROOT / Path(*str(node.module).split("."))
            file = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
            module.imports |= {alias.asname or alias.name: file.relative_to(ROOT).as_posix() for alias in node.names}
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.BinOp):
            module.aliases[node.targets[0].id] = ast.unparse(node.value)
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        described = Class(node.name, _line(ast.get_docstring(node)), list(_fields(node.body, source)))
        described.fields = [f for f in described.fields if not f.name.startswith("_")]
        bases = {ast.unparse(base) for base in node.bases}
        if "Component" in bases:
            module.components.append(described)
        elif any("dataclass" in ast.unparse(d) for d in node.decorator_list) and described.fields:
            module.arguments.append(described)
    return module


def modules() -> list[Module]:
    """The modules of components, and of what their arguments consist of."""
    found = [read_module(path) for path in sorted(COMPONENTS.rglob("*.py")) if path.name != "base.py"]
    wanted = _reached(found)
    for module in found:
        module.arguments = [part for part in module.arguments if (module.path, part.name) in wanted]
    return [module for module in found if module.components or module.arguments]


def _reached(found: Sequence[Module]) -> set[tuple[str, str]]:
    """The dataclasses that a caller of a component meets, by module and name: names are followed as Python does."""
    by_path = {module.path: module for module in found}
    wanted: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(module, part.name) for module in found for part in module.arguments if part.name.endswith("Args")]
    while todo:
        module, name = todo.pop()
        if (module.path, name) in seen:
            continue
        seen.add((module.path, name))
        part = next((part for part in module.arguments if part.name == name), None)
        if part:
            wanted.add((module.path, name))
            texts = [f.type for f in part.fields]
        elif name in module.aliases:
            texts = [module.aliases[name]]
        else:
            if home := by_path.get(module.imports.get(name, "")):
                todo.append((home, name))
            continue
        todo += [(module, word) for text in texts for word in re.findall(r"[A-Z]\w+", text)]
    return wanted


def undescribed(found: Sequence[Module]) -> list[str]:
    """What lacks words: `file: Class.field`, or a component without cost drivers."""
    missing = []
    for module in found:
        for part in (*module.components, *module.arguments):
            missing += [f"{module.path}: {part.name}.{f.name}" for f in part.fields if not f.text]
        if module.components and not module.sections.get("Cost drivers"):
            missing.append(f"{module.path}: no section 'Cost drivers'")
        if module.components and not module.sections.get("Invariants"):
            missing.append(f"{module.path}: no section 'Invariants'")
    return missing


# --- pages ------------------------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *map(line, rows), ""]


def _short(token: str) -> str:
    """`aws:rds/cluster:Cluster` -> `aws.rds.Cluster`, as the program says it."""
    package, module, name = token.split(":")
    return ".".join(part for part in (package, module.partition("/")[0], name) if part != "index")


def components_page(stacks: Mapping[Environment, Declared]) -> str:
    """`docs/components.md`. Raises `Undescribed`."""
    found = modules()
    if missing := undescribed(found):
        raise Undescribed("no words for:\n" + "\n".join(f"  {name}" for name in missing))
    made = {env: _made(stack) for env, stack in stacks.items()}
    lines = [
        "# Components",
        "",
        "What a stack is made of. Made from the code by `python -m infra.reference`; do not edit it here.",
        "",
        "Number of resources of a stack with its environment's defaults, and before change data capture runs:",
        "",
        *_table(
            ["stack", "resources", "of AWS", "of Cloudflare", "components"],
            [[env, *map(str, _counts(stack))] for env, stack in stacks.items()],
        ),
    ]
    for module in found:
        title = ", ".join(part.name for part in module.components) or f"Arguments: {Path(module.path).stem}"
        lines += [f"## {title}", "", f"`{module.path}`: {module.text}", ""]
        lines += [f"- {text}" for text in module.sections.get("Invariants", [])]
        lines += [""] if module.sections.get("Invariants") else []
        for part in module.components:
            lines += _makes(part.name, made)
        for part in module.arguments:
            lines += [f"**{part.name}** {part.text}".strip(), ""]
            lines += _table(
                ["argument", "type", "default", "meaning"],
                [[f"`{f.name}`", f"`{f.type}`", f"`{f.default}`" if f.default else "needed", f.text]
                 for f in part.fields],
            )  # fmt: skip
        for part in module.components:
            if part.fields:
                lines += [f"**Outputs of {part.name}**", ""]
                lines += _table(
                    ["output", "type", "meaning"], [[f"`{f.name}`", f"`{f.type}`", f.text] for f in part.fields]
                )
        if module.components:
            lines += ["**Cost drivers**", "", *(f"- {text}" for text in module.sections["Cost drivers"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _counts(stack: Declared) -> tuple[int, int, int, int]:
    packages = Counter(resource.typ.partition(":")[0] for resource in stack.resources.values())
    return packages["aws"] + packages["cloudflare"], packages["aws"], packages["cloudflare"], len(stack.components)


def _made(stack: Declared) -> dict[str, Counter[str]]:
    """How many resources of each type the components of a class have as direct children."""
    found: dict[str, Counter[str]] = {}
    for name, resource in stack.resources.items():
        parent = stack.parents.get(name, "")
        if parent.startswith("zdm:index:"):
            found.setdefault(parent.removeprefix("zdm:index:"), Counter())[_short(resource.typ)] += 1
    return found


def _makes(component: str, made: Mapping[Environment, Mapping[str, Counter[str]]]) -> list[str]:
    counts = {env: made[env].get(component, Counter()) for env in made}
    types = sorted({kind for count in counts.values() for kind in count})
    if not types:
        return [f"**{component}** is made only where a setting asks for it.", ""]
    rows = [[f"`{kind}`", *(str(count[kind]) for count in counts.values())] for kind in types]
    return [f"**{component} makes**", "", *_table(["resource", *made], rows)]


def settings_page() -> str:
    """`docs/settings.md`. Raises `Undescribed`."""
    missing: list[str] = []
    top = [name for name, f in Settings.model_fields.items() if _group(f.annotation) is None]
    lines = [
        "# Settings",
        "",
        "What a stack's file (`Pulumi.<stack>.yaml`) may say: only what differs from its environment's default. Made",
        "from the code by `python -m infra.reference`; do not edit it here.",
        "",
        f"Staging is production at {STAGING_SCALE:g} of its size (`infra/environments.py`). All mistakes of a file are",
        "listed at once, before any resource is touched. Set one by `pulumi config set --path zdm:aurora.readers 2`,",
        "or in the file:",
        "",
        "```yaml",
        "config:",
        "  zdm:environment: dev",
        "  zdm:aurora:",
        "    readers: 2",
        "```",
        "",
        *_settings_table(Settings, top, "", missing),
    ]
    for name, info in Settings.model_fields.items():
        if kind := _group(info.annotation):
            lines += _group_page(kind, setting_name(name), name, missing)
    if missing:
        raise Undescribed("no words for the settings:\n" + "\n".join(f"  {name}" for name in missing))
    return "\n".join(lines).rstrip() + "\n"


def _group(annotation: object) -> type[Group] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Group) else None


def _group_page(kind: type[Group], title: str, path: str, missing: list[str]) -> list[str]:
    plain = [name for name, f in kind.model_fields.items() if _group(f.annotation) is None]
    lines = [f"## {title}", "", _line(inspect.getdoc(kind)), "", *_settings_table(kind, plain, path, missing)]
    for name, info in kind.model_fields.items():
        if inner := _group(info.annotation):
            lines += _group_page(inner, f"{title}.{setting_name(name)}", f"{path}.{name}", missing)
    return lines


def _settings_table(kind: type[Group], names: Sequence[str], path: str, missing: list[str]) -> list[str]:
    rows = []
    for name in names:
        info = kind.model_fields[name]
        if not info.description:
            missing.append(f"{path}.{name}")
        usual = "" if info.default is PydanticUndefined else info.default
        values = [_value(_default(env, path, name, usual)) for env in ENVIRONMENTS]
        rows.append([f"`{setting_name(name)}`", *values, _line(info.description)])
    return _table(["setting", *ENVIRONMENTS, "meaning"], rows)


def _default(environment: str, path: str, name: str, usual: object) -> object:
    if not path and name == "environment":
        return environment
    group: Any = DEFAULTS[environment]
    for part in filter(None, path.split(".")):
        group = group.get(part, {})
    return group.get(name, usual)


def _value(value: object) -> str:
    if value in ("", [], {}) or value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text}`"


# --- writing ----------------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Every page with its text as the code wants it."""
    stacks = {env: declare(env) for env in ENVIRONMENTS}
    return {
        ROOT / "docs/settings.md": settings_page(),
        ROOT / "docs/components.md": components_page(stacks),
        ROOT / "docs/types.md": types_page(),
    }


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text)
        print(f"wrote {page.relative_to(ROOT)}")
