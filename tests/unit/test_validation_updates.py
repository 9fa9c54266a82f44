"""Updates: what may change in a stored object, and what is said about the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from netlab.api import decoding, strategy
from netlab.api.defaults import apply_defaults
from netlab.api.resources import by_kind
from netlab.api.types import Obj
from netlab.api.validation import validate_create, validate_status_update, validate_subresource_update, validate_update
from netlab.apiserver.allocation.families import fill_families


def stored(body: Obj) -> Obj:
    resource = by_kind(body["apiVersion"], body["kind"])
    assert resource is not None
    obj, _ = decoding.decode(orjson.dumps(body), resource, "Strict")
    obj["metadata"].update(uid="u", creationTimestamp="2024-01-01T00:00:00Z", resourceVersion="1")
    apply_defaults(obj)
    strategy.prepare_for_create(obj)
    if obj["kind"] == "Service":
        assert fill_families(obj, None, ("IPv4",)) == []
    assert validate_create(obj) == []
    return obj


def changed(old: Obj, change: Callable[[Obj], None]) -> Obj:
    new = copy.deepcopy(old)
    change(new)
    strategy.prepare_for_update(new, old)
    return new


def findings(old: Obj, change: Callable[[Obj], None]) -> list[str]:
    return [one.message for one in validate_update(changed(old, change), old)]


def put(path: str, value: Any) -> Callable[[Obj], None]:
    """A change that sets (or, with None, removes) the value at a dotted path."""

    def change(obj: Obj) -> None:
        *steps, last = path.split(".")
        for step in steps:
            obj = obj[int(step)] if step.isdigit() else obj[step]
        if value is None:
            del obj[last]
        else:
            obj[last] = value

    return change


META = {"name": "a", "namespace": "default"}
CONTAINERS = [{"name": "c", "image": "i:1"}]
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": META, "spec": {"containers": CONTAINERS}}
SERVICE: Obj = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": META,
    "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], "clusterIP": "10.96.0.7"},
}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
DEPLOYMENT: Obj = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": META,
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
}


@pytest.mark.parametrize(
    "change",
    [
        put("spec.containers.0.image", "i:2"),
        put("spec.activeDeadlineSeconds", 5),
        put("spec.tolerations", [{"key": "k", "operator": "Exists"}]),
        put("metadata.labels", {"x": "y"}),
    ],
)
def test_what_may_change_in_a_pod(change: Callable[[Obj], None]) -> None:
    assert findings(stored(POD), change) == []


def _another_container(obj: Obj) -> None:
    containers = obj["spec"]["containers"]
    containers.append({**containers[0], "name": "d"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            put("spec.nodeName", "n"),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*]",
        ),
        (put("spec.containers.0.command", ["x"]), "spec: Forbidden: pod updates may not change fields other than"),
        (_another_container, "spec.containers: Forbidden: pod updates may not add or remove containers"),
        (put("metadata.name", "b"), 'metadata.name: Invalid value: "b": field is immutable'),
        (put("metadata.uid", "v"), 'metadata.uid: Invalid value: "v": field is immutable'),
    ],
)
def test_what_may_not_change_in_a_pod(change: Callable[[Obj], None], words: str) -> None:
    found = findings(stored(POD), change)
    assert found
    assert found[0].startswith(words)


def test_grace_period_may_become_one_only_from_negative() -> None:
    old = stored(POD)
    assert findings(old, put("spec.terminationGracePeriodSeconds", 1))
    old["spec"]["terminationGracePeriodSeconds"] = -1
    assert findings(old, put("spec.terminationGracePeriodSeconds", 1)) == []


def test_tolerations_are_only_added() -> None:
    old = stored({**POD, "spec": {**POD["spec"], "tolerations": [{"key": "k", "operator": "Exists"}]}})  # type: ignore[dict-item]
    found = findings(old, put("spec.tolerations", []))
    words = "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    assert found == [words]


def test_a_service_keeps_its_address() -> None:
    old = stored(SERVICE)
    both = 'spec.clusterIPs[0]: Invalid value: []string{"10.96.0.8"}: may not change once set'
    assert both in findings(old, put("spec.clusterIP", "10.96.0.8"))

    def forget(obj: Obj) -> None:
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            del obj["spec"][key]

    assert findings(old, forget) == []
    assert changed(old, forget)["spec"] == old["spec"]


def test_a_service_may_become_an_external_name() -> None:
    old = stored(SERVICE)

    def rename(obj: Obj) -> None:
        obj["spec"].update(type="ExternalName", externalName="example.com")

    new = changed(old, rename)
    assert not {"clusterIP", "clusterIPs", "ipFamilies"} & set(new["spec"])
    assert validate_update(new, old) == []


def test_selectors_of_apps_v1_are_immutable() -> None:
    def both(obj: Obj) -> None:
        obj["spec"]["selector"] = {"matchLabels": {"x": "y"}}
        obj["spec"]["template"]["metadata"]["labels"] = {"x": "y"}

    words = (
        'spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"x":"y"}, '
        "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"
    )
    assert findings(stored(DEPLOYMENT), both) == [words]


def test_generation_counts_what_is_desired() -> None:
    old = stored(DEPLOYMENT)
    assert changed(old, put("spec.replicas", 3))["metadata"]["generation"] == 2
    assert changed(old, put("metadata.labels", {"x": "y"}))["metadata"]["generation"] == 1
    assert changed(old, put("metadata.annotations", {"x": "y"}))["metadata"]["generation"] == 2


def test_a_status_update_leaves_the_spec_alone() -> None:
    old = stored(DEPLOYMENT)
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 7
    new["status"] = {"replicas": 1, "readyReplicas": 2}
    strategy.prepare_for_status_update(new, old)
    assert new["spec"] == old["spec"]
    found = [one.message for one in validate_status_update(new, old)]
    assert found == ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]


def test_an_update_leaves_the_status_alone() -> None:
    old = stored(POD)
    assert changed(old, put("status", {"phase": "Failed"}))["status"] == old["status"]


def test_ephemeral_containers_only_come() -> None:
    old = stored(POD)
    new = copy.deepcopy(old)
    debug = {"name": "d", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}
    new["spec"]["ephemeralContainers"] = [{**debug, "resources": {}, "targetContainerName": "c"}]
    assert validate_subresource_update("ephemeralcontainers", new, old) == []
    found = [one.message for one in validate_subresource_update("ephemeralcontainers", old, new)]
    assert found == ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed\n']


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_immutable_data_stays(kind: str) -> None:
    value = "YQ==" if kind == "Secret" else "a"
    old = stored({"apiVersion": "v1", "kind": kind, "metadata": META, "data": {"k": value}, "immutable": True})
    assert findings(old, put("data", {})) == ["data: Forbidden: field is immutable when `immutable` is set"]
    assert findings(old, put("immutable", None)) == ["immutable: Forbidden: field is immutable when `immutable` is set"]


def test_finalizers_are_not_added_to_what_is_being_deleted() -> None:
    old = stored(POD)
    old["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    words = (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
        'finalizers []string{"a/b"}'
    )
    assert words in findings(old, put("metadata.finalizers", ["a/b"]))
