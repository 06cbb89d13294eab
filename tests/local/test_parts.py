"""Parts: where they come from, that the cache is never half, and that messages name the way out."""

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from local import parts
from local.parts import cache, debian, maven, mysql
from local.parts.part import Built, Part, PartError, Recipe, number, tool


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no overrides of the caller."""
    for recipe in parts.RECIPES.values():
        monkeypatch.delenv(recipe.variable, raising=False)
    monkeypatch.setenv("ZDM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recipe(build: Callable[[Path, Callable[[str], None]], Built] | None = None, **more: object) -> Recipe:
    """A part that consists of one file."""

    def write(work: Path, report: Callable[[str], None]) -> Built:
        (work / "tool").write_text("one")
        return Built("1.2", [work / "tool"])

    known = Recipe(
        name="thing",
        purpose="a test",
        key="1",
        override="its file",
        get="Install thing.",
        find=lambda path: Part("thing", "9", path.parent, {}) if path and path.is_file() else None,
        build=build or write,
        part=lambda home, version: Part("thing", version, home, {"tool": [str(home / "tool")]}, origin="cache"),
    )
    return replace(known, **more)  # type: ignore[arg-type]


@pytest.fixture
def thing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    known = recipe()
    monkeypatch.setitem(parts.RECIPES, "thing", known)
    return known


def quiet(*words: object) -> None:
    """A report that nobody reads."""


def test_a_part_is_made_once(thing: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    first = parts.require("thing", lambda part, text: told.append(text))
    monkeypatch.setitem(parts.RECIPES, "thing", replace(thing, build=lambda work, report: pytest.fail("made again")))
    assert parts.require("thing", quiet) == first
    assert cache.install(parts.RECIPES["thing"], quiet) == first.home
    assert Path(first.command["tool"][0]).read_text() == "one"
    assert first.version == "1.2"
    assert "ready" in told[-1]


def test_look_fetches_nothing(thing: Recipe, empty: Path) -> None:
    assert parts.look("thing").part is None
    assert not empty.exists()
    parts.require("thing", quiet)
    found = parts.look("thing").part
    assert found is not None
    assert found.origin == "cache"


def test_changed_recipe_data_makes_a_new_folder(thing: Recipe, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("1")
    one = cache.folder(replace(thing, data=(lock,)))
    lock.write_text("2")
    assert cache.folder(replace(thing, data=(lock,))) != one


def test_a_failed_build_leaves_nothing(empty: Path) -> None:
    def fail(work: Path, report: Callable[[str], None]) -> Built:
        (work / "half").write_text("half")
        cache.run("thing", ["sh", "-c", "echo the mirror is down >&2; exit 7"], work)
        raise AssertionError

    with pytest.raises(PartError, match=r"(?s)exit code 7.*the mirror is down") as caught:
        cache.install(recipe(fail), quiet)
    assert "thing.log" in str(caught.value)
    assert [path.name for path in (empty / "parts").iterdir()] == ["thing.lock"]


def test_a_damaged_or_half_part_is_made_again(thing: Recipe) -> None:
    home = cache.install(thing, quiet)
    assert cache.damaged(home) == []
    (home / "tool").write_text("two")
    assert cache.damaged(home) == ["tool"]  # same size: only the digest tells
    (home / "tool").write_text("longer")
    half = home.parent / ".thing-killed"
    half.mkdir()
    assert cache.install(thing, quiet) == home
    assert (home / "tool").read_text() == "one"
    assert not half.exists()


def test_two_processes_make_a_part_once(empty: Path, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from local.parts import cache
from local.parts.part import Built, Part, Recipe
def build(work, report):
    with open(sys.argv[1], "a") as log:
        log.write("made\\n")
    time.sleep(0.5)  # long enough for the other one to come
    (work / "tool").write_text("one")
    return Built("1", [work / "tool"])
recipe = Recipe("thing", "", "1", "", "", lambda path: None, build, None)
print(cache.install(recipe, lambda text: print(text, file=sys.stderr)))
"""
    log = tmp_path / "log"
    argv = [sys.executable, "-c", code, str(log)]
    root = Path(__file__).parents[2]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)]
    homes = {process.communicate(timeout=60)[0] for process in running}
    assert len(homes) == 1
    assert log.read_text() == "made\n"


