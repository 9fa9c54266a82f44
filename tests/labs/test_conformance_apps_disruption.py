"""sig-apps' conformance names about PodDisruptionBudgets, as upstream's test/e2e/apps/disruption.go."""

from __future__ import annotations

import pytest

from tests.labs.conformance_names import check
from tests.labs.conformance_objects import by_label, meta
from tests.labs.conformance_tools import MERGE, create, items, pause, pod, refused
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)

GROUP = "apis/policy/v1"
PLURAL = "poddisruptionbudgets"
SELECTOR = {"matchLabels": {"foo": "bar"}}


def _budget(ns: Space, name: str = "foo", label: str = "", **spec: object) -> str:
    obj = {"metadata": meta(name, label), "spec": {"selector": SELECTOR, **spec}}
    ns.create(PLURAL, obj, GROUP)
    return ns.path(PLURAL, name, GROUP)


def _processed(ns: Space, path: str) -> None:
    """The controller has seen the newest spec."""

    def seen() -> bool:
        found = ns.api.get(path)
        return found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]

    ns.wait("the budget was processed", seen)


def _pods(ns: Space, count: int) -> None:
    for number in range(count):
        create(ns, pod(pause(), name=f"pod-{number}", labels={"foo": "bar"}))
    for number in range(count):
        ns.ready(f"pod-{number}")


@conformance("DisruptionController should create a PodDisruptionBudget")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    path = _budget(space, minAvailable="1%")
    _processed(space, path)
    assert space.api.get(path)["spec"]["minAvailable"] == "1%"
    space.api.update(path, lambda obj: obj["spec"].update(minAvailable="2%"))
    _processed(space, path)
    assert space.api.get(path)["spec"]["minAvailable"] == "2%"
    space.api.merge(path, {"spec": {"minAvailable": "3%"}})
    _processed(space, path)
    assert space.api.get(path)["spec"]["minAvailable"] == "3%"
    space.api.call("DELETE", path)
    assert space.api.gone(path)


@conformance(
    "DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection "
    "of PodDisruptionBudgets"
)
def test_collection(space: Space) -> None:  # noqa: F811
    other = Space(space.user, space.api, f"{space.name}-other")
    space.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    try:
        for ns, name in ((space, "foo"), (space, "foo2"), (other, "foo3")):
            _processed(ns, _budget(ns, name, space.name, minAvailable=1))
        everywhere = by_label(f"/{GROUP}/{PLURAL}", "test", space.name)
        assert len(items(space.api, everywhere)) == 3
        space.api.call("DELETE", by_label(space.path(PLURAL, group=GROUP), "test", space.name))
        assert [one["metadata"]["name"] for one in items(space.api, everywhere)] == ["foo3"]
    finally:
        space.api.call("DELETE", f"/api/v1/namespaces/{other.name}")


@conformance("DisruptionController should observe PodDisruptionBudget status updated")
def test_status(space: Space) -> None:  # noqa: F811
    path = _budget(space, minAvailable=1)
    _pods(space, 3)
    space.wait("disruptions are allowed", lambda: space.api.get(path)["status"]["disruptionsAllowed"] == 2)


@conformance("DisruptionController should update/patch PodDisruptionBudget status")
def test_status_endpoints(space: Space) -> None:  # noqa: F811
    _pods(space, 1)
    path = _budget(space, minAvailable=1)
    _processed(space, path)

    def update(obj: Obj) -> None:
        obj["status"]["disruptedPods"] = {"pod-0": "2030-01-01T00:00:00Z"}

    space.api.update(f"{path}/status", update)
    assert "pod-0" in space.api.get(f"{path}/status")["status"]["disruptedPods"]
    found = space.api.get(path)
    patch = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "status": {"disruptedPods": None}}
    try:
        space.api.call("PATCH", f"{path}/status", patch, MERGE)
    except ApiError as problem:  # the controller was quicker
        assert problem.code == 409
        patch["metadata"] = {}
        space.api.call("PATCH", f"{path}/status", patch, MERGE)
    assert "disruptedPods" not in space.api.get(f"{path}/status")["status"]


def _evict(ns: Space, name: str) -> None:
    ns.api.call("POST", ns.path("pods", f"{name}/eviction"), {"metadata": {"name": name, "namespace": ns.name}})


@conformance("DisruptionController should block an eviction until the PDB is updated to allow it")
def test_eviction(space: Space) -> None:  # noqa: F811
    _pods(space, 3)
    path = _budget(space, minAvailable=3)
    space.wait("three are healthy", lambda: space.api.get(path).get("status", {}).get("currentHealthy") == 3)
    message = refused(429, lambda: _evict(space, "pod-0"))
    assert message == "Cannot evict pod as it would violate the pod's disruption budget."
    space.api.update(path, lambda obj: obj["spec"].update(minAvailable=2))
    space.wait("one may go", lambda: space.api.get(path)["status"]["disruptionsAllowed"] == 1)
    _evict(space, "pod-0")
    space.wait("it is gone", lambda: space.api.gone(space.path("pods", "pod-0")))
    space.api.merge(path, {"spec": {"minAvailable": 3}})
    _processed(space, path)
    refused(429, lambda: _evict(space, "pod-1"))
    space.api.call("DELETE", path)
    _evict(space, "pod-1")
    space.wait("it is gone", lambda: space.api.gone(space.path("pods", "pod-1")))


def test_no_name_is_missing() -> None:
    check("apps", 60, {})
