"""Databases for the tests of environments: one MySQL and one PostgreSQL, new databases on both for every test."""

from __future__ import annotations

from tests.data.conftest import pair as pair
from tests.data.conftest import servers as servers
