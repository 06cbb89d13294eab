"""What is told as drift, and what is not. (`tests/workflows/test_commands.py` changes a real stack behind its back.)"""

from __future__ import annotations

import json

from contract.flag import Flag, Side, Writes
from local.engine import Change, Difference
from scripts.environments.drift import DriftResult, items_of
from scripts.environments.drift_cloud import of_cluster, of_instance
from scripts.environments.drift_databases import copies, writer

URN = "urn:pulumi:dev::zdm::aws:rds/instance:Instance::source-db"


def change(op: str, *differences: Difference) -> Change:
    return Change(op, "aws:rds/instance:Instance", "source-db", URN, tuple(d.path for d in differences), differences)


def test_what_is_not_deployed_is_told_apart_by_property() -> None:
    size, tags = Difference("allocatedStorage", 20, 40), Difference("tags.a", None, "b")
    [first, second] = items_of([change("update", size, tags)], [change("update", tags)])
    assert (first.property, first.origin, first.expected, first.real) == ("allocatedStorage", "drift", 40, 20)
    assert (second.property, second.origin) == ("tags.a", "not deployed")
    assert [item.what for item in items_of([change("create")], [])] == ["is gone"]
    assert [item.origin for item in items_of([change("delete-replaced")], [change("create-replacement")])] == [
        "not deployed"
    ]


def test_the_snapshots_of_a_deployment_are_no_drift_and_their_role_is() -> None:
    def gone(kind: str, owner: str = "zdm:index:Snapshots") -> Change:
        return Change("delete", kind, "snapshots-x", f"urn:pulumi:dev::zdm::{owner}${kind}::snapshots-x", (), ())

    taken = gone("aws:rds/clusterSnapshot:ClusterSnapshot")
    assert items_of([taken, gone("aws:ebs/snapshot:Snapshot")], [taken]) == []
    role, other = gone("aws:iam/role:Role"), gone("aws:rds/snapshot:Snapshot", "zdm:index:SourceMySQL")
    assert [item.what for item in items_of([role, other], [role, other])] == ["is not in the program"] * 2


def test_a_result_names_what_differs_and_hides_nothing_but_long_values() -> None:
    result = DriftResult("dev", tuple(items_of([change("update", Difference("p|q", "a" * 99, 1))], [])), 7, 1.0)
    assert not result.ok and "source-db" in result.summary
    assert json.loads(json.dumps(result.to_json()))["items"][0]["real"] == "a" * 99
    assert "| `drift` |" in result.markdown() and "aaa" not in result.markdown() and "p\\|q" in result.markdown()
    assert DriftResult("dev", (), 7, 1.0).ok


def test_changes_that_wait_are_drift_and_a_rotating_password_is_none() -> None:
    waiting = {
        "DBInstanceIdentifier": "shop",
        "PendingModifiedValues": {"DBInstanceClass": "db.r7g.large", "MasterUserPassword": "****"},
        "DBParameterGroups": [
            {"DBParameterGroupName": "g", "ParameterApplyStatus": "pending-reboot"},
            {"DBParameterGroupName": "h", "ParameterApplyStatus": "in-sync"},
        ],
    }
    assert [(item.property, item.real) for item in of_instance(waiting)] == [
        ("DBInstanceClass", "as before"),
        ("g", "pending-reboot"),
    ]
    cluster = {
        "DBClusterIdentifier": "aurora",
        "DBClusterParameterGroup": "c",
        "DBClusterMembers": [
            {"DBInstanceIdentifier": "w", "DBClusterParameterGroupStatus": "in-sync"},
            {"DBInstanceIdentifier": "r", "DBClusterParameterGroupStatus": "pending-reboot"},
        ],
    }
    assert [(item.name, item.property) for item in of_cluster(cluster)] == [("r", "c")]


def test_a_stale_flag_counts_where_it_says_something_else() -> None:
    newest, older, other = Flag(v=3, epoch=1), Flag(v=1), Flag(v=1, weight=5)
    assert copies(newest, newest, newest, older) == copies(newest, newest, newest, None) == []
    assert [item.name for item in copies(newest, older, newest, other)] == ["mysql", "router"]
    there = Flag(v=4, epoch=2, weight=100, mode=Side.AURORA)
    assert copies(there, newest, there, there) == []


def test_mysql_is_read_only_exactly_where_aurora_writes() -> None:
    mysql, aurora = Flag(mode=Side.MYSQL), Flag(mode=Side.AURORA, weight=100)
    assert writer(mysql, False) == writer(aurora, True) == []
    assert writer(Flag(writes=Writes.REJECT), True) == []
    assert [item.property for item in (*writer(mysql, True), *writer(aurora, False))] == ["read_only", "read_only"]
