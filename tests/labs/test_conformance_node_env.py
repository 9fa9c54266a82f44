"""sig-node's conformance names about what a container finds: environment, command line, downward API, expansion."""

from __future__ import annotations

import pytest

from tests.labs.conformance_names import check
from tests.labs.conformance_tools import (
    Watch,
    cleared,
    create,
    items,
    labelled,
    log,
    once,
    pod,
    refused,
    said,
    sh,
    status_of,
)
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, Obj, Space

pytestmark = pytest.mark.timeout(300)


def _env(ns: Space, env: list[Obj], **more: object) -> dict[str, str]:
    text = said(ns, once(sh("env", env=env, **more)))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _field(name: str, path: str) -> Obj:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _resource(name: str, resource: str) -> Obj:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}}


# -- ConfigMaps and Secrets


@conformance("ConfigMap should be consumable via environment variable")
def test_config_map_key(space: Space) -> None:  # noqa: F811
    space.create("configmaps", {"metadata": {"name": "c"}, "data": {"data-1": "value-1"}})
    ref = {"name": "CONFIG_DATA_1", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "data-1"}}}
    assert _env(space, [ref])["CONFIG_DATA_1"] == "value-1"


@conformance("ConfigMap should be consumable via the environment")
def test_config_map_all(space: Space) -> None:  # noqa: F811
    data = {"data_1": "value-1", "data_2": "value-2"}
    space.create("configmaps", {"metadata": {"name": "c"}, "data": data})
    sources = [{"configMapRef": {"name": "c"}}, {"prefix": "p_", "configMapRef": {"name": "c"}}]
    found = _env(space, [], envFrom=sources)
    assert found.items() >= {**data, **{f"p_{key}": value for key, value in data.items()}}.items()


@conformance("Secrets should be consumable from pods in env vars")
def test_secret_key(space: Space) -> None:  # noqa: F811
    space.create("secrets", {"metadata": {"name": "s"}, "stringData": {"data-1": "value-1"}})
    ref = {"name": "SECRET_DATA", "valueFrom": {"secretKeyRef": {"name": "s", "key": "data-1"}}}
    assert _env(space, [ref])["SECRET_DATA"] == "value-1"


@conformance("Secrets should be consumable via the environment")
def test_secret_all(space: Space) -> None:  # noqa: F811
    data = {"data_1": "value-1", "data_2": "value-2"}
    space.create("secrets", {"metadata": {"name": "s"}, "stringData": data})
    sources = [{"secretRef": {"name": "s"}}, {"prefix": "p_", "secretRef": {"name": "s"}}]
    found = _env(space, [], envFrom=sources)
    assert found.items() >= {**data, **{f"p_{key}": value for key, value in data.items()}}.items()


@conformance(
    "ConfigMap should fail to create ConfigMap with empty key",
    "Secrets should fail to create secret due to empty secret key",
)
@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
def test_empty_key(space: Space, kind: str) -> None:  # noqa: F811
    message = refused(422, lambda: space.create(kind, {"metadata": {"name": "x"}, "data": {"": "dmFsdWU="}}))
    assert 'data[]: Invalid value: ""' in message


def _collected(ns: Space, plural: str, value: str) -> None:
    """Created, watched, patched, found by its label among all, deleted as a collection."""
    label = {"test": f"{ns.name}-{plural}"}
    selector = f"?labelSelector=test%3D{label['test']}"
    watched = Watch(ns.api, ns.path(plural) + selector)
    ns.create(plural, {"metadata": {"name": "it", "labels": label}, "data": {"valueName": "dmFsdWU="}})
    watched.sees("ADDED")
    ns.api.merge(ns.path(plural, "it"), {"metadata": {"labels": {"static": "true"}}, "data": {"valueName": value}})
    changed = watched.sees("MODIFIED", labelled("static", "true"))
    assert changed["data"] == {"valueName": value}
    found = items(ns.api, f"/api/v1/{plural}{selector}")
    assert [one["data"] for one in found] == [{"valueName": value}]
    ns.api.call("DELETE", ns.path(plural) + selector)
    watched.sees("DELETED")
    assert items(ns.api, ns.path(plural) + selector) == []


@conformance("ConfigMap should run through a ConfigMap lifecycle")
def test_config_map_lifecycle(space: Space) -> None:  # noqa: F811
    _collected(space, "configmaps", "value1")


@conformance("Secrets should patch a secret")
def test_secret_lifecycle(space: Space) -> None:  # noqa: F811
    _collected(space, "secrets", "dmFsdWUx")


# -- the command line


