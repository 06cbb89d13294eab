"""Where the library comes from; and its own tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rows
from rows import build

CARGO = build._cargo()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(build.VARIABLE, raising=False)


def test_a_named_library_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.so"
    shutil.copy(build.find(), copy)
    monkeypatch.setenv(build.VARIABLE, str(copy))
    assert build.find() == copy
    monkeypatch.setenv(build.VARIABLE, str(tmp_path / "gone.so"))
    with pytest.raises(rows.Unavailable, match="ZDM_ROWS names"):
        build.find()
    copy.write_text("no library")
    monkeypatch.setenv(build.VARIABLE, str(copy))
    with pytest.raises(rows.Unavailable, match="cannot be loaded"):
        build.load.__wrapped__()


def test_without_rust_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZDM_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "_cargo", lambda: None)
    with pytest.raises(rows.Unavailable, match="install Rust"):
        build.find()


def test_what_cargo_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZDM_CACHE", str(tmp_path))
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho 'no such linker' >&2\nexit 101\n")
    cargo.chmod(0o755)
    monkeypatch.setattr(build, "_cargo", lambda: str(cargo))
    with pytest.raises(rows.Unavailable, match="no such linker"):
        build.find()
    assert not list(tmp_path.glob("rows-*/*/"))


@pytest.mark.skipif(CARGO is None, reason="needs Rust")
def test_two_runs_at_once_build_it_once(tmp_path: Path) -> None:
    code = "from rows import build; print(build.find())"
    path = f"{Path(CARGO or '').parent}:/usr/bin:/bin"
    environment = {"ZDM_CACHE": str(tmp_path), "PATH": path, "HOME": str(Path.home())}
    command = [sys.executable, "-c", code]
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    (folder,) = tmp_path.glob("rows-*")
    assert found == {f"{folder / build.LIBRARY}\n"}
    assert {path.name for path in folder.iterdir()} == {"lock", build.LIBRARY}


@pytest.mark.skipif(CARGO is None, reason="needs Rust")
def test_the_crates_own_tests(tmp_path: Path) -> None:
    command = [CARGO or "", "test", "--offline", "--locked", "--quiet", "--target-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=build.SOURCES, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    assert "warning" not in result.stderr
