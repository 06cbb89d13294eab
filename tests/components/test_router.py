"""The router's documents and the rules on its arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base import ArgumentError
from components.place import Place
from components.router import CloudflareRouter, Firewall, NginxRouter, RouterArgs, nginx, script, waf, worker

ACCOUNT = "0" * 32
PLACE = Place(
    prefix="zdm-dev", account_id="123456789012", region="us-east-1", vpc_id="vpc-1", public_subnet_ids=["a", "b"],
    private_subnet_ids=["c", "d"], cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/c", cluster_name="c",
    secrets_key_arn="arn:aws:kms:us-east-1:123456789012:key/s", logs_key_arn="arn:aws:kms:us-east-1:123456789012:key/l",
    edge_prefix_list_id="pl-1", zone_id="1" * 32, alarm_topic_arn="arn:aws:sns:us-east-1:123456789012:t",
)  # fmt: skip
NGINX = NginxRouter(PLACE, "zdm-router:1", "arn:aws:secretsmanager:us-east-1:123456789012:secret:force-AbCdEf")
WORKER = CloudflareRouter(ACCOUNT, "zdm-dev-router")


def args(**changes: Any) -> RouterArgs:
    values: dict[str, Any] = {
        "zone_id": "1" * 32, "host": "shop.example", "mysql_origin": "https://mysql-api.example", "salt": "zdm-dev",
        "aurora_origin": "https://aurora-api.example", "force_token": "t", "kind": WORKER,
    }  # fmt: skip
    return RouterArgs(**{**values, **changes})


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: args(mysql_origin="http://mysql-api.example"), "RouterArgs.mysql_origin"),
        (lambda: args(aurora_origin="aurora-api.example"), "RouterArgs.aurora_origin"),
        (lambda: args(hold_ms=999), "RouterArgs.hold_ms"),
        (lambda: CloudflareRouter(ACCOUNT, "x", sampling=1.1), "CloudflareRouter.sampling"),
        (lambda: NginxRouter(PLACE, "", "arn"), "NginxRouter.image"),
        (lambda: NginxRouter(PLACE, "i", "arn", cpu=300), "NginxRouter.cpu"),
        (lambda: NginxRouter(PLACE, "i", "arn", cpu=1024), "NginxRouter.memory"),
        (lambda: NginxRouter(PLACE, "i", "arn", count=0), "NginxRouter.count"),
        (lambda: Firewall(operator_networks=["office"]), "Firewall.operator_networks"),
        (lambda: Firewall(limited_paths=["login"]), "Firewall.limited_paths"),
        (lambda: Firewall(requests=0), "Firewall.requests"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        make()


@pytest.mark.parametrize("name", [worker.MODULE, worker.OBJECT_MODULE])
def test_a_script_is_one_text_with_what_it_shares(name: str) -> None:
    text = script.bundled(name)
    assert "import " not in text and "function parseFlag(" in text and text.count("export default") == 1
    assert ("export class FlagObject" in text) is (name == worker.OBJECT_MODULE)


def test_a_script_that_shares_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "x.mjs").write_text("export default {};\n")
    monkeypatch.setattr(script, "HERE", tmp_path)
    with pytest.raises(ValueError, match="0 times"):
        script.bundled("x.mjs")


def test_another_object_is_another_script() -> None:
    first, second = (worker.object_script_name("zdm-dev-router", text) for text in ("a", "b"))
    assert first != second and first == worker.object_script_name("zdm-dev-router", "a")
    assert len(worker.object_script_name("x" * 49, "a")) <= 63, "a script's name is a label in DNS as well"


def test_tokens_are_secret_and_the_rest_is_plain() -> None:
    with_object = CloudflareRouter(ACCOUNT, "x", admin_token="a")
    assert set(worker.bindings(args(), WORKER)) == {
        "MYSQL_ORIGIN", "AURORA_ORIGIN", "FLAG_KEY", "SALT", "HOLD_MS", "FORCE_TOKEN",
    }  # fmt: skip
    assert worker.bindings(args(), with_object)["ADMIN_TOKEN"] == "a"
    assert {name for name in worker.bindings(args(), with_object) if "TOKEN" in name} == set(worker.SECRET)


def test_nginx_is_told_all_and_knows_no_secret() -> None:
    text = nginx.container_definitions("router", args(), NGINX, secret_arn=str(NGINX.force_secret_arn), log_group="g")
    [container] = json.loads(text)
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert environment["MYSQL_ORIGIN"] == "https://mysql-api.example" and environment["HOLD_MS"] == "30000"
    assert container["secrets"] == [{"name": "FORCE_TOKEN", "valueFrom": f"{NGINX.force_secret_arn}:password::"}]
    assert container["readonlyRootFilesystem"] and container["user"] != "0" and "FORCE_TOKEN" not in environment
    assert container["stopTimeout"] <= 120, "Fargate's most"
    assert args().hold_ms < container["stopTimeout"] * 1000


@given(st.sampled_from([256, 512, 1024, 2048, 4096]), st.integers(2, 8))
def test_held_writes_fit_into_the_memory(cpu: int, times: int) -> None:
    memory = NginxRouter(PLACE, "i", "arn", cpu=cpu, memory=cpu * times).memory
    assert nginx.max_held(memory) > 900 and nginx.max_held(memory) * nginx.HELD_KIB / 1024 <= memory - 128


def test_the_policy_is_sound() -> None:
    from tests.policy_lint import assert_sound

    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:force-AbCdEf"
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/zdm-router:1"
    logs = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/zdm-dev/router"
    made = nginx.execution_policy(image, arn, str(PLACE.secrets_key_arn), logs)
    assert_sound(made)
    assert "ecr:BatchGetImage" in made and "ecr:" not in nginx.execution_policy("zdm-router:1", arn, "k", logs)


def balanced(expression: str) -> bool:
    """Outside of strings, every bracket is closed by its own kind."""
    plain, opened = "".join(expression.split('"')[::2]), []
    for letter in plain:
        if letter in "({[":
            opened.append(letter)
        elif letter in ")}]" and (not opened or opened.pop() + letter not in ("()", "{}", "[]")):
            return False
    return not opened and expression.count('"') % 2 == 0


def test_rules_name_the_shop_and_leave_other_hosts_alone() -> None:
    firewall = Firewall(operator_networks=["203.0.113.0/24", "2001:db8::/32"])
    rules = waf.custom_rules("shop.example", firewall)
    for text in [*(expression for _, expression in rules), waf.rate_limit("shop.example", firewall)]:
        assert text.startswith('(http.host eq "shop.example" and ') and balanced(text), text
        assert len(text) <= 4096, "Cloudflare's longest expression"
    assert len({waf._ref(what) for what, _ in rules}) == len(rules) == 5, "the smallest plan has five custom rules"
    elsewhere = dict(rules)["operating the router from elsewhere"]
    assert "not ip.src in {203.0.113.0/24 2001:db8::/32}" in elsewhere and waf.ADMIN_PATH in elsewhere
    assert len(waf.custom_rules("shop.example", Firewall())) == 4
