"""The servers of a refresh in RDS: looked at, restored beside, swapped by renaming, removed.

Invariants:
- Each `…_step` looks, does at most one thing, and says whether it is done: killed and called again, it goes on.
- A server's name is what its endpoint follows (Amazon Aurora User Guide, "Renaming …"; RDS User Guide, "Renaming a DB
  instance"), and what the program's state knows it by: so renaming is the whole swap, and the program stays true.
- The outage of a cluster is the time between two renames; instances, whose names nobody connects to, follow after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.clients.rds import Cluster, Endpoint, Instance, Rds, tag_list
from scripts.context import Context
from scripts.environments.refresh_phases import ENDPOINT, PROTECT, REFRESH, STEPS, Phase, Seen
from scripts.environments.rekey import Rekeyed, account_of
from scripts.environments.restore import (
    STEP,
    AtTime,
    AuroraBeside,
    FromSnapshot,
    Master,
    MySQLBeside,
    Origin,
    member_request,
    remove_cluster,
    remove_instance,
    settled,
    suffix,
)
from scripts.environments.snapshot_set import AURORA, MYSQL
from scripts.errors import UsageError, ZdmError


def _seen(role: str, name: str, running: Any, beside: list[Any], old: list[str], way: Sequence[str]) -> Seen:
    """From names and tags. `way`: the ids of what was made on the way to a copy."""
    if len(beside) > 1:
        names = ", ".join(one.name for one in beside)
        raise ZdmError(f"there are several copies beside {name}: {names}. Delete all but one in RDS")
    if running is not None and running.tags.get(REFRESH):
        step = STEPS.get(running.tags.get(STEP, ""), Phase.READY)
        return Seen(role, name, max(step, Phase.SWAPPING), running.tags[REFRESH])
    if beside:
        tags = beside[0].tags
        step = STEPS.get(tags.get(STEP, ""), Phase.RESTORING)
        return Seen(role, name, step if running is not None else Phase.SWAPPING, tags[REFRESH])
    if running is not None:
        return Seen(role, name, Phase.RESTORING, way[0]) if way else Seen(role, name, Phase.NOTHING)
    if old:  # RDS is between two names
        return Seen(role, name, Phase.SWAPPING, old[0].rpartition("-")[2])
    raise ZdmError(f"{name} is not there: bring the stack up first, or again with --refresh")


class Servers:
    """What both engines have in common. `name` is the running server's."""

    role: str
    name: str

    def __init__(self, rds: Rds, context: Context) -> None:
        self.rds, self.context = rds, context
        self._copies: dict[str, AuroraBeside | MySQLBeside] = {}

    def _master(self, running: Cluster | Instance, secret: str) -> Master:
        """A secret that RDS keeps, as the running one has; else the password of the stack's own secret."""
        if running.secret:
            return Master(key=str((running.raw.get("MasterUserSecret") or {}).get("KmsKeyId") or ""))
        return Master(self.context.account(secret).password)

    def _tags(self, running: Cluster | Instance, tags: Mapping[str, str]) -> dict[str, str]:
        protect = {PROTECT: "true"} if running.raw.get("DeletionProtection") else {}
        return {**tags, **protect}

    def there(self) -> Cluster | Instance:
        """What bears the name now."""
        raise NotImplementedError

    def copy(self, seen: Seen) -> Cluster | Instance:
        """The refreshed server, wherever it is."""
        raise NotImplementedError

    def step(self, seen: Seen, step: str) -> None:
        """Notes how far it is."""
        self.rds.tag(self.copy(seen).arn, {STEP: step})

    def tags_of(self, seen: Seen) -> list[Mapping[str, str]]:
        """The tags of whatever there is of a refresh."""
        raise NotImplementedError

    def clean(self) -> None:
        """Takes the traces of the refresh away, the one that tells of it last."""
        there = self.there()
        for member in there.members if isinstance(there, Cluster) else ():
            instance = self.rds.instance(member.name)
            if instance is not None:
                self.rds.untag(instance.arn, [key for key in instance.tags if key.startswith("zdm:")])
        own = [key for key in there.tags if key.startswith("zdm:") and key != REFRESH]
        self.rds.untag(there.arn, own)
        self.rds.untag(there.arn, [REFRESH])


