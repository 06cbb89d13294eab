"""Local stacks keep their networks apart; processes are found again, and stopped for certain."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from local.processes import Process, ProcessError, wait_until
from local.stack import StackError, existing_stack, listening_networks, open_stack
from scripts import stacks
from scripts.console import Console


def test_addresses_are_stable_and_apart(tmp_path: Path) -> None:
    one, two = open_stack("dev", tmp_path / "a"), open_stack("dev", tmp_path / "b")
    assert one.address("mysql") == open_stack("org/project/dev", tmp_path / "a").address("mysql")
    assert len({one.address("mysql"), one.address("kafka"), two.address("mysql")}) == 3
    networks = [a.split(".")[1] for a in (one.address("mysql"), one.address("kafka"), two.address("mysql"))]
    assert networks[0] == networks[1] != networks[2]


def test_stack_that_was_never_opened(tmp_path: Path) -> None:
    assert existing_stack("dev", tmp_path) is None
    open_stack("dev", tmp_path)
    assert existing_stack("dev", tmp_path) is not None
    with pytest.raises(StackError, match="no stack name"):
        open_stack("..", tmp_path)


def test_a_network_in_which_someone_listens_is_seen() -> None:
    with socket.socket() as listener:
        listener.bind(("127.103.7.7", 0))
        listener.listen()
        assert 103 in listening_networks()


def test_process_outlives_its_starter_and_is_found_again(tmp_path: Path) -> None:
    first = Process(tmp_path / "sleeper")
    first.start(["sleep", "60"])
    pid = first.pid
    again = Process(tmp_path / "sleeper")
    assert again.pid == pid is not None
    again.start(["sleep", "60"])
    assert again.pid == pid, "it runs already"
    assert os.getsid(pid) == pid, "a terminal's Ctrl-C does not reach it"
    again.stop()
    assert not first.running()
    again.stop()


def test_recycled_pid_is_not_taken_for_the_process(tmp_path: Path) -> None:
    process = Process(tmp_path / "other")
    process.start(["sleep", "60"])
    file = tmp_path / "other" / "process.json"
    before, pid = file.read_text(), process.pid
    assert pid is not None
    process.stop()
    own = Path(f"/proc/{os.getpid()}/stat").read_text()
    assert own
    file.write_text(before.replace(f'"pid": {pid}', f'"pid": {os.getpid()}'))
    assert not process.running()
    process.stop()  # must not stop this test


def test_one_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    process = Process(tmp_path / "stubborn")
    script = "trap '' TERM; sleep 60 & echo child $!; while true; do sleep 0.1; done"
    process.start(["bash", "-c", script], ready=lambda: "child" in process.tail())
    child = int(process.tail().split()[1])
    process.stop(0.2)
    assert not process.running()
    wait_until(lambda: _gone(child), 5, "the child's death")


def test_start_that_fails_says_why(tmp_path: Path) -> None:
    process = Process(tmp_path / "failing")
    with pytest.raises(ProcessError, match=r"(?s)ended while it was starting.*no licence"):
        process.start([sys.executable, "-c", "raise SystemExit('no licence')"], ready=lambda: False)
    with pytest.raises(ProcessError, match="not ready after"):
        process.start(["sleep", "60"], ready=lambda: False, timeout=0.2)
    assert not process.running()


def test_killed_process_is_seen(tmp_path: Path) -> None:
    process = Process(tmp_path / "killed")
    process.start(["sleep", "60"])
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not process.running(), 5, "its death")


def test_sweep_ends_what_a_crash_left_but_nothing_that_is_recorded(tmp_path: Path) -> None:
    stack = open_stack("dev", tmp_path)
    process = stack.process("left")
    process.start(["sleep", "60"])
    stack.records.put("aws:kms/key:Key", "k", {}, {})
    assert stack.sweep() == [] and process.running()
    stack.records.delete("aws:kms/key:Key", "k")
    assert stack.sweep() == ["left"] and not process.running()


def test_what_a_destroyed_stack_leaves_is_what_was_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path))
    told: list[str] = []
    monkeypatch.setattr(Console, "warn", lambda self, text: told.append(text))
    stack = open_stack("dev", tmp_path)
    copy = stack.snapshots / "aurora" / "shop-final"
    copy.mkdir(parents=True)
    (stack.data("aurora") / "left").touch()
    (stack.home / "report").mkdir()
    stacks._clear("dev", Console())
    assert copy.is_dir() and sorted(p.name for p in stack.home.iterdir()) == ["data", "report"]
    assert [p.name for p in (stack.home / "data").iterdir()] == ["snapshots"]
    assert len(told) == 1 and "aurora/shop-final" in told[0] and str(stack.snapshots) in told[0]
    assert existing_stack("dev", tmp_path) is None

    again = open_stack("dev", tmp_path)
    copy.rmdir()
    (stack.home / "report").rmdir()
    assert (again.snapshots / "aurora").is_dir()
    stacks._clear("dev", Console())
    assert not stack.home.exists() and len(told) == 1


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
