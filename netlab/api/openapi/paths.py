"""Path items: which operations each resource has, with the marks by which kubectl finds kinds and query parameters.

kubectl reads `x-kubernetes-group-version-kind` and the parameters of PATCH (dryRun, fieldValidation); other clients and
fuzzers read the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api.openapi.definitions import definition_name
from netlab.api.patch import accepted_types
from netlab.api.resources import Resource
from netlab.api.types import Obj

_JSON = "application/json"
_V3 = "#/components/schemas/"
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"

# name → (type, description)
_QUERY: dict[str, tuple[str, str]] = {
    "pretty": ("string", "If 'true', then the output is pretty printed."),
    "dryRun": ("string", "All: process every stage of the request, persist nothing."),
    "fieldManager": ("string", "The actor that makes these changes."),
    "fieldValidation": ("string", "What to do about unknown or duplicate fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Apply: take over fields that other managers own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; 0 deletes immediately."),
    "propagationPolicy": ("string", "Orphan, Background or Foreground: what becomes of dependents."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "allowWatchBookmarks": ("boolean", "Send events of type BOOKMARK."),
    "continue": ("string", "Where to go on with a list, as the last part said."),
    "fieldSelector": (
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    "labelSelector": (
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    "limit": ("integer", "The most objects to return in one part."),
    "resourceVersion": ("string", "What the list or watch starts from."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Watch: begin with the existing objects."),
    "timeoutSeconds": ("integer", "How long the call may last."),
    "watch": (
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove "
        "notifications. Specify resourceVersion.",
    ),
}
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "list": _LIST,
    "post": _WRITE,
    "put": _WRITE,
    "patch": (*_WRITE, "force"),
    "delete": _DELETE,
    "deletecollection": (*_DELETE, "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion"),
}
# verb → (HTTP method, action) of collections, objects and subresources
_COLLECTION = {"list": ("get", "list"), "create": ("post", "post"), "deletecollection": ("delete", "deletecollection")}
_OBJECT = {"get": ("get", "get"), "update": ("put", "put"), "patch": ("patch", "patch"), "delete": ("delete", "delete")}
_SUB = {**_OBJECT, "create": ("post", "post")}
_CONNECT = frozenset({"attach", "exec", "portforward", "proxy"})


def _gvk(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "version": version, "kind": kind}


def _query(names: Iterable[str]) -> list[Obj]:
    found = []
    for name in names:
        kind, description = _QUERY[name]
        found.append(
            {"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": True}}
        )
    return found


def _in_path(name: str, description: str) -> Obj:
    return {
        "name": name,
        "in": "path",
        "description": description,
        "required": True,
        "schema": {"type": "string", "uniqueItems": True},
    }


_NAMESPACE = _in_path("namespace", "object name and auth scope, such as for teams and projects")
_NAME = _in_path("name", "name of the object")
_PRETTY = _query(["pretty"])[0]


def _content(name: str | None, types: Sequence[str] = (_JSON,)) -> Obj:
    body: Obj = {"schema": {"$ref": _V3 + name}} if name else {"schema": {"type": "object"}}
    return dict.fromkeys(types, body)


def _operation(action: str, path: str, gvk: Obj, body: str | None, answer: str | None, resource: Resource) -> Obj:
    operation: Obj = {
        "operationId": action + "".join(part.strip("{}").title() for part in path.replace(".", "/").split("/") if part),
        "responses": {"200": {"description": "OK", "content": _content(answer)}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }
    if action in _PARAMETERS:
        operation["parameters"] = _query(_PARAMETERS[action])
    if action == "patch":
        operation["requestBody"] = {"content": _content(_PATCH, accepted_types(resource)), "required": True}
    elif action in ("post", "put"):
        operation["requestBody"] = {"content": _content(body), "required": True}
        operation["responses"]["201"] = {"description": "Created", "content": _content(answer)}
    elif action in ("delete", "deletecollection"):
        operation["requestBody"] = {"content": _content(_DELETE_OPTIONS)}
    operation["responses"]["401"] = {"description": "Unauthorized"}
    return operation


def _main_items(resource: Resource) -> dict[str, Obj]:
    gvk = _gvk(resource.group, resource.version, resource.kind)
    kind = definition_name(resource, resource.api_version, resource.kind)
    lists = definition_name(resource, resource.api_version, resource.list_kind)
    collection = resource.collection_path("{namespace}")
    within = [_NAMESPACE, _PRETTY] if resource.namespaced else [_PRETTY]
    found: dict[str, Obj] = {}
    item: Obj = {}
    for verb, (method, action) in _COLLECTION.items():
        if verb in resource.verbs:
            answer = {"list": lists, "deletecollection": _STATUS}.get(action, kind)
            item[method] = _operation(action, collection, gvk, kind, answer, resource)
    if item:
        found[collection] = {**item, "parameters": within}
    if resource.namespaced and "list" in resource.verbs:
        everywhere = resource.collection_path()
        listing = _operation("list", everywhere, gvk, None, lists, resource)
        found[everywhere] = {"get": listing, "parameters": [_PRETTY]}
    path = f"{collection}/{{name}}"
    item = {
        method: _operation(action, path, gvk, kind, _STATUS if action == "delete" else kind, resource)
        for verb, (method, action) in _OBJECT.items()
        if verb in resource.verbs
    }
    if item:
        found[path] = {**item, "parameters": [_NAME, *within]}
    return found


def _sub_items(resource: Resource) -> dict[str, Obj]:
    found: dict[str, Obj] = {}
    base = f"{resource.collection_path('{namespace}')}/{{name}}"
    within = [_NAME, _NAMESPACE, _PRETTY] if resource.namespaced else [_NAME, _PRETTY]
    for sub in resource.subresources:
        path = f"{base}/{sub.name}"
        gvk = _gvk(sub.group, sub.version, sub.kind)
        api_version = f"{sub.group}/{sub.version}" if sub.group else sub.version
        kind = definition_name(resource, api_version, sub.kind)
        item: Obj = {}
        for verb in sub.verbs:
            method, action = _SUB[verb]
            item[method] = _operation(action, path, gvk, kind, kind, resource)
            if sub.name in _CONNECT:
                item[method]["x-kubernetes-action"] = "connect"
                item[method].pop("requestBody", None)
        found[path] = {**item, "parameters": within}
    return found


def v3_paths(resources: Iterable[Resource]) -> dict[str, Obj]:
    """`paths` of a v3 document."""
    found: dict[str, Obj] = {}
    for resource in resources:
        found.update(_main_items(resource))
        found.update(_sub_items(resource))
    return dict(sorted(found.items()))


def v2_paths(resources: Iterable[Resource]) -> dict[str, Obj]:
    """`paths` of a v2 document: of each kind the object's operations, with PATCH's parameters and those of lists (which
    `v2_parameters` says once for all); the rest is in v3."""
    found: dict[str, Obj] = {}
    for resource in resources:
        for path, item in _main_items(resource).items():
            operations = {method: one for method, one in item.items() if method != "parameters"}
            found[path] = {method: _v2_operation(one) for method, one in operations.items()}
    return dict(sorted(found.items()))


def _v2_operation(operation: Obj) -> Obj:
    reduced: Obj = {
        "operationId": operation["operationId"],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": operation["x-kubernetes-action"],
        "x-kubernetes-group-version-kind": operation["x-kubernetes-group-version-kind"],
    }
    if operation["x-kubernetes-action"] == "patch":
        reduced["parameters"] = [_v2_parameter(one) for one in operation["parameters"]]
    elif operation["x-kubernetes-action"] == "list":
        reduced["parameters"] = [{"$ref": f"#/parameters/{one['name']}"} for one in operation["parameters"]]
    return reduced


def v2_parameters() -> dict[str, Obj]:
    """`parameters` of a v2 document: what every list takes."""
    return {one["name"]: _v2_parameter(one) for one in _query(_LIST)}


def _v2_parameter(one: Obj) -> Obj:
    return {"name": one["name"], "in": "query", "type": one["schema"]["type"], "description": one["description"]}
