"""Kafka with Connect, and Debezium's connectors: one Maven run makes both, every file is pinned by SHA-256."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from local.parts import cache
from local.parts.part import Built, Part, PartError, Recipe, tool

KAFKA = "4.3.1"
DEBEZIUM = "3.6.0.Final"
_DATA = Path(__file__).parent / "data/maven"
_OUT = "Install Maven (Debian: maven)"
_NOT_OURS = re.compile(r"(mariadb-java-client|mssql-jdbc|ojdbc\d+|jcc|db2).*\.jar")
"""JDBC drivers that the ZIP leaves out: it talks to MySQL and PostgreSQL only."""
_DOCUMENTS = re.compile(r"(README|CHANGELOG|CONTRIBUTING).*")


def _build(work: Path, report: Callable[[str], None]) -> Built:
    mvn = tool("kafka", "mvn", f"{_OUT}, or set ZDM_KAFKA and ZDM_DEBEZIUM to folders that hold them.")
    shutil.copy(_DATA / "pom.xml", work)
    count = 0

    def line(text: str) -> None:
        nonlocal count
        if "Downloaded from" in text:
            count += 1
            report(f"Maven: {count} files")

    report("Maven: Kafka, Connect and Debezium")
    cache.run("kafka", [mvn, "-B", "-f", work / "pom.xml", "package"], work, line=line)
    report("checking and unpacking")
    check(work / "out", _DATA / "sha256sums")
    for archive in sorted((work / "out/plugins").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):  # Python before 3.11.4 has none; the archive is pinned
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(work / "plugins")
    (work / "out/lib").rename(work / "lib")
    for rest in ("out", "target"):
        shutil.rmtree(work / rest, ignore_errors=True)
    files = sorted([*work.glob("lib/*.jar"), *work.glob("plugins/*/*.jar")])
    return Built(f"{KAFKA}, {DEBEZIUM}", files, {"kafka": KAFKA, "debezium": DEBEZIUM})


def check(folder: Path, sums: Path) -> None:
    """`folder` must hold exactly the files of `sums` (sha256sum's format); PartError names those that differ."""
    known = {name: value for value, name in (line.split(maxsplit=1) for line in sums.read_text().splitlines())}
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    wrong = sorted(known.keys() ^ found.keys())
    wrong += sorted(name for name in known.keys() & found.keys() if cache.digest(found[name]) != known[name])
    if wrong:
        raise PartError(
            f"kafka: not what {sums.name} pins: {', '.join(wrong)}. If Maven's local repository on this machine is "
            "damaged or edited, remove these artifacts there and run again."
        )


def _kafka(home: Path, version: str) -> Part:
    return Part("kafka", KAFKA, home, {}, {"classpath": f"{home / 'lib'}/*"}, "cache")


def _debezium(home: Path, version: str) -> Part:
    return Part("debezium", DEBEZIUM, home, {}, {"plugins": str(home / "plugins")}, "cache")


def _find_kafka(override: Path | None) -> Part | None:
    if override is None:
        return None
    for lib in (override / "lib", override / "libs", override):
        for jar in lib.glob("connect-runtime-*.jar"):
            if any(lib.glob("kafka-tools-*.jar")):
                version = jar.stem.removeprefix("connect-runtime-")
                return Part("kafka", version, lib.parent, {}, {"classpath": f"{lib}/*"})
    return None


def _find_debezium(override: Path | None) -> Part | None:
    if override is None:
        return None
    for plugins in (override / "plugins", override):
        kinds = ("mysql", "postgres", "jdbc")
        jars = [next(plugins.glob(f"*/debezium-connector-{kind}-*.jar"), None) for kind in kinds]
        if jars[0] and all(jars):
            version = jars[0].stem.removeprefix("debezium-connector-mysql-")
            return Part("debezium", version, plugins.parent, {}, {"plugins": str(plugins)})
    return None


def write_zip(plugins: Path, destination: Path, more: Mapping[str, Path] | None = None) -> Path:
    """One ZIP of the connectors' folders, and `more` files by their names in it: the same bytes for the same jars
    (sorted, stored, dates fixed)."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f".{destination.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as out:
            files = {
                str(path.relative_to(plugins)): path
                for path in plugins.glob("*/*")
                if path.is_file() and not _NOT_OURS.fullmatch(path.name) and not _DOCUMENTS.fullmatch(path.name)
            }
            for name, path in sorted({**files, **(more or {})}.items()):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o100644 << 16
                with path.open("rb") as source, out.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)
    return destination


KAFKA_RECIPE = Recipe(
    name="kafka",
    purpose="the broker and Kafka Connect",
    key=KAFKA,
    override="a Kafka distribution's folder (its jars in lib/ or libs/, with Connect)",
    get=f"its jars, through Maven (needs mvn). {_OUT}, or set ZDM_KAFKA.",
    find=_find_kafka,
    build=_build,
    part=_kafka,
    data=(_DATA / "pom.xml", _DATA / "sha256sums"),
)
DEBEZIUM_RECIPE = Recipe(
    name="debezium",
    purpose="change data capture: MySQL, PostgreSQL and JDBC connectors",
    key=DEBEZIUM,
    override="a folder with one folder per connector (debezium-connector-mysql, -postgres, -jdbc)",
    get=f"its archives, through Maven (needs mvn). {_OUT}, or set ZDM_DEBEZIUM.",
    find=_find_debezium,
    build=None,
    part=_debezium,
    shares="kafka",
)
