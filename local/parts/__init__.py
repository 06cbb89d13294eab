"""The parts of the local cloud: found on this machine, or fetched or built once into a cache, checked, ready to start.

`require(name)` is all that a user of a part needs; `prepare(names)` gets several at once; `look(name)` fetches nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from local.parts import (
    actionlint,
    cache,
    converters,
    faketime,
    java,
    maven,
    mysql,
    nginx,
    pgbouncer,
    postgres,
    prometheus,
    pulumi,
    workerd,
)
from local.parts.part import Part, PartError, Recipe, Report

__all__ = ["NAMES", "RECIPES", "Found", "Part", "PartError", "Report", "debezium_zip", "look", "prepare", "require"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        pulumi.RECIPE,
        mysql.RECIPE,
        postgres.RECIPE,
        java.RECIPE,
        maven.KAFKA_RECIPE,
        maven.DEBEZIUM_RECIPE,
        converters.RECIPE,
        workerd.RECIPE,
        nginx.RECIPE,
        prometheus.RECIPE,
        pgbouncer.RECIPE,
        actionlint.RECIPE,
        faketime.RECIPE,
    )
}
NAMES = tuple(name for name, recipe in RECIPES.items() if not recipe.optional)
"""What every local stack uses."""

_ready: dict[tuple[str, str | None, Path], Part] = {}
_ready_lock = threading.Lock()


@dataclass(frozen=True)
class Found:
    """What `look` knows: the part if it is there, else perhaps a problem (an override that does not fit)."""

    recipe: Recipe
    part: Part | None
    problem: str = ""


def on_stderr(part: str, text: str) -> None:
    """The report of someone who gave none: lines on stderr; of a running count only one line in ten seconds."""
    kind, now = "".join(letter for letter in text if not letter.isdigit()), time.monotonic()
    last_kind, last_time = _shown.get(part, ("", 0.0))
    if kind != last_kind or now - last_time > 10:
        _shown[part] = kind, now
        print(f"{part}: {text}", file=sys.stderr, flush=True)


_shown: dict[str, tuple[str, float]] = {}


def require(name: str, report: Report = on_stderr) -> Part:
    """The part `name`, got now if it is not there yet (minutes, for some). Raises PartError with the way out."""
    recipe = _recipe(name)
    key = (name, os.environ.get(recipe.variable), cache.root())
    with _ready_lock:
        if key in _ready:
            return _ready[key]
    part = _on_machine(recipe)
    if part is None:
        maker = RECIPES[recipe.shares or name]
        if recipe.part is None or maker.build is None:
            raise PartError(f"{name}: this machine has none ({recipe.purpose}). {recipe.get}")
        home = cache.install(maker, lambda text: report(name, text))
        part = recipe.part(home, (cache.manifest(home) or {}).get("version", recipe.key))
    with _ready_lock:
        _ready[key] = part
    return part


def prepare(names: Iterable[str] = NAMES, report: Report = on_stderr) -> dict[str, Part]:
    """All the named parts, fetched side by side. The first failure ends the others' tools and is raised."""
    groups: dict[str, list[str]] = {}  # parts of one build, one after the other
    for name in dict.fromkeys(names):
        groups.setdefault(_recipe(name).shares or name, []).append(name)

    def get(group: list[str]) -> dict[str, Part]:
        return {name: require(name, report) for name in group}

    with ThreadPoolExecutor(max_workers=len(groups) or 1, thread_name_prefix="part") as pool:
        futures = [pool.submit(get, group) for group in groups.values()]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            cache.stop_running()
            raise
    return {name: part for future in futures for name, part in future.result().items()}


def look(name: str) -> Found:
    """What is there of a part now; fetches and builds nothing."""
    recipe = _recipe(name)
    try:
        part = _on_machine(recipe)
        if part is None and recipe.part is not None:
            home = cache.folder(RECIPES[recipe.shares or name])
            known = cache.manifest(home)
            part = recipe.part(home, known["version"]) if known else None
    except PartError as error:
        return Found(recipe, None, str(error))
    return Found(recipe, part)


def debezium_zip(destination: Path) -> Path:
    """The connectors as one ZIP, as MSK Connect wants a plugin; always the same bytes. Returns `destination`.

    Our converters are in it unless this machine has no JDK to compile them: only stacks with `cdc.intervals` need them.
    """
    ours: dict[str, Path] = {}
    try:
        jar = Path(require("converters").options["jar"])
        ours = {f"debezium-connector-{kind}/{converters.JAR}": jar for kind in converters.CONNECTORS}
    except PartError as error:
        on_stderr("converters", f"left out of the plugin: {error}")
    return maven.write_zip(Path(require("debezium").options["plugins"]), destination, ours)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise PartError(f"no part is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _on_machine(recipe: Recipe) -> Part | None:
    """The part that `ZDM_<PART>` or the machine provides; an override that does not fit is an error."""
    override = os.environ.get(recipe.variable, "")
    if override == "cache":
        return None
    if not override:
        return recipe.find(None)
    part = recipe.find(Path(override).absolute())
    if part is None:
        wanted = f"it must point to {recipe.override}"
        raise PartError(f"{recipe.variable}={override}: not usable as {recipe.name}; {wanted}")
    return Part(part.name, part.version, part.home, part.command, part.options, recipe.variable)
