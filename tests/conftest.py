"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis  # noqa: F401  # its plugin imports it at the very end otherwise, where Python 3.11 may not parse it any more
import pytest

from tests.cloud import Cloud


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    made = Cloud(tmp_path)
    for name in ("PATH", "PULUMI_BACKEND_URL", "PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE"):
        monkeypatch.setenv(name, made.env[name])
    yield made
    made.stop()
