"""agnhost crd-conversion-webhook: stable.example.com v1 (hostPort) ↔ v2 (host, port), on /crdconvert.

Source: test/images/agnhost/crd-conversion-webhook. ConversionReview v1 and v1beta1 have the same shape.
"""

import json
from typing import Any

from netlab.runtime.builtin import https
from netlab.runtime.builtin.web import Request, Response, as_json, error

Obj = dict[str, Any]
VERSIONS = ("apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1")
V1, V2 = "stable.example.com/v1", "stable.example.com/v2"


class Refused(Exception):  # noqa: N818
    """The message of the failed conversion."""


def converted(obj: Obj, version: str) -> Obj:
    """A copy of the object in that version. Raises Refused."""
    made, known = dict(obj), {V1: V2, V2: V1}
    found = obj.get("apiVersion", "")
    if found == version:
        raise Refused(f"conversion from a version to itself should not call the webhook: {version}")
    if found not in known or known[found] != version:
        raise Refused(f'unexpected conversion version "{version if found in known else found}"')
    if version == V2 and "hostPort" in made:
        value = made.pop("hostPort")
        parts = value.split(":")
        if len(parts) != 2:
            raise Refused(f"invalid hostPort value `{value}`")
        made["host"], made["port"] = parts
    elif version == V1 and ("host" in made or "port" in made):
        made["hostPort"] = f"{made.pop('host', '')}:{made.pop('port', '')}"
    made["apiVersion"] = version
    return made


def respond(asked: Obj) -> Obj:
    """A ConversionRequest → its ConversionResponse."""
    try:
        objects = [converted(obj, asked["desiredAPIVersion"]) for obj in asked.get("objects") or ()]
    except Refused as problem:
        failed = {"metadata": {}, "status": "Failure", "message": str(problem)}
        return {"uid": asked["uid"], "convertedObjects": None, "result": failed}
    return {"uid": asked["uid"], "convertedObjects": objects, "result": {"metadata": {}, "status": "Success"}}


def answer(request: Request) -> Response:
    if request.path == "/readyz":
        return Response("ok")
    if request.path != "/crdconvert":
        return error("404 page not found", 404)
    content = request.headers.get("content-type", "")
    if content != "application/json":
        return error(f"invalid Content-Type header `{content}`", 400)
    try:
        review = json.loads(request.body)
        version, asked = review["apiVersion"], review["request"]
    except (ValueError, KeyError, TypeError) as problem:
        return error(f"failed to deserialize body with error {problem}", 400)
    if version not in VERSIONS or review.get("kind") != "ConversionReview":
        return error(f"Unsupported group version kind: {version}, Kind={review.get('kind')}", 400)
    body = {"kind": "ConversionReview", "apiVersion": version, "response": respond(asked)}
    return Response(as_json(body), headers={"Content-Type": "application/json"})


def main(*arguments: str) -> int:
    return https.serve(arguments, answer)
