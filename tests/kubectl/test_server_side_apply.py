"""kubectl apply --server-side: twice, in conflict, by force, after client-side apply; and diff."""

import json
from pathlib import Path

import pytest
from kubectl_tools import cluster, ends

CONFIG = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: "{}"}}\n'
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: nginx}}]}}
"""
APPLY = "apply --server-side -f -"


@pytest.mark.parametrize("kubectl", ends(), ids=lambda path: path.name)
async def test_two_managers_of_one_object(tmp_path: Path, kubectl: Path) -> None:
    async with cluster(tmp_path, kubectl) as c:
        assert await c.ok(APPLY, CONFIG.format(1)) == "configmap/a serverside-applied\n"
        version = await c.ok("get cm a -o jsonpath={.metadata.resourceVersion}")
        await c.ok(APPLY, CONFIG.format(1))
        assert await c.ok("get cm a -o jsonpath={.metadata.resourceVersion}") == version
        said = await c.fails(f"{APPLY} --field-manager=other", CONFIG.format(2))
        assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.k' in said
        await c.ok(f"{APPLY} --field-manager=other --force-conflicts", CONFIG.format(2))
        shown = json.loads(await c.ok("get cm a -o json --show-managed-fields"))
        owned = {entry["manager"]: entry["fieldsV1"] for entry in shown["metadata"]["managedFields"]}
        assert owned == {"other": {"f:data": {"f:k": {}}}}
        code, out, _ = await c.run("diff --server-side --force-conflicts -f -", CONFIG.format(3))
        assert code == 1 and '-  k: "2"\n+  k: "3"' in out


@pytest.mark.parametrize("kubectl", ends(), ids=lambda path: path.name)
async def test_from_client_side_apply_and_back(tmp_path: Path, kubectl: Path) -> None:
    async with cluster(tmp_path, kubectl) as c:
        await c.ok("apply -f -", DEPLOYMENT.format(1))
        await c.ok(APPLY, DEPLOYMENT.format(2))
        managers = "get deploy web -o jsonpath={.metadata.managedFields[*].manager}"
        assert await c.ok(managers) == "kubectl kubectl-last-applied"
        assert "replicas: 2" in await c.ok("apply view-last-applied deploy/web")
        await c.ok("scale deploy web --replicas=4")
        said = await c.fails(APPLY, DEPLOYMENT.format(3))
        assert 'with subresource "scale" using apps/v1: .spec.replicas' in said
        await c.ok("apply -f -", DEPLOYMENT.format(2))
        assert await c.ok("get deploy web -o jsonpath={.spec.replicas}") == "2"
