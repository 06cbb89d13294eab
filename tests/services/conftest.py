"""Fixtures of the origins' tests: one MySQL and one PostgreSQL for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.flag import Flag, Side, Writes
from local.stack import open_stack
from tests.services.databases import Databases, Service


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    stack = open_stack("services", tmp_path_factory.mktemp("stacks"))
    databases = Databases(stack)
    try:
        databases.make()
        yield databases
    finally:
        for process in stack.processes():
            process.stop()


@pytest.fixture
def databases(servers: Databases) -> Databases:
    """Both databases, with nothing but a few customers and products."""
    servers.reset()
    return servers


@pytest.fixture(params=list(Side))
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


@pytest.fixture
def origin(databases: Databases, side: Side) -> Iterator[Service]:
    """The shop's origin of one side, which is the writer."""
    databases.set_fence(side, Flag(2, 2, 0.0 if side is Side.MYSQL else 100.0, Writes.OPEN, side))
    with databases.origin(side) as service:
        yield service
