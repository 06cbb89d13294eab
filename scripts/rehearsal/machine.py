"""What a rehearsal ran on: this machine, and the versions of its parts, for the report."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from local import parts
from scripts.context import Context


def machine() -> dict[str, str]:
    """Processor, memory and system of this machine."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} × {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{_system()}, Linux {platform.release()}",
    }


def versions(context: Context) -> dict[str, str]:
    """Of the two servers as they say themselves, and of the parts of the local cloud."""
    with context.mysql() as my, context.postgres() as pg:
        with my.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            mysql = cursor.fetchone()[0]
        row = pg.execute("SHOW server_version").fetchone()
        postgres = row[0].split()[0] if row else "?"
    found = {"MySQL": str(mysql), "PostgreSQL": str(postgres)}
    for name, label in (("kafka", "Kafka"), ("debezium", "Debezium"), ("workerd", "workerd"), ("pulumi", "Pulumi")):
        part = parts.look(name).part
        if part is not None:
            found[label] = part.version
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
