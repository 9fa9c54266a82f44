"""lightkube against a running lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightkube
import pytest
from lightkube import codecs
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Node, Pod
from lightkube.types import CascadeType, PatchType

from tests.clients.objects import box, config_map, definition, deployment
from tests.labs.tools import until

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def kube(kubeconfig: Path, namespace: str) -> Iterator[lightkube.Client]:
    config = lightkube.KubeConfig.from_file(kubeconfig)
    with lightkube.Client(config, namespace=namespace, field_manager="tests") as made:
        yield made


def _map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name), data=data)


def test_create_get_replace_delete(kube: lightkube.Client) -> None:
    made = kube.create(_map("a", k="1"))
    assert made.metadata is not None and made.metadata.uid
    made.data = {"k": "2"}
    assert kube.replace(made).data == {"k": "2"}
    with pytest.raises(ApiError) as stale:
        kube.replace(made)
    assert stale.value.status.reason == "Conflict"
    with pytest.raises(ApiError) as again:
        kube.create(_map("a"))
    assert again.value.status.reason == "AlreadyExists"
    kube.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as gone:
        kube.get(ConfigMap, "a")
    assert (gone.value.status.code, gone.value.status.reason) == (404, "NotFound")
    assert gone.value.status.details is not None and gone.value.status.details.kind == "configmaps"
    assert kube.create(_map("dry", a="b"), dry_run=True).data == {"a": "b"}
    assert "dry" not in {one.metadata.name for one in kube.list(ConfigMap) if one.metadata}


def test_lists_in_pages_and_across_namespaces(kube: lightkube.Client) -> None:
    for number in range(5):
        kube.create(codecs.from_dict(config_map(f"c{number}", {"half": str(number % 2)})))
    listed = kube.list(ConfigMap, chunk_size=2, labels={"half": ["0", "1"]})
    assert [one.metadata.name for one in listed if one.metadata] == [f"c{number}" for number in range(5)]
    assert listed.resourceVersion.isdecimal()
    named = kube.list(ConfigMap, fields={"metadata.name": "c3"}, namespace="*")
    assert [one.metadata.name for one in named if one.metadata] == ["c3"]
    assert [node.metadata.name for node in kube.list(Node) if node.metadata] == ["node"]
    kube.deletecollection(ConfigMap)
    until("they are gone", lambda: [m.metadata.name for m in kube.list(ConfigMap)] in ([], ["kube-root-ca.crt"]))  # type: ignore[union-attr]


def test_a_watch_resumes(kube: lightkube.Client) -> None:
    start = kube.list(ConfigMap)
    list(start)
    for name in ("w1", "w2"):
        kube.create(_map(name))
    watching = kube.watch(ConfigMap, resource_version=start.resourceVersion, server_timeout=30)
    kind, first = next(watching)
    assert first.metadata is not None
    assert (kind, first.metadata.name) == ("ADDED", "w1")
    kube.delete(ConfigMap, "w1")
    again = kube.watch(ConfigMap, resource_version=first.metadata.resourceVersion, server_timeout=30)
    seen = [next(again), next(again)]
    assert [(kind, one.metadata.name) for kind, one in seen if one.metadata] == [("ADDED", "w2"), ("DELETED", "w1")]


@pytest.mark.parametrize(
    "kind, body, wanted",
    [
        (PatchType.JSON, [{"op": "add", "path": "/data/c", "value": "2"}], {"a": "1", "c": "2"}),
        (PatchType.MERGE, {"data": {"a": None, "c": "3"}}, {"c": "3"}),
        (PatchType.STRATEGIC, {"data": {"a": "9"}}, {"a": "9"}),
    ],
)
def test_types_of_patches(kube: lightkube.Client, kind: PatchType, body: Any, wanted: Any) -> None:
    kube.create(_map("p", a="1"))
    assert kube.patch(ConfigMap, "p", body, patch_type=kind).data == wanted


def test_apply(kube: lightkube.Client, kubeconfig: Path, namespace: str) -> None:
    assert kube.apply(codecs.from_dict(config_map("s", k="1"))).data == {"k": "1"}
    with lightkube.Client(
        lightkube.KubeConfig.from_file(kubeconfig), namespace=namespace, field_manager="other"
    ) as other:
        with pytest.raises(ApiError) as conflict:
            other.apply(codecs.from_dict(config_map("s", k="2")))
        assert conflict.value.status.message == 'Apply failed with 1 conflict: conflict with "tests": .data.k'
        assert other.apply(codecs.from_dict(config_map("s", k="2")), force=True).data == {"k": "2"}


def test_pods_logs_and_waiting(kube: lightkube.Client) -> None:
    kube.create(codecs.from_dict(box()))
    ready = kube.wait(Pod, "box", for_conditions=["Ready"])
    assert ready.status is not None and ready.status.podIP is not None
    until("it has said both", lambda: list(kube.log("box", container="main")) == ["one\n", "two\n"])
    assert list(kube.log("box", container="main", tail_lines=1)) == ["two\n"]
    events = {event.reason for event in kube.list(Event, fields={"involvedObject.name": "box"})}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= events
    kube.delete(Pod, "box", grace_period=0)


async def test_exec(kubeconfig: Path, namespace: str) -> None:
    """By the asynchronous client: the synchronous one reads in a thread that may outlive its connection, and then
    takes bytes of whichever connection gets the descriptor's number next."""
    kube = lightkube.AsyncClient(lightkube.KubeConfig.from_file(kubeconfig), namespace=namespace)
    await kube.create(codecs.from_dict(box()))
    await kube.wait(Pod, "box", for_conditions=["Ready"])
    target: Any = {"container": "main", "stdout": True, "stderr": True, "timeout": 60}
    done = await kube.exec("box", command=["sh", "-c", "cat; echo bad >&2; exit 3"], stdin="in", **target)
    assert (done.stdout, done.stderr, done.exit_code) == ("in", "bad\n", 3)
    done = await kube.exec("box", command="hostname", **target)
    assert (done.stdout, done.exit_code) == ("box\n", 0)
    await kube.close()


