"""scheduling's conformance names: predicates, preemption, PriorityClasses, LimitRanges (test/e2e/scheduling)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.labs.conformance_tools import PAUSE, STRATEGIC, Watch, condition, items, labelled, names, refused
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Api, ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)
FOO, CPU = "scheduling.k8s.io/foo", "example.com/fakecpu"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
LEVELS = {"low": 1, "medium": 100, "high": 1000}
P = "SchedulerPredicates [Serial] validates "
S = "SchedulerPreemption [Serial] "


def _workers(api: Api) -> list[str]:
    return [one["metadata"]["name"] for one in api.get("/api/v1/nodes")["items"] if not one["spec"].get("taints")]


def _pod(name: str, *, asks: Obj | None = None, ports: list[Obj] | None = None, **spec: Any) -> Obj:
    container: Obj = {"name": name, "image": PAUSE}
    if asks:
        container["resources"] = {"requests": asks, "limits": asks}
    if ports:
        container["ports"] = ports
    return {"metadata": {"name": name, "labels": {"name": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}}  # fmt: skip


def _on(node: str) -> Obj:
    """Affinity to one node, by its name."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _unscheduled(ns: Space, name: str, text: str) -> None:
    """The Pod stays without a node; the scheduler says why, in an event too."""

    def holds() -> bool:
        found = ns.api.get(ns.path("pods", name))
        why = condition(found, "PodScheduled")
        return why.get("reason") == "Unschedulable" and text in why["message"] and "nodeName" not in found["spec"]

    ns.wait(f"{name} is unschedulable: {text}", holds)
    query = ns.path("events") + f"?fieldSelector=involvedObject.name%3D{name},reason%3DFailedScheduling"
    ns.wait(f"the event of {name}", lambda: ns.api.get(query)["items"])


# -- predicates


@pytest.fixture
def label(space: Space) -> Iterator[tuple[str, str]]:  # noqa: F811
    """A node, and a label that only it has."""
    node, key = _workers(space.api)[0], f"kubernetes.io/{space.name}"
    path = f"/api/v1/nodes/{node}"
    space.api.merge(path, {"metadata": {"labels": {key: "42"}}})
    yield node, key
    space.api.merge(path, {"metadata": {"labels": {key: None}}})


@conformance(P + "that NodeSelector is respected if not matching")
def test_no_match(space: Space) -> None:  # noqa: F811
    space.create("pods", _pod("restricted-pod", nodeSelector={"label": "nonempty"}))
    _unscheduled(space, "restricted-pod", "didn't match Pod's node affinity/selector")


@conformance(P + "that NodeSelector is respected if matching")
def test_match(space: Space, label: tuple[str, str]) -> None:  # noqa: F811
    space.create("pods", _pod("with-labels", nodeSelector={label[1]: "42"}))
    assert space.ready("with-labels")["spec"]["nodeName"] == label[0]


@conformance(P + "resource limits of pods that are allowed to run")
def test_limits(space: Space) -> None:  # noqa: F811
    """Each node's CPU is taken to seven tenths; no node has as much again."""
    workers = [one for one in space.api.get("/api/v1/nodes")["items"] if one["metadata"]["name"] in _workers(space.api)]
    shares = {}
    for node in workers:
        name = node["metadata"]["name"]
        taken = sum(_cpu(one) for one in _running(space.api, name))
        shares[name] = (_milli(node["status"]["allocatable"]["cpu"]) - taken) * 7 // 10
    for name, share in shares.items():
        space.create("pods", _pod(f"filler-{name}", asks={"cpu": f"{share}m"}, affinity=_on(name)))
    for name in shares:
        space.ready(f"filler-{name}")
    space.create("pods", _pod("additional-pod", asks={"cpu": f"{max(shares.values())}m"}))
    _unscheduled(space, "additional-pod", "Insufficient cpu")


