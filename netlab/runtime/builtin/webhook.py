"""agnhost webhook: an admission webhook whose answers depend on the path alone (test/images/agnhost/webhook).

Each path has a rule: AdmissionRequest → AdmissionResponse without its uid. v1 and v1beta1 have the same shape.
"""

import binascii
import json
import time
from collections.abc import Callable
from typing import Any

from netlab.runtime.builtin import https
from netlab.runtime.builtin.common import log
from netlab.runtime.builtin.web import Request, Response, as_json, error

Obj = dict[str, Any]
VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
CRD = ("apiextensions.k8s.io", "customresourcedefinitions")
_SIDECAR = {"sidecar-image": ""}


def _allow(*operations: Obj) -> Obj:
    if not operations:
        return {"allowed": True}
    patch = binascii.b2a_base64(json.dumps(operations).encode(), newline=False).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def _deny(message: str = "", reason: str = "", **more: Any) -> Obj:
    status = {"metadata": {}, **({"message": message} if message else {}), **({"reason": reason} if reason else {})}
    return {"allowed": False, "status": {**status, **more}}


def _wrong_resource(request: Obj, *wanted: str) -> Obj | None:
    found = request.get("resource") or {}
    if found.get("resource") in wanted and found.get("version") == "v1" and not found.get("group"):
        return None
    return _deny(f"expect resource to be {{ v1 {wanted[0]}}}")


def always_allow_after_5s(_request: Obj) -> Obj:
    time.sleep(5)
    return _allow()


def always_deny(_request: Obj) -> Obj:
    return _deny("this webhook denies all requests")


def add_label(request: Obj) -> Obj:
    labels = (request["object"].get("metadata") or {}).get("labels") or {}
    if not labels:
        return _allow({"op": "add", "path": "/metadata/labels", "value": {"added-label": "yes"}})
    if labels.get("added-label") == "yes":
        return _allow()
    operation = "replace" if "added-label" in labels else "add"
    return _allow({"op": operation, "path": "/metadata/labels/added-label", "value": "yes"})


def admit_pods(request: Obj) -> Obj:
    wrong = _wrong_resource(request, "pods")
    if wrong:
        return wrong
    pod, said = request["object"], []
    label = (pod["metadata"].get("labels") or {}).get("webhook-e2e-test")
    while label == "wait-forever":
        time.sleep(3600)
    if label == "webhook-disallow":
        said.append("the pod contains unwanted label;")
    unwanted = [one for one in pod["spec"]["containers"] if "webhook-disallow" in one["name"]]
    said += ["the pod contains unwanted container name;"] * len(unwanted)
    return _deny(" ".join(said)) if said else _allow()


def deny_attaching(request: Obj) -> Obj:
    if request.get("name") != "to-be-attached-pod":
        return _allow()
    wrong = _wrong_resource(request, "pods")
    if wrong:
        return wrong
    if request.get("subResource") != "attach":
        return _deny(f"expect subresource to be attach, got {request.get('subResource', '')}")
    options = request["object"]
    if not options.get("stdin") or options.get("container") != "container1":
        return _allow()
    return _deny("attaching to pod 'to-be-attached-pod' is not allowed")


def mutate_pods(request: Obj) -> Obj:
    wrong = _wrong_resource(request, "pods")
    if wrong:
        return wrong
    pod, name = request["object"], "webhook-added-init-container"
    there = any(one["name"] == name for one in pod["spec"].get("initContainers") or ())
    if pod["metadata"].get("name") != "webhook-to-be-mutated" or there:
        return _allow()
    added = {"image": "webhook-added-image", "name": name, "resources": {}}
    return _allow({"op": "add", "path": "/spec/initContainers", "value": [added]})


