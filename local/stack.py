"""One local stack: its folder, its loopback network, its processes and records.

Every stack owns a network 127.n.0.0/16, and every part of it an address of its own there with its real port (3306,
5432, 9098, …). So ports are never handed out, two stacks never meet, and endpoints look as they do on AWS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from local.processes import Process, locked, write_atomically

if TYPE_CHECKING:
    from local.records import Records

PROJECT = Path(__file__).resolve().parents[1]
NETWORKS = range(128, 255)  # 127.0.0.0/16 is everyone's, and low numbers are what people pick by hand


class StackError(RuntimeError):
    """The local stack cannot be opened."""


@dataclass(frozen=True)
class LocalStack:
    """A stack of the local cloud. Everything it has lies under `home`; nothing there is needed once it is destroyed."""

    name: str
    home: Path

    def address(self, role: str) -> str:
        """The IP of a part. The same role always gets the same address, also after a restart of the machine."""
        file = self.home / "network.json"
        with locked(self.home / "network.lock"):
            network = json.loads(file.read_text())
            roles: dict[str, str] = network["roles"]
            if role not in roles:
                taken = set(roles.values())
                roles[role] = next(a for a in _addresses(network["network"]) if a not in taken)
                write_atomically(file, json.dumps(network, indent=1))
            return roles[role]

    @cached_property
    def records(self) -> Records:
        """What has been realised."""
        from local.records import Records

        return Records(self.home / "records")

    def process(self, name: str) -> Process:
        return Process(self.home / "run" / name)

    def processes(self) -> list[Process]:
        """Every process that this stack has started and not removed."""
        return [Process(file.parent) for file in sorted((self.home / "run").glob("*/process.json"))]

    def sweep(self) -> list[str]:
        """What to call after `destroy`: stops and removes what a crash left over. Returns the names of such processes.

        Does nothing while the stack has any resource.
        """
        if self.records.all():
            return []
        left = [process for process in self.processes() if process.running()]
        for process in self.processes():
            process.remove(grace=5)
        self.forget()
        return [process.name for process in left]

    def forget(self) -> None:
        """Removes the files of parts and resources, but for the copies of databases that outlive their server."""
        shutil.rmtree(self.home / "run", ignore_errors=True)
        for path in (self.home / "data").glob("*"):
            if path != self.snapshots:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in (*self.snapshots.glob("*"), self.snapshots, self.home / "data"):
            with contextlib.suppress(OSError):  # unless it is empty
                folder.rmdir()

    @property
    def snapshots(self) -> Path:
        """Where copies of databases are, `<kind>/<name>`. What is still there after `destroy` was meant to stay."""
        return self.home / "data" / "snapshots"

    def data(self, *names: str) -> Path:
        """A folder for a part's data, created if missing."""
        path = self.home.joinpath("data", *names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds the stack-wide lock of this name, between processes as between threads."""
        with locked(self.home / "locks" / name):
            yield


def default_root() -> Path:
    """Where local stacks live: `ZDM_HOME`, else `.zdm` in the project."""
    return Path(os.environ.get("ZDM_HOME") or PROJECT / ".zdm").absolute()


def open_stack(name: str, root: Path | None = None) -> LocalStack:
    """Opens the local stack; the first time it gets its loopback network. `name` may be `org/project/dev`."""
    short = name.rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", short) or short in (".", ".."):
        raise StackError(f"{name!r} is no stack name: letters, digits, '_', '-' and '.' only")
    home = (root or default_root()).absolute() / short
    with locked(home / "network.lock"):
        if not (home / "network.json").exists():
            write_atomically(home / "network.json", json.dumps({"network": _claim(home), "roles": {}}))
    return LocalStack(short, home)


def existing_stack(name: str, root: Path | None = None) -> LocalStack | None:
    """The local stack of this name if it was ever opened."""
    home = (root or default_root()).absolute() / name.rpartition("/")[2]
    return LocalStack(home.name, home) if (home / "network.json").exists() else None


def _addresses(network: int) -> Iterator[str]:
    return (f"127.{network}.{third}.{last}" for third in range(256) for last in range(10, 250))


def _claim(home: Path) -> int:
    """A network that no stack on this machine has and nobody listens in.

    Stacks may live in many clones, so claims are links in one folder of the machine; one whose stack is gone is void.
    """
    claims = Path(tempfile.gettempdir()) / "zdm-networks"
    with contextlib.suppress(FileExistsError):
        claims.mkdir()
        claims.chmod(0o1777)
    start = int.from_bytes(hashlib.sha256(str(home).encode()).digest()[:4], "big")
    busy = listening_networks()
    for i in range(len(NETWORKS)):
        network = NETWORKS[(start + i) % len(NETWORKS)]
        if network in busy:
            continue
        claim = claims / str(network)
        with contextlib.suppress(FileExistsError, FileNotFoundError, PermissionError):
            if claim.is_symlink() and not _holds(claim.readlink(), network):
                claim.unlink()
            claim.symlink_to(home)
            return network
    raise StackError(f"all {len(NETWORKS)} loopback networks are taken: destroy a local stack, or empty {claims}")


def _holds(home: Path, network: int) -> bool:
    """Whether the stack at `home` has this network, or is about to."""
    try:
        return bool(json.loads((home / "network.json").read_text())["network"] == network)
    except (OSError, ValueError, KeyError):
        return (home / "network.lock").exists()


def listening_networks() -> set[int]:
    """The n of every 127.n.0.0/16 in which some process listens."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = (line.split()[1] for line in lines if line.split()[3] == "0A")
    return {int(address[4:6], 16) for address in local if address[6:8] == "7F"}