class ClusterServers(Servers):
    """Aurora."""

    role = AURORA

    def __init__(self, rds: Rds, context: Context) -> None:
        super().__init__(rds, context)
        self.name = context.outputs.target.cluster

    def look(self) -> Seen:
        found = {one.name: one for one in self.rds.clusters()}
        beside = [c for n, c in found.items() if n.startswith(f"{self.name}-new-") and c.tags.get(REFRESH)]
        old = [n for n in found if n.startswith(f"{self.name}-old-")]
        way = _on_the_way(self.name, [one.name for one in self.rds.snapshots("cluster")])
        return _seen(self.role, self.name, found.get(self.name), beside, old, way)

    def there(self) -> Cluster:
        found = self.rds.cluster(self.name)
        if found is None:
            raise ZdmError(f"the cluster {self.name} is not there: ./zdm up {self.context.outputs.stack} --refresh")
        return found

    def copy(self, seen: Seen) -> Cluster:
        name = self.name if seen.phase >= Phase.SWAPPED else seen.new
        return self.rds.cluster(name) or self.there()

    def tags_of(self, seen: Seen) -> list[Mapping[str, str]]:
        found = [
            self.rds.cluster(seen.new),
            self.rds.cluster(self.name),
            self.rds.snapshot("cluster", f"{seen.new}-copy"),
        ]
        return [one.tags for one in found if one]

    def check(self) -> None:
        """Raises `UsageError` where the running one cannot be swapped."""
        running = self.there()
        if str(running.raw.get("ActivityStreamStatus") or "stopped") != "stopped":
            raise UsageError(
                f"{self.name} has an activity stream, which belongs to this very cluster: first "
                f"./zdm up {self.context.outputs.stack} -c aurora.activityStream=off"
            )
        if not running.writer or self.rds.instance(running.writer) is None:
            raise UsageError(f"{self.name} has no writer: ./zdm up {self.context.outputs.stack} --refresh")

    def restore_step(self, seen: Seen, origin: Origin, tags: Mapping[str, str]) -> tuple[bool, str]:
        """One step towards the copy beside."""
        running = self.there()
        writer = self.rds.instance(running.writer)
        if writer is None:
            raise ZdmError(f"{self.name} has no writer: ./zdm up {self.context.outputs.stack} --refresh")
        master = self._master(running, self.context.outputs.target.admin_secret)
        own = self._tags(running, tags)
        rekeyed = None
        if isinstance(origin, FromSnapshot) and account_of(origin.arn) not in ("", account_of(running.arn)):
            key = str(running.raw.get("KmsKeyId") or "")
            rekeyed = Rekeyed(self.rds, "cluster", seen.new, origin, key, own)
        if rekeyed is not None and self.rds.cluster(seen.new) is None:
            ready, text = rekeyed.advance()
            if not ready:
                return False, text
            origin = rekeyed.ready
        if seen.new not in self._copies:
            self._copies[seen.new] = AuroraBeside(self.rds, running, writer, seen.new, origin, own, master)
        ready, text = self._copies[seen.new].advance()
        if ready and rekeyed is not None:
            return rekeyed.clean()
        return ready, text

    def complete_step(self, seen: Seen) -> tuple[bool, str]:
        """One step towards the readers and custom endpoints that the running one has."""
        running, new = self.there(), self.copy(seen)
        own = {key: value for key, value in new.tags.items() if not key.startswith(ENDPOINT)}
        for member in running.members:
            if not member.name.startswith(f"{self.name}-"):
                continue  # one that autoscaling made: it makes another
            name = seen.new + suffix(self.name, member.name)
            there = self.rds.instance(name)
            if there is None:
                model = self.rds.instance(member.name)
                if model is not None:
                    request = member_request(model, seen.new, name, own)
                    self.rds.must("create_db_instance", f"instance {name}", **request)
                return False, f"{name} asked for"
            if not settled(f"the instance {name}", there.status):
                return False, f"{name} is {there.status}"
        wanted = {ENDPOINT + one.name: _endpoint_tag(one) for one in self.rds.endpoints(self.name)}
        if missing := {key: value for key, value in wanted.items() if new.tags.get(key) != value}:
            self.rds.tag(new.arn, missing)
        return True, "complete"

    def swap_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of the swap."""
        running, new, old = (self.rds.cluster(name) for name in (self.name, seen.new, seen.old))
        if running is not None and not running.tags.get(REFRESH):
            return self._rename(running, seen.old)
        if running is None:
            if new is None:
                return False, f"{self.name} is being renamed"
            if old is None or not settled(f"the cluster {seen.old}", old.status):
                return False, f"{seen.old} is being renamed"
            return self._rename(new, self.name)
        if not settled(f"the cluster {self.name}", running.status):
            return False, f"{self.name} is {running.status}"
        for cluster, before, after in ((old, self.name, seen.old), (running, seen.new, self.name)):
            done, text = self._rename_members(cluster, before, after)
            if not done:
                return False, text
        return self._finish(running, old)

    def remove_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of deleting the old one."""
        return remove_cluster(self.rds, seen.old)

    def discard_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of deleting the copy beside."""
        self.rds.forget("cluster", f"{seen.new}-copy")
        return remove_cluster(self.rds, seen.new)

    def _rename(self, cluster: Cluster, name: str) -> tuple[bool, str]:
        if settled(f"the cluster {cluster.name}", cluster.status):
            self.rds.must("modify_db_cluster", f"cluster {cluster.name}", DBClusterIdentifier=cluster.name,
                          NewDBClusterIdentifier=name, ApplyImmediately=True)  # fmt: skip
        return False, f"{cluster.name} becomes {name}"

    def _rename_members(self, cluster: Cluster | None, before: str, after: str) -> tuple[bool, str]:
        """Instances named after another name of their cluster. `before` of the old one is a part of its new name."""
        for member in cluster.members if cluster else ():
            renamed = after.startswith(before) and member.name.startswith(f"{after}-")
            if renamed or not member.name.startswith(f"{before}-"):
                continue
            there = self.rds.instance(member.name)
            name = after + suffix(before, member.name)
            if there is not None and settled(f"the instance {member.name}", there.status):
                self.rds.must("modify_db_instance", f"instance {member.name}", DBInstanceIdentifier=member.name,
                              NewDBInstanceIdentifier=name, ApplyImmediately=True)  # fmt: skip
            return False, f"{member.name} becomes {name}"
        for member in cluster.members if cluster else ():
            there = self.rds.instance(member.name)
            if there is None or not settled(f"the instance {member.name}", there.status):
                return False, f"{member.name} is {there.status if there else 'being renamed'}"
        return True, ""

    def _finish(self, running: Cluster, old: Cluster | None) -> tuple[bool, str]:
        """Custom endpoints, the proxy's target, protection: what belonged to the old one by its name."""
        before = {one.name for one in self.rds.endpoints(old.name)} if old else set()
        own = {one.name for one in self.rds.endpoints(self.name)}
        for key, value in running.tags.items():
            name = key.removeprefix(ENDPOINT)
            if not key.startswith(ENDPOINT) or name in own:
                continue
            if name in before:
                self.rds.call("delete_db_cluster_endpoint", f"endpoint {name}", DBClusterEndpointIdentifier=name)
                return False, f"the endpoint {name} leaves the old cluster"
            kind, static, excluded = _endpoint_of(value)
            self.rds.must(
                "create_db_cluster_endpoint", f"endpoint {name}", DBClusterIdentifier=self.name,
                DBClusterEndpointIdentifier=name, EndpointType=kind, StaticMembers=static or None,
                ExcludedMembers=excluded or None, Tags=tag_list(_plain(running.tags)),
            )  # fmt: skip
            return False, f"the endpoint {name} comes to the new cluster"
        self._target_of_proxy()
        if running.tags.get(PROTECT) and not running.raw.get("DeletionProtection"):
            self.rds.must("modify_db_cluster", f"cluster {self.name}", DBClusterIdentifier=self.name,
                          DeletionProtection=True, ApplyImmediately=True)  # fmt: skip
        return True, "swapped"

    def _target_of_proxy(self) -> None:
        """A proxy knows its cluster; it is told anew, under the same name."""
        host = self.context.outputs.target.proxy_host
        if not host:
            return
        for proxy in self.rds.pages("describe_db_proxies", "DBProxies", "proxies"):
            if proxy.get("Endpoint") != host:
                continue
            name = proxy["DBProxyName"]
            self.rds.call("deregister_db_proxy_targets", f"proxy {name}", DBProxyName=name,
                          DBClusterIdentifiers=[self.name])  # fmt: skip
            self.rds.must("register_db_proxy_targets", f"proxy {name}", DBProxyName=name,
                          DBClusterIdentifiers=[self.name])  # fmt: skip


