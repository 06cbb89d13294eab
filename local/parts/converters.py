"""Debezium converters of our own, for what its defaults lose: compiled once against the connectors they go with."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from local.parts import cache, java, maven
from local.parts.part import Built, Part, Recipe, tool

JAR = "zdm-converters.jar"
CONNECTORS = ("mysql", "postgres")
"""The connectors in whose folders the JAR goes: each has a class loader of its own."""
_SOURCES = Path(__file__).parents[2] / "services/debezium_converters"
_JAVA = tuple(sorted(_SOURCES.rglob("*.java")))
_OUT = f"Install a JDK {java.MINIMUM} or newer (Debian: openjdk-17-jdk-headless)"


def _build(work: Path, report: Callable[[str], None]) -> Built:
    javac = tool("converters", "javac", f"{_OUT}.")
    from local.parts import require  # which knows this recipe

    plugins = Path(require("debezium").options["plugins"])
    report("compiling")
    folders = ":".join(str(plugins / f"debezium-connector-{kind}" / "*") for kind in CONNECTORS)
    options = ["--release", java.MINIMUM, "-proc:none", "-cp", folders, "-d", "classes"]
    cache.run("converters", [javac, *options, *map(str, _JAVA)], work)
    jar = work / JAR
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as out:
        for path in sorted((work / "classes").rglob("*.class")):
            out.writestr(zipfile.ZipInfo(path.relative_to(work / "classes").as_posix()), path.read_bytes())
    return Built(maven.DEBEZIUM, [jar])


def _part(home: Path, version: str) -> Part:
    return Part("converters", version, home, {}, {"jar": str(home / JAR)}, "cache")


RECIPE = Recipe(
    name="converters",
    purpose="what Debezium's own converters lose: TIME columns as intervals",
    key=maven.DEBEZIUM,
    override=f"a folder that holds {JAR}",
    get=f"It is compiled by javac. {_OUT}, or set ZDM_CONVERTERS.",
    find=lambda folder: _part(folder, maven.DEBEZIUM) if folder and (folder / JAR).is_file() else None,
    build=_build,
    part=_part,
    data=_JAVA,
    optional=True,
)
