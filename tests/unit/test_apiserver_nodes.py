"""What a kubelet may see and change: the node authorizer and NodeRestriction."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, CMS, PODS, Harness, account, config_map, harness, pod

from netlab.api.kubelet_labels import forbidden_labels
from netlab.apiserver.authz.node_graph import Ref, references

Obj = dict[str, Any]
NODE = {"token": "node-token"}
SECRETS = "/api/v1/namespaces/default/secrets"
NODES = "/api/v1/nodes"
UNRELATED = "no relationship found between node 'n1' and this object"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await made.ok("POST", ACCOUNTS, account("default"))
        for name in ("used", "other"):
            await made.ok("POST", CMS, config_map(name))
            await made.ok("POST", SECRETS, {"metadata": {"name": name}})
        yield made


def needing(name: str, node: str, secret: str = "used") -> Obj:
    made = pod(name, node)
    made["spec"]["volumes"] = [
        {"name": "s", "secret": {"secretName": secret}},
        {"name": "c", "configMap": {"name": "used"}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    return made


async def test_a_node_reads_what_its_pods_need_while_they_are_there(server: Harness) -> None:
    asked = (f"{SECRETS}/used", f"{CMS}/used", f"{SECRETS}?fieldSelector=metadata.name=used", f"{PODS}/p")
    assert await server.refused("GET", f"{SECRETS}/used", **NODE) == (
        403,
        "Forbidden",
        'secrets "used" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" '
        f'in the namespace "default": {UNRELATED}',
    )
    await server.ok("POST", PODS, needing("p", "n1"))
    for url in asked:
        await server.ok("GET", url, **NODE)
    await server.watch(f"{SECRETS}?fieldSelector=metadata.name%3Dused", **NODE)
    for url in (f"{SECRETS}/other", f"{CMS}/other", f"{SECRETS}?fieldSelector=metadata.name=other"):
        assert (await server.refused("GET", url, **NODE))[2].endswith(UNRELATED)
    assert (await server.refused("GET", SECRETS, **NODE))[2].endswith(": No Object name found")
    await server.ok("DELETE", f"{PODS}/p?gracePeriodSeconds=0", **NODE)
    for url in asked[:3]:
        assert (await server.refused("GET", url, **NODE))[2].endswith(UNRELATED)


async def test_another_nodes_pod_gives_nothing_and_binding_gives_all(server: Harness) -> None:
    await server.ok("POST", PODS, needing("far", "n2"))
    await server.ok("POST", PODS, needing("near", ""))
    assert (await server.refused("GET", f"{SECRETS}/used", **NODE))[2].endswith(UNRELATED)
    assert (await server.refused("GET", f"{PODS}/far", **NODE))[2].endswith(UNRELATED)
    await server.ok("POST", f"{PODS}/near/binding", {"target": {"kind": "Node", "name": "n1"}})
    await server.ok("GET", f"{SECRETS}/used", **NODE)
    # a second pod keeps it, when the first goes
    await server.ok("POST", PODS, needing("more", "n1"))
    await server.ok("DELETE", f"{PODS}/near?gracePeriodSeconds=0")
    await server.ok("GET", f"{SECRETS}/used", **NODE)


async def test_a_graph_of_what_was_there_before_the_server(tmp_path: Path) -> None:
    async with harness(tmp_path) as first:
        await first.ok("POST", ACCOUNTS, account("default"))
        await first.ok("POST", SECRETS, {"metadata": {"name": "used"}})
        await first.ok("POST", PODS, needing("p", "n1"))
    async with harness(tmp_path) as second:
        await second.ok("GET", f"{SECRETS}/used", **NODE)


async def test_volumes_and_their_secrets_follow_the_claim(server: Harness) -> None:
    flex = {"driver": "x/y", "secretRef": {"name": "other", "namespace": "default"}}
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "flexVolume": flex}
    reference = {"claimRef": {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "claim"}}
    volume = {"metadata": {"name": "v"}, "spec": {**spec, **reference}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await server.ok("POST", "/api/v1/persistentvolumes", volume)
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    await server.ok("POST", claims, {"metadata": {"name": "claim"}, "spec": claim})
    urls = ("/api/v1/persistentvolumes/v", f"{claims}/claim", f"{SECRETS}/other")
    for url in urls:
        assert (await server.refused("GET", url, **NODE))[2].endswith(UNRELATED)
    await server.ok("POST", PODS, needing("p", "n1"))
    for url in urls:
        await server.ok("GET", url, **NODE)
    assert (await server.refused("GET", claims, **NODE))[2].endswith(": can only get individual resources of this type")
    patch = {"metadata": {"labels": {"a": "b"}}}
    sent = {"headers": {"content-type": "application/merge-patch+json"}}
    code, _, said = await server.refused("PATCH", f"{claims}/claim/status", patch, **NODE, **sent)
    assert code == 403 and "is not allowed to update fields other than status.capacity and status.conditions" in said
    await server.ok("PATCH", f"{claims}/claim/status", {"status": {"capacity": {"storage": "1Gi"}}}, **NODE, **sent)


async def test_tokens_only_for_its_own_pods(server: Harness) -> None:
    url = f"{ACCOUNTS}/default/token"
    near = await server.ok("POST", PODS, pod("near", "n1"))
    far = await server.ok("POST", PODS, pod("far", "n2"))

    def request(of: Obj | None, **more: str) -> Obj:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": of["metadata"]["name"], **more} if of else None
        return {"spec": {"boundObjectRef": bound} if bound else {}}

    await server.ok("POST", url, request(near, uid=near["metadata"]["uid"]), **NODE)
    rows = [
        (request(None), "node requested token not bound to a pod"),
        (request(near), "node requested token with a pod binding without a uid"),
        (request(far, uid=far["metadata"]["uid"]), "node requested token bound to a pod scheduled on a different node"),
        (
            request(near, uid="x"),
            "the UID in the bound object reference (x) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        ),
    ]
    for body, why in rows:
        assert await server.refused("POST", url, body, **NODE) == (
            403,
            "Forbidden",
            f'serviceaccounts "default" is forbidden: {why}',
        )


async def test_nodes_and_leases_of_its_own(server: Harness) -> None:
    await server.ok("POST", NODES, {"metadata": {"name": "n1", "labels": {"zone": "a"}}}, **NODE)
    await server.ok("POST", NODES, {"metadata": {"name": "n2"}})
    await server.ok("GET", f"{NODES}/n1", **NODE)
    await server.ok("GET", f"{NODES}?fieldSelector=metadata.name=n1", **NODE)
    assert (await server.refused("GET", NODES, **NODE))[2].endswith(
        "node 'n1' cannot read all nodes, only its own Node object"
    )
    assert (await server.refused("GET", f"{NODES}/n2", **NODE))[2].endswith(
        "node 'n1' cannot read 'n2', only its own Node object"
    )
    merge = {"headers": {"content-type": "application/merge-patch+json"}}
    rows: list[tuple[str, Obj, str]] = [
        ("n2", {"metadata": {"labels": {"a": "b"}}}, 'node "n1" is not allowed to modify node "n2"'),
        ("n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, "is not allowed to modify taints"),
        (
            "n1",
            {"metadata": {"labels": {"node-role.kubernetes.io/x": "", "node-restriction.kubernetes.io/y": ""}}},
            "is not allowed to modify labels: node-restriction.kubernetes.io/y, node-role.kubernetes.io/x",
        ),
    ]
    for name, patch, why in rows:
        code, _, said = await server.refused("PATCH", f"{NODES}/{name}", patch, **NODE, **merge)
        assert code == 403 and said.startswith(f'nodes "{name}" is forbidden: ') and said.endswith(why)
    await server.ok("PATCH", f"{NODES}/n1", {"metadata": {"labels": {"zone": "b"}}}, **NODE, **merge)
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    await server.ok("POST", leases, {"metadata": {"name": "n1"}, "spec": {}}, **NODE)
    code, _, said = await server.refused("POST", leases, {"metadata": {"name": "n2"}, "spec": {}}, **NODE)
    assert said.endswith("can only access node lease with the same name as the requesting node")
    code, _, said = await server.refused("GET", leases.replace("kube-node-lease", "default") + "/n1", **NODE)
    assert said.endswith('can only access leases in the "kube-node-lease" system namespace')


async def test_pods_are_listed_by_node_written_in_status_and_created_as_mirrors_only(server: Harness) -> None:
    await server.ok("POST", PODS, pod("near", "n1"))
    await server.ok("POST", PODS, pod("far", "n2"))
    found = await server.ok("GET", "/api/v1/pods?fieldSelector=spec.nodeName=n1", **NODE)
    assert [one["metadata"]["name"] for one in found["items"]] == ["near"]
    for url in ("/api/v1/pods", "/api/v1/pods?fieldSelector=spec.nodeName=n2"):
        said = (await server.refused("GET", url, **NODE))[2]
        assert said.endswith(": can only list/watch pods with spec.nodeName field selector")
    merge = {"headers": {"content-type": "application/merge-patch+json"}}
    status = {"status": {"message": "x"}}
    await server.ok("PATCH", f"{PODS}/near/status", status, **NODE, **merge)
    assert (await server.refused("PATCH", f"{PODS}/far/status", status, **NODE, **merge))[2] == (
        'pods "far" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself'
    )
    assert (await server.refused("DELETE", f"{PODS}/far", **NODE))[2] == (
        'pods "far" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself'
    )
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "far"}}
    assert (await server.refused("POST", f"{PODS}/far/eviction", eviction, **NODE))[2] == (
        'pods "far" is forbidden: node n1 can only evict pods with spec.nodeName set to itself'
    )
    assert (await server.refused("POST", PODS, pod("new", "n1"), **NODE))[2] == (
        'pods "new" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, '
        'node "n1" can only create mirror pods'
    )


async def test_a_node_without_a_name_is_told_so(server: Harness) -> None:
    review = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    spec = {"user": "system:node:", "groups": ["system:nodes"], "resourceAttributes": {"verb": "get", "resource": "x"}}
    status = (await server.ok("POST", review, {"spec": spec}))["status"]
    assert status == {"allowed": False, "reason": 'unknown node for user "system:node:"'}


def test_everything_a_pod_can_refer_to() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
        "env": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}, {"name": "y", "value": "z"}],
    }
    spec = {
        "serviceAccountName": "sa",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [container],
        "volumes": [
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "d"}}, {"secret": {"name": "e"}}]}},
            {"name": "q", "ephemeral": {}, "csi": {"nodePublishSecretRef": {"name": "f"}}},
            {"name": "r", "ephemeral": {"volumeClaimTemplate": {}}},
        ],
    }
    made = {"metadata": {"namespace": "ns", "name": "pod"}, "spec": spec}
    rows = {"secrets": "b c e f pull", "configmaps": "a d", "serviceaccounts": "sa", "persistentvolumeclaims": "pod-r"}
    assert references(made) == {Ref(plural, "ns", name) for plural, names in rows.items() for name in names.split()}
    assert references({**made, "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}) == set()


def test_labels_of_the_administrator() -> None:
    free = ("a", "example.com/a", "node.kubernetes.io/x", "x.kubelet.kubernetes.io/y", "kubernetes.io/hostname")
    kept = ("node-role.kubernetes.io/x", "k8s.io/x", "a.k8s.io/x", "node-restriction.kubernetes.io/x")
    assert forbidden_labels(dict.fromkeys((*free, *kept), ""), {}) == sorted(kept)
    assert forbidden_labels({}, {"kubernetes.io/x": "1"}) == ["kubernetes.io/x"]
    assert forbidden_labels({"kubernetes.io/x": "1"}, {"kubernetes.io/x": "1"}) == []
