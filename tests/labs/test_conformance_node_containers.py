"""sig-node's conformance names about containers: hooks, ends, init containers, security, sysctls, /etc/hosts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.labs.conformance_tools import (
    condition,
    create,
    finished,
    log,
    once,
    pause,
    pod,
    refused,
    said,
    sh,
    status_of,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)

# -- hooks


def _hooked(ns: Space, when: str, how: str) -> None:
    """A pod whose hook calls a server in another pod, which counts."""
    port = {"containerPort": 8080}
    server = ns.pod("handler", "netexec", "--http-port=8080", ports=[port])["status"]["podIP"]
    target = f"http://{server}:8080/echo?msg={when}"
    if how == "exec":
        hook: Obj = {"exec": {"command": ["sh", "-c", f"wget -qO- '{target}'"]}}
    else:
        hook = {"httpGet": {"path": f"/echo?msg={when}", "host": server, "port": 8080}}
    made = pod(sh("sleep 1000", lifecycle={when: hook}), terminationGracePeriodSeconds=15)
    name = create(ns, made)
    ns.ready(name)
    if when == "preStop":
        ns.api.call("DELETE", ns.path("pods", name))
    ns.wait("the hook was called", lambda: f"/echo?msg={when}" in log(ns, "handler"))
    if when == "preStop":
        ns.api.call("DELETE", ns.path("pods", name), {"gracePeriodSeconds": 0})


HOOK = "Container Lifecycle Hook when create a pod with lifecycle hook should execute"


@conformance(*(f"{HOOK} {when} {how} hook properly" for when in ("poststart", "prestop") for how in ("exec", "http")))
@pytest.mark.parametrize("how", ["exec", "http"])
@pytest.mark.parametrize("when", ["postStart", "preStop"])
def test_hook(space: Space, when: str, how: str) -> None:  # noqa: F811
    _hooked(space, when, how)


@conformance("PreStop should call prestop when killing a pod")
def test_pre_stop(space: Space) -> None:  # noqa: F811
    _hooked(space, "preStop", "exec")


# -- how containers end


@conformance("Container Runtime blackbox test when starting a container that exits should run with the expected status")
@pytest.mark.parametrize(
    ("policy", "phase", "count"), [("Always", "Running", 2), ("OnFailure", "Succeeded", 1), ("Never", "Failed", 0)]
)
def test_exits(space: Space, policy: str, phase: str, count: int) -> None:  # noqa: F811
    """It fails, fails again, and then runs (Always), ends well (OnFailure), or is left alone (Never)."""
    script = (
        "f=/restart-count/restartCount; echo x >> $f; count=$(wc -l < $f); "
        f"[ $count -eq 1 ] && exit 1; [ $count -eq 2 ] && {'exit 1' if policy == 'Always' else 'exit 0'}; "
        "sleep 1000"
    )
    mount = [{"name": "v", "mountPath": "/restart-count"}]
    spec: Obj = {"restartPolicy": policy, "volumes": [{"name": "v", "emptyDir": {}}]}
    path = space.path("pods", create(space, pod(sh(script, volumeMounts=mount), **spec)))

    def reached() -> bool:
        found = space.api.get(path)
        status = status_of(found)
        return (
            found["status"]["phase"] == phase
            and status.get("restartCount") == count
            and (status["ready"] == ("running" in status["state"]) == (policy == "Always"))
        )

    space.wait(f"{phase} after {count} restarts", reached)
    if policy == "Never":
        assert status_of(space.api.get(path))["state"]["terminated"]["exitCode"] == 1


MESSAGE = "Container Runtime blackbox test on terminated container should report termination message"


def _message(ns: Space, command: str, **more: Any) -> str:
    found = finished(ns, once(sh(command, **more)))
    return str(status_of(found)["state"]["terminated"].get("message", ""))


@conformance(f"{MESSAGE} if TerminationMessagePath is set as non-root user and at a non-default path")
def test_message_path(space: Space) -> None:  # noqa: F811
    where = "/dev/termination-custom-log"
    context = {"runAsUser": 10000}
    assert _message(space, f"printf DONE > {where}", terminationMessagePath=where, securityContext=context) == "DONE"


FALLBACK = {"terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": "/dev/termination-log"}


@conformance(
    f"{MESSAGE} from log output if TerminationMessagePolicy FallbackToLogsOnError is set",
    f"{MESSAGE} as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
    f"{MESSAGE} from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set",
)
@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("printf DONE; false", "DONE"),
        ("printf DONE; true", ""),
        ("printf OK > /dev/termination-log; printf DONE", "OK"),
    ],
)
def test_message_from_log(space: Space, command: str, wanted: str) -> None:  # noqa: F811
    assert _message(space, command, **FALLBACK) == wanted


# -- the kubelet and a plain command


@conformance("Kubelet when scheduling a busybox command in a pod should print the output to logs")
def test_output(space: Space) -> None:  # noqa: F811
    assert said(space, once(sh("echo 'Hello World'"))) == "Hello World\n"


@conformance(
    "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason",
    "Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete",
)
def test_always_fails(space: Space) -> None:  # noqa: F811
    path = space.path("pods", create(space, pod(sh("/bin/false"))))

    def ended() -> Obj:
        status = status_of(space.api.get(path))
        return dict(status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {})

    space.wait("an end", lambda: ended().get("exitCode") == 1 and ended()["reason"] == "Error")
    space.api.call("DELETE", path)
    space.wait("it is gone", lambda: space.api.gone(path))


@conformance("Kubelet when scheduling a read only busybox container should not write to root filesystem")
def test_read_only_root(space: Space) -> None:  # noqa: F811
    text = log(
        space,
        finished(space, once(sh("echo test > /file; cat /file", securityContext={"readOnlyRootFilesystem": True})))[
            "metadata"
        ]["name"],
    )
    assert "Read-only file system" in text
    assert "test\n" not in text


@conformance(
    "Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable "
    "rootfs when readOnlyRootFilesystem=false"
)
def test_writable_root(space: Space) -> None:  # noqa: F811
    assert said(space, once(sh("touch checkfile", securityContext={"readOnlyRootFilesystem": False}))) == ""


@conformance("Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts")
def test_host_aliases(space: Space) -> None:  # noqa: F811
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    assert "123.45.67.89\tfoo\tbar" in said(space, once(sh("cat /etc/hosts"), hostAliases=aliases))


@conformance("KubeletManagedEtcHosts should test kubelet managed /etc/hosts file")
def test_hosts_file(space: Space) -> None:  # noqa: F811
    """Managed where nobody mounts a file of their own there; never with hostNetwork."""
    managed = "# Kubernetes-managed hosts file."
    mount = [{"name": "hosts", "mountPath": "/etc/hosts"}]
    volume = [{"name": "hosts", "hostPath": {"path": "/etc/hosts", "type": "File"}}]
    containers = [
        sh("sleep 1000", "busybox-1"),
        sh("sleep 1000", "busybox-2"),
        sh("sleep 1000", "busybox-3", volumeMounts=mount),
    ]
    name = create(space, pod(*containers, volumes=volume))
    space.ready(name)
    for container in ("busybox-1", "busybox-2"):
        assert _in(space, name, container, "cat /etc/hosts").startswith(managed)
    assert managed not in _in(space, name, "busybox-3", "cat /etc/hosts")
    hosted = create(space, pod(*containers[:2], name="hosted", hostNetwork=True))
    space.ready(hosted)
    assert "Kubernetes-managed hosts file (host network)" in _in(space, hosted, "busybox-1", "cat /etc/hosts")


def _in(ns: Space, name: str, container: str, command: str) -> str:
    from tests.labs.sig_network_tools import kubectl

    done = kubectl(ns.user, "exec", "-n", ns.name, name, "-c", container, "--", "sh", "-c", command)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


# -- init containers


INIT = "InitContainer [NodeConformance]"


@conformance(
    f"{INIT} should invoke init containers on a RestartNever pod",
    f"{INIT} should invoke init containers on a RestartAlways pod",
)
@pytest.mark.parametrize("policy", ["Never", "Always"])
def test_init(space: Space, policy: str) -> None:  # noqa: F811
    inits = [sh("true", "init1"), sh("true", "init2")]
    main = sh("true", "run1") if policy == "Never" else pause("run1")
    made = pod(main, restartPolicy=policy, initContainers=inits)
    if policy == "Never":
        found = finished(space, made)
        assert found["status"]["phase"] == "Succeeded"
    else:
        found = space.ready(create(space, made))
    assert condition(found, "Initialized")["status"] == "True"
    for one in found["status"]["initContainerStatuses"]:
        assert one["ready"]
        assert one["state"]["terminated"]["exitCode"] == 0


@conformance(
    f"{INIT} should not start app containers if init containers fail on a RestartAlways pod",
    f"{INIT} should not start app containers and fail the pod if init containers fail on a RestartNever pod",
)
@pytest.mark.parametrize("policy", ["Never", "Always"])
def test_init_fails(space: Space, policy: str) -> None:  # noqa: F811
    order = ["init1", "init2"] if policy == "Always" else ["init2", "init1"]
    inits = [sh("false" if name == "init1" else "true", name) for name in order]
    path = space.path("pods", create(space, pod(sh("true", "run1"), restartPolicy=policy, initContainers=inits)))
    if policy == "Never":
        space.wait("it failed", lambda: space.api.get(path)["status"].get("phase") == "Failed")
    else:
        space.wait("some restarts", lambda: status_of(space.api.get(path), "init1").get("restartCount", 0) >= 2)
    found = space.api.get(path)
    assert found["status"]["phase"] == ("Failed" if policy == "Never" else "Pending")
    initialized = condition(found, "Initialized")
    assert (initialized["status"], initialized["reason"]) == ("False", "ContainersNotInitialized")
    missing = "[init1]" if policy == "Never" else "[init1 init2]"
    assert initialized["message"] == f"containers with incomplete status: {missing}"
    assert condition(found, "ContainersReady")["status"] == "False"
    state = status_of(found, "run1")["state"]
    assert state["waiting"]["reason"] == "PodInitializing"


# -- ephemeral containers


def _debugged(ns: Space) -> str:
    name = create(ns, pod(sh("sleep 1000", "test-container-1")))
    ns.ready(name)
    return name


EPHEMERAL = "Ephemeral Containers [NodeConformance]"


@conformance(f"{EPHEMERAL} will start an ephemeral container in an existing pod")
def test_ephemeral(space: Space) -> None:  # noqa: F811
    name = _debugged(space)
    path = space.path("pods", name)
    debugger = sh("while true; do echo polo; sleep 0.3; done", "debugger", stdin=True, tty=True)
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    space.api.call("PATCH", f"{path}/ephemeralcontainers", patch, "application/strategic-merge-patch+json")
    space.wait("it runs", lambda: "running" in status_of(space.api.get(path), "debugger").get("state", {}))
    space.wait("it speaks", lambda: "polo" in log(space, name, "debugger"))


@conformance(f"{EPHEMERAL} should update the ephemeral containers in an existing pod")
def test_ephemeral_update(space: Space) -> None:  # noqa: F811
    name = _debugged(space)
    path = space.path("pods", name)
    for one in ("debugger1", "debugger2"):
        container = sh("while true; do echo polo; sleep 0.3; done", one)

        def add(obj: Obj, container: Obj = container) -> None:
            obj["spec"].setdefault("ephemeralContainers", []).append(container)

        space.api.update(f"{path}/ephemeralcontainers", add)
        space.wait("it runs", lambda one=one: "running" in status_of(space.api.get(path), one).get("state", {}))  # type: ignore[misc]
    found = space.api.get(path)
    assert [one["name"] for one in found["spec"]["ephemeralContainers"]] == ["debugger1", "debugger2"]
    patch = {"spec": {"ephemeralContainers": [{"name": "debugger1", "image": "busybox:other"}]}}
    refused(
        422,
        lambda: space.api.call("PATCH", f"{path}/ephemeralcontainers", patch, "application/strategic-merge-patch+json"),
    )


# -- security


@conformance("Security Context When creating a container with runAsUser should run the container with uid 65534")
def test_run_as_nobody(space: Space) -> None:  # noqa: F811
    assert said(space, once(sh("id -u", securityContext={"runAsUser": 65534}))) == "65534\n"


BOTH = {"runAsUser": 1001, "runAsGroup": 2002}


@conformance(
    "Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup",
    "Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup",
)
@pytest.mark.parametrize("where", ["container", "pod"])
def test_user_and_group(space: Space, where: str) -> None:  # noqa: F811
    of_pod, of_container = (BOTH, {}) if where == "pod" else ({}, {"securityContext": BOTH})
    text = said(space, once(sh("id", **of_container), securityContext=of_pod))
    assert "uid=1001" in text
    assert "gid=2002" in text


@conformance("Security Context When creating a pod with privileged should run the container as unprivileged when false")
def test_unprivileged(space: Space) -> None:  # noqa: F811
    text = said(space, once(sh("ip link add dummy0 type dummy || true", securityContext={"privileged": False})))
    assert "Operation not permitted" in text


@conformance(
    "Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege "
    "escalation when false"
)
def test_no_new_privileges(space: Space) -> None:  # noqa: F811
    """A set-user-ID program of root's stays the user's own."""
    mount = [{"name": "v", "mountPath": "/v"}]
    host = {"image": "netlab/host", "volumeMounts": mount}
    make = {**sh("cp /bin/cat /v/cat && chmod 4755 /v/cat", "make"), **host}
    for escalation, wanted in ((False, "1000"), (True, "0")):
        context = {"runAsUser": 1000, "allowPrivilegeEscalation": escalation}
        main = {**sh("/v/cat /proc/self/status | grep ^Uid: | cut -f 3", securityContext=context), **host}
        text = said(
            space,
            once(
                main,
                name=f"pod-{str(escalation).lower()}",
                initContainers=[make],
                volumes=[{"name": "v", "emptyDir": {}}],
            ),
        )
        assert text.strip() == wanted


# -- sysctls


def _sysctls(*pairs: tuple[str, str]) -> Obj:
    return {"sysctls": [{"name": name, "value": value} for name, value in pairs]}


@conformance("Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [MinimumKubeletVersion:1.21]")
def test_invalid_sysctls(space: Space) -> None:  # noqa: F811
    bad = _sysctls(("foo-", "bar"), ("kernel.shmmax", "100000000"), ("safe-and-unsafe", "100000000"), ("bar..", "42"))
    message = refused(422, lambda: create(space, once(sh("true"), securityContext=bad)))
    for number, name in ((0, "foo-"), (3, "bar..")):
        assert f'spec.securityContext.sysctls[{number}].name: Invalid value: "{name}"' in message
    assert "safe-and-unsafe" not in message
    assert "kernel.shmmax" not in message


@conformance(
    "Sysctls [LinuxOnly] [NodeConformance] should support sysctls [MinimumKubeletVersion:1.21] "
    "[Environment:NotInUserNS]"
)
def test_sysctls(space: Space) -> None:  # noqa: F811
    context = _sysctls(("kernel.shm_rmid_forced", "1"), ("net.ipv4.ip_unprivileged_port_start", "77"))
    command = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert said(space, once(sh(command), securityContext=context)) == "1\n77\n"
