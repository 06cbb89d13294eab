"""The native core of copy and check: rows from MySQL's socket to PostgreSQL's binary form, and their comparison.

The core is a small library in Rust (`src/`), built at the first use where Cargo is there. Where it cannot be had, the
project works without it: the check compares hashes, the copy goes through the drivers. Nothing is loaded on import.
"""

from __future__ import annotations

from rows.build import load
from rows.errors import RowsError, ServerError, Unavailable

__all__ = ["RowsError", "ServerError", "Unavailable", "available", "load"]


def available() -> bool:
    """Whether the native library is here, or could be built now (which takes seconds, once)."""
    try:
        load()
    except Unavailable:
        return False
    return True
