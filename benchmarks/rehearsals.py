"""Repeats `./zdm rehearse` and prints what each run measured: pause, losses, lag, latency, duration, memory.

    .venv/bin/python -m benchmarks.rehearsals --runs 10 [-- --rows 200000 --rate 100]

Memory is the machine's available memory before the run less its lowest value during the run: leave the machine alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COLUMNS = ("pause", "failed", "lost", "doubled", "mismatches", "lag", "latency")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("options", nargs="*", help="options of ./zdm rehearse, after --")
    arguments = parser.parse_args()
    print("run  ok   pause s  failed  lost  doubled  differ  lag p95 s  latency p95 ms  wall s  memory GB", flush=True)
    good = 0
    for run in range(1, arguments.runs + 1):
        good += one(run, arguments.options)
    print(f"{good} of {arguments.runs} passed")
    sys.exit(0 if good == arguments.runs else 1)


def one(run: int, options: list[str]) -> bool:
    """One rehearsal, as a line of the table."""
    before = available()
    lowest = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            lowest[0] = min(lowest[0], available())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    done = subprocess.run(
        [PROJECT / "zdm", "rehearse", "--json", *options], stdout=subprocess.PIPE, text=True, check=False
    )
    wall = time.monotonic() - began
    over.set()
    watcher.join()
    try:
        result = json.loads(done.stdout)
    except ValueError:
        print(f"{run:3}  no result, exit code {done.returncode}", flush=True)
        return False
    value = {figure["key"]: figure["value"] for figure in result["figures"]}
    shown = [value.get(key) for key in COLUMNS]
    texts = [
        "-" if v is None else f"{v:.3f}" if key in ("pause", "lag") else f"{v:.0f}"
        for key, v in zip(COLUMNS, shown, strict=True)
    ]
    pause, failed, lost, doubled, differ, lag, latency = texts
    print(
        f"{run:3}  {'yes' if done.returncode == 0 else 'NO ':3}  {pause:>7}  {failed:>6}  {lost:>4}  {doubled:>7}  "
        f"{differ:>6}  {lag:>9}  {latency:>14}  {wall:6.0f}  {(before - lowest[0]) / 1e9:9.2f}",
        flush=True,
    )
    if result.get("error"):
        print(f"     {result['error']}", flush=True)
    return done.returncode == 0


def available() -> int:
    """Bytes that the machine could still give to processes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable")


if __name__ == "__main__":
    main()