class InstanceServers(Servers):
    """MySQL on RDS."""

    role = MYSQL

    def __init__(self, rds: Rds, context: Context) -> None:
        super().__init__(rds, context)
        self.name = context.outputs.source.instance

    def look(self) -> Seen:
        found = {one.name: one for one in self.rds.instances() if not one.raw.get("DBClusterIdentifier")}
        beside = [
            one
            for name, one in found.items()
            if name.startswith(f"{self.name}-new-") and one.tags.get(REFRESH) and not name.endswith("-past")
        ]
        old = [name for name in found if name.startswith(f"{self.name}-old-")]
        way = _on_the_way(self.name, [*found, *(one.name for one in self.rds.snapshots("instance"))])
        return _seen(self.role, self.name, found.get(self.name), beside, old, way)

    def there(self) -> Instance:
        found = self.rds.instance(self.name)
        if found is None:
            raise ZdmError(f"the instance {self.name} is not there: ./zdm up {self.context.outputs.stack} --refresh")
        return found

    def copy(self, seen: Seen) -> Instance:
        name = self.name if seen.phase >= Phase.SWAPPED else seen.new
        return self.rds.instance(name) or self.there()

    def tags_of(self, seen: Seen) -> list[Mapping[str, str]]:
        servers = [self.rds.instance(name) for name in (seen.new, self.name, f"{seen.new}-past")]
        copies = [self.rds.snapshot("instance", f"{seen.new}-{made}") for made in ("copy", "past")]
        return [one.tags for one in (*servers, *copies) if one]

    def check(self) -> None:
        """Raises `ZdmError` where the running one is not there."""
        self.there()

    def restore_step(self, seen: Seen, origin: Origin, tags: Mapping[str, str]) -> tuple[bool, str]:
        """One step towards the copy beside."""
        running = self.there()
        master = self._master(running, self.context.outputs.source.admin_secret)
        own = self._tags(running, tags)
        key = str(running.raw.get("KmsKeyId") or "")
        rekeyed = Rekeyed(self.rds, "instance", seen.new, origin, key, own, running)
        needed = self._key_of(origin) != key
        if needed and self.rds.instance(seen.new) is None:
            ready, text = rekeyed.advance()
            if not ready:
                return False, text
        if needed:
            origin = rekeyed.ready
        if seen.new not in self._copies:
            self._copies[seen.new] = MySQLBeside(self.rds, running, seen.new, origin, own, master)
        ready, text = self._copies[seen.new].advance()
        if ready and needed:
            return rekeyed.clean()
        return ready, text

    def _key_of(self, origin: Origin) -> str:
        """The key that a restore would have."""
        if isinstance(origin, AtTime):
            server = self.rds.instance(origin.source)
            return str(server.raw.get("KmsKeyId") or "") if server else ""
        snapshot = self.rds.snapshot("instance", origin.arn)
        return snapshot.key if snapshot else ""

    def complete_step(self, seen: Seen) -> tuple[bool, str]:
        """It has no readers."""
        return True, "complete"

    def swap_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of the swap."""
        running, new, old = (self.rds.instance(name) for name in (self.name, seen.new, seen.old))
        if running is not None and not running.tags.get(REFRESH):
            return self._rename(running, seen.old)
        if running is None:
            if new is None:
                return False, f"{self.name} is being renamed"
            if old is None or not settled(f"the instance {seen.old}", old.status):
                return False, f"{seen.old} is being renamed"
            return self._rename(new, self.name)
        if not settled(f"the instance {self.name}", running.status):
            return False, f"{self.name} is {running.status}"
        if running.tags.get(PROTECT) and not running.raw.get("DeletionProtection"):
            self.rds.must("modify_db_instance", f"instance {self.name}", DBInstanceIdentifier=self.name,
                          DeletionProtection=True, ApplyImmediately=True)  # fmt: skip
        return True, "swapped"

    def remove_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of deleting the old one."""
        return remove_instance(self.rds, seen.old)

    def discard_step(self, seen: Seen) -> tuple[bool, str]:
        """One step of deleting the copy beside, and what was made on the way to it."""
        for name in (f"{seen.new}-copy", f"{seen.new}-past"):
            self.rds.forget("instance", name)
        gone = [remove_instance(self.rds, name) for name in (f"{seen.new}-past", seen.new)]
        return all(done for done, _ in gone), "; ".join(text for done, text in gone if not done)

    def _rename(self, instance: Instance, name: str) -> tuple[bool, str]:
        if settled(f"the instance {instance.name}", instance.status):
            self.rds.must("modify_db_instance", f"instance {instance.name}", DBInstanceIdentifier=instance.name,
                          NewDBInstanceIdentifier=name, ApplyImmediately=True)  # fmt: skip
        return False, f"{instance.name} becomes {name}"


def _on_the_way(name: str, names: Sequence[str]) -> list[str]:
    """The ids of refreshes whose copies or moments are there."""
    made = (re.fullmatch(rf"{re.escape(name)}-new-(\d+)-(?:copy|past)", one) for one in names)
    return sorted({found[1] for found in made if found})


def _endpoint_tag(one: Endpoint) -> str:
    return f"{one.kind} static={' '.join(one.static)} excluded={' '.join(one.excluded)}".strip()


def _endpoint_of(tag: str) -> tuple[str, list[str], list[str]]:
    kind, _, rest = tag.partition(" static=")
    static, _, excluded = rest.partition(" excluded=")
    return kind, static.split(), excluded.split()


def _plain(tags: Mapping[str, str]) -> dict[str, str]:
    """Without those of a refresh."""
    return {key: value for key, value in tags.items() if not key.startswith("zdm:")}
