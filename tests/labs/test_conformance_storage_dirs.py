"""sig-storage's conformance names about emptyDir and subPath, as upstream's test/e2e/common/storage and storage."""

from __future__ import annotations

import pytest

from tests.labs.conformance_tools import create, emptied, items, log, once, pod, said, sh
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space

pytestmark = pytest.mark.timeout(300)

FILES = {"0644": "-rw-r--r--", "0666": "-rw-rw-rw-", "0777": "-rwxrwxrwx"}
MEDIA = {"default": {}, "tmpfs": {"medium": "Memory"}}
USERS = {"root": {}, "non-root": {"runAsUser": 1001}}


def _pod(command: str, medium: str, user: str = "root") -> Obj:
    mount = [{"name": "test-volume", "mountPath": "/test-volume"}]
    volume = {"name": "test-volume", "emptyDir": MEDIA[medium]}
    container = sh(command, volumeMounts=mount, securityContext=USERS[user])
    return once(container, volumes=[volume])


@conformance(
    *(
        f"EmptyDir volumes should support ({user},{mode},{medium})"
        for user in USERS
        for mode in FILES
        for medium in MEDIA
    )
)
@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("mode", FILES)
@pytest.mark.parametrize("user", USERS)
def test_file(space: Space, user: str, mode: str, medium: str) -> None:  # noqa: F811
    file = "/test-volume/test-file"
    command = (
        f"umask 0; echo new file > {file}; chmod {mode} {file}; stat -c '%A %u' {file}; cat {file}; "
        "grep ' /test-volume ' /proc/mounts"
    )
    shown, content, mounted = said(space, _pod(command, medium, user)).splitlines()
    assert shown == f"{FILES[mode]} {USERS[user].get('runAsUser', 0)}"
    assert content == "new file"
    assert (mounted.split()[2] == "tmpfs") == (medium == "tmpfs") or medium == "default"


@conformance(
    "EmptyDir volumes volume on default medium should have the correct mode",
    "EmptyDir volumes volume on tmpfs should have the correct mode",
)
@pytest.mark.parametrize("medium", MEDIA)
def test_mode(space: Space, medium: str) -> None:  # noqa: F811
    assert said(space, _pod("stat -c %A /test-volume", medium)) == "drwxrwxrwx\n"


@conformance("EmptyDir volumes pod should support shared volumes between containers")
def test_shared(space: Space) -> None:  # noqa: F811
    mount = [{"name": "shared-data", "mountPath": "/usr/share/volumeshare"}]
    write = "echo Hello from the busy-box sub-container > /usr/share/volumeshare/shareddata.txt; sleep 1000"
    containers = [sh("sleep 1000", volumeMounts=mount), sh(write, "sub", volumeMounts=mount)]
    name = create(space, pod(*containers, volumes=[{"name": "shared-data", "emptyDir": {}}]))
    space.ready(name)
    space.wait("the file", lambda: "Hello" in space.sh(name, "cat /usr/share/volumeshare/shareddata.txt"))


# -- volumes that upstream wraps around an emptyDir


@conformance("EmptyDir wrapper volumes should not conflict")
def test_wrappers(space: Space) -> None:  # noqa: F811
    space.create("secrets", {"metadata": {"name": "s"}, "stringData": {"data-1": "value-1"}})
    space.create("configmaps", {"metadata": {"name": "c"}, "data": {"data-1": "value-2"}})
    volumes = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "c", "configMap": {"name": "c"}}]
    mounts = [{"name": name, "mountPath": f"/etc/{name}-volume", "readOnly": True} for name in ("s", "c")]
    text = said(space, once(sh("cat /etc/s-volume/data-1 /etc/c-volume/data-1", volumeMounts=mounts), volumes=volumes))
    assert text == "value-1value-2"


@conformance("EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial]")
def test_many_wrappers(space: Space) -> None:  # noqa: F811
    """Five pods of a ReplicationController, on one node, each with fifty ConfigMaps."""
    names = [f"racey-configmap-{number}" for number in range(50)]
    for name in names:
        space.create("configmaps", {"metadata": {"name": name}, "data": {"data-1": name}})
    volumes = [
        {"name": f"v{n}", "configMap": {"name": name, "items": [{"key": "data-1", "path": "data-1"}]}}
        for n, name in enumerate(names)
    ]
    mounts = [{"name": f"v{n}", "mountPath": f"/etc/config-{n}"} for n in range(50)]
    command = "cat /etc/config-*/data-1; echo; sleep 10000"
    template = pod(sh(command, volumeMounts=mounts), labels={"name": "race"}, volumes=volumes, nodeName="node1")
    spec = {"replicas": 5, "selector": {"name": "race"}, "template": template}
    space.create("replicationcontrollers", {"metadata": {"name": "race"}, "spec": spec})
    space.wait(
        "all run",
        lambda: len([p for p in items(space.api, space.path("pods")) if p["status"].get("phase") == "Running"]) == 5,
    )
    for one in items(space.api, space.path("pods")):
        name = one["metadata"]["name"]
        space.wait(f"all files in {name}", lambda name=name: all(n in log(space, name) for n in names))  # type: ignore[misc]
    space.api.call("DELETE", space.path("replicationcontrollers", "race"), {"propagationPolicy": "Background"})
    emptied(space, space.path("pods"), "pods")


# -- subPath


def _sub_path(ns: Space, volume: Obj, sub_path: str, content: str, where: str = "/probe/file") -> None:
    """The file of the volume is there by a subPath, and stays readable while the pod runs."""
    mounts = [{"name": "vol", "mountPath": where, "subPath": sub_path}]
    command = f"for i in 1 2 3; do cat {where}; echo; sleep 0.1; done"
    assert said(ns, once(sh(command, volumeMounts=mounts), volumes=[{"name": "vol", **volume}])) == f"{content}\n" * 3


def _config(ns: Space) -> Obj:
    data = {"configmap-key": "configmap-value"}
    ns.create("configmaps", {"metadata": {"name": "my-configmap"}, "data": data})
    return {"name": "my-configmap"}


@conformance("Subpath Atomic writer volumes should support subpaths with configmap pod")
def test_sub_path_config_map(space: Space) -> None:  # noqa: F811
    _sub_path(space, {"configMap": _config(space)}, "configmap-key", "configmap-value")


@conformance("Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file")
def test_sub_path_existing(space: Space) -> None:  # noqa: F811
    volume = {"configMap": _config(space)}
    _sub_path(space, volume, "configmap-key", "configmap-value", "/etc/resolv.conf")


@conformance("Subpath Atomic writer volumes should support subpaths with secret pod")
def test_sub_path_secret(space: Space) -> None:  # noqa: F811
    space.create("secrets", {"metadata": {"name": "my-secret"}, "stringData": {"secret-key": "secret-value"}})
    _sub_path(space, {"secret": {"secretName": "my-secret"}}, "secret-key", "secret-value")


@conformance("Subpath Atomic writer volumes should support subpaths with downward pod")
def test_sub_path_downward(space: Space) -> None:  # noqa: F811
    files = [{"path": "downward/podname", "fieldRef": {"fieldPath": "metadata.name"}}]
    _sub_path(space, {"downwardAPI": {"items": files}}, "downward/podname", "pod")


@conformance("Subpath Atomic writer volumes should support subpaths with projected pod")
def test_sub_path_projected(space: Space) -> None:  # noqa: F811
    source = {**_config(space), "items": [{"key": "configmap-key", "path": "projected/configmap-key"}]}
    _sub_path(space, {"projected": {"sources": [{"configMap": source}]}}, "projected/configmap-key", "configmap-value")
