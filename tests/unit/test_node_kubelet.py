"""The life of pods on one node: against an API server and a runtime in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from node_fakes import FakeRuntime, NodeUnderTest, pod, start_node

from netlab.client.fake import eventually
from netlab.client.kinds import CONFIG_MAPS, PODS

Obj = dict[str, Any]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderTest]:
    found = await start_node(tmp_path)
    yield found
    await found.close()


def phase(node: NodeUnderTest, name: str = "p") -> str:
    return str((node.pod(name).get("status") or {}).get("phase"))


def conditions(node: NodeUnderTest, name: str = "p") -> dict[str, str]:
    return {c["type"]: c["status"] for c in (node.pod(name).get("status") or {}).get("conditions") or ()}


def containers(node: NodeUnderTest, name: str = "p", key: str = "containerStatuses") -> dict[str, Obj]:
    return {c["name"]: c for c in (node.pod(name).get("status") or {}).get(key) or ()}


def read_files(directory: str) -> dict[str, str]:
    return {p.name: p.read_text() for p in Path(directory).iterdir() if not p.name.startswith("..")}


async def test_a_pod_runs_and_is_ready_with_one_status_patch(node: NodeUnderTest) -> None:
    node.api.add(pod())
    await eventually(lambda: conditions(node).get("Ready") == "True", "ready")
    status = node.pod()["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.244.1.2" and status["podIPs"] == [{"ip": "10.244.1.2"}]
    assert status["hostIP"] == "192.168.0.2" and status["qosClass"] == "BestEffort"
    assert set(conditions(node).values()) == {"True"}
    entry = containers(node)["c"]
    assert entry["containerID"].startswith("netlab://") and entry["started"] is True and entry["restartCount"] == 0
    assert set(entry["state"]) == {"running"} and entry["lastState"] == {}
    assert node.api.calls["PATCH status"] == 1
    assert node.recorder.reasons() == ["Pulled", "Created", "Started"]


async def test_a_status_that_somebody_else_wrote_is_put_right(node: NodeUnderTest) -> None:
    """The node-lifecycle controller says Ready=False while a node is cut off; afterwards the kubelet's word counts."""
    node.api.add(pod())
    await eventually(lambda: conditions(node).get("Ready") == "True", "ready")
    status = node.pod()["status"]
    lost = [{**c, "status": "False"} if c["type"] == "Ready" else c for c in status["conditions"]]
    node.api.modify(PODS, "default/p", {"status": {"conditions": lost}})
    await eventually(lambda: conditions(node).get("Ready") == "True", "ready again")


async def test_deleting_a_pod_stops_it_and_takes_everything_away(node: NodeUnderTest) -> None:
    node.api.add(pod())
    await eventually(lambda: phase(node) == "Running", "running")
    await node.client.delete(PODS, "p", "default")
    await eventually(lambda: not node.exists(), "gone")
    await eventually(lambda: not node.kubelet.workers, "worker gone")
    assert not node.wiring.attached
    assert node.kubelet.shared.ipam is not None and node.kubelet.shared.ipam.used == 0
    assert "Killing" in node.recorder.reasons()
    assert await node.runtime.list_sandboxes() == []


async def test_a_shorter_grace_period_ends_the_wait(node: NodeUnderTest) -> None:
    node.runtime.ignores_term = True
    node.api.add(pod())
    await eventually(lambda: phase(node) == "Running", "running")
    await node.client.delete(PODS, "p", "default", grace_period=3600)
    await eventually(lambda: "Killing" in node.recorder.reasons(), "stopping")
    assert node.exists()
    await node.client.delete(PODS, "p", "default", grace_period=1)
    await eventually(lambda: not node.exists(), "gone")


