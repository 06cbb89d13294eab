"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.cloud import Cloud

# How long an example takes says more of the machine than of the code. (And who imports hypothesis only at the very end,
# as its plugin does, may find a Python 3.11 that cannot parse it any more.)
hypothesis.settings.register_profile("zdm", deadline=None)
hypothesis.settings.load_profile("zdm")

# What a script starts in the background (`./zdm test &`) ignores SIGINT, and so would commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    made = Cloud(tmp_path)
    for name in ("PATH", "PULUMI_BACKEND_URL", "PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE"):
        monkeypatch.setenv(name, made.env[name])
    yield made
    made.stop()
