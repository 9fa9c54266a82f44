"""Filters, scores, messages and preemption as tables over small clusters."""

from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.scheduler.cache import Cache
from netlab.scheduler.cycle import Failure, Placement, enough, schedule
from netlab.scheduler.model import PodInfo, pod_requests, tolerates
from netlab.scheduler.preemption import Preemption, preempt
from netlab.scheduler.volumes import BindingError, Bindings, Storage, progress, wanted

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def node(name: str, *, cpu: str = "4", pods: int = 110, zone: str = "", **spec: Any) -> Obj:
    labels = {HOST: name} | ({ZONE: zone} if zone else {}) | spec.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": str(pods)}},
    }


def pod(name: str, *, cpu: str = "", on: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    container: Obj = {"name": "c", "ports": spec.pop("ports", [])}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    full = {"containers": [container], **spec} | ({"nodeName": on} if on else {})
    meta = {"name": name, "namespace": "default", "uid": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": full, "status": {}}


def cluster(nodes: list[Obj], pods: list[Obj] | None = None) -> Cache:
    cache = Cache()
    for one in nodes:
        cache.set_node(one)
    for one in pods or []:
        cache.set_pod(one)
    return cache


def placed(new: Obj, cache: Cache) -> str:
    result = schedule(PodInfo(new), cache)
    assert isinstance(result, Placement), result
    return result.node


def refused(new: Obj, cache: Cache) -> str:
    result = schedule(PodInfo(new), cache)
    assert isinstance(result, Failure), result
    return result.message()


NO_SCHEDULE = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def affinity(kind: str, key: str = HOST, **labels: str) -> Obj:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


@pytest.mark.parametrize(
    ("new", "nodes", "pods", "sentence"),
    [
        (pod("p"), [], [], "no nodes available to schedule pods"),
        (
            pod("p", cpu="5"),
            [node("a", taints=[CONTROL_PLANE]), node("b"), node("c")],
            [],
            "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
            "2 Insufficient cpu.",
        ),
        (
            pod("p"),
            [node("a", taints=[NO_SCHEDULE])],
            [],
            "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.",
        ),
        (pod("p"), [node("a", unschedulable=True)], [], "0/1 nodes are available: 1 node(s) were unschedulable."),
        (
            pod("p", nodeSelector={"disk": "ssd"}),
            [node("a")],
            [],
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (pod("p"), [node("a", pods=1)], [pod("x", on="a")], "0/1 nodes are available: 1 Too many pods."),
        (
            pod("p", ports=[{"containerPort": 80, "hostPort": 80}]),
            [node("a")],
            [pod("x", on="a", ports=[{"containerPort": 8080, "hostPort": 80, "hostIP": "10.0.0.1"}])],
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
        ),
        (
            pod("p", affinity=affinity("podAffinity", app="db")),
            [node("a")],
            [],
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
        ),
        (
            pod("p", labels={"app": "web"}, affinity=affinity("podAntiAffinity", app="web")),
            [node("a")],
            [pod("x", on="a", labels={"app": "web"})],
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.",
        ),
        (
            pod("p", labels={"app": "web"}),
            [node("a")],
            [pod("x", on="a", affinity=affinity("podAntiAffinity", app="web"))],
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.",
        ),
    ],
)
def test_why_no_node_will_do(new: Obj, nodes: list[Obj], pods: list[Obj], sentence: str) -> None:
    assert refused(new, cluster(nodes, pods)) == sentence


SPREAD = {
    "maxSkew": 1,
    "topologyKey": ZONE,
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}
WEB = {"app": "web"}


@pytest.mark.parametrize(
    ("new", "nodes", "pods", "where"),
    [
        (pod("p"), [node("a"), node("b")], [pod("x", on="a", cpu="2")], "b"),
        (pod("p", nodeSelector={HOST: "b"}), [node("a"), node("b")], [], "b"),
        (pod("p", tolerations=[{"operator": "Exists"}]), [node("a", taints=[NO_SCHEDULE])], [], "a"),
        (pod("p"), [node("a", taints=[NO_SCHEDULE | {"effect": "PreferNoSchedule"}]), node("b")], [], "b"),
        (
            pod("p", labels=WEB, topologySpreadConstraints=[SPREAD]),
            [node("a", zone="z1"), node("b", zone="z2")],
            [pod("x", on="a", labels=WEB)],
            "b",
        ),
        (
            pod("p", affinity=affinity("podAffinity", ZONE, app="web")),
            [node("a", zone="z1"), node("b", zone="z2")],
            [pod("x", on="b", labels=WEB, cpu="3")],
            "b",
        ),
        (pod("p", labels=WEB, affinity=affinity("podAffinity", app="web")), [node("a")], [], "a"),
        (
            pod(
                "p",
                affinity={
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "weight": 100,
                                "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                            }
                        ]
                    }
                },
            ),
            [node("a"), node("b", labels={"disk": "ssd"})],
            [],
            "b",
        ),
    ],
    ids=[
        "least allocated",
        "selector",
        "toleration",
        "prefers no taint",
        "spread by zone",
        "near its friends",
        "first of its group",
        "prefers a label",
    ],
)
def test_where_a_pod_goes(new: Obj, nodes: list[Obj], pods: list[Obj], where: str) -> None:
    for _ in range(5):
        assert placed(new, cluster(nodes, pods)) == where


def test_spreading_without_the_label_says_so() -> None:
    new = pod("p", labels=WEB, topologySpreadConstraints=[SPREAD])
    missing = "node(s) didn't match pod topology spread constraints (missing required label)"
    assert refused(new, cluster([node("a")])) == f"0/1 nodes are available: 1 {missing}."


def test_pods_of_one_owner_spread_by_default() -> None:
    class ByLabels:
        def of(self, pod: PodInfo) -> Any:
            from netlab.api.labels import from_map

            return from_map(pod.labels)

    cache = cluster([node(name) for name in "abcd"])
    cache.selectors = ByLabels()
    for number in range(40):
        info = PodInfo(pod(f"p{number}", labels=WEB))
        result = schedule(info, cache)
        assert isinstance(result, Placement)
        cache.assume(info, result.node)
    assert [len(info.pods) for info in cache.nodes] == [10, 10, 10, 10]


def test_counts_for_spreading_follow_pods() -> None:
    from netlab.api.labels import from_map

    cache = cluster([node("a"), node("b")], [pod("x", on="a", labels=WEB)])
    counts = cache.matching("default", from_map(WEB))
    assert dict(counts) == {"a": 1}
    cache.set_pod(pod("y", on="b", labels=WEB))
    cache.remove_pod("x")
    assert {k: v for k, v in counts.items() if v} == {"b": 1}
    leaving = pod("y", on="b", labels=WEB)
    leaving["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    cache.set_pod(leaving)
    assert not any(counts.values())
    cache.remove_pod("y")
    assert not any(counts.values())


def test_requests_of_init_and_sidecar_containers() -> None:
    def asks(cpu: str, **more: Any) -> Obj:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [asks("100m"), asks("200m")],
        "initContainers": [asks("50m", restartPolicy="Always"), asks("1")],
        "overhead": {"cpu": "10m"},
    }
    assert pod_requests(spec) == {"cpu": 1060}


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"key": "dedicated", "value": "db"}, True),
        ({"key": "dedicated", "value": "web"}, False),
        ({"key": "dedicated", "value": "db", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: Obj, expected: bool) -> None:
    assert tolerates([toleration], NO_SCHEDULE) is expected


def test_preemption_takes_the_least_important_that_suffice() -> None:
    lower = [pod("low1", on="a", cpu="2"), pod("low2", on="a", cpu="1", priority=5), pod("hi", on="a", priority=99)]
    cache = cluster([node("a"), node("b", taints=[NO_SCHEDULE])], lower)
    new = PodInfo(pod("p", cpu="2", priority=50))
    failure = schedule(new, cache)
    assert isinstance(failure, Failure)
    attempt = preempt(new, failure, cache, {})
    assert isinstance(attempt, Preemption)
    assert (attempt.node, [victim.name for victim in attempt.victims]) == ("a", ["low1"])


def test_preemption_says_why_not() -> None:
    cache = cluster([node("a"), node("b", taints=[NO_SCHEDULE])], [pod("x", on="a", cpu="3")])
    new = PodInfo(pod("p", cpu="2"))
    failure = schedule(new, cache)
    assert isinstance(failure, Failure)
    assert failure.message(str(preempt(new, failure, cache, {}))) == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: db}. preemption: "
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )


def test_room_kept_for_a_nominated_pod_is_not_given_away() -> None:
    cache = cluster([node("a")])
    waiting = PodInfo(pod("important", cpu="3", priority=10))
    result = schedule(PodInfo(pod("p", cpu="2")), cache, nominations={"a": [waiting]})
    assert isinstance(result, Failure)


@pytest.mark.parametrize(("total", "expected"), [(3, 3), (99, 99), (100, 100), (1000, 420), (5000, 500)])
def test_how_many_feasible_nodes_are_enough(total: int, expected: int) -> None:
    assert enough(total) == expected


def claim(
    *, volume: str = "", bound: bool = False, class_name: str = "", phase: str = "Pending", **metadata: Any
) -> Obj:
    notes = {"pv.kubernetes.io/bind-completed": "yes"} if bound else {}
    data = {"name": "c", "namespace": "default", "annotations": notes, **metadata}
    return {
        "metadata": data,
        "spec": {"volumeName": volume, "storageClassName": class_name},
        "status": {"phase": phase},
    }


OWN: Obj = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
MADE: Obj = {"name": "v", "ephemeral": {}}
OWNER = {"ownerReferences": [{"uid": "p", "controller": True, "kind": "Pod", "name": "p"}]}
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@pytest.mark.parametrize(
    ("volume", "key", "found", "why"),
    [
        (OWN, "default/c", None, 'persistentvolumeclaim "c" not found'),
        (OWN, "other/c", claim(), 'persistentvolumeclaim "c" not found'),
        (OWN, "default/c", claim(), UNBOUND),
        (OWN, "default/c", claim(class_name="now"), UNBOUND),
        (OWN, "default/c", claim(class_name="unknown"), UNBOUND),
        (OWN, "default/c", claim(class_name="late", volume="here"), UNBOUND),
        (OWN, "default/c", claim(class_name="late"), ""),
        (OWN, "default/c", claim(volume="here", bound=True), ""),
        (
            OWN,
            "default/c",
            claim(volume="old", bound=True, phase="Lost"),
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "old"',
        ),
        (
            OWN,
            "default/c",
            claim(deletionTimestamp="2026-01-01T00:00:00Z"),
            'persistentvolumeclaim "c" is being deleted',
        ),
        (
            MADE,
            "default/p-v",
            None,
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v"',
        ),
        (
            MADE,
            "default/p-v",
            claim(name="p-v"),
            "PVC default/p-v was not created for pod default/p (pod is not owner)",
        ),
        (MADE, "default/p-v", claim(name="p-v", volume="here", bound=True, **OWNER), ""),
    ],
)
def test_claims_that_keep_a_pod_waiting(volume: Obj, key: str, found: Obj | None, why: str) -> None:
    cache = cluster([node("a"), node("b")])
    late = {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "example.com/x"}
    classes = {"late": late, "now": {"volumeBindingMode": "Immediate"}}
    volumes = {"here": {"metadata": {"name": "here"}, "spec": {}}}
    cache.storage = Storage({key: found} if found else {}, volumes, classes)
    new = pod("p", volumes=[volume])
    if not why:
        assert placed(new, cache) in ("a", "b")
        return
    result = schedule(PodInfo(new), cache)
    assert isinstance(result, Failure) and result.plugins == {"VolumeBinding"}
    helps = preempt(PodInfo(new), result, cache, {})
    assert isinstance(helps, str)
    assert result.message(helps) == (
        f"0/2 nodes are available: {why}. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_a_bound_volume_says_where() -> None:
    cache = cluster([node("a"), node("b")])
    terms = [{"matchExpressions": [{"key": HOST, "operator": "In", "values": ["b"]}]}]
    local = {"metadata": {"name": "l"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
    cache.storage = Storage({"default/c": claim(volume="l", bound=True)}, {"l": local})
    new = pod("p", volumes=[OWN])
    assert {placed(new, cache) for _ in range(10)} == {"b"}
    cache.remove_node("b")
    assert refused(new, cache) == "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    cache.storage = Storage({"default/c": claim(volume="l", bound=True)})
    reason = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    assert refused(new, cache) == f"0/1 nodes are available: 1 {reason}."


LATE: Obj = {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "example.com/x"}
BY_HAND: Obj = {**LATE, "provisioner": "kubernetes.io/no-provisioner"}
IN_B: Obj = {**LATE, "allowedTopologies": [{"matchLabelExpressions": [{"key": HOST, "values": ["b"]}]}]}


def local(name: str, where: str, size: str = "1Gi", **spec: Any) -> Obj:
    terms = [{"matchExpressions": [{"key": HOST, "operator": "In", "values": [where]}]}]
    affinity = {"required": {"nodeSelectorTerms": terms}}
    full = {"capacity": {"storage": size}, "nodeAffinity": affinity, "storageClassName": "late", **spec}
    return {"metadata": {"name": name}, "spec": full, "status": {"phase": "Available"}}


def _names(found: Bindings | None) -> tuple[dict[str, str], list[str]] | None:
    if found is None:
        return None
    static = {meta.name(one): meta.name(volume) for one, volume in found.static}
    return static, [meta.name(one) for one in found.provision]


@pytest.mark.parametrize(
    ("storage_class", "volumes", "notes", "on_a", "on_b"),
    [
        (LATE, [], {}, ({}, ["c"]), ({}, ["c"])),
        (BY_HAND, [], {}, None, None),
        (BY_HAND, [local("la", "a")], {}, ({"c": "la"}, []), None),
        (LATE, [local("la", "a")], {}, ({"c": "la"}, []), ({}, ["c"])),
        (BY_HAND, [local("la", "a", "5Gi"), local("sm", "a")], {}, ({"c": "sm"}, []), None),
        (IN_B, [], {}, None, ({}, ["c"])),
        (LATE, [], {"volume.kubernetes.io/selected-node": "b"}, None, ({}, ["c"])),
        (BY_HAND, [local("la", "a", claimRef={"name": "c", "namespace": "other"})], {}, None, None),
    ],
)
def test_what_is_bound_where(
    storage_class: Obj, volumes: list[Obj], notes: dict[str, str], on_a: object, on_b: object
) -> None:
    cache = cluster([node("a"), node("b")])
    mine = claim(class_name="late", annotations=notes)
    cache.storage = Storage({"default/c": mine}, {meta.name(one): one for one in volumes}, {"late": storage_class})
    found = [_names(wanted(PodInfo(pod("p", volumes=[OWN])), cache.storage, cache.by_name[name])) for name in "ab"]
    assert found == [on_a, on_b]


def test_two_claims_do_not_share_a_volume_and_what_is_promised_is_gone() -> None:
    cache = cluster([node("a")])
    claims = {f"default/{name}": claim(class_name="late", name=name) for name in ("c", "d")}
    cache.storage = Storage(claims, {"la": local("la", "a")}, {"late": BY_HAND})
    both = pod("p", volumes=[OWN, {"name": "w", "persistentVolumeClaim": {"claimName": "d"}}])
    nothing = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."
    assert refused(both, cache) == nothing
    assert placed(pod("q", volumes=[OWN]), cache) == "a"
    cache.storage.promised["la"] = "default/d"
    assert refused(pod("q", volumes=[OWN]), cache) == nothing


def test_how_far_a_binding_is() -> None:
    mine, volume = claim(class_name="late", annotations={"volume.kubernetes.io/selected-node": "a"}), local("la", "a")
    asked = Bindings("a", provision=(mine,))
    state = Storage({"default/c": mine}, {})
    assert not progress(asked, state, {HOST: "a"})
    done = claim(volume="la", bound=True)
    done["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = "a"
    assert progress(asked, Storage({"default/c": done}, {"la": volume}), {HOST: "a"})
    with pytest.raises(BindingError, match='provisioning failed for PVC "c"'):
        progress(asked, Storage({"default/c": claim(class_name="late")}), {HOST: "a"})
    with pytest.raises(BindingError, match='ClaimRef got reset for pv "la"'):
        progress(Bindings("a", static=((mine, volume),)), Storage({"default/c": mine}, {"la": volume}), {HOST: "a"})


def test_a_claim_for_one_pod_has_one_pod() -> None:
    cache = cluster([node("a"), node("b")])
    mine = claim(volume="here", bound=True)
    mine["spec"]["accessModes"] = ["ReadWriteOncePod"]
    cache.storage = Storage({"default/c": mine}, {"here": {"metadata": {"name": "here"}, "spec": {}}})
    first = pod("p", volumes=[OWN])
    where = placed(first, cache)
    cache.assume(PodInfo(first), where)
    reason = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert refused(pod("q", volumes=[OWN]), cache) == f"0/2 nodes are available: {reason}."
    important = PodInfo(pod("q", volumes=[OWN], priority=100))
    failure = schedule(important, cache)
    assert isinstance(failure, Failure)
    evicted = preempt(important, failure, cache, {})
    assert isinstance(evicted, Preemption) and [one.name for one in evicted.victims] == ["p"]
    cache.remove_pod("p")
    assert placed(pod("q", volumes=[OWN]), cache) in ("a", "b")
