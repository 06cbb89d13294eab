"""What a gate sees in its window, from whoever measured it. Judging it is `gate`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contract.flag import Side

Source = Literal["prometheus", "origins"]

Tell = Callable[[float], None]
"""Called now and then with the seconds that have passed."""


@dataclass(frozen=True)
class Figures:
    """Latencies in milliseconds, lag and window in seconds. None is what could not be measured.

    `requests` are those answered by each side; the fence's 421 is none of them, and no failure: nothing was executed.
    """

    source: Source
    seconds: float
    requests: Mapping[Side, float]
    p95_ms: Mapping[Side, float | None]
    failed: float
    lag: float | None
    lag_samples: int
    mismatches: int | None
    checked: str
    """Which data check `mismatches` is of, or why there is none."""
    doubt: str = ""
    """Why nothing here is a yes, such as a window that nobody measured from its beginning."""
