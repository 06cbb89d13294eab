"""The tests of the native core need it."""

from __future__ import annotations

import pytest

import rows


@pytest.fixture(autouse=True, scope="session")
def native() -> None:
    try:
        rows.load()
    except rows.Unavailable as error:
        pytest.skip(str(error))
