"""Java 17 or newer: always the machine's; Kafka, Connect and Debezium run on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from local.parts.part import Part, Recipe, number, version_of

MINIMUM = "17"
_PATTERN = r'version "(\d+(?:\.\d+)*)'


def _find(override: Path | None) -> Part | None:
    if override:
        places = [override, override / "bin/java"]
    else:
        home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
        places = [Path(home) / "bin/java"] if home else []
        places += [Path(on_path)] if on_path else []
        places += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for java in places:
        version = version_of([str(java), "-version"], _PATTERN) if java.is_file() else None
        if version and number(version) >= number(MINIMUM):
            return Part("java", version, java.resolve().parent.parent, {"java": [str(java)]})
    return None


RECIPE = Recipe(
    name="java",
    purpose="runs Kafka and Connect",
    key="",
    override="the java binary, or the folder Java is installed in",
    get="Install Java 17 or newer (Debian: openjdk-17-jre-headless), or set ZDM_JAVA to its binary.",
    find=_find,
    build=None,
    part=None,
)
