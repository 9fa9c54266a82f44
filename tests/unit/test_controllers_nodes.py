"""What controllers do about nodes: ranges, heartbeats, taints, evictions, pods left behind, accounts."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.timing import LAB, ROWS, UPSTREAM
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import CONFIG_MAPS, EVENTS, LEASES, NODES, PODS, SERVICE_ACCOUNTS
from netlab.controllers import ControllersConfig
from netlab.controllers import node_health as health
from netlab.controllers.context import Context
from netlab.controllers.manager import CONTROLLERS, load, run
from netlab.controllers.node_ipam import next_free
from netlab.controllers.pod_gc import plan as sweep
from netlab.controllers.taint_eviction import tolerated_for

QUICK = dataclasses.replace(
    LAB,
    node_monitor_period=0.01,
    node_monitor_grace=0.15,
    node_startup_grace=0.3,
    node_eviction_interval=0.0,
    pod_gc_period=0.01,
    pod_gc_quarantine=0.02,
)


def test_every_period_has_both_values() -> None:
    names = [name for name, *_ in ROWS]
    assert names == [field.name for field in dataclasses.fields(UPSTREAM)]
    assert (UPSTREAM.node_lease_duration, UPSTREAM.node_monitor_grace) == (40.0, 50.0)


@pytest.mark.parametrize(
    ("cluster", "mask", "used", "free"),
    [
        ("10.244.0.0/16", 24, [], "10.244.0.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.0/22"], "10.244.4.0/24"),
        ("10.244.0.0/16", 24, ["10.244.0.128/25"], "10.244.1.0/24"),
        ("10.244.0.0/16", 24, ["192.168.0.0/24"], "10.244.0.0/24"),
        ("10.244.0.0/24", 25, ["10.244.0.0/25", "10.244.0.128/25"], None),
        ("10.0.0.0/8", 24, ["0.0.0.0/1"], None),
        ("fd00::/48", 64, ["fd00::/64"], "fd00:0:0:1::/64"),
    ],
)
def test_the_next_free_range(cluster: str, mask: int, used: list[str], free: str | None) -> None:
    assert next_free(cluster, mask, used) == free


@pytest.mark.parametrize(("wish", "free"), [(3, "10.244.3.0/24"), (1, "10.244.0.0/24"), (300, "10.244.0.0/24")])
def test_a_node_of_the_topology_gets_its_own_range_where_that_is_free(wish: int, free: str) -> None:
    assert next_free("10.244.0.0/16", 24, ["10.244.1.0/24"], wish) == free


def node(name: str = "n1", ready: str | None = "True", **spec: Any) -> Obj:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "lastHeartbeatTime": "t"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": spec,
        "status": {"conditions": conditions},
    }


def keys(taints: list[Obj] | None) -> list[str] | None:
    return None if taints is None else sorted(f"{t['key'].rpartition('/')[2]}:{t['effect']}" for t in taints)


CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
MINE = {"key": "dedicated", "value": "x", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("one", "evict", "expected"),
    [
        (node(), True, None),
        (node(ready="False"), True, ["not-ready:NoExecute", "not-ready:NoSchedule"]),
        (node(ready="Unknown"), True, ["unreachable:NoExecute", "unreachable:NoSchedule"]),
        (node(ready="Unknown"), False, ["unreachable:NoSchedule"]),
        (node(unschedulable=True), True, ["unschedulable:NoSchedule"]),
        (node(taints=[CORDONED]), True, []),
        (node(taints=[MINE]), True, None),
        (node(taints=[MINE, {"key": health.UNREACHABLE, "effect": "NoExecute"}]), True, ["dedicated:NoExecute"]),
    ],
)
def test_taints_follow_conditions(one: Obj, evict: bool, expected: list[str] | None) -> None:
    assert keys(health.taints(one, evict=evict, now=0.0)) == expected


@pytest.mark.parametrize(
    ("states", "stopped"),
    [
        (["True", "True", "Unknown"], False),
        (["Unknown"], True),
        (["Unknown", "Unknown", "Unknown", "True"], True),
        (["Unknown", "Unknown", "True"], False),
        ([], False),
    ],
)
def test_nobody_is_evicted_when_it_is_rather_us_who_are_cut_off(states: list[str], stopped: bool) -> None:
    assert health.eviction_stopped([node(f"n{i}", state) for i, state in enumerate(states)]) is stopped


def test_a_heartbeat_counts_when_it_moves_whatever_its_time_says() -> None:
    lease = {"spec": {"renewTime": "1970-01-01T00:00:00Z"}}
    first = health.heartbeat(node(), lease, None, 100.0)
    assert health.heartbeat(node(), lease, first, 105.0).at == 100.0
    lease = {"spec": {"renewTime": "1970-01-01T00:00:01Z"}}
    assert health.heartbeat(node(), lease, first, 105.0).at == 105.0


def test_silence_in_upstreams_words() -> None:
    said = {c["type"]: c for c in health.silent_conditions(node(), 0.0)}
    assert (said["Ready"]["status"], said["Ready"]["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert said["Ready"]["message"] == "Kubelet stopped posting node status."
    assert said["MemoryPressure"]["reason"] == "NodeStatusNeverUpdated"


UNREACHABLE = {"key": health.UNREACHABLE, "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0.0),
        ([{"operator": "Exists"}], None),
        ([{"key": health.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}], 30.0),
        ([{"key": health.UNREACHABLE, "operator": "Exists", "tolerationSeconds": -1}], 0.0),
        ([{"key": "other", "operator": "Exists"}], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Obj], seconds: float | None) -> None:
    assert tolerated_for({"spec": {"tolerations": tolerations}}, [UNREACHABLE]) == seconds


def pod(name: str, on: str = "", *, phase: str = "Running", deleting: bool = False, **spec: Any) -> Obj:
    data: Obj = {"name": name, "namespace": "default", "uid": name}
    if deleting:
        data["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}
    full = {**spec} | ({"nodeName": on} if on else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": data,
        "spec": full,
        "status": {"phase": phase, "conditions": [ready]},
    }


def test_what_the_pod_garbage_collector_takes() -> None:
    out = node("n2", ready="Unknown", taints=[{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}])
    pods = [
        pod("runs", "n1"),
        pod("lost", "gone"),
        pod("unbound", deleting=True),
        pod("waiting"),
        pod("stuck", "n2", deleting=True),
        pod("done1", "n1", phase="Succeeded"),
        pod("done2", "n1", phase="Failed"),
    ]
    pods[5]["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    pods[6]["metadata"]["creationTimestamp"] = "2024-01-02T00:00:00Z"
    doomed = sweep(pods, {"n1": node("n1"), "n2": out}, {"gone"}, threshold=1)
    assert [meta.name(d.pod) for d in doomed] == ["lost", "unbound", "stuck", "done1"]


Start = Callable[..., FakeApi]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    tasks: list[asyncio.Task[None]] = []

    def make(*names: str, **config: Any) -> FakeApi:
        api = FakeApi()
        full = ControllersConfig(controllers=names, timing=QUICK, root_ca="PEM", **config)
        tasks.append(asyncio.create_task(run(Client(api), full)))
        return api

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nodes_get_ranges_that_are_theirs_alone(start: Start) -> None:
    api = start("node-ipam")
    api.add(node("old", podCIDR="10.244.1.0/24", podCIDRs=["10.244.1.0/24"]))
    for number in range(5):
        api.add(node(f"n{number}"))
    await eventually(lambda: all(n["spec"].get("podCIDR") for n in api.objects(NODES)), "all have one")
    ranges = [n["spec"]["podCIDR"] for n in api.objects(NODES)]
    assert len(set(ranges)) == 6
    assert sorted(ranges)[0] == "10.244.0.0/24"
    freed = api.find(NODES, "n0")["spec"]["podCIDR"]
    api.remove(NODES, "n0")
    api.add(node("late"))
    await eventually(lambda: bool(api.find(NODES, "late")["spec"].get("podCIDR")), "the late one too")
    assert api.find(NODES, "late")["spec"]["podCIDR"] == freed


async def test_a_full_range_is_said_and_waited_for(start: Start) -> None:
    api = start("node-ipam", cluster_cidr="10.244.0.0/24")
    api.add(node("first"))
    await eventually(lambda: bool(api.find(NODES, "first")["spec"].get("podCIDR")), "first")
    api.add(node("second"))
    await eventually(lambda: bool(api.objects(EVENTS)), "said")
    assert api.objects(EVENTS)[0]["reason"] == "CIDRNotAvailable"
    api.remove(NODES, "first")
    await eventually(lambda: bool(api.find(NODES, "second")["spec"].get("podCIDR")), "second")


async def test_a_node_gets_a_range_of_each_family(start: Start) -> None:
    api = start("node-ipam", cluster_cidr="10.244.0.0/16,fd00:10:244::/56", node_mask6=64)
    for name in ("a", "b"):
        api.add(node(name))
    await eventually(lambda: all(n["spec"].get("podCIDR") for n in api.objects(NODES)), "all have one")
    ranges = sorted(tuple(n["spec"]["podCIDRs"]) for n in api.objects(NODES))
    assert ranges == [("10.244.0.0/24", "fd00:10:244::/64"), ("10.244.1.0/24", "fd00:10:244:1::/64")]
    assert {n["spec"]["podCIDR"] for n in api.objects(NODES)} == {"10.244.0.0/24", "10.244.1.0/24"}


class Beats:
    """Renews leases of the named nodes."""

    def __init__(self, api: FakeApi, *names: str) -> None:
        self.alive = set(names)
        self._api, self._count = api, 0
        for name in names:
            lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": "0"}}
            api.add({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._count += 1
            for name in self.alive:
                self._api.modify(LEASES, f"kube-node-lease/{name}", {"spec": {"renewTime": str(self._count)}})
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._task.cancel()


async def test_a_silent_node_loses_its_pods_and_comes_back(start: Start) -> None:
    api = start("node-lifecycle", "taint-eviction")
    for name in ("n1", "n2", "n3"):
        api.add(node(name))
    beats = Beats(api, "n1", "n2", "n3")
    api.add(pod("quick", "n2"))
    stays = [{"key": health.UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]
    api.add(pod("stays", "n2", tolerations=stays))
    await asyncio.sleep(0.3)
    assert health.ready_status(api.find(NODES, "n2")) == "True"
    beats.alive.discard("n2")
    await eventually(lambda: health.ready_status(api.find(NODES, "n2")) == "Unknown", "unknown")
    await eventually(lambda: meta.deleting(api.find(PODS, "default/quick")), "evicted")
    await eventually(lambda: not meta.condition_true(api.find(PODS, "default/stays"), "Ready"), "not ready")
    assert not meta.deleting(api.find(PODS, "default/stays"))
    taints = keys(api.find(NODES, "n2")["spec"]["taints"])
    assert taints == ["unreachable:NoExecute", "unreachable:NoSchedule"]
    reasons = {event["reason"] for event in api.objects(EVENTS)}
    assert {"RegisteredNode", "NodeNotReady", "TaintManagerEviction"} <= reasons
    api.modify(NODES, "n2", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    beats.alive.add("n2")
    await eventually(lambda: not api.find(NODES, "n2")["spec"].get("taints"), "taints gone")
    beats.stop()


async def test_an_outage_of_the_server_is_no_nodes_silence(start: Start) -> None:
    api = start("node-lifecycle", "taint-eviction")
    for name in ("n1", "n2"):
        api.add(node(name))
    beats = Beats(api, "n1", "n2")
    await asyncio.sleep(0.05)
    api.up = False
    api.drop_watches()
    beats.alive.clear()
    await asyncio.sleep(0.6)
    api.up = True
    beats.alive.update(("n1", "n2"))
    await asyncio.sleep(0.3)
    assert all(health.ready_status(n) == "True" for n in api.objects(NODES))
    beats.stop()


async def test_a_watch_that_is_behind_is_no_nodes_silence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    api = start("node-lifecycle", "taint-eviction")
    for name in ("n1", "n2"):
        api.add(node(name))
    beats = Beats(api, "n1", "n2")
    await eventually(lambda: len(api.objects(EVENTS)) == 2, "both registered")
    monkeypatch.setattr(api, "_notify", lambda: None)  # the watch stays open and says nothing
    await asyncio.sleep(0.5)
    assert all(health.ready_status(n) == "True" for n in api.objects(NODES))
    beats.alive.discard("n2")
    await eventually(lambda: health.ready_status(api.find(NODES, "n2")) == "Unknown", "the one that is silent")
    assert health.ready_status(api.find(NODES, "n1")) == "True"
    beats.stop()


@pytest.mark.parametrize(
    ("silence", "delay", "lost"),
    [(3.9, 0.0, False), (4.1, 0.01, True), (4.1, 0.5, False), (4.6, 0.5, True), (7.0, 3.5, False)],
)
def test_a_slow_server_gives_a_node_as_much_longer(silence: float, delay: float, lost: bool) -> None:
    assert health.lost(silence, 4.0, delay) is lost


@pytest.mark.parametrize(
    ("elapsed", "connected", "excused"), [(0.5, True, 0.0), (0.5, False, 0.5), (3.0, True, 2.0), (0.6, True, 0.0)]
)
def test_what_is_not_counted_as_silence(elapsed: float, connected: bool, excused: float) -> None:
    assert health.excuse(elapsed, 0.5, connected) == excused


async def test_when_all_fall_silent_nobody_is_evicted(start: Start) -> None:
    api = start("node-lifecycle", "taint-eviction")
    for name in ("n1", "n2"):
        api.add(node(name))
        api.add(pod(f"on-{name}", name))
    await eventually(lambda: all(health.ready_status(n) == "Unknown" for n in api.objects(NODES)), "all unknown")
    await asyncio.sleep(0.1)
    assert not any(t["effect"] == "NoExecute" for n in api.objects(NODES) for t in n["spec"].get("taints", []))


async def test_pods_of_a_removed_node_are_cleared_away(start: Start) -> None:
    api = start("pod-garbage-collector")
    api.add(node("n1"))
    api.add(pod("kept", "n1"))
    api.add(pod("lost", "n2"))
    await eventually(lambda: [meta.name(p) for p in api.objects(PODS)] == ["kept"], "cleared")


async def test_every_namespace_has_its_account_and_the_ca(start: Start) -> None:
    api = start("serviceaccount", "root-ca-certificate-publisher")
    for name in ("default", "team"):
        api.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await eventually(lambda: len(api.objects(SERVICE_ACCOUNTS)) == len(api.objects(CONFIG_MAPS)) == 2, "made")
    found = api.find(CONFIG_MAPS, "team/kube-root-ca.crt")
    assert found["data"] == {"ca.crt": "PEM"}
    api.remove(SERVICE_ACCOUNTS, "team/default")
    api.modify(CONFIG_MAPS, "team/kube-root-ca.crt", {"data": {"ca.crt": "other"}})

    def restored() -> bool:
        certificate = api.find(CONFIG_MAPS, "team/kube-root-ca.crt")["data"]["ca.crt"]
        return certificate == "PEM" and len(api.objects(SERVICE_ACCOUNTS)) == 2

    await eventually(restored, "restored")


async def test_unknown_controllers_are_refused() -> None:
    with pytest.raises(ValueError, match="no such controller: nonsense; known: node-ipam"):
        await run(Client(FakeApi()), ControllersConfig(controllers=("nonsense",)))


@pytest.mark.parametrize("name", CONTROLLERS)
async def test_every_controller_loads(name: str) -> None:
    load(name)(Context(Client(FakeApi()), ControllersConfig()))
