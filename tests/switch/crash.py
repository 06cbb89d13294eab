"""A switch in its own process that stands still in a given state until killed, or until something is written to its
standard input: `crash.py OUTPUTS HOME STATE DIRECTION`."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.console import Console
from scripts.context import context_from_file
from scripts.switch import cutover
from scripts.switch.journal import Direction, State


def main(outputs: str, home: str, state: str, direction: str) -> None:
    def stand_still(reached: State) -> None:
        if reached is State(state):
            sys.stdout.write("reached\n")
            sys.stdout.flush()
            sys.stdin.readline()

    context = context_from_file(Path(outputs), Path(home))
    cutover.run(context, console=Console(quiet=True), on_state=stand_still, direction=Direction(direction))


if __name__ == "__main__":
    main(*sys.argv[1:])
