"""Waiting for what AWS does in its own time: looks until a state ends the wait, with progress and a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from scripts.console import Step, duration
from scripts.errors import ZdmError

FIRST, SHARE, LONGEST = 0.1, 0.1, 15.0
"""Seconds between two looks: at first, as a share of what was waited already, and at most. So no more than a tenth is
lost by looking late, and RDS, which throttles those who ask often, is asked seldom about what takes hours."""


class Deadline(ZdmError):
    """What was waited for did not come in time. It may still come: the command can be run again."""


def await_ready(look: Callable[[], tuple[bool, str]], what: str, step: Step, seconds: float) -> None:
    """Looks until `look` says that it is so; its text tells how far it is, and may raise. Raises `Deadline`."""
    started = time.monotonic()
    while True:
        ready, text = look()
        if ready:
            return
        waited = time.monotonic() - started
        if waited > seconds:
            raise Deadline(
                f"{what}: {text} after {duration(waited)}; look at it in AWS, and run the same command again: "
                "it goes on from there"
            )
        step.update(text)
        time.sleep(min(max(FIRST, waited * SHARE), LONGEST))
