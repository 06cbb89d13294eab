"""Times the preview of each stack in the local cloud, with the policy pack and without it.

    .venv/bin/python -m benchmarks.previews [--runs 3]

The preview without the pack is what is real and runs beside it: the last column is the one over the other. Stacks of
their own name are used, in a folder of their own; nothing is brought up. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

STACKS = ("dev", "staging", "prod")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with TemporaryDirectory() as folder:
        os.environ["ZDM_HOME"] = folder
        from infra.declared import stand_in_plugin

        plugin = str(stand_in_plugin(Path(folder)))
        print("stack    resources  with policies s  without s  ratio", flush=True)
        for stack in STACKS:
            with_pack, without, resources = times(stack, plugin, runs)
            ratio = with_pack / without
            print(f"{stack:8} {resources:9} {with_pack:16.1f} {without:10.1f} {ratio:6.2f}", flush=True)


def times(stack: str, plugin: str, runs: int) -> tuple[float, float, int]:
    """Medians with and without the pack, by turns, and how many resources the stack has (components among them)."""
    from local import engine

    deployment = engine.workspace(stack, True, {"cdc.plugin": plugin})
    with_pack, without = [], []
    for _ in range(runs):
        outcome = deployment.preview(with_policies=True)
        with_pack.append(outcome.seconds)
        without.append(deployment.preview(with_policies=False).seconds)
    return statistics.median(with_pack), statistics.median(without), sum(outcome.counts.values())


if __name__ == "__main__":
    main()