@conformance("Containers should use the image defaults if command and args are blank")
def test_image_defaults(space: Space) -> None:  # noqa: F811
    """agnhost's own arguments are "pause"."""
    name = create(space, pod({"name": "main", "image": AGNHOST}))
    assert status_of(space.ready(name))["ready"]
    space.wait("its words", lambda: "Paused" in log(space, name))


ECHO = {"name": "main", "image": AGNHOST}


@conformance("Containers should be able to override the image's default arguments (container cmd)")
def test_arguments(space: Space) -> None:  # noqa: F811
    words = ["entrypoint-tester", "override", "arguments"]
    assert "[/agnhost entrypoint-tester override arguments]" in said(space, once({**ECHO, "args": words}))


@conformance("Containers should be able to override the image's default command (container entrypoint)")
def test_command(space: Space) -> None:  # noqa: F811
    assert "entrypoint-tester" in said(space, once({**ECHO, "command": ["/agnhost", "entrypoint-tester"]}))


@conformance("Containers should be able to override the image's default command and arguments")
def test_both(space: Space) -> None:  # noqa: F811
    both = {**ECHO, "command": ["/agnhost"], "args": ["entrypoint-tester", "override", "arguments"]}
    assert "[/agnhost entrypoint-tester override arguments]" in said(space, once(both))


# -- the downward API


LIMITED = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


@conformance("Downward API should provide pod name, namespace and IP address as env vars")
def test_names(space: Space) -> None:  # noqa: F811
    env = [
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("POD_IP", "status.podIP"),
    ]
    found = _env(space, env)
    assert (found["POD_NAME"], found["POD_NAMESPACE"]) == ("pod", space.name)
    assert found["POD_IP"] == space.api.get(space.path("pods", "pod"))["status"]["podIP"]


@conformance("Downward API should provide host IP as an env var", "Downward API should provide hostIPs as an env var")
@pytest.mark.parametrize("field", ["hostIP", "hostIPs"])
def test_host(space: Space, field: str) -> None:  # noqa: F811
    found = _env(space, [_field("HOST_IP", f"status.{field}")])
    status = space.api.get(space.path("pods", "pod"))["status"]
    assert found["HOST_IP"] == status["hostIP"] == status["hostIPs"][0]["ip"]


@conformance("Downward API should provide pod UID as env vars")
def test_uid(space: Space) -> None:  # noqa: F811
    found = _env(space, [_field("POD_UID", "metadata.uid")])
    assert found["POD_UID"] == space.api.get(space.path("pods", "pod"))["metadata"]["uid"]


RESOURCES = [
    _resource("CPU_LIMIT", "limits.cpu"),
    _resource("MEMORY_LIMIT", "limits.memory"),
    _resource("CPU_REQUEST", "requests.cpu"),
    _resource("MEMORY_REQUEST", "requests.memory"),
]


@conformance("Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars")
def test_resources(space: Space) -> None:  # noqa: F811
    found = _env(space, RESOURCES, resources=LIMITED)
    wanted = {"CPU_LIMIT": "2", "MEMORY_LIMIT": "67108864", "CPU_REQUEST": "1", "MEMORY_REQUEST": "33554432"}
    assert found.items() >= wanted.items()


@conformance("Downward API should provide default limits.cpu/memory from node allocatable")
def test_allocatable(space: Space) -> None:  # noqa: F811
    found = _env(space, RESOURCES[:2])
    assert int(found["CPU_LIMIT"]) > 0
    assert int(found["MEMORY_LIMIT"]) > 0


# -- Services


@conformance("Pods should contain environment variables for services")
def test_services(space: Space) -> None:  # noqa: F811
    space.pod("server", "serve-hostname", labels={"name": "srv"}, ports=[{"containerPort": 9376}])
    made = space.service("fooservice", [{"port": 8765, "targetPort": 8080}], {"name": "srv"})
    found = _env(space, [])
    address = made["spec"]["clusterIP"]
    assert found["FOOSERVICE_SERVICE_HOST"] == found["FOOSERVICE_PORT_8765_TCP_ADDR"] == address
    assert found["FOOSERVICE_SERVICE_PORT"] == found["FOOSERVICE_PORT_8765_TCP_PORT"] == "8765"
    assert found["FOOSERVICE_PORT"] == found["FOOSERVICE_PORT_8765_TCP"] == f"tcp://{address}:8765"
    assert found["FOOSERVICE_PORT_8765_TCP_PROTO"] == "tcp"


# -- $(expansion)


