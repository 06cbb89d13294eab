"""Environments: snapshots, staging from production, promotion, records, cost."""
