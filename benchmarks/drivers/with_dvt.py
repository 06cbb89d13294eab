"""Checks a table with Google's data-validation-tool: hashes of rows. Runs in a virtual environment of its own."""

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from data_validation import __main__ as tool


def main() -> None:
    task = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PSO_DV_CONN_HOME"] = folder
        os.environ["PGSSLMODE"] = "require" if task["postgres"]["tls"] else "disable"
        for kind, name in (("mysql", "MySQL"), ("postgres", "Postgres")):
            at = task[kind]
            login = {key: at[key] for key in ("host", "port", "user", "password", "database")}
            if kind == "mysql" and at["tls"]:
                login["ssl"] = {"check_hostname": False, "verify_mode": "none"}
            file = Path(folder) / f"{kind}.connection.json"
            file.write_text(json.dumps({"source_type": name, **login}))
        names = {"mysql": task["mysql"]["database"], "postgres": "public"}
        sys.argv = [
            "data-validation", "--log-level=ERROR", "validate", "row", "--source-conn=mysql", "--target-conn=postgres",
            f"--tables-list={names['mysql']}.{task['table']}={names['postgres']}.{task['table']}",
            "--primary-keys=id", f"--hash={','.join(task['columns'])}", "--filter-status=fail", "--format=json",
        ]  # fmt: skip
        began, used = time.monotonic(), cpu()
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            tool.main()
        seconds, used = time.monotonic() - began, cpu() - used
    print(json.dumps({"seconds": seconds, "cpu": used, "keys": sorted(found(said.getvalue()))}))


def found(text: str) -> list[str]:
    """The keys of the rows that the tool reports: an object of results, each with its key as JSON."""
    rows = json.loads(text[text.index("{") :])
    return [json.loads(row["group_by_columns"])["id"] for row in rows.values()]


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


main()