@conformance("Variable Expansion should allow composing env vars into new env vars")
def test_compose(space: Space) -> None:  # noqa: F811
    env = [
        {"name": "FOO", "value": "foo-value"},
        {"name": "BAR", "value": "bar-value"},
        {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
    ]
    assert _env(space, env)["FOOBAR"] == "foo-value;;bar-value"


@conformance(
    "Variable Expansion should allow substituting values in a container's command",
    "Variable Expansion should allow substituting values in a container's args",
)
@pytest.mark.parametrize("where", ["command", "args"])
def test_expanded(space: Space, where: str) -> None:  # noqa: F811
    words = ["sh", "-c", 'TEST_VAR=wrong echo "$(TEST_VAR)"']
    split = {"command": words} if where == "command" else {"command": words[:2], "args": words[2:]}
    container = {**sh(""), **split, "env": [{"name": "TEST_VAR", "value": "test-value"}]}
    assert said(space, once(container)) == "test-value\n"


NAMED = [_field("POD_NAME", "metadata.name")]
WORK = [{"name": "workdir1", "emptyDir": {}}]


def _expression(expression: str, env: list[Obj], command: str = "sleep 1000", where: str = "/volume_mount") -> Obj:
    mounts = [
        {"name": "workdir1", "mountPath": where, "subPathExpr": expression},
        {"name": "workdir1", "mountPath": "/all"},
    ]
    return sh(command, env=env, volumeMounts=mounts)


@conformance("Variable Expansion should allow substituting values in a volume subpath")
def test_sub_path(space: Space) -> None:  # noqa: F811
    command = "test -d /all/pod && touch /volume_mount/test.log && ls /all/pod"
    assert said(space, once(_expression("$(POD_NAME)", NAMED, command), volumes=WORK)) == "test.log\n"


def _blocked(ns: Space, expression: str, env: list[Obj]) -> str:
    name = create(ns, pod(_expression(expression, env), volumes=WORK))
    path = ns.path("pods", name)

    def waiting() -> str:
        return str(status_of(ns.api.get(path)).get("state", {}).get("waiting", {}).get("reason"))

    ns.wait("the container is refused", lambda: waiting() == "CreateContainerConfigError")
    return str(status_of(ns.api.get(path))["state"]["waiting"]["message"])


@conformance("Variable Expansion should fail substituting values in a volume subpath with backticks")
def test_sub_path_backticks(space: Space) -> None:  # noqa: F811
    """The text is a variable's name as it stands: there is no such variable."""
    env = [{"name": "POD_NAME", "value": ".."}]
    assert _blocked(space, "$(POD_NAME)", env)


@conformance("Variable Expansion should fail substituting values in a volume subpath with absolute path")
def test_sub_path_absolute(space: Space) -> None:  # noqa: F811
    env = [{"name": "POD_NAME", "value": "/tmp"}]
    assert "must not be an absolute path" in _blocked(space, "$(POD_NAME)", env)


ANNOTATED = [_field("POD_NAME", "metadata.name"), _field("ANNOTATION", "metadata.annotations['mysubpath']")]


@conformance(
    "Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle "
    "of a container [Slow]"
)
def test_sub_path_mended(space: Space) -> None:  # noqa: F811
    """An annotation gives a part of the path: absolute at first, changed while the pod waits."""
    container = _expression("$(ANNOTATION)/$(POD_NAME)", ANNOTATED)
    made = pod(container, volumes=WORK)
    made["metadata"]["annotations"] = {"notmysubpath": "mypath"}
    name = create(space, made)
    path = space.path("pods", name)
    space.wait("it is refused", lambda: status_of(space.api.get(path)).get("state", {}).get("waiting"))
    space.api.merge(path, {"metadata": {"annotations": {"mysubpath": "mypath"}}})
    space.ready(name)
    cleared(space, path)


@conformance("Variable Expansion should succeed in writing subpaths in container")
def test_sub_path_writing(space: Space) -> None:  # noqa: F811
    """The path stays the one of the start, though the annotation it came from changes."""
    made = pod(_expression("$(ANNOTATION)/$(POD_NAME)", ANNOTATED), volumes=WORK)
    made["metadata"]["annotations"] = {"mysubpath": "mypath"}
    name = create(space, made)
    space.ready(name)
    assert space.sh(name, "touch /volume_mount/mypath.log && test -f /all/mypath/pod/mypath.log && echo there")
    space.api.merge(space.path("pods", name), {"metadata": {"annotations": {"mysubpath": "mynewpath"}}})
    assert space.sh(name, "test -f /volume_mount/mypath.log && test ! -e /all/mynewpath && echo still") == "still\n"
    cleared(space, space.path("pods", name))


def test_no_name_is_missing() -> None:
    check("node", 89, {})
