"""ResourceQuota: what is admitted, what is refused in which words, and what the status says.

The names of upstream's conformance tests are in the docstrings of the tests that stand for them.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import controllers
from apiserver_harness import Harness, account, config_map, harness, pod, service

Obj = dict[str, Any]
CMS, PODS, SERVICES, ACCOUNTS = (
    f"/api/v1/namespaces/team/{plural}" for plural in ("configmaps", "pods", "services", "serviceaccounts")
)
QUOTAS = "/api/v1/namespaces/team/resourcequotas"
SECRETS = "/api/v1/namespaces/team/secrets"
CLAIMS = "/api/v1/namespaces/team/persistentvolumeclaims"
TEAM: Obj = {"metadata": {"name": "team"}}
MERGE = {"headers": {"content-type": "application/merge-patch+json"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as made, controllers(made, "resourcequota"):
        await made.ok("POST", "/api/v1/namespaces", TEAM)
        await made.ok("POST", ACCOUNTS, account("default"))
        yield made


async def quota(server: Harness, name: str = "q", *, spec: Obj | None = None, **hard: str) -> None:
    """A quota, once it has been counted; underscores of keywords are dots."""
    wanted = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    made = {"metadata": {"name": name}, "spec": {"hard": wanted, **(spec or {})}}
    await server.ok("POST", QUOTAS, made)
    await until(server, name, **dict.fromkeys(hard, "0"))


async def used(server: Harness, name: str = "q") -> Obj:
    status: Obj = (await server.ok("GET", f"{QUOTAS}/{name}"))["status"]
    return dict(status.get("used") or {})


async def until(server: Harness, name: str = "q", **wanted: str) -> None:
    """Wait until the status says so."""
    expected = {key.replace("__", "/").replace("_", "."): value for key, value in wanted.items()}
    found: Obj = {}
    for _ in range(1000):
        found = await used(server, name)
        if expected.items() <= found.items():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited 10 s for {expected}; found {found}")


def asking(name: str, requests: Obj | None = None, limits: Obj | None = None, **spec: Any) -> Obj:
    made = pod(name)
    resources = {"requests": requests, "limits": limits}
    made["spec"]["containers"][0]["resources"] = {key: value for key, value in resources.items() if value}
    made["spec"].update(spec)
    return made


async def test_status_promptly(server: Harness) -> None:
    """should create a ResourceQuota and ensure its status is promptly calculated."""
    await quota(server, pods="5", services="10", memory="1Gi", count__deployments_apps="3")
    found = await server.ok("GET", f"{QUOTAS}/q")
    assert found["status"]["hard"] == {"pods": "5", "services": "10", "memory": "1Gi", "count/deployments.apps": "3"}


async def test_life_of_a_pod(server: Harness) -> None:
    """should create a ResourceQuota and capture the life of a pod."""
    await quota(server, pods="5", cpu="1", memory="500Mi", limits_cpu="9")
    await server.ok("POST", PODS, asking("a", {"cpu": "500m", "memory": "252Mi"}, {"cpu": "1"}))
    # charged with the admission, not some time later
    assert await used(server) == {"pods": "1", "cpu": "500m", "memory": "252Mi", "limits.cpu": "1"}
    too_much = asking("b", {"cpu": "600m", "memory": "100Mi"}, {"cpu": "1"})
    assert await server.refused("POST", PODS, too_much) == (
        403,
        "Forbidden",
        'pods "b" is forbidden: exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1',
    )
    both = asking("b", {"cpu": "600m", "memory": "300Mi"}, {"cpu": "1"})
    assert (await server.refused("POST", PODS, both))[2].endswith(
        "exceeded quota: q, requested: cpu=600m,memory=300Mi, used: cpu=500m,memory=252Mi, limited: cpu=1,memory=500Mi"
    )
    assert (await server.refused("POST", PODS, asking("b", {"cpu": "1m"}, {"cpu": "1"})))[2] == (
        'pods "b" is forbidden: failed quota: q: must specify memory for: c'
    )
    assert (await server.refused("POST", PODS, pod("b")))[2].endswith(
        "failed quota: q: must specify cpu for: c; limits.cpu for: c; memory for: c"
    )
    await server.ok("PATCH", f"{PODS}/a/status", {"status": {"phase": "Succeeded"}}, **MERGE)
    await until(server, pods="0", cpu="0", memory="0")
    await server.ok("DELETE", f"{PODS}/a")
    await until(server, pods="0")


@pytest.mark.parametrize(
    ("url", "body", "names"),
    [
        (CMS, config_map("x"), ("configmaps", "count__configmaps")),
        (SECRETS, {"metadata": {"name": "x"}}, ("secrets", "count__secrets")),
        (
            "/apis/apps/v1/namespaces/team/replicasets",
            {"kind": "ReplicaSet", "apiVersion": "apps/v1"},
            ("count__replicasets_apps",),
        ),
        (
            "/api/v1/namespaces/team/replicationcontrollers",
            {"kind": "ReplicationController", "apiVersion": "v1"},
            ("replicationcontrollers", "count__replicationcontrollers"),
        ),
    ],
    ids=["configMap", "secret", "replica set", "replication controller"],
)
async def test_life_of_what_is_counted(server: Harness, url: str, body: Obj, names: tuple[str, ...]) -> None:
    """should create a ResourceQuota and capture the life of a configMap, a secret, a replica set, a replication
    controller."""
    if "kind" in body and body["kind"].startswith("Repl"):
        labels = {"matchLabels": {"a": "b"}} if body["kind"] == "ReplicaSet" else {"a": "b"}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("t")["spec"]}
        body = {**body, "metadata": {"name": "x"}, "spec": {"replicas": 0, "selector": labels, "template": template}}
    await quota(server, spec=None, **dict.fromkeys(names, "1"))
    await server.ok("POST", url, body)
    await until(server, **dict.fromkeys(names, "1"))
    code, _, said = await server.refused("POST", url, {**body, "metadata": {"name": "y"}})
    assert code == 403 and ": exceeded quota: q, requested: " in said
    await server.ok("DELETE", f"{url}/x?propagationPolicy=Background")
    await until(server, **dict.fromkeys(names, "0"))


async def test_life_of_a_service(server: Harness) -> None:
    """should create a ResourceQuota and capture the life of a service."""
    await quota(server, services="3", services_nodeports="1", services_loadbalancers="1")
    await server.ok("POST", SERVICES, service("a"))
    assert await used(server) == {"services": "1", "services.nodeports": "0", "services.loadbalancers": "0"}
    await server.ok("POST", SERVICES, service("b", type="NodePort"))
    assert (await used(server))["services.nodeports"] == "1"
    assert await server.refused("POST", SERVICES, service("c", type="LoadBalancer")) == (
        403,
        "Forbidden",
        'services "c" is forbidden: exceeded quota: q, requested: services.nodeports=1, '
        "used: services.nodeports=1, limited: services.nodeports=1",
    )
    await server.ok("POST", SERVICES, service("c", type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    # an update is charged by what it adds
    said = (await server.refused("PATCH", f"{SERVICES}/a", {"spec": {"type": "NodePort"}}, **MERGE))[2]
    assert said.startswith('services "a" is forbidden: exceeded quota: q, requested: services.nodeports=1')
    await server.ok(
        "PATCH", f"{SERVICES}/b", {"spec": {"type": "ClusterIP", "ports": None}}, **MERGE
    ) if False else None
    for name in "abc":
        await server.ok("DELETE", f"{SERVICES}/{name}")
    await until(server, services="0", services_nodeports="0", services_loadbalancers="0")


async def test_update_and_delete(server: Harness) -> None:
    """should be able to update and delete ResourceQuota; should manage the lifecycle of a ResourceQuota."""
    await quota(server, pods="1")
    await server.ok("PATCH", f"{QUOTAS}/q", {"spec": {"hard": {"pods": None, "configmaps": "2"}}}, **MERGE)
    await until(server, configmaps="0")
    assert (await server.ok("GET", f"{QUOTAS}/q"))["status"] == {
        "hard": {"configmaps": "2"},
        "used": {"configmaps": "0"},
    }
    for name in "ab":
        await server.ok("POST", CMS, config_map(name))
    assert (await server.refused("POST", CMS, config_map("c")))[0] == 403
    await server.ok("DELETE", f"{QUOTAS}/q")
    await server.ok("POST", CMS, config_map("c"))


async def test_changes_to_the_status_are_put_right(server: Harness) -> None:
    """should apply changes to a resourcequota status."""
    await quota(server, configmaps="5")
    patch = {"status": {"hard": {"configmaps": "9"}, "used": {"configmaps": "7"}}}
    changed = await server.ok("PATCH", f"{QUOTAS}/q/status", patch, **MERGE)
    assert changed["status"] == patch["status"]
    await until(server, configmaps="0")
    assert (await server.ok("GET", f"{QUOTAS}/q"))["status"]["hard"] == {"configmaps": "5"}


async def test_scopes_of_quality(server: Harness) -> None:
    """should verify ResourceQuota with best effort scope."""
    await quota(server, "best", spec={"scopes": ["BestEffort"]}, pods="5")
    await quota(server, "not-best", spec={"scopes": ["NotBestEffort"]}, pods="5")
    await server.ok("POST", PODS, pod("a"))
    assert await used(server, "best") == {"pods": "1"} and await used(server, "not-best") == {"pods": "0"}
    await server.ok("POST", PODS, asking("b", {"cpu": "1"}))
    assert await used(server, "best") == {"pods": "1"} and await used(server, "not-best") == {"pods": "1"}
    for name in "ab":
        await server.ok("DELETE", f"{PODS}/{name}")
    await until(server, "best", pods="0")
    await until(server, "not-best", pods="0")


async def test_scopes_of_duration(server: Harness) -> None:
    """should verify ResourceQuota with terminating scopes."""
    await quota(server, "ends", spec={"scopes": ["Terminating"]}, pods="5", requests_cpu="1")
    await quota(server, "lasts", spec={"scopes": ["NotTerminating"]}, pods="5", requests_cpu="1")
    await server.ok("POST", PODS, asking("a", {"cpu": "500m"}))
    assert (await used(server, "lasts"))["requests.cpu"] == "500m" and (await used(server, "ends"))["pods"] == "0"
    await server.ok("POST", PODS, asking("b", {"cpu": "250m"}, activeDeadlineSeconds=3600))
    assert (await used(server, "ends"))["requests.cpu"] == "250m" and (await used(server, "lasts"))["pods"] == "1"
    await server.ok("DELETE", f"{PODS}/a")
    await until(server, "lasts", pods="0", requests_cpu="0")


async def test_scopes_of_priority(server: Harness) -> None:
    for name, value in (("high", 10), ("low", 1)):
        body = {"metadata": {"name": name}, "value": value}
        await server.ok("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
    rows = {"in": ("In", ["high"]), "not": ("NotIn", ["high"]), "some": ("Exists", []), "none": ("DoesNotExist", [])}
    for name, (operator, values) in rows.items():
        term = {"scopeName": "PriorityClass", "operator": operator, **({"values": values} if values else {})}
        await quota(server, name, spec={"scopeSelector": {"matchExpressions": [term]}}, pods="9")
    for name, chosen in (("a", "high"), ("b", "low"), ("c", "")):
        await server.ok("POST", PODS, asking(name, priorityClassName=chosen))
    assert {name: (await used(server, name))["pods"] for name in rows} == {
        "in": "1",
        "not": "2",
        "some": "2",
        "none": "1",
    }


async def test_storage(server: Harness) -> None:
    hard = {
        "requests.storage": "10Gi",
        "persistentvolumeclaims": "5",
        "gold.storageclass.storage.k8s.io/requests.storage": "3Gi",
    }
    await server.ok("POST", QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    await until(server, persistentvolumeclaims="0")

    def claim(name: str, size: str, kind: str = "") -> Obj:
        spec: Obj = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        return {"metadata": {"name": name}, "spec": {**spec, **({"storageClassName": kind} if kind else {})}}

    await server.ok("POST", CLAIMS, claim("a", "2Gi", "gold"))
    gold = "gold.storageclass.storage.k8s.io/requests.storage"
    assert await used(server) == {"persistentvolumeclaims": "1", "requests.storage": "2Gi", gold: "2Gi"}
    assert (await server.refused("POST", CLAIMS, claim("b", "2Gi", "gold")))[2].endswith(
        f"exceeded quota: q, requested: {gold}=2Gi, used: {gold}=2Gi, limited: {gold}=3Gi"
    )
    await server.ok("POST", CLAIMS, claim("b", "2Gi", "silver"))
    assert (await used(server))["requests.storage"] == "4Gi"


async def test_many_at_once_get_no_more_than_there_is(server: Harness) -> None:
    await quota(server, pods="7")
    found = await asyncio.gather(*(server.call("POST", PODS, pod(f"p{n}")) for n in range(20)))
    assert sorted(code for code, _ in found) == [201] * 7 + [403] * 13
    assert await used(server) == {"pods": "7"}


async def test_dry_runs_and_names_that_are_taken_cost_nothing(server: Harness) -> None:
    await quota(server, configmaps="2")
    await server.ok("POST", f"{CMS}?dryRun=All", config_map("a"))
    assert await used(server) == {"configmaps": "0"}
    await server.ok("POST", CMS, config_map("a"))
    for _ in range(3):
        assert (await server.refused("POST", CMS, config_map("a")))[0] == 409
    assert await used(server) == {"configmaps": "1"}


async def test_a_quota_that_was_not_counted_yet_admits_nothing_of_it(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        await server.ok("POST", "/api/v1/namespaces", TEAM)
        await server.ok("POST", QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}})
        # without a status there are no limits yet, as upstream
        await server.ok("POST", CMS, config_map("a"))
        await server.ok("PATCH", f"{QUOTAS}/q/status", {"status": {"hard": {"configmaps": "1"}}}, **MERGE)
        assert (await server.refused("POST", CMS, config_map("b")))[2] == (
            'configmaps "b" is forbidden: status unknown for quota: q, resources: configmaps'
        )


async def test_several_quotas_all_have_to_agree(server: Harness) -> None:
    await quota(server, "wide", configmaps="5")
    await quota(server, "narrow", count__configmaps="1")
    await server.ok("POST", CMS, config_map("a"))
    assert await used(server, "wide") == {"configmaps": "1"} and await used(server, "narrow") == {
        "count/configmaps": "1"
    }
    assert "exceeded quota: narrow" in (await server.refused("POST", CMS, config_map("b")))[2]
    assert await used(server, "wide") == {"configmaps": "1"}
