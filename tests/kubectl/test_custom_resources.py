"""A user's own kinds, with real kubectls: define, use, look at, change, scale and remove them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubectl_tools import Cluster, cluster

from tests.kubectl.programs import kubectls

DEFINITION = r"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: A line of a crontab.
        properties:
          spec:
            type: object
            properties:
              cronSpec: {type: string, pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$', description: When it runs.}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 1, maximum: 10}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.labelSelector
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
"""
OBJECT = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: mine}
spec: {cronSpec: "* * * * */5", replicas: 2}
"""
NAME = "crd/crontabs.stable.example.com"

PROGRAMS = kubectls()
VERSIONS = [one for one in PROGRAMS if one in ("1.20", "1.27") or one == list(PROGRAMS)[-1]]
"""Debian's, the oldest of the newer line, the newest."""


@pytest.fixture(params=VERSIONS)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, Path(PROGRAMS[request.param])) as made:
        await made.ok("apply -f -", DEFINITION)
        assert "condition met" in await made.ok(f"wait --for condition=established --timeout=20s {NAME}")
        yield made


async def test_apply_get_explain_edit_patch_scale_delete(lab: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await lab.ok("apply -f -", OBJECT) == "crontab.stable.example.com/mine created\n"
    assert await lab.ok("apply -f -", OBJECT) == "crontab.stable.example.com/mine unchanged\n"
    titles, row = (line.split() for line in (await lab.ok("get ct")).splitlines())
    assert titles == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert row[:-1] == ["mine", "*", "*", "*", "*", "*/5", "2"]
    assert "crontab.stable.example.com/mine" in await lab.ok("get all")
    assert "When it runs." in await lab.ok("explain crontabs.spec.cronSpec")
    assert "ct" in await lab.ok("api-resources --api-group=stable.example.com")
    await lab.ok('patch ct mine --type=merge -p \'{"spec":{"replicas":4}}\'')
    patch = json.dumps([{"op": "replace", "path": "/spec/replicas", "value": 5}])
    await lab.ok(f"patch ct mine --type=json -p '{patch}'")
    refused = await lab.fails('patch ct mine -p \'{"spec":{"replicas":6}}\'')
    assert "application/merge-patch+json" in refused, "a strategic merge needs a built-in kind"
    await lab.ok("scale ct mine --replicas=7")
    assert await lab.ok("get ct mine -o jsonpath={.spec.replicas}{.spec.image}") == "7busybox"
    await lab.ok("label ct mine a=b")
    assert "mine" in await lab.ok("get ct -l a=b -o name")
    assert "Cron Spec" in await lab.ok("describe ct mine")
    editor = lab.state / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/image: busybox/image: nginx/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    await lab.ok("edit ct mine")
    assert await lab.ok("get ct mine -o jsonpath={.spec.image}") == "nginx"
    assert "deleted" in await lab.ok(f"delete {NAME}")
    error = await lab.fails("get crontabs")
    assert "the server doesn't have a resource type" in error or "could not find the requested resource" in error


async def test_what_the_schema_forbids(lab: Cluster) -> None:
    error = await lab.fails("create -f -", OBJECT.replace("2}", "11}").replace("*/5", "x"))
    assert "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10" in error
    assert "spec.cronSpec in body should match" in error
    error = await lab.fails("create -f -", OBJECT.replace("2}", "2, imagee: x}"))
    assert "unknown field" in error


async def test_server_side_apply(lab: Cluster) -> None:
    assert "serverside-applied" in await lab.ok("apply --server-side -f -", OBJECT)
    error = await lab.fails("apply --server-side --field-manager=other -f -", OBJECT.replace("2}", "3}"))
    assert ".spec.replicas" in error
    await lab.ok("apply --server-side --field-manager=other --force-conflicts -f -", OBJECT.replace("2}", "3}"))
    assert await lab.ok("get ct mine -o jsonpath={.spec.replicas}") == "3"


async def test_a_watch_sees_the_objects_go_with_their_kind(lab: Cluster) -> None:
    await lab.ok("apply -f -", OBJECT)
    watching = asyncio.create_task(lab.run("get ct -w --output-watch-events"))
    await asyncio.sleep(1)
    await lab.ok(f"delete {NAME}")
    _, out, _ = await asyncio.wait_for(watching, 30)
    assert [line.split()[0] for line in out.splitlines()[1:]][:1] == ["ADDED"]
    assert "DELETED" in out
