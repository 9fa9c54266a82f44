"""api-machinery's conformance names about discovery, lists in chunks, watches, namespaces, flow control, policies."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.labs.conformance_crds import definition, removed
from tests.labs.conformance_operations import discovered, operations
from tests.labs.conformance_tools import MERGE, STRATEGIC, Watch, condition, labelled, pause, pod
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Api, ApiError, Obj, Space
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(300)
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BUILT_IN = (
    ("", "v1", "namespaces"), ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"), ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"), ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"), ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"), ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"), ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"), ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"), ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"), ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
)  # fmt: skip


# -- discovery


def _aggregated(api: Api, accept: str = AGGREGATED) -> set[tuple[str, str, str]]:
    """Group, version and resource of everything in /api and /apis."""
    found = set()
    for path in ("/api", "/apis"):
        with api.open("GET", path, accept=accept) as answer:
            assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
            items = json.loads(answer.read())["items"]
        for group in items:
            name = group["metadata"].get("name", "")
            found |= {(name, version["version"], one["resource"]) for version in group["versions"]
                      for one in version["resources"]}  # fmt: skip
    return found


CLIENT = ",".join([AGGREGATED, AGGREGATED.replace("v=v2", "v=v2beta1"), "application/json"])
"""What client-go's discovery client asks for."""


@conformance("AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers")
def test_aggregated(space: Space) -> None:  # noqa: F811
    assert _aggregated(space.api) >= set(BUILT_IN)


@conformance("AggregatedDiscovery should support aggregated discovery interface")
def test_aggregated_client(space: Space) -> None:  # noqa: F811
    assert _aggregated(space.api, CLIENT) >= set(BUILT_IN)


def _custom_kind_appears(ns: Space, accept: str) -> None:
    crd = definition(ns.api, f"group{ns.name}.example.com", "v1", plural="testcrds", kind="testcrd")
    wanted = (crd.group, "v1", "testcrds")
    ns.wait("the kind in discovery", lambda: wanted in _aggregated(ns.api, accept))
    removed(ns.api, crd)


@conformance("AggregatedDiscovery should support raw aggregated discovery request for CRDs")
def test_aggregated_custom(space: Space) -> None:  # noqa: F811
    _custom_kind_appears(space, AGGREGATED)


@conformance("AggregatedDiscovery should support aggregated discovery interface for CRDs")
def test_aggregated_custom_client(space: Space) -> None:  # noqa: F811
    _custom_kind_appears(space, CLIENT)


@conformance("Discovery should validate PreferredVersion for each APIGroup")
def test_preferred(space: Space) -> None:  # noqa: F811
    groups = space.api.get("/apis")["groups"]
    assert groups
    for group in groups:
        found = space.api.get(f"/apis/{group['name']}")
        assert found["preferredVersion"]["version"]
        assert found["preferredVersion"] in found["versions"]


@conformance("Discovery should locate the groupVersion and a resource within each APIGroup")
def test_locate(space: Space) -> None:  # noqa: F811
    groups = {one["name"]: {version["groupVersion"] for version in one["versions"]}
              for one in space.api.get("/apis")["groups"]}  # fmt: skip
    for group, version, resource in BUILT_IN:
        prefix = f"/apis/{group}/{version}" if group else "/api/v1"
        assert not group or f"{group}/{version}" in groups[group]
        assert resource in {one["name"] for one in space.api.get(prefix)["resources"]}


@conformance("server version should find the server version")
def test_version(space: Space) -> None:  # noqa: F811
    found = space.api.get("/version")
    assert found["major"] == "1"
    assert found["minor"].rstrip("+").isdigit()


@conformance(
    "Servers with support for Table transformation should return a 406 for a backend which does not implement metadata"
)
def test_no_table(space: Space) -> None:  # noqa: F811
    review = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
              "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}  # fmt: skip
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    with pytest.raises(ApiError) as problem:
        space.api.open("POST", path, review, accept=accept)
    assert problem.value.code == 406


# -- lists in chunks

TEMPLATES = 60


def _templates(ns: Space) -> str:
    for number in range(TEMPLATES):
        template = {"spec": {"containers": [{"name": "test", "image": "test2"}]}}
        ns.create("podtemplates", {"metadata": {"name": f"template-{number:04d}"}, "template": template})
    return ns.path("podtemplates")