async def test_a_pod_that_ends_with_success(node: NodeUnderTest) -> None:
    node.runtime.behave = lambda _: 0
    node.api.add(pod(restartPolicy="Never"))
    await eventually(lambda: phase(node) == "Succeeded", "succeeded")
    entry = containers(node)["c"]["state"]["terminated"]
    assert entry["exitCode"] == 0 and entry["reason"] == "Completed"
    await eventually(lambda: not node.wiring.attached, "network gone")
    ready = next(c for c in node.pod()["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False" and ready["reason"] == "PodCompleted"
    assert node.pod()["status"]["podIP"] == "10.244.1.2"


async def test_crash_loop_back_off(node: NodeUnderTest) -> None:
    node.runtime.behave = lambda _: 3
    node.api.add(pod())

    def backing_off() -> bool:
        entry = containers(node).get("c") or {}
        return (entry.get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"

    await eventually(backing_off, "CrashLoopBackOff")
    entry = containers(node)["c"]
    uid = node.pod()["metadata"]["uid"]
    assert entry["state"]["waiting"]["message"] == f"back-off 10s restarting failed container=c pod=p_default({uid})"
    assert entry["lastState"]["terminated"]["exitCode"] == 3 and entry["restartCount"] == 1
    assert phase(node) == "Running"
    assert ("Warning", "BackOff", f"Back-off restarting failed container c in pod p_default({uid})") in (
        node.recorder.events
    )


async def test_init_containers_run_one_after_the_other_and_a_sidecar_stays(node: NodeUnderTest) -> None:
    node.runtime.behave = lambda config: 0 if config.name in ("one", "two") else None
    init = [
        {"name": "one", "image": "busybox"},
        {"name": "side", "image": "busybox", "restartPolicy": "Always"},
        {"name": "two", "image": "busybox"},
    ]
    node.api.add(pod(initContainers=init))
    await eventually(lambda: conditions(node).get("Ready") == "True", "ready")
    order = [line for line in node.runtime.log if line.startswith("start")]
    assert order == ["start one", "start side", "start two", "start c"]
    statuses = containers(node, key="initContainerStatuses")
    assert statuses["one"]["ready"] is True and "running" in statuses["side"]["state"]
    await node.client.delete(PODS, "p", "default")
    await eventually(lambda: not node.exists(), "gone")
    assert [line for line in node.runtime.log if line.startswith("exit")][-2:] == ["exit c", "exit side"]


async def test_a_failing_init_container_fails_a_pod_that_never_restarts(node: NodeUnderTest) -> None:
    node.runtime.behave = lambda config: 1 if config.name == "init" else None
    node.api.add(pod(restartPolicy="Never", initContainers=[{"name": "init", "image": "busybox"}]))
    await eventually(lambda: phase(node) == "Failed", "failed")
    assert "start c" not in node.runtime.log
    initialized = next(c for c in node.pod()["status"]["conditions"] if c["type"] == "Initialized")
    assert initialized["reason"] == "ContainersNotInitialized"
    assert initialized["message"] == "containers with incomplete status: [init]"


async def test_an_unknown_image(node: NodeUnderTest) -> None:
    node.api.add(pod("p", {"name": "c", "image": "nope"}))

    def waiting() -> str:
        entry = containers(node).get("c") or {}
        return str((entry.get("state") or {}).get("waiting", {}).get("reason"))

    await eventually(lambda: waiting() == "ErrImagePull", "ErrImagePull")
    await eventually(lambda: waiting() == "ImagePullBackOff", "ImagePullBackOff")
    node.runtime.images.names.add("nope")
    await eventually(lambda: phase(node) == "Running", "running")


async def test_a_missing_configmap_key_and_its_arrival(node: NodeUnderTest) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "k"}}}]
    node.api.add(pod("p", {"name": "c", "env": env}))

    def waiting() -> Obj:
        entry = containers(node).get("c") or {}
        found: Obj = (entry.get("state") or {}).get("waiting") or {}
        return found

    await eventually(lambda: waiting().get("reason") == "CreateContainerConfigError", "config error")
    assert waiting()["message"] == 'configmap "cfg" not found'
    node.api.add(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "cfg", "namespace": "default"},
            "data": {"k": "v"},
        }
    )
    await eventually(lambda: phase(node) == "Running", "running")
    assert dict(next(iter(node.runtime.configs.values())).env)["A"] == "v"


async def test_configmap_volumes_follow_their_object(node: NodeUnderTest) -> None:
    cfg = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg", "namespace": "default"}}
    node.api.add({**cfg, "data": {"a": "1"}})
    volumes = [{"name": "v", "configMap": {"name": "cfg", "defaultMode": 0o600}}]
    mounts = [{"name": "v", "mountPath": "/etc/v"}]
    node.api.add(pod("p", {"name": "c", "volumeMounts": mounts}, volumes=volumes))
    await eventually(lambda: phase(node) == "Running", "running")
    mount = next(m for m in next(iter(node.runtime.configs.values())).mounts if m.container_path == "/etc/v")
    directory = Path(mount.host_path)
    assert (directory / "a").read_text() == "1" and (directory / "a").stat().st_mode & 0o777 == 0o600
    node.api.modify(CONFIG_MAPS, "default/cfg", {"data": {"a": "2", "b": "3"}})
    await eventually(lambda: (directory / "b").exists() and (directory / "a").read_text() == "2", "updated")


