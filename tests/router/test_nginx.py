"""What only nginx can get wrong: a change without a reload, what its workers share, and how much it holds."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
from pathlib import Path

import httpx
import pytest

from contract.flag import Flag, Side, Writes, bucket_of, parse_flag
from local import parts
from services.nginx_router.configuration import configuration
from services.nginx_router.settings import SettingsError, settings_from
from tests.router.standins import SALT, Setup, Start
from tests.router.test_router import HIGH, HOLD, LOW, OPENED, START, reads_of, until

ORIGINS = {"MYSQL_ORIGIN": "https://mysql-api.example", "AURORA_ORIGIN": "https://aurora-api.example"}


def known(setup: Setup) -> Flag:
    return parse_flag(json.dumps(setup.client.get("/__zdm/router").json()["flag"]))


def test_the_weight_changes_without_a_reload(start_nginx: Start) -> None:
    setup = start_nginx(START, FLAG_TTL_MS=20)
    assert setup.nginx
    workers, users = setup.nginx.workers(), [f"user-{i}" for i in range(150)]
    assert workers
    flag, moved = START, set[str]()
    for hundredths in (1, 500, 2501, 5000, 9999):
        flag = flag.changed(weight=hundredths / 100)
        setup.set_flag(flag)
        until(lambda flag=flag: known(setup) == flag)  # type: ignore[misc]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda user: reads_of(setup, user), users))
        now = {user for user, answer in zip(users, answers, strict=True) if answer.headers["x-zdm-route"] == "aurora"}
        assert now == {user for user in users if bucket_of(user, SALT) < hundredths}, "sticky, in steps of 0.01"
        assert moved <= now, "one way"
        moved = now
    assert setup.nginx.workers() == workers and setup.nginx.url, "the same workers of the same master"
    assert Path(f"/proc/{setup.nginx.pid}").exists()


def test_a_lower_flag_is_never_adopted_by_any_worker(start_nginx: Start) -> None:
    setup = start_nginx(OPENED, FLAG_TTL_MS=20)
    until(lambda: known(setup) == OPENED)
    setup.mysql.flag = START
    polls = setup.mysql.polls
    until(lambda: setup.mysql.polls > polls + 3)
    for _ in range(20):  # new connections, so that every worker is asked
        with httpx.Client(base_url=setup.url) as client:
            assert parse_flag(json.dumps(client.get("/__zdm/router").json()["flag"])) == OPENED
            assert client.get("/x", headers={"x-user-id": HIGH}).headers["x-zdm-route"] == "aurora"


def test_flags_that_come_at_once_leave_the_highest(start_nginx: Start) -> None:
    """Answers carry flags in any order to both workers; none may take a higher one away."""
    setup = start_nginx(START, FLAG_TTL_MS=60_000)
    flags = [Flag(v, 1, 0.0) for v in range(2, 80)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def one(flag: Flag) -> None:
            setup.mysql.flag = flag
            with httpx.Client(base_url=setup.url) as client:
                client.get("/x", headers={"x-user-id": HIGH})

        list(pool.map(one, flags))
    best = known(setup)
    setup.mysql.flag = Flag(500, 1, 0.0)
    reads_of(setup, HIGH)
    assert known(setup) == Flag(500, 1, 0.0) and best.v > 2
    setup.mysql.flag = Flag(400, 1, 0.0)
    reads_of(setup, HIGH)
    assert known(setup).v == 500


def test_it_learns_from_answers_without_asking(start_nginx: Start) -> None:
    setup = start_nginx(START, FLAG_TTL_MS=60_000)
    setup.set_flag(Flag(2, 1, 5.0))
    polls = setup.mysql.polls
    assert reads_of(setup, LOW).headers["x-zdm-route"] == "mysql"
    assert "x-zdm-flag" not in reads_of(setup, LOW).headers and "x-zdm-news" not in reads_of(setup, LOW).headers
    assert reads_of(setup, LOW).headers["x-zdm-route"] == "aurora"
    assert setup.mysql.polls == polls


def test_what_is_held_is_bounded(start_nginx: Start) -> None:
    setup = start_nginx(HOLD, MAX_HELD=3, HOLD_MS=4000)
    until(lambda: known(setup) == HOLD)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        writes = [pool.submit(setup.client.post, "/orders", content=b"x") for _ in range(10)]
        until(lambda: sum(write.done() for write in writes) >= 5)  # 7, but workers count without a lock
        full = [write.result() for write in writes if write.done()]
        assert {(answer.status_code, answer.headers["x-zdm-why"]) for answer in full} == {(503, "hold-full")}
        setup.set_flag(OPENED)
        outcomes = [write.result().headers["x-zdm-why"] for write in writes]
    released = outcomes.count("held")
    assert 3 <= released <= 5 and outcomes.count("hold-full") == 10 - released, outcomes
    assert setup.client.post("/orders", content=b"z").status_code == 200
    assert [seen.body for seen in setup.aurora.executed] == [b"x"] * released + [b"z"]


def test_headers_reach_the_origin_as_the_contract_says(start_nginx: Start) -> None:
    setup = start_nginx(START)
    given = {"x-zdm-epoch": "99", "x-zdm-forced": "1", "x-zdm-flag": "{}", "x-forwarded-proto": "https"}
    answer = setup.client.post("/orders", content=b"x", headers={**given, "x-user-id": LOW})
    assert "Secure" not in answer.headers.get("set-cookie", "")
    [seen] = [seen for seen in setup.mysql.executed if seen.method == "POST"]
    until(lambda: known(setup) == START)
    assert "x-zdm-forced" not in seen.headers and "x-zdm-flag" not in seen.headers
    assert seen.headers["x-forwarded-proto"] == "https" and seen.headers["x-zdm-epoch"] in ("0", "1")
    setup.set_flag(Flag(2, 1, 5.0))
    until(lambda: known(setup).weight == 5.0)
    marked = setup.client.post("/orders", content=b"x", headers={"x-forwarded-proto": "https", "x-user-id": LOW})
    assert marked.headers["set-cookie"].endswith("; Secure")


def test_settings_name_every_mistake() -> None:
    with pytest.raises(SettingsError) as error:
        settings_from({"MYSQL_ORIGIN": "mysql-api", "HOLD_MS": "soon", "ZDM_BIND": "8080"})
    for name in ("MYSQL_ORIGIN", "AURORA_ORIGIN", "HOLD_MS", "ZDM_BIND"):
        assert name in str(error.value)


def test_origins_are_encrypted_verified_and_resolved_again(tmp_path: Path) -> None:
    part = parts.require("nginx")
    authorities = tmp_path / "authorities.pem"
    text = "nameserver 10.40.0.2\nnameserver fe80::1%eth0\nsearch x\n"
    settings = settings_from({**ORIGINS, "NGINX_MODULES": part.options["modules"]}, text)
    made = configuration(settings, certificates=authorities)
    assert "resolver 10.40.0.2 [fe80::1];" in made and "server mysql-api.example:443 resolve" in made
    assert made.count("proxy_ssl_verify on;") == made.count("proxy_pass https://") == 4
    assert made.count("proxy_next_upstream off;") == 2, "a write is sent once"
    # nginx itself reads it; the certificates are one of its own making
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null"]
    subprocess.run([*words, "-out", str(authorities)], check=True, capture_output=True)
    file = tmp_path / "nginx.conf"
    file.write_text(made.replace("0.0.0.0:8080", "127.0.0.1:1"))
    words = [*part.command["nginx"], "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "syntax is ok" in done.stderr, done.stderr


def test_one_machine_stands_in_for_names() -> None:
    moved = {"https://mysql-api.example": "http://127.9.0.1:8080"}
    settings = settings_from({**ORIGINS, "ZDM_CONNECT_TO": json.dumps(moved)})
    assert (settings.mysql.host, settings.mysql.port, settings.mysql.tls) == ("127.9.0.1", 8080, False)
    assert settings.aurora.tls and "server 127.9.0.1:8080 max_fails=0;" in configuration(settings)


def test_reads_go_on_while_writes_are_held(start_nginx: Start) -> None:
    setup = start_nginx(Flag(5, 2, 5.0, Writes.HOLD))
    until(lambda: known(setup).writes is Writes.HOLD)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        write = pool.submit(setup.client.post, "/orders", content=b"x")
        assert reads_of(setup, LOW).headers["x-zdm-route"] == "aurora"
        assert reads_of(setup, HIGH).headers["x-zdm-route"] == "mysql"
        setup.set_flag(Flag(6, 2, 5.0, Writes.OPEN, Side.MYSQL))
        assert write.result().headers["x-zdm-route"] == "mysql"
