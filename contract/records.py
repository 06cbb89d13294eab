"""How large a change may be on its way."""

from __future__ import annotations

from typing import Final

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Largest record the brokers take: one row event with its before and after image."""
