"""Carries the outbox's events to Kafka."""