async def test_the_service_account_volume_costs_one_token_request(node: NodeUnderTest) -> None:
    ca = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "default"}}
    node.api.add({**ca, "data": {"ca.crt": "CA"}})
    sources: list[Obj] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": sources}}]
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    mounts = [{"name": "kube-api-access", "mountPath": where, "readOnly": True}]
    for name in ("p", "q"):
        node.api.add(pod(name, {"name": "c", "volumeMounts": mounts}, volumes=volumes))
    await eventually(lambda: phase(node) == phase(node, "q") == "Running", "running")
    mount = next(m for m in next(iter(node.runtime.configs.values())).mounts if m.container_path == where)
    files = read_files(mount.host_path)
    assert files["ca.crt"] == "CA" and files["namespace"] == "default" and files["token"].startswith("token-")
    assert mount.read_only
    assert node.api.tokens == 2 and node.api.calls["GET kube-root-ca.crt"] == 1


async def test_readiness_follows_the_probe(node: NodeUnderTest) -> None:
    from netlab.runtime.contract import ExecResult

    probe = {"exec": {"command": ["ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.runtime.exec_results["ready"] = ExecResult(1, b"no", b"")
    node.api.add(pod("p", {"name": "c", "readinessProbe": probe}))
    await eventually(lambda: phase(node) == "Running", "running")
    assert conditions(node)["Ready"] == "False"
    del node.runtime.exec_results["ready"]
    await eventually(lambda: conditions(node)["Ready"] == "True", "ready")
    node.runtime.exec_results["ready"] = ExecResult(1, b"no", b"")
    await eventually(lambda: conditions(node)["Ready"] == "False", "unready")
    assert ("Warning", "Unhealthy", "Readiness probe failed: no") in node.recorder.events


async def test_a_failed_liveness_probe_restarts_the_container(node: NodeUnderTest) -> None:
    from netlab.runtime.contract import ExecResult

    probe = {"exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.runtime.exec_results["alive"] = ExecResult(1, b"dead", b"")
    node.api.add(pod("p", {"name": "c", "livenessProbe": probe}))
    await eventually(lambda: (containers(node).get("c") or {}).get("restartCount") == 1, "restarted")
    assert ("Normal", "Killing", "Container c failed liveness probe, will be restarted") in node.recorder.events


async def test_hooks_run_around_the_container(node: NodeUnderTest) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["after"]}}, "preStop": {"exec": {"command": ["before"]}}}
    node.api.add(pod("p", {"name": "c", "lifecycle": lifecycle}))
    await eventually(lambda: phase(node) == "Running", "running")
    assert "exec after" in node.runtime.log
    await node.client.delete(PODS, "p", "default")
    await eventually(lambda: not node.exists(), "gone")
    assert node.runtime.log.index("exec before") < node.runtime.log.index("exit c")


async def test_a_pod_that_does_not_fit_is_rejected(node: NodeUnderTest) -> None:
    node.api.add(pod("p", {"name": "c", "resources": {"requests": {"cpu": "100"}}}))
    await eventually(lambda: phase(node) == "Failed", "failed")
    status = node.pod()["status"]
    text = "Node didn't have enough resource: cpu, requested: 100000, used: 0, capacity: 4000"
    assert status["reason"] == "OutOfcpu" and status["message"] == f"Pod was rejected: {text}"
    await node.client.delete(PODS, "p", "default", grace_period=0)
    await eventually(lambda: not node.kubelet.workers, "forgotten")


async def test_the_active_deadline(node: NodeUnderTest) -> None:
    node.api.add(pod(activeDeadlineSeconds=1))
    await eventually(lambda: phase(node) == "Failed", "failed")
    assert node.pod()["status"]["reason"] == "DeadlineExceeded"


async def test_a_program_that_cannot_start(node: NodeUnderTest) -> None:
    node.runtime.start_error = 'exec: "x": executable file not found in $PATH'
    node.api.add(pod())
    await eventually(lambda: (containers(node).get("c") or {}).get("restartCount") == 1, "tried again")
    entry = containers(node)["c"]
    assert entry["lastState"]["terminated"]["reason"] == "StartError"
    assert entry["lastState"]["terminated"]["exitCode"] == 128
    assert entry["state"]["waiting"]["reason"] in ("CrashLoopBackOff", "RunContainerError")


async def test_an_ephemeral_container(node: NodeUnderTest) -> None:
    node.api.add(pod())
    await eventually(lambda: phase(node) == "Running", "running")
    node.api.modify(PODS, "default/p", {"spec": {"ephemeralContainers": [{"name": "debug", "image": "nginx"}]}})
    await eventually(lambda: "debug" in containers(node, key="ephemeralContainerStatuses"), "debugging")
    entry = containers(node, key="ephemeralContainerStatuses")["debug"]
    assert "running" in entry["state"] and "started" not in entry


async def test_a_new_kubelet_adopts_what_runs_and_removes_orphans(tmp_path: Path, node: NodeUnderTest) -> None:
    node.api.add(pod("p"))
    node.api.add(pod("q"))
    await eventually(lambda: node.exists("q") and phase(node) == phase(node, "q") == "Running", "running")
    await node.kubelet.close()
    node.api.remove(PODS, "default/q")
    before = [line for line in node.runtime.log if line.startswith("start")]
    again = await start_node(tmp_path, node.api, node.runtime)
    try:
        await eventually(lambda: len(again.kubelet.workers) == 1, "adopted")
        await eventually(lambda: len(node.runtime._sandboxes) == 1, "orphan removed")
        again.api.add(pod("r"))
        await eventually(lambda: phase(again, "r") == "Running", "a new pod runs")
        assert [line for line in node.runtime.log if line.startswith("start")] == [*before, "start c"]
        assert again.pod("r")["status"]["podIP"] == "10.244.1.4"
        node.runtime.exit(next(c.id for c in await node.runtime.list_containers()), 1)
        await eventually(lambda: containers(again)["c"]["restartCount"] == 1, "restarted")
    finally:
        await again.close()


async def test_a_dead_sandbox_is_made_anew(node: NodeUnderTest) -> None:
    node.api.add(pod())
    await eventually(lambda: phase(node) == "Running", "running")
    sandbox = (await node.runtime.list_sandboxes())[0]
    await node.runtime.stop_sandbox(sandbox.id)
    await eventually(lambda: node.pod()["status"].get("podIP") == "10.244.1.3", "a new address")
    await eventually(lambda: conditions(node)["Ready"] == "True", "ready")
    assert containers(node)["c"]["restartCount"] == 1
    assert "SandboxChanged" in node.recorder.reasons()
    assert node.pod()["status"]["podIPs"] == [{"ip": "10.244.1.3"}]


@pytest.mark.parametrize("count", [50])
async def test_many_pods_cost_one_patch_each(tmp_path: Path, count: int) -> None:
    node = await start_node(tmp_path, runtime=FakeRuntime())
    try:
        for index in range(count):
            node.api.add(pod(f"p{index}"))
        await eventually(lambda: all(conditions(node, f"p{i}").get("Ready") == "True" for i in range(count)), "ready")
        assert node.api.calls["PATCH status"] == count
        assert len(set(node.wiring.attached.values())) == count
    finally:
        await node.close()


RUNTIME_CLASSES = ("node.k8s.io/v1", "runtimeclasses")


def runtime_class(name: str, handler: str) -> Obj:
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler}


async def test_a_runtime_that_there_is_not(node: NodeUnderTest) -> None:
    node.api.add(runtime_class("odd", "no-such"))
    node.api.add(pod(runtimeClassName="odd"))
    await eventually(lambda: "FailedCreatePodSandBox" in node.recorder.reasons(), "the event")
    said = next(event for event in node.recorder.events if event[1] == "FailedCreatePodSandBox")
    assert said[2] == (
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: "
        'no runtime for "no-such" is configured'
    )
    await eventually(lambda: bool(containers(node)), "the status")
    assert containers(node)["c"]["state"]["waiting"]["reason"] == "ContainerCreating"
    node.api.add(runtime_class("plain", "test-handler"))
    node.api.add(pod("q", runtimeClassName="plain"))
    await eventually(lambda: phase(node, "q") == "Running", "running")
