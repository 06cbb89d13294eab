"""What a rehearsal runs on: this machine, how busy it is, and the versions of its parts, for the report."""

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


class Processors:
    """How busy all processors of this machine have been since it was made."""

    def __init__(self) -> None:
        self._busy, self._all = _ticks(Path("/proc/stat").read_text())

    def busy(self) -> float:
        """The share of their time, 0 to 1, in which they were not idle. 0 where no tick has passed."""
        busy, total = _ticks(Path("/proc/stat").read_text())
        return (busy - self._busy) / max(1, total - self._all)


def _ticks(stat: str) -> tuple[int, int]:
    """Clock ticks in which a processor had work, and all of them, from the kernel's statistics (proc_stat(5))."""
    user, nice, system, idle, iowait, irq, softirq, steal = (int(n) for n in stat.split("\n", 1)[0].split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


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
