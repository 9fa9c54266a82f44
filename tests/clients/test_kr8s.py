"""kr8s against a running lab, synchronous and asynchronous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import kr8s
import pytest
from kr8s.objects import APIObject, ConfigMap, Deployment, Node, Pod, Service, new_class

from tests.clients.objects import box, config_map, definition, deployment
from tests.labs.tools import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> Any:
    return kr8s.api(kubeconfig=str(kubeconfig), namespace=namespace)


def _made(kind: type[APIObject], body: dict[str, Any], api: Any) -> Any:
    made = kind({**body, "metadata": {**body["metadata"], "namespace": api.namespace}}, api=api)
    made.create()
    return made


def test_create_change_delete(api: Any) -> None:
    found = _made(ConfigMap, config_map("a", k="1"), api)
    assert found.exists()
    found.patch({"data": {"k": "2"}})
    assert found.data == {"k": "2"}
    found.patch([{"op": "remove", "path": "/data/k"}], type="json")
    found.refresh()
    assert "data" not in found.raw
    found.label(tier="front")
    found.annotate(note="word")
    again = ConfigMap.get("a", api=api, namespace=api.namespace)
    assert (again.labels, again.annotations) == ({"tier": "front"}, {"note": "word"})
    assert [one.name for one in api.get("configmaps", label_selector="tier=front")] == ["a"]
    found.delete()
    until("it is gone", lambda: not found.exists())
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("a", api=api, namespace=api.namespace)


def test_tables_versions_and_kinds(api: Any) -> None:
    assert api.version()["minor"] == "33"
    assert "v1" in set(api.api_versions())
    assert {"pods", "deployments", "nodes"} <= {resource["name"] for resource in api.api_resources()}
    assert [node.name for node in api.get("nodes")] == ["node"]
    assert api.whoami() == "kubernetes-admin"
    node = next(iter(api.get("nodes")))
    assert isinstance(node, Node)


def test_a_watch(api: Any) -> None:
    seen = []
    target = _made(ConfigMap, config_map("w", {"w": "1"}), api)
    for event, one in api.watch("configmaps", label_selector="w"):
        seen.append((event, one.name))
        if len(seen) == 1:
            target.label(more="1")
        elif len(seen) == 2:
            target.delete()
        else:
            break
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


def test_pods_logs_and_exec(api: Any) -> None:
    pod = _made(Pod, box(), api)
    pod.wait("condition=Ready", timeout=60)
    assert pod.ready()
    until("it has said both", lambda: list(pod.logs(container="main")) == ["one", "two"])
    done = pod.exec(["sh", "-c", "echo out; echo bad >&2"], container="main")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"bad\n", 0)
    failed = pod.exec(["sh", "-c", "exit 4"], container="main", check=False)
    assert failed.returncode == 4
    with pytest.raises((kr8s.ExecError, ExceptionGroup), match=r"exit code 1|TaskGroup"):
        pod.exec(["false"], container="main")


def test_port_forward_to_a_pod_and_a_service(api: Any) -> None:
    pod = _made(Pod, box(), api)
    pod.wait("condition=Ready", timeout=60)
    with pod.portforward(8080) as port:
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/hostname", timeout=30).text == "box"
    body = {"metadata": {"name": "box"}, "spec": {"selector": {"app": "box"}, "ports": [{"port": 8080}]}}
    service = _made(Service, body, api)
    until("the Service has an endpoint", lambda: service.ready())
    with service.portforward(8080) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/hostname", timeout=30).text == "box"
    assert service.proxy_http_get("hostname", port=8080).text == "box"


def test_scale(api: Any) -> None:
    found = _made(Deployment, deployment("web"), api)
    found.wait("condition=Available", timeout=60)
    found.scale(2)
    until("two are ready", lambda: found.ready() and len(found.pods()) == 2)
    found.delete(propagation_policy="Foreground")
    until("pods and Deployment are gone", lambda: not found.exists() and not list(api.get("pods")))


def test_a_kind_of_ones_own(api: Any, namespace: str) -> None:
    group = f"{namespace}.example.com"
    kind = kr8s.objects.object_from_spec(definition("widgets", "Widget", group), api=api)
    kind.create()
    try:
        kind.wait("condition=Established", timeout=60)
        widget = new_class("Widget", version=f"{group}/v1", namespaced=True, asyncio=False)
        made = _made(widget, {"metadata": {"name": "x"}, "spec": {"a": 1}}, api)
        made.patch({"status": {"seen": True}}, subresource="status")
        made.refresh()
        assert made.status.seen is True
    finally:
        kind.delete()


async def test_asynchronous(kubeconfig: Path, namespace: str) -> None:
    from kr8s.asyncio import api as connect
    from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap

    api = await connect(kubeconfig=str(kubeconfig), namespace=namespace)
    made = await AsyncConfigMap({"metadata": {"name": "a", "namespace": namespace}, "data": {"k": "1"}}, api=api)
    await made.create()
    found = [one.name async for one in api.get("configmaps") if one.name == "a"]
    assert found == ["a"]
    async for event, one in api.watch("configmaps"):
        if one.name == "a":
            assert event == "ADDED"
            break
    await made.delete()
    await api._session.aclose()
