"""The sample shop's API."""