def test_one_failure_ends_the_others(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def slow(work: Path, report: Callable[[str], None]) -> Built:
        cache.run("slow", ["sh", "-c", "echo up; exec sleep 300"], work, line=lambda text: started.set())
        raise AssertionError

    def fail(work: Path, report: Callable[[str], None]) -> Built:
        assert started.wait(30)
        raise PartError("no network")

    monkeypatch.setitem(parts.RECIPES, "slow", recipe(slow, name="slow"))
    monkeypatch.setitem(parts.RECIPES, "failing", recipe(fail, name="failing"))
    begin = time.monotonic()
    with pytest.raises(PartError, match="no network"):
        parts.prepare(["slow", "failing"], quiet)
    assert time.monotonic() - begin < 60


def test_an_override_is_used_or_refused(thing: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.write_text("")
    monkeypatch.setenv("ZDM_THING", str(own))
    part = parts.require("thing", quiet)
    assert (part.version, part.origin) == ("9", "ZDM_THING")
    monkeypatch.setenv("ZDM_THING", str(tmp_path / "nothing"))
    with pytest.raises(PartError, match=r"ZDM_THING=.*nothing: not usable as thing; it must point to its file"):
        parts.require("thing", quiet)
    assert "ZDM_THING" in parts.look("thing").problem


@pytest.mark.parametrize("name", ["pulumi", "mysql", "postgres", "java", "kafka", "debezium", "workerd"])
def test_every_part_refuses_an_override_that_is_none_of_it(
    name: str, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ZDM_{name.upper()}", "/bin/true" if name in ("pulumi", "java") else str(tmp_path))
    with pytest.raises(PartError, match=f"ZDM_{name.upper()}"):
        parts.require(name, quiet)


def test_mariadb_is_not_mysql(tmp_path: Path) -> None:
    server = tmp_path / "mysqld"
    server.write_text("#!/bin/sh\necho 'mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64'\n")
    server.chmod(0o755)
    assert mysql.RECIPE.find(server) is None
    server.write_text("#!/bin/sh\necho '/usr/sbin/mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server)'\n")
    assert mysql.RECIPE.find(server) is None
    server.write_text("#!/bin/sh\necho '/usr/sbin/mysqld  Ver 8.0.40 for Linux on x86_64 (MySQL Community Server)'\n")
    found = mysql.RECIPE.find(server)
    assert found is not None
    assert found.version == "8.0.40"


@pytest.mark.parametrize(
    ("name", "wanted", "package"), [("pulumi", "go", "golang-go"), ("kafka", "mvn", "maven"), ("workerd", "npm", "npm")]
)
def test_a_missing_toolchain_names_the_way_out(
    name: str, wanted: str, package: str, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("local.parts.part.EXTRA_FOLDERS", ())
    with pytest.raises(PartError) as caught:
        parts.require(name, quiet)
    message = str(caught.value)
    assert f"`{wanted}`" in message
    assert package in message
    assert f"ZDM_{name.upper()}" in message


def test_java_is_named_with_its_package(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts.RECIPES, "java", replace(parts.RECIPES["java"], find=lambda path: None))
    with pytest.raises(PartError, match=r"openjdk-17-jre-headless.*ZDM_JAVA"):
        parts.require("java", quiet)


def test_unknown_part() -> None:
    with pytest.raises(PartError, match=r"no part is called 'oracle'; there are pulumi, mysql"):
        parts.require("oracle", quiet)


def test_a_cache_that_is_not_ours_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("ZDM_CACHE", str(file))
    with pytest.raises(PartError, match="set ZDM_CACHE"):
        cache.install(recipe(), quiet)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDM_CACHE", "/a")
    assert cache.root() == Path("/a")
    monkeypatch.delenv("ZDM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache.root() == Path("/b/zdm")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache.root() == Path("/c/.cache/zdm")


def test_the_mirror_of_the_machine_in_both_notations() -> None:
    stanzas = """
Types: deb
# a comment
URIs: mirror:/own
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg

Types: deb
URIs: mirror:/security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: mirror:/off
Suites: bookworm
Components: main
"""
    lines = (
        "# deb mirror:/comment bookworm main\n"
        "deb [arch=amd64 signed-by=/keys/other.gpg] mirror:/line bookworm main contrib\n"
        "deb-src mirror:/source bookworm main\n"
        "deb mirror:/third bookworm-third main\n"
    )
    found = debian.sources([stanzas, lines], "bookworm")
    assert found == [
        debian.Source("mirror:/own", "bookworm", "/keys/debian.gpg"),
        debian.Source("mirror:/line", "bookworm", "/keys/other.gpg"),
    ]


def test_another_distribution_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "release", lambda: {"ID": "fedora"})
    with pytest.raises(PartError, match=r"no Debian\. Install MySQL"):
        debian.machine_source("mysql", "Install MySQL.")


def test_pinned_files_must_be_all_there_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "out/lib").mkdir(parents=True)
    for name in ("a.jar", "b.jar"):
        (tmp_path / "out/lib" / name).write_text(name)
    sums = tmp_path / "sums"
    known = [f"{cache.digest(tmp_path / 'out/lib' / name)}  lib/{name}" for name in ("a.jar", "b.jar")]
    sums.write_text("\n".join(known) + "\n")
    maven.check(tmp_path / "out", sums)
    (tmp_path / "out/lib/b.jar").write_text("other")
    (tmp_path / "out/lib/c.jar").write_text("new")
    with pytest.raises(PartError, match=r"lib/c\.jar, lib/b\.jar"):
        maven.check(tmp_path / "out", sums)


def test_the_plugin_zip_is_always_the_same_and_has_no_other_drivers(tmp_path: Path) -> None:
    names = ("debezium-connector-jdbc", "debezium-connector-mysql")
    kept = ("LICENSE.txt", "debezium-sink-3.jar", "mysql-connector-j-9.jar", "postgresql-42.jar")
    jars = (*kept, "ojdbc11-23.jar", "mssql-jdbc-12.jar", "mariadb-java-client-3.jar", "README.md")
    for folder in names:
        (tmp_path / "plugins" / folder).mkdir(parents=True)
        for jar in jars:
            (tmp_path / "plugins" / folder / jar).write_text(jar)
    one = maven.write_zip(tmp_path / "plugins", tmp_path / "deep/one.zip").read_bytes()
    os.utime(tmp_path / "plugins" / names[0] / jars[0], (1, 1))
    assert maven.write_zip(tmp_path / "plugins", tmp_path / "two.zip").read_bytes() == one
    with zipfile.ZipFile(tmp_path / "two.zip") as zipped:
        assert zipped.namelist() == [f"{folder}/{jar}" for folder in names for jar in kept]
    assert [path.name for path in tmp_path.glob(".*")] == []
    more = maven.write_zip(tmp_path / "plugins", tmp_path / "more.zip", {"a/ours.jar": tmp_path / "two.zip"})
    with zipfile.ZipFile(more) as zipped:
        assert zipped.namelist()[:2] == ["a/ours.jar", "debezium-connector-jdbc/LICENSE.txt"]


def test_versions_compare_as_numbers() -> None:
    assert number("9.7.4") > number("8.0") > number("8")
    assert number("3.250.0-dev.1") == (3, 250, 0)


def test_tool_finds_what_path_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "mvn"
    own.write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PartError):
        tool("kafka", "mvn", "")
    own.chmod(0o755)
    assert tool("kafka", "mvn", "") == str(own)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "program", "option"),
    [
        ("pulumi", "pulumi", "version"),
        ("mysql", "mysqld", "--version"),
        ("mysql", "mysql", "--version"),
        ("postgres", "postgres", "--version"),
        ("postgres", "initdb", "--version"),
        ("postgres", "pg_basebackup", "--version"),
        ("postgres", "psql", "--version"),
        ("java", "java", "-version"),
        ("workerd", "workerd", "--version"),
    ],
)
def test_real_parts_answer(name: str, program: str, option: str) -> None:
    part = parts.require(name)
    done = subprocess.run([*part.command[program], option], capture_output=True, text=True, check=True)
    version = part.version if name != "workerd" else "workerd 20"
    assert version in done.stdout + done.stderr


@pytest.mark.real
def test_real_kafka_and_debezium_are_what_is_pinned() -> None:
    kafka, debezium = parts.require("kafka"), parts.require("debezium")
    assert kafka.version == maven.KAFKA
    assert debezium.version == maven.DEBEZIUM
    folders = {path.name for path in Path(debezium.options["plugins"]).iterdir()}
    assert folders == {f"debezium-connector-{kind}" for kind in ("mysql", "postgres", "jdbc")}
    if kafka.origin == "cache":
        assert cache.damaged(kafka.home) == []
        assert json.loads((kafka.home / cache.MANIFEST).read_text())["kafka"] == maven.KAFKA