def mutate_pods_sidecar(request: Obj) -> Obj:
    if not _SIDECAR["sidecar-image"]:
        return _deny("No image specified by the sidecar-image parameter", status="Failure", code=500)
    wrong = _wrong_resource(request, "pods")
    if wrong:
        return wrong
    name = "webhook-added-sidecar"
    if any(one["name"] == name for one in request["object"]["spec"]["containers"]):
        return _allow()
    added = {"image": _SIDECAR["sidecar-image"], "name": name, "resources": {}}
    return _allow({"op": "add", "path": "/spec/containers/-", "value": added})


def _admit_data(request: Obj, unwanted: str, fixed: str) -> Obj:
    """By the value of the data key webhook-e2e-test."""
    deleting = request.get("operation") == "DELETE"
    data = (request.get("oldObject" if deleting else "object") or {}).get("data") or {}
    value = data.get("webhook-e2e-test")
    if value == "webhook-disallow" and request.get("operation") in ("CREATE", "UPDATE"):
        return _deny(reason=unwanted)
    if value == "webhook-nondeletable" and deleting:
        return _deny(reason=fixed)
    return _allow()


def admit_configmaps(request: Obj) -> Obj:
    return _wrong_resource(request, "configmaps") or _admit_data(
        request,
        "the configmap contains unwanted key and value",
        "the configmap cannot be deleted because it contains unwanted key and value",
    )


def admit_custom_resource(request: Obj) -> Obj:
    return _admit_data(
        request,
        "the custom resource contains unwanted data",
        "the custom resource cannot be deleted because it contains unwanted key and value",
    )


def mutate_data(request: Obj) -> Obj:
    """mutation-start brings mutation-stage-1, and that brings mutation-stage-2."""
    data = request["object"].get("data") or {}
    stage = 2 if data.get("mutation-stage-1") == "yes" else 1 if data.get("mutation-start") == "yes" else 0
    return _allow({"op": "add", "path": f"/data/mutation-stage-{stage}", "value": "yes"}) if stage else _allow()


def mutate_configmaps(request: Obj) -> Obj:
    return _wrong_resource(request, "configmaps") or mutate_data(request)


def admit_crd(request: Obj) -> Obj:
    found = request.get("resource") or {}
    if (found.get("group"), found.get("resource")) != CRD:
        return _deny(f"expect resource to be customresourcedefinitions but got {found.get('resource', '')}")
    labels = (request.get("object") or {}).get("metadata", {}).get("labels") or {}
    if labels.get("webhook-e2e-test") == "webhook-disallow":
        return _deny("the crd contains unwanted label")
    return _allow()


RULES: dict[str, Callable[[Obj], Obj]] = {
    "/always-allow-delay-5s": always_allow_after_5s,
    "/always-deny": always_deny,
    "/add-label": add_label,
    "/pods": admit_pods,
    "/pods/attach": deny_attaching,
    "/mutating-pods": mutate_pods,
    "/mutating-pods-sidecar": mutate_pods_sidecar,
    "/configmaps": admit_configmaps,
    "/mutating-configmaps": mutate_configmaps,
    "/custom-resource": admit_custom_resource,
    "/mutating-custom-resource": mutate_data,
    "/crd": admit_crd,
}


def answer(request: Request) -> Response:
    if request.path == "/readyz":
        return Response("ok")
    rule = RULES.get(request.path)
    if rule is None:
        return error("404 page not found", 404)
    content = request.headers.get("content-type", "")
    if content != "application/json":
        log(f"contentType={content}, expect application/json")
        return Response()
    try:
        review = json.loads(request.body)
        version, asked = review["apiVersion"], review["request"]
    except (ValueError, KeyError, TypeError) as problem:
        return error(f"Request could not be decoded: {problem}", 400)
    if version not in VERSIONS or review.get("kind") != "AdmissionReview":
        return error(f"Unsupported group version kind: {version}, Kind={review.get('kind')}", 400)
    said = {"uid": asked["uid"], **rule(asked)}
    body = {"kind": "AdmissionReview", "apiVersion": version, "response": said}
    return Response(as_json(body), headers={"Content-Type": "application/json"})


def main(*arguments: str) -> int:
    return https.serve(arguments, answer, _SIDECAR)
