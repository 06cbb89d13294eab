"""The commands about environments: snapshots, staging from production, promotion, records, cost. Imported by `cli`."""

from __future__ import annotations
