"""sig-storage's conformance names about volumes of files: configMap, secret, downwardAPI, projected.

As upstream's test/e2e/common/storage tests them; "plain" and "projected" are the two ways to the same files.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.labs.conformance_names import check
from tests.labs.conformance_tools import (
    create,
    log,
    names,
    pause,
    pod,
    refused,
    said,
    volume_pod,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import Obj, Space, until

pytestmark = pytest.mark.timeout(300)

DATA = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
MAPPED = [{"key": "data-2", "path": "path/to/data-2"}]
RESOURCES = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}
NON_ROOT = {"securityContext": {"runAsUser": 1000}}


def _make(ns: Space, kind: str, name: str, data: dict[str, str]) -> None:
    """A ConfigMap or Secret with these texts."""
    if kind == "secret":
        ns.create("secrets", {"metadata": {"name": name}, "stringData": data})
    else:
        ns.create("configmaps", {"metadata": {"name": name}, "data": data})


def _volume(kind: str, source: str, name: str = "vol", projected: bool = False, **more: Any) -> Obj:
    """A volume of the object `source`. `defaultMode` belongs to the volume, the rest to the source."""
    if projected:
        outer = {key: more.pop(key) for key in ("defaultMode",) if key in more}
        return {"name": name, "projected": {"sources": [{kind: {"name": source, **more}}], **outer}}
    return {"name": name, kind: {"secretName" if kind == "secret" else "name": source, **more}}


def _shows(path: str) -> str:
    """A command that prints a file's mode, as ls does, and its content."""
    return f"stat -L -c %A {path}; cat {path}"


# -- consumable: one object, one volume, one file


WAYS = (("configMap", False), ("configMap", True), ("secret", False), ("secret", True))
TITLES = {
    ("configMap", False): "ConfigMap",
    ("configMap", True): "Projected configMap",
    ("secret", False): "Secrets",
    ("secret", True): "Projected secret",
}


def _each(tail: str, ways: tuple[tuple[str, bool], ...] = WAYS) -> list[str]:
    return [f"{TITLES[way]} {tail}" for way in ways]


def _consumed(ns: Space, way: tuple[str, bool], mode: str, path: str = "data-1", **more: Any) -> None:
    kind, projected = way
    spec = more.pop("spec", {})
    value = DATA[path.rpartition("/")[2]]
    volume = _volume(kind, "test", projected=projected, **more)
    _make(ns, kind, "test", DATA)
    assert said(ns, volume_pod(_shows(f"/etc/vol/{path}"), [volume], **spec)) == f"{mode}\n{value}"


