"""The product's main job, as a user starts it: a small rehearsal, of the sample shop and of a database of one's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from local.stack import listening_networks

PROJECT = Path(__file__).resolve().parents[2]
SAKILA = PROJECT.parent / "shared" / "data" / "sakila"
EVERY_TYPE = PROJECT / "tests" / "data" / "every_type.sql"

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def rehearse(home: Path, *options: str) -> tuple[int, dict[str, object], str]:
    """Exit code, result and what was said."""
    before = listening_networks()
    done = subprocess.run(
        [PROJECT / "zdm", "rehearse", "--json", "--rate", "40", "--reads", "80", "--seconds", "5", *options],
        env={**os.environ, "ZDM_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert listening_networks() <= before, "the rehearsal left a port open"
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr


def figures(result: dict[str, object]) -> dict[str, float]:
    listed = result["figures"]
    assert isinstance(listed, list)
    return {figure["key"]: figure["value"] for figure in listed}


def test_moves_the_sample_shop(tmp_path: Path) -> None:
    code, result, said = rehearse(tmp_path, "--rows", "5000")
    assert code == 0, said
    assert result["ok"] is True
    measured = figures(result)
    assert [measured[key] for key in ("failed", "lost", "doubled", "mismatches")] == [0, 0, 0, 0]
    assert measured["planted"] == result["planted"] != 0
    page = (tmp_path / "rehearse" / "report" / "report.html").read_text()
    assert "nothing was lost" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert not list((tmp_path / "rehearse").glob("run/*/process.json"))


def test_refuses_a_dump_by_naming_what_it_does_not_know(tmp_path: Path) -> None:
    dump = tmp_path / "shop.sql"
    dump.write_text(
        "CREATE TABLE places (id INT PRIMARY KEY, spot POINT NOT NULL);\n"
        "INSERT INTO places VALUES (1, ST_GeomFromText('POINT(1 2)'));\n"
        "CREATE VIEW spots AS SELECT id FROM places;\n"
    )
    code, _, said = rehearse(tmp_path / "home", "--dump", str(dump))
    assert code == 2, said
    assert "places.spot" in said and "spots" in said and "--skip-unsupported" in said


def test_moves_every_type_and_a_database_that_no_one_here_wrote(tmp_path: Path) -> None:
    """The second one only where its dump is."""
    theirs = [str(SAKILA / name) for name in ("schema.sql", "data.sql")] if SAKILA.is_dir() else []
    code, result, said = rehearse(tmp_path, "--dump", *theirs, str(EVERY_TYPE), "--skip-unsupported")
    assert code == 0, said
    left_out = result["left_out"]
    assert isinstance(left_out, list)
    names = {item["name"] for item in left_out}
    if theirs:
        assert {"address.location", "film.ins_film", "actor_info", "rewards_report"} <= names
    assert not {name for name in names if name.partition(".")[0] in ("numbers", "moments", "texts", "bytes", "people")}
    measured = figures(result)
    assert [measured[key] for key in ("failed", "lost", "doubled", "mismatches")] == [0, 0, 0, 0]


def test_an_interrupted_rehearsal_leaves_nothing(tmp_path: Path) -> None:
    before = listening_networks()
    process = subprocess.Popen(
        [PROJECT / "zdm", "rehearse", "--rows", "2000", "--name", "short"],
        env={**os.environ, "ZDM_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Fill MySQL" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, "".join(said)
    assert "interrupted" in "".join(said)
    assert listening_networks() <= before
    assert not list((tmp_path / "short").glob("run/*"))