def _running(api: Api, node: str) -> list[Obj]:
    return items(api, f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")


def _milli(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def _cpu(pod: Obj) -> int:
    asked = [one.get("resources", {}).get("requests", {}).get("cpu", "0") for one in pod["spec"]["containers"]]
    return sum(_milli(one) for one in asked)


@conformance(P + "that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP")
def test_host_port(space: Space, label: tuple[str, str]) -> None:  # noqa: F811
    node, key = label
    address = space.api.get(f"/api/v1/nodes/{node}")["status"]["addresses"][0]["address"]
    port = {"containerPort": 8080, "hostPort": 54322, "protocol": "TCP"}
    space.create("pods", _pod("pod4", ports=[port], nodeSelector={key: "42"}))
    space.ready("pod4")
    space.create("pods", _pod("pod5", ports=[{**port, "hostIP": address}], nodeSelector={key: "42"}))
    _unscheduled(space, "pod5", "didn't have free ports for the requested pod ports")


# -- preemption


@pytest.fixture
def classes(space: Space) -> Iterator[dict[str, str]]:  # noqa: F811
    """low, medium, high → names of PriorityClasses."""
    found = {level: f"{space.name}-{level}-priority" for level in LEVELS}
    for level, value in LEVELS.items():
        space.api.call("POST", CLASSES, {"metadata": {"name": found[level]}, "value": value})
    yield found
    for name in found.values():
        space.api.call("DELETE", f"{CLASSES}/{name}")


def _advertise(ns: Space, nodes: list[str], resource: str, count: str | None) -> None:
    """The nodes have so many of it; their kubelets make them allocatable."""
    for node in nodes:
        patch = {"status": {"capacity": {resource: count}}}
        ns.api.call("PATCH", f"/api/v1/nodes/{node}/status", patch, STRATEGIC)

    def allocatable(node: str) -> bool:
        status = ns.api.get(f"/api/v1/nodes/{node}")["status"]
        return (resource in status["allocatable"]) == (resource in status["capacity"]) == bool(count)

    for node in nodes:
        ns.wait(f"{resource} of {node}", lambda node=node: allocatable(node))  # type: ignore[misc]


@pytest.fixture
def filled(space: Space, classes: dict[str, str]) -> Iterator[list[str]]:  # noqa: F811
    """A pod on every node that has two thirds of a resource; the first of low priority, the others of medium."""
    workers = _workers(space.api)
    _advertise(space, workers, FOO, "3")
    made = []
    for number, node in enumerate(workers):
        level = classes["medium" if number else "low"]
        body = _pod(f"pod{number}", asks={FOO: "2"}, affinity=_on(node), priorityClassName=level)
        space.create("pods", body)
        made.append(f"pod{number}")
    for name in made:
        space.ready(name)
    yield made
    _advertise(space, workers, FOO, None)


def _preempted(ns: Space, pods: list[str]) -> None:
    victim, *others = pods
    path = ns.path("pods", victim)
    assert ns.api.gone(path) or "deletionTimestamp" in ns.api.get(path)["metadata"]
    for name in others:
        assert "deletionTimestamp" not in ns.api.get(ns.path("pods", name))["metadata"]


@conformance(S + "validates basic preemption works")
def test_preemption(space: Space, filled: list[str], classes: dict[str, str]) -> None:  # noqa: F811
    space.create("pods", _pod("preemptor-pod", asks={FOO: "2"}, priorityClassName=classes["high"]))
    space.ready("preemptor-pod")
    _preempted(space, filled)


@conformance(S + "validates lower priority pod preemption by critical pod")
def test_critical(space: Space, filled: list[str]) -> None:  # noqa: F811
    system = Space(space.user, space.api, "kube-system")
    name = f"critical-{space.name}"
    system.create("pods", _pod(name, asks={FOO: "2"}, priorityClassName="system-cluster-critical"))
    try:
        system.ready(name)
        _preempted(space, filled)
    finally:
        system.delete("pods", name)


@conformance(S + "validates pod disruption condition is added to the preempted pod")
def test_condition(space: Space, classes: dict[str, str]) -> None:  # noqa: F811
    node = _workers(space.api)[0]
    _advertise(space, [node], FOO, "1")
    victim = _pod("victim-pod", asks={FOO: "1"}, affinity=_on(node), priorityClassName=classes["low"])
    victim["metadata"]["finalizers"] = ["example.com/test-finalizer"]
    space.create("pods", victim)
    space.ready("victim-pod")
    path = space.path("pods", "victim-pod")
    preemptor = _pod("preemptor-pod", asks={FOO: "1"}, affinity=_on(node), priorityClassName=classes["high"])
    space.create("pods", preemptor)
    try:
        space.wait("the victim is preempted", lambda: "deletionTimestamp" in space.api.get(path)["metadata"])
        found = condition(space.api.get(path), "DisruptionTarget")
        assert (found["status"], found["reason"]) == ("True", "PreemptionByScheduler")
    finally:
        space.api.merge(path, {"metadata": {"finalizers": None}})
        _advertise(space, [node], FOO, None)


@conformance(S + "PreemptionExecutionPath runs ReplicaSets to verify preemption running path")
def test_replica_sets(space: Space) -> None:  # noqa: F811
    """200 + 300 + 450 of 1000 are taken; 500 of the highest priority drive out the two lowest, and those only."""
    node = _workers(space.api)[-1]
    _advertise(space, [node], CPU, "1000")
    levels = {f"{space.name}-p{number}": number for number in (1, 2, 3, 4)}
    for name, value in levels.items():
        space.api.call("POST", CLASSES, {"metadata": {"name": name}, "value": value})
    first = {number: _set(space, node, number, ask) for number, ask in ((1, "200"), (2, "300"), (3, "450"))}
    preemptor = _pod("pod4", asks={CPU: "500"}, affinity=_on(node), priorityClassName=f"{space.name}-p4")
    try:
        space.create("pods", preemptor)
        space.ready("pod4")
        for number in (1, 2):
            space.wait(f"a new pod for pod{number}", lambda number=number: _uids(space, number) - first[number])  # type: ignore[misc]
            space.wait(f"pod{number} is gone", lambda number=number: not _uids(space, number) & first[number])  # type: ignore[misc]
        assert _uids(space, 3) == first[3]
    finally:
        for name in levels:
            space.api.call("DELETE", f"{CLASSES}/{name}")
        _advertise(space, [node], CPU, None)


def _set(ns: Space, node: str, number: int, ask: str) -> set[str]:
    one = _pod(f"pod{number}", asks={CPU: ask}, affinity=_on(node), priorityClassName=f"{ns.name}-p{number}")
    labels = one["metadata"]["labels"]
    template = {"metadata": {"labels": labels}, "spec": one["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    ns.create("replicasets", {"metadata": {"name": f"rs-pod{number}"}, "spec": spec}, "apis/apps/v1")
    path = ns.path("replicasets", f"rs-pod{number}", "apis/apps/v1")
    ns.wait(f"rs-pod{number}", lambda: ns.api.get(path)["status"].get("readyReplicas") == 1)
    return _uids(ns, number)


def _uids(ns: Space, number: int) -> set[str]:
    return {one["metadata"]["uid"] for one in items(ns.api, ns.path("pods") + f"?labelSelector=name%3Dpod{number}")}


@conformance(S + "PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods")
def test_priority_classes(space: Space) -> None:  # noqa: F811
    api, made = space.api, {}
    for name, value in ((f"{space.name}-1", 1), (f"{space.name}-2", 2)):
        made[name] = api.call("POST", CLASSES, {"metadata": {"name": name}, "value": value})
    assert names(api, CLASSES) >= set(made)
    for name, obj in made.items():
        path = f"{CLASSES}/{name}"
        assert "may not be changed in an update" in refused(422, lambda p=path: api.merge(p, {"value": 20}))  # type: ignore[misc]
        again = {**obj, "value": 20}
        refused(422, lambda p=path, body=again: api.call("PUT", p, body))  # type: ignore[misc]
        assert api.merge(path, {"description": "patched"})["description"] == "patched"
        assert api.update(path, lambda o: o.update(description="updated"))["value"] == obj["value"]
        assert api.get(path)["description"] == "updated"
        api.call("DELETE", path)


# -- LimitRanges


def _amounts(cpu: str, memory: str, storage: str) -> Obj:
    found = {"cpu": cpu, "memory": memory, "ephemeral-storage": storage}
    return {key: value for key, value in found.items() if value}


LIMIT: Obj = {
    "type": "Container", "min": _amounts("50m", "100Mi", "100Gi"), "max": _amounts("500m", "500Mi", "500Gi"),
    "default": _amounts("500m", "500Mi", "500Gi"), "defaultRequest": _amounts("100m", "200Mi", "200Gi"),
}  # fmt: skip


def _limited(ns: Space, name: str, requests: Obj, limits: Obj | None = None) -> Obj:
    body = _pod(name)
    body["spec"]["containers"][0]["resources"] = {"requests": requests, "limits": limits or {}}
    ns.create("pods", body)
    found: Obj = ns.api.get(ns.path("pods", name))["spec"]["containers"][0]["resources"]
    return found


@conformance("LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.")
def test_limit_range(space: Space) -> None:  # noqa: F811
    api, path = space.api, space.path("limitranges", "limit-range")
    watch = Watch(api, space.path("limitranges"))
    body = {"metadata": {"name": "limit-range", "labels": {"time": space.name}}, "spec": {"limits": [LIMIT]}}
    space.create("limitranges", body)
    assert labelled("time", space.name)(watch.sees("ADDED"))
    (found,) = api.get(path)["spec"]["limits"]
    assert (found["default"], found["defaultRequest"]) == (LIMIT["default"], LIMIT["defaultRequest"])
    assert _limited(space, "none", {}) == {"requests": LIMIT["defaultRequest"], "limits": LIMIT["default"]}
    assert _limited(space, "partial", _amounts("", "150Mi", "150Gi"), _amounts("300m", "", "")) == {
        "requests": _amounts("300m", "150Mi", "150Gi"), "limits": _amounts("300m", "500Mi", "500Gi"),
    }  # fmt: skip
    low, high = _amounts("10m", "50Mi", "50Gi"), _amounts("600m", "600Mi", "600Gi")
    for name, asked in (("low", low), ("high", high)):
        with pytest.raises(ApiError):
            _limited(space, name, asked)
    lower = _amounts("9m", "49Mi", "49Gi")
    api.update(path, lambda obj: obj["spec"]["limits"][0].update(min=lower))
    space.wait("the new minimum", lambda: api.get(path)["spec"]["limits"][0]["min"] == lower)
    _limited(space, "low", low)
    with pytest.raises(ApiError):
        _limited(space, "high", high)
    api.call("DELETE", path)
    space.wait("no LimitRange", lambda: not items(api, space.path("limitranges")))
    _limited(space, "high", high)


@conformance("LimitRange should list, patch and delete a LimitRange by collection")
def test_limit_ranges(space: Space) -> None:  # noqa: F811
    api, other = space.api, f"{space.name}-other"
    body = {"metadata": {"name": space.name, "labels": {"e2e-test": space.name, space.name: "created"}},
            "spec": {"limits": [LIMIT]}}  # fmt: skip
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    for namespace in (space.name, other):
        api.call("POST", f"/api/v1/namespaces/{namespace}/limitranges", body)
    everywhere = f"/api/v1/limitranges?labelSelector=e2e-test%3D{space.name}"
    assert len(items(api, everywhere)) == 2
    lower = {**LIMIT, "min": _amounts("9m", "49Mi", "49Gi")}
    patch = {"metadata": {"labels": {space.name: "patched"}}, "spec": {"limits": [lower]}}
    found = api.call("PATCH", space.path("limitranges", space.name), patch, STRATEGIC)
    assert labelled(space.name, "patched")(found)
    assert found["spec"]["limits"][0]["min"] == lower["min"]
    api.call("DELETE", space.path("limitranges") + f"?labelSelector={space.name}%3Dpatched")
    space.wait("one is left", lambda: [one["metadata"]["namespace"] for one in items(api, everywhere)] == [other])
    api.call("DELETE", f"/api/v1/namespaces/{other}")
