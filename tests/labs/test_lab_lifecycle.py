"""A lab from `klab up` to `klab down --purge`, as the caller and as a user without any privilege."""

from __future__ import annotations

import json

import pytest

from tests.labs.tools import Namespaces, User

pytestmark = pytest.mark.timeout(300)


def test_up_use_down(anyone: User, machine_unchanged: dict[str, str]) -> None:
    up = anyone.klab("up", "single", "-o", "json")
    assert up.returncode == 0, up.stderr
    started = json.loads(up.stdout)
    assert started["name"] == "single"
    namespaces = Namespaces(started["pid"])

    listed = json.loads(anyone.klab("ls", "-o", "json").stdout)
    assert [(lab["name"], lab["state"]) for lab in listed] == [("single", "running")]

    status = anyone.klab("status", "-o", "json")
    assert status.returncode == 0, status.stdout + status.stderr
    assert {process["id"] for process in json.loads(status.stdout)["processes"]} >= {
        "component/labd", "component/apiserver", "component/controller-manager", "component/scheduler",
        "component/agent-0",
    }  # fmt: skip

    nodes = anyone.klab("kubectl", "get", "nodes", "-o", "json")
    ready = {
        node["metadata"]["name"]: [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]
        for node in json.loads(nodes.stdout)["items"]
    }
    assert ready == {node["name"]: ["True"] for node in started["nodes"]}

    name = started["nodes"][0]["name"]
    seen = anyone.klab("exec", name, "--", "hostname")
    assert (seen.returncode, seen.stdout.strip()) == (0, name)
    assert anyone.klab("exec", name, "--", "sh", "-c", "exit 7").returncode == 7
    said = anyone.klab("mininet", "-c", f"{name} echo hello")
    assert "hello" in (said.stdout + said.stderr).splitlines()  # Mininet speaks on standard error

    down = anyone.klab("down")
    assert down.returncode == 0, down.stderr
    assert namespaces.processes() == []
    assert anyone.klab("down", "single").stdout.strip() == "lab 'single' was not running"
    assert anyone.klab("down", "single").returncode == 0
    assert [lab["state"] for lab in json.loads(anyone.klab("ls", "-o", "json").stdout)] == ["stopped"]

    assert anyone.klab("down", "single", "--purge").returncode == 0
    assert json.loads(anyone.klab("ls", "-o", "json").stdout) == []


def test_objects_come_back(caller: User) -> None:
    assert caller.klab("up", "single").returncode == 0
    made = caller.klab("kubectl", "create", "configmap", "kept", "--from-literal=key=value")
    assert made.returncode == 0, made.stderr
    assert caller.klab("down").returncode == 0
    up = caller.klab("up", "--name", "single")
    assert up.returncode == 0, up.stderr
    kept = caller.klab("kubectl", "get", "configmap", "kept", "-o", "jsonpath={.data.key}")
    assert kept.stdout == "value"