def _page(api: Api, path: str, limit: int, token: str, found: int) -> tuple[Obj, int]:
    """The next page's metadata, and how many objects there were so far; names and counts are right."""
    page = api.get(f"{path}?limit={limit}" + (f"&continue={token}" if token else ""))
    assert len(page["items"]) <= limit
    for one in page["items"]:
        assert one["metadata"]["name"] == f"template-{found:04d}"
        found += 1
    if page["metadata"].get("continue"):
        assert page["metadata"]["remainingItemCount"] + found == TEMPLATES
    else:
        assert "remainingItemCount" not in page["metadata"]
    return page["metadata"], found


@conformance("Servers with support for API chunking should return chunks of results for list calls")
def test_chunks(space: Space) -> None:  # noqa: F811
    path, dice = _templates(space), random.Random(5)
    for _ in range(3):
        token, found, versions = "", 0, set()
        while True:
            meta, found = _page(space.api, path, dice.randint(1, TEMPLATES // 10), token, found)
            versions.add(meta["resourceVersion"])
            token = meta.get("continue", "")
            if not token:
                break
        assert found == TEMPLATES
        assert len(versions) == 1
    assert len(space.api.get(f"{path}?limit={TEMPLATES + 1}")["items"]) == TEMPLATES


FORGETFUL = """
name: forgetful
cluster: {compactionInterval: 1s}
nodes: {node: {role: control-plane}}
"""


@conformance(
    "Servers with support for API chunking should support continue listing from the last key if the original version "
    "has been compacted away, though the list is inconsistent [Slow]"
)
def test_chunks_of_a_version_that_is_forgotten(caller: User) -> None:
    """In a lab whose store is compacted every second; upstream's is every five minutes."""
    file = caller.home / "forgetful.yaml"
    file.write_text(FORGETFUL)
    up = caller.klab("up", str(file), timeout=180)
    assert up.returncode == 0, up.stderr
    api = Api(caller, "forgetful")
    path, limit = _templates(Space(caller, api, "default")), TEMPLATES // 10
    first, found = _page(api, path, limit, "", 0)
    errors: list[ApiError] = []

    def expired() -> bool:
        try:
            api.get(f"{path}?limit={limit}&continue={first['continue']}")
        except ApiError as error:
            errors.append(error)
        return bool(errors)

    until("the token's end", expired)
    assert errors[0].code == 410 and errors[0].status["reason"] == "Expired"
    token, versions = errors[0].status["metadata"]["continue"], []
    while token:
        page, found = _page(api, path, limit, token, found)
        versions.append(page["resourceVersion"])
        token = page.get("continue", "")
    assert found == TEMPLATES
    assert versions[0] != first["resourceVersion"]


# -- watches


def _config_map(ns: Space, name: str, label: str) -> Obj:
    return ns.create("configmaps", {"metadata": {"name": name, "labels": {"watch-this-configmap": label}}})


def _mutate(ns: Space, name: str, value: str) -> Obj:
    return ns.api.update(ns.path("configmaps", name), lambda obj: obj.update(data={"mutation": value}))


def _labelled(ns: Space, *labels: str, version: str = "") -> Watch:
    path = ns.path("configmaps") + f"?labelSelector=watch-this-configmap%20in%20({'%2C'.join(labels)})"
    return Watch(ns.api, path, version)


def _exactly(watch: Watch, *wanted: tuple[str, Obj | None]) -> None:
    """These events come, and no others between them; None for whatever object."""
    for kind, obj in wanted:
        end = time.monotonic() + 60
        while not watch.events and time.monotonic() < end:
            time.sleep(0.02)
        assert watch.events, f"no event {kind}"
        event = watch.events.pop(0)
        assert event["type"] == kind
        assert obj is None or event["object"] == obj


@conformance("Watchers should observe add, update, and delete watch notifications on configmaps")
def test_watch_several(space: Space) -> None:  # noqa: F811
    a, b, both = _labelled(space, "A"), _labelled(space, "B"), _labelled(space, "A", "B")
    steps: list[tuple[str, Obj | None]] = [("ADDED", _config_map(space, "a", "A"))]
    steps += [("MODIFIED", _mutate(space, "a", "1")), ("MODIFIED", _mutate(space, "a", "2"))]
    space.delete("configmaps", "a")
    steps.append(("DELETED", None))
    others: list[tuple[str, Obj | None]] = [("ADDED", _config_map(space, "b", "B")), ("DELETED", None)]
    space.delete("configmaps", "b")
    _exactly(both, *steps, *others)
    _exactly(a, *steps)
    _exactly(b, *others)
    assert [one.events for one in (a, b, both)] == [[], [], []]


@conformance("Watchers should be able to start watching from a specific resource version")
def test_watch_from(space: Space) -> None:  # noqa: F811
    _config_map(space, "cm", "from")
    first, second = _mutate(space, "cm", "1"), _mutate(space, "cm", "2")
    space.delete("configmaps", "cm")
    watch = _labelled(space, "from", version=first["metadata"]["resourceVersion"])
    _exactly(watch, ("MODIFIED", second), ("DELETED", None))


@conformance(
    "Watchers should be able to restart watching from the last resource version observed by the previous watch"
)
def test_watch_again(space: Space) -> None:  # noqa: F811
    watch = _labelled(space, "again")
    made, first = _config_map(space, "cm", "again"), _mutate(space, "cm", "1")
    _exactly(watch, ("ADDED", made), ("MODIFIED", first))
    second = _mutate(space, "cm", "2")
    restarted = _labelled(space, "again", version=first["metadata"]["resourceVersion"])
    space.delete("configmaps", "cm")
    _exactly(restarted, ("MODIFIED", second), ("DELETED", None))


@conformance("Watchers should observe an object deletion if it stops meeting the requirements of the selector")
def test_watch_relabelled(space: Space) -> None:  # noqa: F811
    path = space.path("configmaps", "cm")
    watch = _labelled(space, "change")

    def label(value: str) -> Obj:
        return space.api.merge(path, {"metadata": {"labels": {"watch-this-configmap": value}}})

    made, first = _config_map(space, "cm", "change"), _mutate(space, "cm", "1")
    label("wrong-value")
    _exactly(watch, ("ADDED", made), ("MODIFIED", first), ("DELETED", None))
    _mutate(space, "cm", "2")
    restored, third = label("change"), _mutate(space, "cm", "3")
    space.delete("configmaps", "cm")
    _exactly(watch, ("ADDED", restored), ("MODIFIED", third), ("DELETED", None))


@conformance("Watchers should receive events on concurrent watches in same order")
def test_watch_order(space: Space) -> None:  # noqa: F811
    """A watch is opened at every event of the first one: what comes later must be the same for all."""
    path, count = space.path("configmaps"), 30
    start = space.api.get(path)["metadata"]["resourceVersion"]
    first = Watch(space.api, path, start)

    def write() -> None:
        for number in range(count // 3):
            space.create("configmaps", {"metadata": {"name": f"cm-{number}"}})
            _mutate(space, f"cm-{number}", "1")
            space.delete("configmaps", f"cm-{number}")

    writer = threading.Thread(target=write)
    writer.start()
    watches = [first]
    for number in range(0, count, 5):
        space.wait("events", lambda number=number: len(first.events) > number)  # type: ignore[misc]
        watches.append(Watch(space.api, path, first.events[number]["object"]["metadata"]["resourceVersion"]))
    writer.join(60)

    def versions(watch: Watch) -> list[str]:
        return [event["object"]["metadata"]["resourceVersion"] for event in watch.events]

    space.wait("all events", lambda: len(first.events) >= count)
    for number, watch in zip(range(0, count, 5), watches[1:], strict=True):
        wanted = versions(first)[number + 1 : count]
        space.wait("the same events", lambda watch=watch, wanted=wanted: versions(watch)[: len(wanted)] == wanted)  # type: ignore[misc]


# -- namespaces

N = "Namespaces [Serial] "


def _emptied(ns: Space, make: Callable[[Space], str]) -> None:
    """A namespace with an object is deleted and made again: the object is not in it."""
    other = Space(ns.user, ns.api, f"{ns.name}-deleted")
    path = f"/api/v1/namespaces/{other.name}"
    ns.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    other.wait("its ServiceAccount", lambda: not ns.api.gone(other.path("serviceaccounts", "default")))
    made = make(other)
    ns.api.call("DELETE", path)
    ns.wait("the namespace is gone", lambda: ns.api.gone(path))
    ns.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    assert ns.api.gone(made)
    ns.api.call("DELETE", path)


@conformance(N + "should ensure that all pods are removed when a namespace is deleted")
def test_no_pods_left(space: Space) -> None:  # noqa: F811
    def make(ns: Space) -> str:
        ns.create("pods", pod(pause(), name="test-pod"))
        ns.ready("test-pod")
        return ns.path("pods", "test-pod")

    _emptied(space, make)


@conformance(N + "should ensure that all services are removed when a namespace is deleted")
def test_no_services_left(space: Space) -> None:  # noqa: F811
    def make(ns: Space) -> str:
        ns.service("test-service", [{"port": 80, "targetPort": 80}], {"foo": "bar", "baz": "blah"})
        return ns.path("services", "test-service")

    _emptied(space, make)


@conformance(N + "should patch a Namespace")
def test_patch_namespace(space: Space) -> None:  # noqa: F811
    path = f"/api/v1/namespaces/{space.name}"
    space.api.call("PATCH", path, {"metadata": {"labels": {"testLabel": "testValue"}}}, STRATEGIC)
    assert labelled("testLabel", "testValue")(space.api.get(path))


@conformance(N + "should apply an update to a Namespace")
def test_update_namespace(space: Space) -> None:  # noqa: F811
    path = f"/api/v1/namespaces/{space.name}"
    found = space.api.update(path, lambda obj: obj["metadata"]["labels"].update({space.name: "updated"}))
    assert labelled(space.name, "updated")(found)


@conformance(N + "should apply changes to a namespace status")
def test_namespace_status(space: Space) -> None:  # noqa: F811
    path = f"/api/v1/namespaces/{space.name}/status"
    assert space.api.get(path)["status"]["phase"] == "Active"
    patched = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    found = space.api.merge(path, {"metadata": {"annotations": {"e2e-patched": space.name}},
                                   "status": {"conditions": [patched]}})  # fmt: skip
    assert condition(found, "StatusPatch")["reason"] == "E2E"
    updated = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"}
    found = space.api.update(path, lambda obj: obj["status"]["conditions"].append(updated))
    assert condition(found, "StatusUpdate")["message"] == "Updated by an e2e test"
    assert condition(found, "StatusPatch")


@conformance(N + "should apply a finalizer to a Namespace")
def test_namespace_finalizer(space: Space) -> None:  # noqa: F811
    path, own = f"/api/v1/namespaces/{space.name}", "e2e.example.com/fakeFinalizer"
    found = space.api.get(path)
    found["spec"]["finalizers"].append(own)
    assert space.api.call("PUT", f"{path}/finalize", found)["spec"]["finalizers"] == ["kubernetes", own]
    found = space.api.get(path)
    found["spec"]["finalizers"].remove(own)
    assert space.api.call("PUT", f"{path}/finalize", found)["spec"]["finalizers"] == ["kubernetes"]


# -- flow control and policies


def _conditioned(api: Api, one: str, kind: str) -> None:
    """The status takes a patch and an update, each a condition more."""
    for number, verb in enumerate(("Patched", "Updated")):
        new: Obj = {"type": f"{kind}{verb}", "status": "False", "reason": "ExpectedByTest", "message": verb,
                    "lastTransitionTime": "2024-01-01T00:00:00Z"}  # fmt: skip

        def add(obj: Obj, new: Obj = new) -> None:
            obj.setdefault("status", {}).setdefault("conditions", []).append(new)

        if number == 0:
            found = api.call("PATCH", f"{one}/status", {"status": {"conditions": [new]}}, MERGE)
        else:
            found = api.update(f"{one}/status", add)
        assert new in found["status"]["conditions"]
        assert new in api.get(f"{one}/status")["status"]["conditions"]


def _all_operations(ns: Space, group: str, resource: str, kind: str, spec: Any, status: bool) -> None:
    discovered(ns.api, group, kind, resource, *([f"{resource}/status"] if status else []))
    path = f"/{group}/{resource}"
    objects: list[Obj] = [{"metadata": {"name": f"{ns.name}-{number}", "labels": {"special-label": ns.name}},
                           "spec": spec} for number in range(3)]  # fmt: skip
    if status:
        first: Obj = {**objects[0], "metadata": {"name": f"{ns.name}-status"}}
        ns.api.call("POST", path, first)
        _conditioned(ns.api, f"{path}/{ns.name}-status", "Expected")
        ns.api.call("DELETE", f"{path}/{ns.name}-status")
    operations(ns.api, path, objects, path)


FLOW = "apis/flowcontrol.apiserver.k8s.io/v1"


@conformance("API priority and fairness should support FlowSchema API operations")
def test_flow_schemas(space: Space) -> None:  # noqa: F811
    subject = {"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}
    rule = {"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}
    spec = {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"}, "rules": [rule]}  # fmt: skip
    _all_operations(space, FLOW, "flowschemas", "FlowSchema", spec, True)


@conformance("API priority and fairness should support PriorityLevelConfiguration API operations")
def test_priority_levels(space: Space) -> None:  # noqa: F811
    limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}
    spec = {"type": "Limited", "limited": limited}
    _all_operations(space, FLOW, "prioritylevelconfigurations", "PriorityLevelConfiguration", spec, True)


POLICIES = "apis/admissionregistration.k8s.io/v1"
V = "ValidatingAdmissionPolicy [Privileged:ClusterAdmin] "
DEPLOYMENTS: Obj = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
                    "resources": ["deployments"]}  # fmt: skip


@conformance(V + "should support ValidatingAdmissionPolicy API operations")
def test_policies(space: Space) -> None:  # noqa: F811
    spec = {"validations": [{"expression": "object.spec.replicas <= 100"}],
            "matchConstraints": {"resourceRules": [{**DEPLOYMENTS, "operations": ["CREATE"]}]}}  # fmt: skip
    _all_operations(space, POLICIES, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", spec, True)


@conformance(V + "should support ValidatingAdmissionPolicyBinding API operations")
def test_bindings(space: Space) -> None:  # noqa: F811
    spec = {"policyName": "replicalimit-policy.example.com", "validationActions": ["Deny"]}
    kind = "ValidatingAdmissionPolicyBinding"
    _all_operations(space, POLICIES, "validatingadmissionpolicybindings", kind, spec, False)


def _workload(ns: Space, resource: str, name: str, replicas: int) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    ns.create(resource, {"metadata": {"name": name}, "spec": spec}, "apis/apps/v1")
    ns.delete(resource, name, "apis/apps/v1")


def _policy(ns: Space, allowed: int, **spec: Any) -> None:
    """A policy that one replica breaks is in force in this namespace; Deployments of `allowed` replicas pass."""
    api, selector = ns.api, {"namespaceSelector": {"matchLabels": {ns.name: "true"}}}
    api.merge(f"/api/v1/namespaces/{ns.name}", {"metadata": {"labels": {ns.name: "true"}}})
    constraints = {**selector, "resourceRules": [DEPLOYMENTS]}
    name = f"{ns.name}.policy.example.com"
    body: Obj = {"metadata": {"name": name}, "spec": {"matchConstraints": constraints, **spec}}
    api.call("POST", f"/{POLICIES}/validatingadmissionpolicies", body)
    binding = {"policyName": name, "matchResources": selector, "validationActions": ["Deny"]}
    body = {"metadata": {"name": f"{ns.name}.binding.example.com"}, "spec": binding}
    api.call("POST", f"/{POLICIES}/validatingadmissionpolicybindings", body)

    def denied() -> bool:
        try:
            _workload(ns, "deployments", "marker-deployment", 1)
        except ApiError as problem:
            assert (problem.code, problem.status["reason"]) == (422, "Invalid")
            return True
        return False

    ns.wait("the policy is in force", denied)
    _workload(ns, "deployments", "replicated", allowed)
    _workload(ns, "replicasets", "non-replicated", 1)
    api.call("DELETE", f"/{POLICIES}/validatingadmissionpolicybindings/{ns.name}.binding.example.com")
    api.call("DELETE", f"/{POLICIES}/validatingadmissionpolicies/{name}")


@conformance(V + "should validate against a Deployment")
def test_policy(space: Space) -> None:  # noqa: F811
    text = "'wants replicas > 1, got ' + object.spec.replicas"
    _policy(space, 2, validations=[{"expression": "object.spec.replicas > 1", "messageExpression": text}])


@conformance(V + "should allow expressions to refer variables.")
def test_policy_variables(space: Space) -> None:  # noqa: F811
    variables = [{"name": "replicas", "expression": "object.spec.replicas"},
                 {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}]  # fmt: skip
    validations = [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]
    _policy(space, 3, variables=variables, validations=validations)
