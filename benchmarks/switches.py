"""Switches there and back many times under load, and prints the pauses that an independent writer measured.

    .venv/bin/python -m benchmarks.switches --rounds 30 [-- --rate 100 --reads 100]

One rehearsal: `./zdm rehearse --rollback --rounds N`. Each round is a rollback and a cutover, with an update of the
stack before each (about 30 s on two cores). The bounds are those of the requirements: never above 30 s, no failed
request.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from scripts.rehearsal.result import percentile

PROJECT = Path(__file__).resolve().parent.parent
P50, P95 = 0.5, 1.0
"""Aims, in seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("options", nargs="*", help="options of ./zdm rehearse, after --")
    given = parser.parse_args()
    argv = [PROJECT / "zdm", "rehearse", "--rollback", "--rounds", str(given.rounds), "--json", *given.options]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    result = json.loads(done.stdout)
    ok = done.returncode == 0
    for direction in ("cutover", "rollback"):
        pauses = [s["pauseSeconds"] for s in result["switches"] if s["direction"] == direction and s["pauseSeconds"]]
        p50, p95, most = percentile(pauses, 50), percentile(pauses, 95), max(pauses, default=None)
        print(f"{direction}: {len(pauses)} pauses, p50 {p50} s (aim {P50}), p95 {p95} s (aim {P95}), longest {most} s")
        ok = ok and None not in (p50, p95) and (p50 or 0) <= P50 and (p95 or 0) <= P95
    for figure in result["figures"]:
        print(f"{figure['label']}: {figure['text']} ({figure['bound']}) {figure['note']}")
    if result.get("error"):
        print(result["error"])
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
