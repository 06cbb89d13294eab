"""Debian packages without touching the machine: private apt state, signature checks by apt, `dpkg -x` into a folder.

Nothing is installed and no root is needed. The mirror is the machine's own, read from its apt sources; apt's proxy and
credential settings stay in force. Suites other than the machine's own are the same mirror with another suite name.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.parts import cache
from local.parts.part import PartError, tool

_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")


@dataclass(frozen=True)
class Source:
    """The machine's own mirror of Debian's main archive and the keyring that signs it."""

    uri: str
    suite: str
    signed_by: str


def release(text: str | None = None) -> dict[str, str]:
    """/etc/os-release as a dict."""
    try:
        text = Path("/etc/os-release").read_text() if text is None else text
    except OSError:
        return {}
    return {k: v.strip("\"'") for k, _, v in (line.partition("=") for line in text.splitlines()) if v}


def sources(texts: list[str], suite: str) -> list[Source]:
    """Entries of apt source files (both notations) that serve `suite` main."""
    found = []
    for text in texts:
        for stanza in re.split(r"\n\s*\n", text):
            fields: dict[str, str] = {}
            for line in stanza.splitlines():
                if re.match(r"deb\s", line):
                    match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
                    if match and match[3] == suite and "main" in match[4].split():
                        signed = re.search(r"signed-by=(\S+)", match[1] or "", re.IGNORECASE)
                        found.append(Source(match[2], suite, signed[1] if signed else ""))
                elif match := re.match(r"([A-Za-z-]+):\s*(.*)", line):
                    fields[match[1].lower()] = match[2].strip()
            wanted = suite in fields.get("suites", "").split() and "main" in fields.get("components", "").split()
            if wanted and "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
                found.append(Source(fields.get("uris", "").split()[0], suite, fields.get("signed-by", "")))
    return found


def machine_source(part: str, way_out: str) -> Source:
    """The entry of this machine's apt sources for its own release; PartError on another distribution or without one."""
    known = release()
    if known.get("ID") != "debian" or "VERSION_CODENAME" not in known:
        raise PartError(f"{part}: it comes from Debian's archive, and this machine is no Debian. {way_out}")
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [file.read_text() for file in files if file.suffix in (".list", ".sources") and file.is_file()]
    found = sources(texts, known["VERSION_CODENAME"])
    if not found:
        raise PartError(f"{part}: no apt source for {known['VERSION_CODENAME']} main on this machine. {way_out}")
    return found[0]


class Apt:
    """apt on private state in `folder`, for one suite. No package counts as installed: a closure has every library."""

    def __init__(self, part: str, folder: Path, source: Source, way_out: str) -> None:
        self.part, self.folder = part, folder
        for name in ("apt-get", "apt-cache", "dpkg"):
            tool(part, name, way_out)
        keyring = source.signed_by or next((path for path in _KEYRINGS if Path(path).is_file()), "")
        if not keyring:
            raise PartError(f"{part}: no keyring to check signatures with: install debian-archive-keyring. {way_out}")
        for name in ("etc/parts", "lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "etc/sources.list").write_text(f"deb [signed-by={keyring}] {source.uri} {source.suite} main\n")
        user = "root" if os.geteuid() == 0 else ""
        self.config = folder / "etc/apt.conf"
        self.config.write_text(
            # hooks of the machine (clean-up, other indexes) are not for this state
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n"
            f'Dir::Etc::sourcelist "{folder}/etc/sources.list";\nDir::Etc::sourceparts "{folder}/etc/parts";\n'
            f'Dir::Etc::preferences "/dev/null";\nDir::Etc::preferencesparts "{folder}/etc/parts";\n'
            f'Dir::State "{folder}";\nDir::State::lists "{folder}/lists";\nDir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}";\nDir::Cache::archives "{folder}/archives";\n'
            f'APT::Sandbox::User "{user}";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\n'
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\nAcquire::Retries "3";\n'
            'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";\n'
        )

    def update(self) -> None:
        """Fetch the suite's index; apt checks its signature."""
        strict = ["-o", "APT::Update::Error-Mode=any"]
        cache.run(self.part, ["apt-get", "-c", self.config, "update", "-q", *strict], self.folder)

    def names(self, pattern: str) -> list[str]:
        """Packages whose name matches the regular expression."""
        words = ["apt-cache", "-c", str(self.config), "pkgnames"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return sorted(name for name in done.stdout.split() if re.fullmatch(pattern, name))

    def closure(self, packages: list[str], leave_out: str) -> list[str]:
        """The packages with all they depend on, without those whose name matches `leave_out`."""
        words = ["apt-get", "-c", str(self.config), "install", "-y", "--print-uris", "-qq", *packages]
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise PartError(f"{self.part}: apt cannot resolve {' '.join(packages)}: {done.stderr.strip()}")
        names = (match[1] for match in re.finditer(r"^'[^']*' ([^_\s]+)_", done.stdout, re.MULTILINE))
        return sorted({name for name in names if not re.match(leave_out, name)})

    def unpack(self, packages: list[str], packed: Path, root: Path, report: Callable[[str], None]) -> dict[str, str]:
        """Download into `packed` (apt checks the signed index's hashes), unpack into `root`; file name -> SHA-256."""
        packed.mkdir()
        root.mkdir()
        count = 0

        def line(text: str) -> None:
            nonlocal count
            if text.startswith("Get:"):
                count += 1
                report(f"Debian packages: {count} of {len(packages)}")

        cache.run(self.part, ["apt-get", "-c", self.config, "download", "-q", *packages], packed, line=line)
        report("unpacking")
        known = {}
        for file in sorted(packed.glob("*.deb")):
            cache.run(self.part, ["dpkg", "-x", file, root], packed)
            known[file.name] = cache.digest(file)
        return known
