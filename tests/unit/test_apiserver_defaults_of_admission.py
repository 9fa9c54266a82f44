"""Admission plug-ins that fill in what a cluster's administrator chose: classes, taints, overhead, sizes."""

from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, PODS, account, harness, pod

from netlab.api.resources import BUILTIN
from netlab.apiserver.admission.plugins import PLUGINS

Obj = dict[str, Any]
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
RUNTIMES = "/apis/node.k8s.io/v1/runtimeclasses"
MERGE = {"headers": {"content-type": "application/merge-patch+json"}}

UPSTREAM = (
    "NamespaceLifecycle LimitRanger ServiceAccount NodeRestriction TaintNodesByCondition PodSecurity Priority "
    "DefaultTolerationSeconds DefaultStorageClass StorageObjectInUseProtection PersistentVolumeClaimResize "
    "RuntimeClass CertificateApproval CertificateSigning CertificateSubjectRestriction DefaultIngressClass "
    "ResourceQuota"
)


def test_the_plugins_are_upstreams_in_upstreams_order() -> None:
    names = [plugin.name for plugin in PLUGINS]
    known = [name for name in names if name in UPSTREAM.split()]
    assert known == UPSTREAM.split()


def claim(name: str, size: str = "1Gi", **spec: Any) -> Obj:
    resources = {"requests": {"storage": size}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}}


async def test_default_storage_class(tmp_path: Path) -> None:
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    async with harness(tmp_path) as h:
        assert "storageClassName" not in (await h.ok("POST", CLAIMS, claim("none")))["spec"]
        for name, notes in (("b", mark), ("c", mark), ("a", {})):
            await h.ok("POST", CLASSES, {"metadata": {"name": name, "annotations": notes}, "provisioner": "x/y"})
        assert (await h.ok("POST", CLAIMS, claim("one")))["spec"]["storageClassName"] in ("b", "c")
        assert (await h.ok("POST", CLAIMS, claim("two", storageClassName="")))["spec"]["storageClassName"] == ""
        assert (await h.ok("POST", CLAIMS, claim("three", storageClassName="a")))["spec"]["storageClassName"] == "a"


async def test_claims_grow_where_their_class_lets_them(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        for name, grows in (("fixed", False), ("wide", True)):
            body = {"metadata": {"name": name}, "provisioner": "x/y", "allowVolumeExpansion": grows}
            await h.ok("POST", CLASSES, body)
            await h.ok("POST", CLAIMS, claim(name, storageClassName=name, volumeName="v"))
            await h.ok("PATCH", f"{CLAIMS}/{name}/status", {"status": {"phase": "Bound"}}, **MERGE)
        grow = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        assert await h.refused("PATCH", f"{CLAIMS}/fixed", grow, **MERGE) == (
            403,
            "Forbidden",
            'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and '
            "the storageclass that provisions the pvc must support resize",
        )
        await h.ok("PATCH", f"{CLAIMS}/wide", grow, **MERGE)


async def test_default_ingress_class(tmp_path: Path) -> None:
    url = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    async with harness(tmp_path) as h:
        notes = {"ingressclass.kubernetes.io/is-default-class": "true"}
        body = {"metadata": {"name": "main", "annotations": notes}, "spec": {"controller": "x/y"}}
        await h.ok("POST", "/apis/networking.k8s.io/v1/ingressclasses", body)
        made = await h.ok("POST", url, {"metadata": {"name": "a"}, "spec": backend})
        assert made["spec"]["ingressClassName"] == "main"
        other = {"metadata": {"name": "b", "annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": backend}
        assert "ingressClassName" not in (await h.ok("POST", url, other))["spec"]


async def test_new_nodes_are_not_ready(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        made = await h.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_runtime_classes(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", ACCOUNTS, account("default"))
        scheduling = {"nodeSelector": {"kind": "vm"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}
        body = {
            "metadata": {"name": "vm"},
            "handler": "h",
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": scheduling,
        }
        await h.ok("POST", RUNTIMES, body)

        def asking(**spec: Any) -> Obj:
            made = pod("p")
            made["spec"].update(spec)
            return made

        made = (await h.ok("POST", f"{PODS}?dryRun=All", asking(runtimeClassName="vm")))["spec"]
        assert made["overhead"] == {"cpu": "250m"} and made["nodeSelector"] == {"kind": "vm"}
        assert {"key": "vm", "operator": "Exists"} in made["tolerations"]
        rows: list[tuple[Obj, str]] = [
            ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
            (
                {"runtimeClassName": "vm", "overhead": {"cpu": "1"}},
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                {"runtimeClassName": "vm", "nodeSelector": {"kind": "x"}},
                "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = x",
            ),
            (
                {"overhead": {"cpu": "1"}},
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
        ]
        for spec, why in rows:
            assert await h.refused("POST", PODS, asking(**spec)) == (403, "Forbidden", f'pods "p" is forbidden: {why}')


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_first_namespaces_stay(tmp_path: Path, name: str) -> None:
    async with harness(tmp_path) as h:
        code, _, said = await h.refused("DELETE", f"/api/v1/namespaces/{name}")
        assert (code, said) == (403, f'namespaces "{name}" is forbidden: this namespace may not be deleted')


def test_every_collection_that_a_plugin_is_about_exists() -> None:
    known = {resource.group_resource for resource in BUILTIN}
    assert set[str]().union(*(plugin.about or () for plugin in PLUGINS)) <= known
