"""What upstream's tests of "API operations" do with any kind: discovery, every verb, the status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.labs.conformance_tools import Watch, annotated
from tests.labs.sig_network_tools import Api, Obj


def discovered(api: Api, group: str, kind: str, *resources: str) -> None:
    """The group, its version and its resources are found as upstream's tests look for them."""
    _, name, version = group.split("/")
    groups = {one["name"]: one for one in api.get("/apis")["groups"]}
    assert version in {one["version"] for one in groups[name]["versions"]}
    assert version in {one["version"] for one in api.get(f"/apis/{name}")["versions"]}
    listed = {one["name"]: one["kind"] for one in api.get(f"/{group}")["resources"]}
    for resource in resources:
        assert listed[resource] == kind


def _seen(
    api: Api, path: str, act: Callable[[], object], *kinds: str, fits: Callable[[Obj], object] = lambda obj: True
) -> None:
    """What is done is seen by a watch; controllers may write to the objects between."""
    watch = Watch(api, path)
    act()
    for kind in kinds:
        watch.sees(kind, fits)


def operations(api: Api, collection: str, objects: list[Obj], everywhere: str, status: Obj | None = None) -> None:
    """create, get, list, watch, patch, update, (status), delete, deletecollection; `objects` are three."""
    query = f"{collection}?labelSelector=special-label%3D{objects[0]['metadata']['labels']['special-label']}"
    one = f"{collection}/{objects[0]['metadata']['name']}"

    def create() -> None:
        for obj in objects:
            api.call("POST", collection, obj)

    _seen(api, query, create, *["ADDED"] * 3)
    assert api.get(one)["metadata"]["name"] == objects[0]["metadata"]["name"]
    selector = query.partition("?")[2]
    assert len(api.get(query)["items"]) == 3
    assert len(api.get(f"{everywhere}?{selector}")["items"]) == 3
    patch = {"metadata": {"annotations": {"patched": "true"}}}
    _seen(api, query, lambda: api.merge(one, patch), "MODIFIED", fits=annotated("patched", "true"))

    def update() -> None:
        api.update(one, lambda obj: obj["metadata"]["annotations"].update(updated="true"))

    _seen(api, query, update, "MODIFIED", fits=annotated("updated", "true"))
    if status is not None:
        _change_status(api, one, status)
    _seen(api, query, lambda: api.call("DELETE", one), "DELETED")
    assert api.gone(one)
    assert len(api.get(query)["items"]) == 2
    _seen(api, query, lambda: api.call("DELETE", query), "DELETED", "DELETED")
    assert api.get(query)["items"] == []


def _change_status(api: Api, one: str, status: Obj) -> None:
    patched = api.merge(one + "/status", {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status})
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert contains(patched["status"], status)
    updated = api.update(one + "/status", lambda obj: obj["metadata"]["annotations"].update(updatedstatus="true"))
    assert contains(updated["status"], status)
    assert contains(api.get(one + "/status")["status"], status)


def contains(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(key in found and contains(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(contains(a, b) for a, b in zip(found, wanted, strict=True))
    return bool(found == wanted)
