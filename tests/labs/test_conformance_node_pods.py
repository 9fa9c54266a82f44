"""sig-node's conformance names about Pods as objects, as upstream's test/e2e/common/node/pods.go."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.labs.conformance_tools import (
    STRATEGIC,
    Watch,
    condition,
    create,
    items,
    labelled,
    log,
    pause,
    pod,
    sh,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, Obj, Space

pytestmark = pytest.mark.timeout(300)


@conformance(
    "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory "
    "and cpu"
)
def test_quality(space: Space) -> None:  # noqa: F811
    amounts = {"cpu": "100m", "memory": "100Mi"}
    made = space.create("pods", pod(pause(resources={"limits": amounts, "requests": amounts})))
    assert made["status"]["qosClass"] == "Guaranteed"


@conformance("Pods should get a host IP")
def test_host_ip(space: Space) -> None:  # noqa: F811
    found = space.ready(create(space, pod(pause())))
    node = space.api.get(f"/api/v1/nodes/{found['spec']['nodeName']}")
    assert found["status"]["hostIP"] in {one["address"] for one in node["status"]["addresses"]}


@conformance("Pods should be submitted and removed")
def test_removed(space: Space) -> None:  # noqa: F811
    selector = space.path("pods") + "?labelSelector=time%3D1"
    watched = Watch(space.api, selector)
    create(space, pod(pause(), labels={"name": "foo", "time": "1"}))
    watched.sees("ADDED")
    space.ready("pod")
    path = space.path("pods", "pod")
    answer = space.api.call("DELETE", path, {"gracePeriodSeconds": 30})
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 30
    last = watched.sees("DELETED")
    assert last["metadata"]["deletionTimestamp"]
    assert items(space.api, selector) == []


@conformance("Pods should be updated")
def test_updated(space: Space) -> None:  # noqa: F811
    space.ready(create(space, pod(pause(), labels={"time": "1"})))
    space.api.update(space.path("pods", "pod"), lambda obj: obj["metadata"]["labels"].update(time="2"))
    assert len(items(space.api, space.path("pods") + "?labelSelector=time%3D2")) == 1


@conformance("Pods should allow activeDeadlineSeconds to be updated")
def test_deadline(space: Space) -> None:  # noqa: F811
    space.ready(create(space, pod(pause())))
    path = space.path("pods", "pod")
    space.api.update(path, lambda obj: obj["spec"].update(activeDeadlineSeconds=1))
    space.wait("the deadline", lambda: space.api.get(path)["status"].get("reason") == "DeadlineExceeded")
    assert space.api.get(path)["status"]["phase"] == "Failed"


@conformance("Pods should delete a collection of pods")
def test_collection(space: Space) -> None:  # noqa: F811
    for number in range(3):
        create(space, pod(pause(), name=f"test-pod-{number}", labels={"type": "Testing"}))
    selector = space.path("pods") + "?labelSelector=type%3DTesting"
    assert len(items(space.api, selector)) == 3
    space.api.call("DELETE", selector)
    space.wait("none left", lambda: not items(space.api, selector))


@conformance("Pods should patch a pod status")
def test_status_patch(space: Space) -> None:  # noqa: F811
    space.ready(create(space, pod(pause())))
    path = space.path("pods", "pod")
    patch = {"status": {"message": "Patched by e2e test", "reason": "E2E"}}
    status = space.api.call("PATCH", f"{path}/status", patch, STRATEGIC)["status"]  # later the kubelet writes its own
    assert (status["message"], status["reason"]) == ("Patched by e2e test", "E2E")


@conformance("Pods should run through the lifecycle of Pods and PodStatus")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    label = {"test-pod-static": "true"}
    watched = Watch(space.api, space.path("pods") + "?labelSelector=test-pod-static%3Dtrue")
    create(space, pod(sh("sleep 600"), labels=label, terminationGracePeriodSeconds=1))
    watched.sees("ADDED", lambda obj: obj["status"]["phase"] == "Pending")
    watched.sees("MODIFIED", lambda obj: condition(obj, "Ready").get("status") == "True")
    path = space.path("pods", "pod")
    patch = {
        "metadata": {"labels": {"test-pod": "patched"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": AGNHOST}]},
    }
    space.api.call("PATCH", path, patch, STRATEGIC)
    found = watched.sees("MODIFIED", labelled("test-pod", "patched"))
    assert found["spec"]["containers"][0]["image"] == AGNHOST
    status = space.api.get(f"{path}/status")

    def not_ready(obj: Obj) -> None:
        for one in obj["status"]["conditions"]:
            if one["type"] == "Ready":
                one["status"] = "False"

    assert status["kind"] == "Pod"
    changed = space.api.update(f"{path}/status", not_ready)
    assert condition(changed, "Ready")["status"] == "False"
    space.api.call("DELETE", space.path("pods") + "?labelSelector=test-pod-static%3Dtrue")
    watched.sees("DELETED")


def _socket(ns: Space, path: str, protocol: str, enough: Any) -> bytes:
    """What comes over a WebSocket of that protocol until it is enough or the server closes it."""

    async def talk() -> bytes:
        connector = aiohttp.TCPConnector(ssl=ns.api.context)
        text = b""
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect(ns.api.server + path, protocols=(protocol,), timeout=aiohttp.ClientWSTimeout(60)) as ws,
        ):
            assert ws.protocol == protocol
            async for message in ws:
                data = message.data if isinstance(message.data, bytes) else message.data.encode()
                text += (
                    data[1:]
                    if protocol == "v4.channel.k8s.io" and data[:1] == b"\x01"
                    else (b"" if protocol == "v4.channel.k8s.io" else data)
                )
                if enough(text):
                    break
        return text

    return asyncio.run(asyncio.wait_for(talk(), 60))


@conformance("Pods should support remote command execution over websockets")
def test_exec_socket(space: Space) -> None:  # noqa: F811
    space.ready(create(space, pod(sh("sleep 600"))))
    query = "?stderr=1&stdout=1&container=main&command=echo&command=remote+execution+test"
    said = _socket(space, space.path("pods", "pod/exec") + query, "v4.channel.k8s.io", lambda text: b"\n" in text)
    assert said == b"remote execution test\n"


@conformance("Pods should support retrieving logs from the container over websockets")
def test_log_socket(space: Space) -> None:  # noqa: F811
    space.ready(create(space, pod(sh("echo container is alive; sleep 600"))))
    space.wait("its words", lambda: "alive" in log(space, "pod"))
    path = space.path("pods", "pod/log") + "?container=main"
    assert _socket(space, path, "binary.k8s.io", lambda text: b"\n" in text) == b"container is alive\n"
