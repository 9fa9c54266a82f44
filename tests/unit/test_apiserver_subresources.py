"""Subresources and what admission does to pods and namespaces."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apiserver_harness import ACCOUNTS, PODS, Harness, account, config_map, harness, pod

from netlab.apiserver.wire.message import TakeOver

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PDBS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made:
        await made.ok("POST", ACCOUNTS, account("default"))
        yield made


def deployment(name: str, replicas: int = 1) -> dict[str, object]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": spec}


async def test_scale(server: Harness) -> None:
    made = await server.ok("POST", DEPLOYMENTS, deployment("web", 2))
    scale = await server.ok("GET", f"{DEPLOYMENTS}/web/scale")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 2, "app=web")
    scale["spec"]["replicas"] = 5
    assert (await server.ok("PUT", f"{DEPLOYMENTS}/web/scale", scale))["spec"]["replicas"] == 5
    assert (await server.refused("PUT", f"{DEPLOYMENTS}/web/scale", scale))[:2] == (409, "Conflict")
    patched = await server.ok("PATCH", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 0}}, headers=MERGE)
    assert patched["spec"] == {}
    found = await server.ok("GET", f"{DEPLOYMENTS}/web")
    assert found["spec"]["replicas"] == 0
    assert found["metadata"]["generation"] == made["metadata"]["generation"] + 2
    bad = {"spec": {"replicas": -1}}
    assert (await server.refused("PATCH", f"{DEPLOYMENTS}/web/scale", bad, headers=MERGE))[0] == 422


async def test_status_and_spec_are_written_apart(server: Harness) -> None:
    made = await server.ok("POST", DEPLOYMENTS, {**deployment("web"), "status": {"replicas": 7}})
    assert made.get("status", {}).get("replicas", 0) == 0
    status = {"status": {"replicas": 1, "observedGeneration": 1}, "spec": {"replicas": 9}}
    found = await server.ok("PATCH", f"{DEPLOYMENTS}/web/status", status, headers=MERGE)
    assert (found["status"]["replicas"], found["spec"]["replicas"]) == (1, 1)
    found = await server.ok("PATCH", f"{DEPLOYMENTS}/web", {"status": {"replicas": 4}}, headers=MERGE)
    assert found["status"]["replicas"] == 1


async def test_binding_assigns_a_pod_once(server: Harness) -> None:
    await server.ok("POST", PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await server.ok("POST", f"{PODS}/p/binding", binding))["status"] == "Success"
    found = await server.ok("GET", f"{PODS}/p")
    assert found["spec"]["nodeName"] == "n1"
    assert [c["status"] for c in found["status"]["conditions"] if c["type"] == "PodScheduled"] == ["True"]
    code, _, message = await server.refused("POST", f"{PODS}/p/binding", binding)
    assert code == 409
    assert message.endswith('pod p is already assigned to node "n1"')
    assert (await server.refused("POST", f"{PODS}/q/binding", {**binding, "metadata": {"name": "q"}}))[0] == 404
    assert (await server.refused("POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {}}))[0] == 422


async def running_pod(server: Harness, name: str) -> None:
    await server.ok("POST", PODS, pod(name, node="n1", labels={"app": "web"}))
    ready = [{"type": "Ready", "status": "True"}]
    await server.ok(
        "PATCH", f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": ready}}, headers=MERGE
    )


async def test_evictions_ask_the_budget(server: Harness) -> None:
    await running_pod(server, "a")
    await running_pod(server, "b")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    budget = await server.ok("POST", PDBS, {"metadata": {"name": "budget"}, "spec": spec})
    generation = budget["metadata"].get("generation", 0)
    eviction = {"metadata": {"name": "a"}, "deleteOptions": {"gracePeriodSeconds": 0}}
    status = {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    status["observedGeneration"] = generation
    await server.ok("PATCH", f"{PDBS}/budget/status", {"status": status}, headers=MERGE)
    assert (await server.ok("POST", f"{PODS}/a/eviction", eviction))["status"] == "Success"
    spent = await server.ok("GET", f"{PDBS}/budget")
    assert spent["status"]["disruptionsAllowed"] == 0
    assert set(spent["status"]["disruptedPods"]) == {"a"}
    code, status = await server.call("POST", f"{PODS}/b/eviction", {"metadata": {"name": "b"}})
    assert (code, status["reason"]) == (429, "TooManyRequests")
    assert status["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert status["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget budget needs 1 healthy pods and has 2 currently",
        }
    ]
    await server.ok("GET", f"{PODS}/b")


async def test_a_pod_gets_its_account_token_priority_and_tolerations(server: Harness) -> None:
    spec = (await server.ok("POST", PODS, pod("p")))["spec"]
    volume = spec["volumes"][-1]
    assert volume["name"].startswith("kube-api-access-")
    kinds = [next(iter(source)) for source in volume["projected"]["sources"]]
    assert kinds == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    ]
    assert (spec["serviceAccountName"], spec["priority"]) == ("default", 0)
    assert [t["key"] for t in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    body = pod("q")
    body["spec"]["automountServiceAccountToken"] = False
    assert "volumes" not in (await server.ok("POST", PODS, body))["spec"]


async def test_priority_comes_from_the_class(server: Harness) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await server.ok("POST", classes, {"metadata": {"name": "high"}, "value": 1000})
    body = pod("p")
    body["spec"]["priorityClassName"] = "high"
    assert (await server.ok("POST", PODS, body))["spec"]["priority"] == 1000
    body = pod("q")
    body["spec"]["priorityClassName"] = "none"
    message = (await server.refused("POST", PODS, body))[2]
    assert message == 'pods "q" is forbidden: no PriorityClass with name none was found'


async def test_a_pod_without_its_account_is_refused(server: Harness) -> None:
    body = pod("p")
    body["spec"]["serviceAccountName"] = "nobody"
    assert (await server.refused("POST", PODS, body))[2] == (
        'pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'
    )


async def test_a_namespace_ends_in_steps(server: Harness) -> None:
    await server.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    await server.ok("POST", "/api/v1/namespaces/n/configmaps", config_map("a"))
    ending = await server.ok("DELETE", "/api/v1/namespaces/n")
    assert ending["status"]["phase"] == "Terminating"
    code, status = await server.call("POST", "/api/v1/namespaces/n/configmaps", config_map("b"))
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'configmaps "b" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    ending["spec"]["finalizers"] = []
    await server.ok("PUT", "/api/v1/namespaces/n/finalize", ending)
    assert (await server.refused("GET", "/api/v1/namespaces/n"))[0] == 404
    assert (await server.refused("DELETE", "/api/v1/namespaces/default"))[2] == (
        'namespaces "default" is forbidden: this namespace may not be deleted'
    )


async def make_node(server: Harness) -> None:
    await server.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    addresses = [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.1.1.1"}]
    await server.ok("PATCH", "/api/v1/nodes/n1/status", {"status": {"addresses": addresses}}, headers=MERGE)


@pytest.mark.parametrize(
    "method, path, want",
    [
        ("GET", "log?follow=true&tailLines=5&x=y", "/containerLogs/default/p/c?follow=true&tailLines=5"),
        (
            "POST",
            "exec?command=ls&command=-l&stdout=true&stdin=false",
            "/exec/default/p/c?command=ls&command=-l&output=1",
        ),
        ("GET", "attach?stdin=1&tty=true&container=c", "/attach/default/p/c?input=1&tty=1"),
        ("POST", "portforward?ports=80", "/portForward/default/p?port=80"),
        ("GET", "portforward?ports=80,443&ports=8080", "/portForward/default/p?port=80%2C443%2C8080"),
        ("POST", "portforward", "/portForward/default/p"),
    ],
)
async def test_streams_go_to_the_pods_kubelet(server: Harness, method: str, path: str, want: str) -> None:
    await make_node(server)
    await server.ok("POST", PODS, pod("p", node="n1"))
    found = await server.raw(method, f"{PODS}/p/{path}")
    assert found == TakeOver("10.1.1.1", 10250, want)


async def test_streams_that_cannot_be(server: Harness) -> None:
    await server.ok("POST", PODS, pod("p"))
    await server.ok("POST", PODS, pod("lost", node="nowhere"))
    assert await server.call("GET", f"{PODS}/p/log") == (204, {})
    assert (await server.refused("GET", f"{PODS}/p/exec?command=x"))[2] == "pod p does not have a host assigned"
    assert (await server.refused("GET", f"{PODS}/none/log"))[0] == 404
    assert (await server.refused("GET", f"{PODS}/p/log?container=x"))[2] == "container x is not valid for pod p"
    assert (await server.refused("GET", f"{PODS}/p/exec"))[0] == 400
    assert (await server.refused("GET", f"{PODS}/lost/log"))[2] == (
        'Internal error occurred: error getting node: nodes "nowhere" not found'
    )


async def test_proxies(server: Harness) -> None:
    await make_node(server)
    await server.ok("POST", PODS, pod("p", node="n1"))
    await server.ok("PATCH", f"{PODS}/p/status", {"status": {"podIP": "10.244.0.5"}}, headers=MERGE)
    for method in ("GET", "OPTIONS"):
        prefix = f"{PODS}/p:8080/proxy"
        forwarded = {"X-Forwarded-Uri": f"{prefix}/a/b"}
        wanted = TakeOver("10.244.0.5", 8080, "/a/b?x=y", tls=False, headers=forwarded, prefix=prefix)
        assert await server.raw(method, f"{prefix}/a/b?x=y") == wanted
    assert await server.raw("GET", "/api/v1/nodes/n1/proxy/metrics") == TakeOver("10.1.1.1", 10250, "/metrics")
    code, _, message = await server.refused("GET", "/api/v1/namespaces/default/services/https:kubernetes:x/proxy/")
    assert (code, message) == (503, 'no service port "x" found for service "kubernetes"')
    found = await server.raw("GET", "/api/v1/namespaces/default/services/https:kubernetes:https/proxy/version")
    prefix = "/api/v1/namespaces/default/services/https:kubernetes:https/proxy"
    headers = {"X-Forwarded-Uri": f"{prefix}/version"}
    assert found == TakeOver("10.0.0.1", 6443, "/version", headers=headers, prefix=prefix)
