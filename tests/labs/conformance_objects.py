"""What a conformance test does to objects of any kind: every verb, with a watch that sees it, and the status beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.labs.conformance_tools import MERGE, Watch, annotated, condition, items, refused
from tests.labs.sig_network_tools import Api, ApiError, Obj, Space


def by_label(path: str, key: str, value: str) -> str:
    return f"{path}?labelSelector={key}%3D{value}"


def discovered(api: Api, group: str, version: str, *plurals: str) -> None:
    """The group, its version and its resources are in the discovery documents."""
    assert group in {one["name"] for one in api.get("/apis")["groups"]}
    assert version in {one["version"] for one in api.get(f"/apis/{group}")["versions"]}
    assert set(plurals) <= {one["name"] for one in api.get(f"/apis/{group}/{version}")["resources"]}


def operations(api: Api, where: str, make: Callable[[int], Obj], label: str, everywhere: str = "") -> None:
    """Create, get, list (also `everywhere`), watch, patch, update, delete, delete a collection.

    `make(n)` is the n-th object to create at `where`; all have the label test=`label`.
    """
    selector = by_label(where, "test", label)
    names = [make(number)["metadata"]["name"] for number in range(3)]
    made = api.call("POST", where, make(0))
    refused(409, lambda: api.call("POST", where, make(0)))
    api.call("POST", where, make(1))
    watched = Watch(api, selector)
    api.call("POST", where, make(2))
    path = f"{where}/{names[0]}"
    assert api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
    for one in (where, everywhere or where):
        assert {obj["metadata"]["name"] for obj in items(api, by_label(one, "test", label))} == set(names)
    patched = api.merge(path, {"metadata": {"annotations": {"patched": "true"}}})
    assert annotated("patched", "true")(patched)
    updated = api.update(path, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
    assert annotated("updated", "true")(updated)
    watched.sees("ADDED", lambda obj: obj["metadata"]["name"] == names[2])
    watched.sees("MODIFIED", annotated("patched", "true"))
    watched.sees("MODIFIED", annotated("updated", "true"))
    api.call("DELETE", path)
    watched.sees("DELETED", lambda obj: obj["metadata"]["name"] == names[0])
    assert api.gone(path)
    assert len(items(api, selector)) == 2
    api.call("DELETE", selector)
    for _ in range(2):
        watched.sees("DELETED")
    assert items(api, selector) == []


def status_endpoints(ns: Space, plural: str, name: str, group: str) -> None:
    """GET, PUT and PATCH of /status; a watch sees both conditions."""
    path = ns.path(plural, name, group)
    watched = Watch(ns.api, ns.path(plural, group=group))
    assert ns.api.get(f"{path}/status")["metadata"]["name"] == name

    def update(obj: Obj) -> None:
        found = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        obj["status"]["conditions"] = [*(obj["status"].get("conditions") or ()), found]

    ns.api.update(f"{path}/status", update)
    found = condition(watched.sees("MODIFIED", lambda obj: condition(obj, "StatusUpdate")), "StatusUpdate")
    assert (found["status"], found["reason"], found["message"]) == ("True", "E2E", "Set from e2e test")
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    patched = ns.api.call("PATCH", f"{path}/status", patch, MERGE)
    assert condition(patched, "StatusPatched")["status"] == "True"
    watched.sees("MODIFIED", lambda obj: condition(obj, "StatusPatched"))


def scale(ns: Space, plural: str, name: str, group: str, start: int = 1) -> None:
    """GET, PUT and PATCH of /scale, each of which reaches the spec."""
    path = ns.path(plural, name, group)
    assert ns.api.get(f"{path}/scale")["spec"]["replicas"] == start
    changed = ns.api.update(f"{path}/scale", lambda obj: obj["spec"].update(replicas=start + 1))
    assert changed["spec"]["replicas"] == start + 1
    assert ns.api.get(path)["spec"]["replicas"] == start + 1
    patched = ns.api.merge(f"{path}/scale", {"spec": {"replicas": start + 3}})
    assert patched["spec"]["replicas"] == start + 3
    assert ns.api.get(path)["spec"]["replicas"] == start + 3


def missing_or_deleted(api: Api, path: str) -> None:
    try:
        api.call("DELETE", path)
    except ApiError as problem:
        if problem.code != 404:
            raise


def meta(name: str, label: str = "", **labels: str) -> Obj:
    found: dict[str, Any] = {"name": name}
    if label:
        labels["test"] = label
    if labels:
        found["labels"] = labels
    return found