def test_scale_and_status(kube: lightkube.Client) -> None:
    made = kube.create(codecs.from_dict(deployment("web")))
    assert isinstance(made, Deployment)
    kube.wait(Deployment, "web", for_conditions=["Available"])
    scaled = kube.patch(Deployment.Scale, "web", {"spec": {"replicas": 2}}, patch_type=PatchType.MERGE)
    assert scaled.spec is not None and scaled.spec.replicas == 2
    until("two are there", lambda: kube.get(Deployment, "web").status.readyReplicas == 2)  # type: ignore[union-attr]
    body = {"status": {"conditions": [{"type": "Mine", "status": "True"}]}}
    kube.patch(Deployment.Status, "web", body)
    conditions = kube.get(Deployment, "web").status.conditions  # type: ignore[union-attr]
    assert "Mine" in {one.type for one in conditions or []}
    kube.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)

    def gone() -> bool:
        try:
            kube.get(Deployment, "web")
        except ApiError as error:
            return bool(error.status.code == 404)
        return False

    until("the Deployment is gone after its pods", gone)
    assert list(kube.list(Pod, labels={"app": "web"})) == []


def test_a_generic_resource(kube: lightkube.Client, namespace: str) -> None:
    group = f"{namespace}.example.com"
    kube.create(codecs.from_dict(definition("gadgets", "Gadget", group)))
    name = f"gadgets.{group}"
    try:
        kube.wait(CustomResourceDefinition, name, for_conditions=["Established"])
        gadget = create_namespaced_resource(group, "v1", "Gadget", "gadgets")
        kube.create(gadget(metadata=ObjectMeta(name="g"), spec={"a": 1}))
        kube.patch(gadget.Status, "g", {"status": {"ok": True}}, patch_type=PatchType.MERGE)
        found = kube.get(gadget, "g")
        assert (found.spec, found.status) == ({"a": 1}, {"ok": True})
        with pytest.raises(ApiError) as refused:
            kube.patch(gadget, "g", {"spec": {}}, patch_type=PatchType.STRATEGIC)
        assert refused.value.status.code == 415
    finally:
        kube.delete(CustomResourceDefinition, name)


def test_manifests_and_invalid_objects(kube: lightkube.Client) -> None:
    text = "\n---\n".join(map(json.dumps, (config_map("m1"), config_map("m2"))))
    for one in codecs.load_all_yaml(text):
        kube.create(one)  # type: ignore[arg-type]
    bad = Pod(metadata=ObjectMeta(name="bad"), spec=PodSpec(containers=[Container(name="Bad_Name", image="x")]))
    with pytest.raises(ApiError) as invalid:
        kube.create(bad)
    status = invalid.value.status
    assert (status.code, status.reason) == (422, "Invalid")
    assert status.details is not None and status.details.causes is not None
    assert status.details.causes[0].field == "spec.containers[0].name"
    assert kube.get(Namespace, "default").status.phase == "Active"  # type: ignore[union-attr]
