"""A cutover in its own process that stands still in a given state until killed: `crash.py OUTPUTS HOME STATE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scripts.console import Console
from scripts.context import context_from_file
from scripts.switch import cutover
from scripts.switch.journal import State


def main(outputs: str, home: str, state: str) -> None:
    def stand_still(reached: State) -> None:
        if reached is State(state):
            sys.stdout.write("reached\n")
            sys.stdout.flush()
            time.sleep(600)

    cutover.run(context_from_file(Path(outputs), Path(home)), console=Console(quiet=True), on_state=stand_still)


if __name__ == "__main__":
    main(*sys.argv[1:])