@conformance(*_each("should be consumable from pods in volume"))
@pytest.mark.parametrize("way", WAYS)
def test_consumable(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-rw-r--r--")


@conformance(*_each("should be consumable from pods in volume with defaultMode set"))
@pytest.mark.parametrize("way", WAYS)
def test_default_mode(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-r--------", defaultMode=0o400)


@conformance(*_each("should be consumable from pods in volume with mappings"))
@pytest.mark.parametrize("way", WAYS)
def test_mappings(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-rw-r--r--", "path/to/data-2", items=MAPPED)


@conformance(
    *_each("should be consumable from pods in volume with mappings and Item mode set", WAYS[:2]),
    *_each("should be consumable from pods in volume with mappings and Item Mode set", WAYS[2:]),
)
@pytest.mark.parametrize("way", WAYS)
def test_item_mode(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-r--------", "path/to/data-2", items=[{**MAPPED[0], "mode": 0o400}])


@conformance(*_each("should be consumable from pods in volume as non-root", WAYS[:2]))
@pytest.mark.parametrize("way", WAYS[:2])
def test_non_root(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-rw-r--r--", spec=NON_ROOT)


@conformance(*_each("should be consumable from pods in volume with mappings as non-root", WAYS[:2]))
@pytest.mark.parametrize("way", WAYS[:2])
def test_mappings_non_root(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _consumed(space, way, "-rw-r--r--", "path/to/data-2", items=MAPPED, spec=NON_ROOT)


@conformance(*_each("should be consumable from pods in volume as non-root with defaultMode and fsGroup set", WAYS[2:]))
@pytest.mark.parametrize("way", WAYS[2:])
def test_fs_group(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    context = {"securityContext": {"runAsUser": 1000, "fsGroup": 1001}}
    _consumed(space, way, "-r--r-----", defaultMode=0o440, spec=context)


@conformance(
    *_each("should be consumable in multiple volumes in the same pod", WAYS[:2]),
    *_each("should be consumable in multiple volumes in a pod", WAYS[2:]),
)
@pytest.mark.parametrize("way", WAYS)
def test_several_volumes(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    kind, projected = way
    _make(space, kind, "test", DATA)
    volumes = [_volume(kind, "test", name, projected) for name in ("one", "two")]
    assert said(space, volume_pod("cat /etc/vol/data-1 /etc/vol1/data-1", volumes)) == "value-1value-1"


@conformance(
    "Secrets should be able to mount in a volume regardless of a different secret existing with same name "
    "in different namespace"
)
def test_same_name_elsewhere(space: Space) -> None:  # noqa: F811
    other = Space(space.user, space.api, f"{space.name}-other")
    space.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    try:
        _make(other, "secret", "test", {"this_should_not_match_content_of_other_secret": "similarly_this"})
        _consumed(space, ("secret", False), "-rw-r--r--")
    finally:
        space.api.call("DELETE", f"/api/v1/namespaces/{other.name}")


# -- changes that a running pod sees


def _sees(ns: Space, name: str, text: str, container: str = "") -> None:
    until(f"{text!r} in the log", lambda: text in log(ns, name, container), 90, lambda: log(ns, name, container))


def _reader(ns: Space, path: str, volume: Obj, **more: Any) -> str:
    pod = volume_pod(f"while true; do cat {path}; echo; sleep 0.2; done", [volume], **more)
    return _running(ns, pod)


def _running(ns: Space, pod: Obj) -> str:
    name = create(ns, pod)
    ns.ready(name)
    return name


@conformance(*_each("updates should be reflected in volume", WAYS[:2]))
@pytest.mark.parametrize("way", WAYS[:2])
def test_updates(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    _make(space, way[0], "test", {"data-1": "value-1"})
    name = _reader(space, "/etc/vol/data-1", _volume("configMap", "test", projected=way[1]))
    _sees(space, name, "value-1")
    space.api.merge(space.path("configmaps", "test"), {"data": {"data-1": "value-2"}})
    _sees(space, name, "value-2")


@conformance(*_each("optional updates should be reflected in volume"))
@pytest.mark.parametrize("way", WAYS)
def test_optional_updates(space: Space, way: tuple[str, bool]) -> None:  # noqa: F811
    """One object is deleted, one changed, one appears; the pod runs all the time."""
    kind, projected = way
    plural = "secrets" if kind == "secret" else "configmaps"
    for name in ("deleted", "changed"):
        _make(space, kind, name, {"data-1": "value-1"})
    volumes = [_volume(kind, name, name, projected, optional=True) for name in ("deleted", "changed", "appears")]
    look = "; ".join(f"echo {v['name']}=$(cat /etc/vol{n or ''}/data-* 2>/dev/null)" for n, v in enumerate(volumes))
    name = _running(space, volume_pod(f"while true; do {look}; sleep 0.2; done", volumes))
    _sees(space, name, "deleted=value-1\nchanged=value-1\nappears=\n")
    space.api.call("DELETE", space.path(plural, "deleted"))
    encoded = base64.b64encode(b"value-3").decode() if kind == "secret" else "value-3"
    space.api.merge(space.path(plural, "changed"), {"data": {"data-1": None, "data-3": encoded}})
    _make(space, kind, "appears", {"data-1": "value-1"})
    _sees(space, name, "deleted=\nchanged=value-3\nappears=value-1\n")


@conformance("ConfigMap binary data should be reflected in volume")
def test_binary(space: Space) -> None:  # noqa: F811
    data = {"data-1": "value-1"}
    binary = {"dump.bin": base64.b64encode(bytes((0xDE, 0xCA, 0xFE, 0xBA, 0xD0, 0xFE, 0xFF))).decode()}
    space.create("configmaps", {"metadata": {"name": "test"}, "data": data, "binaryData": binary})
    text = said(space, volume_pod("cat /etc/vol/data-1; hexdump -C /etc/vol/dump.bin", [_volume("configMap", "test")]))
    assert text.startswith("value-1")
    assert "de ca fe ba d0 fe ff" in text


def _immutable(ns: Space, plural: str, value: str, other: str) -> None:
    ns.create(plural, {"metadata": {"name": "immutable"}, "data": {"data-1": value}})
    path = ns.path(plural, "immutable")
    ns.api.update(path, lambda obj: obj["data"].update({"data-1": other}))
    ns.api.update(path, lambda obj: obj.update(immutable=True))
    for change in ({"data": {"data-1": value}}, {"immutable": False}):
        message = refused(422, lambda change=change: ns.api.merge(path, change))  # type: ignore[misc]
        assert "field is immutable when `immutable` is set" in message
    ns.api.merge(path, {"metadata": {"labels": {"still": "changes"}}})
    ns.api.call("DELETE", path)


@conformance("ConfigMap should be immutable if `immutable` field is set")
def test_immutable_config_map(space: Space) -> None:  # noqa: F811
    _immutable(space, "configmaps", "value-1", "value-2")


@conformance("Secrets should be immutable if `immutable` field is set")
def test_immutable_secret(space: Space) -> None:  # noqa: F811
    _immutable(space, "secrets", "dmFsdWUtMQ==", "dmFsdWUtMg==")


# -- what a pod's volume tells about the pod


BOTH = (False, True)


def _of_pod(items: list[Obj], projected: bool, **more: Any) -> Obj:
    if projected:
        return {"name": "podinfo", "projected": {"sources": [{"downwardAPI": {"items": items}}], **more}}
    return {"name": "podinfo", "downwardAPI": {"items": items, **more}}


def _field(path: str, file: str, **more: Any) -> Obj:
    return {"path": file, "fieldRef": {"fieldPath": path}, **more}


def _resource(name: str) -> Obj:
    return {"path": "value", "resourceFieldRef": {"containerName": "main", "resource": name}}


def _told(ns: Space, items: list[Obj], projected: bool, command: str, *, limits: bool = True, **more: Any) -> str:
    container = {"resources": RESOURCES} if limits else {}
    return said(ns, volume_pod(command, [_of_pod(items, projected, **more)], container=container))


def _two(tail: str) -> tuple[str, str]:
    return f"Downward API volume {tail}", f"Projected downwardAPI {tail}"


@conformance(*_two("should provide podname only"))
@pytest.mark.parametrize("projected", BOTH)
def test_pod_name(space: Space, projected: bool) -> None:  # noqa: F811
    assert _told(space, [_field("metadata.name", "podname")], projected, "cat /etc/vol/podname") == "pod"


@conformance(*_two("should set DefaultMode on files"))
@pytest.mark.parametrize("projected", BOTH)
def test_downward_default_mode(space: Space, projected: bool) -> None:  # noqa: F811
    items = [_field("metadata.name", "podname")]
    assert _told(space, items, projected, _shows("/etc/vol/podname"), defaultMode=0o400) == "-r--------\npod"


@conformance(*_two("should set mode on item file"))
@pytest.mark.parametrize("projected", BOTH)
def test_downward_item_mode(space: Space, projected: bool) -> None:  # noqa: F811
    items = [_field("metadata.name", "podname", mode=0o400)]
    assert _told(space, items, projected, _shows("/etc/vol/podname")) == "-r--------\npod"


def _resource_test(what: str, wanted: str) -> Callable[[Space, bool], None]:
    def test(space: Space, projected: bool) -> None:  # noqa: F811
        assert _told(space, [_resource(what)], projected, "cat /etc/vol/value") == wanted

    kind, _, unit = what.partition(".")
    marked = conformance(*_two(f"should provide container's {unit} {kind[:-1]}"))(test)
    return pytest.mark.parametrize("projected", BOTH)(marked)


test_cpu_limit = _resource_test("limits.cpu", "2")
test_memory_limit = _resource_test("limits.memory", str(64 << 20))
test_cpu_request = _resource_test("requests.cpu", "1")
test_memory_request = _resource_test("requests.memory", str(32 << 20))


@conformance(
    *_two("should provide node allocatable (cpu) as default cpu limit if the limit is not set"),
    *_two("should provide node allocatable (memory) as default memory limit if the limit is not set"),
)
@pytest.mark.parametrize("projected", BOTH)
@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_allocatable(space: Space, projected: bool, resource: str) -> None:  # noqa: F811
    text = _told(space, [_resource(f"limits.{resource}")], projected, "cat /etc/vol/value", limits=False)
    assert int(text) > 0


@conformance(*_two("should update labels on modification"), *_two("should update annotations on modification"))
@pytest.mark.parametrize("projected", BOTH)
@pytest.mark.parametrize("what", ["labels", "annotations"])
def test_metadata_changes(space: Space, projected: bool, what: str) -> None:  # noqa: F811
    pod = volume_pod(
        "while true; do cat /etc/vol/it; echo; sleep 0.2; done",
        [_of_pod([_field(f"metadata.{what}", "it")], projected)],
    )
    pod["metadata"][what] = {"key1": "value1", "key2": "value2"}
    name = _running(space, pod)
    _sees(space, name, 'key1="value1"\nkey2="value2"\n')
    space.api.merge(space.path("pods", name), {"metadata": {what: {"key3": "value3"}}})
    _sees(space, name, 'key3="value3"\n')


@conformance("Projected combined should project all components that make up the projection API [Projection]")
def test_all_in_one(space: Space) -> None:  # noqa: F811
    _make(space, "configMap", "test", {"configmap-data": "configmap-value-1"})
    _make(space, "secret", "test", {"secret-data": "secret-value-1"})
    sources = [
        {"configMap": {"name": "test", "items": [{"key": "configmap-data", "path": "configmap-data"}]}},
        {"secret": {"name": "test", "items": [{"key": "secret-data", "path": "secret-data"}]}},
        {"downwardAPI": {"items": [_field("metadata.name", "podname")]}},
    ]
    volume = {"name": "all", "projected": {"sources": sources}}
    text = said(space, volume_pod("cd /etc/vol; cat podname secret-data configmap-data", [volume]))
    assert text == "podsecret-value-1configmap-value-1"


def test_no_name_is_missing() -> None:
    check("storage", 90, {})


def test_a_pod_waits_for_its_claim(space: Space) -> None:  # noqa: F811
    """Pending, with the scheduler's words, until a volume is bound; then where that volume is."""
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": f"{space.name}-v",
             "resources": {"requests": {"storage": "1Mi"}}}  # fmt: skip
    space.create("persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": claim})
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
    path = space.path("pods", space.create("pods", pod(pause(), name="waits", volumes=[volume]))["metadata"]["name"])

    def why() -> str:
        found = [one for one in space.api.get(path)["status"].get("conditions") or () if one["type"] == "PodScheduled"]
        return str(found[0].get("message", "")) if found else ""

    space.wait("the scheduler's words", lambda: "has unbound immediate PersistentVolumeClaims. preemption: 0/" in why())
    node = sorted(names(space.api, "/api/v1/nodes"))[-1]
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    spec = {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "hostPath": {"path": f"/tmp/{space.name}", "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}  # fmt: skip
    volumes = "/api/v1/persistentvolumes"
    space.api.call("POST", volumes, {"metadata": {"name": f"{space.name}-v"}, "spec": spec})
    space.ready("waits")
    assert space.api.get(path)["spec"]["nodeName"] == node
    space.api.call("DELETE", path)
    space.api.call("DELETE", f"{volumes}/{space.name}-v")
