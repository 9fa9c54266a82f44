"""PURE. AdmissionReview v1: what is sent, what may come back, and what a refusal becomes.

Sources followed: apiserver `pkg/admission/plugin/webhook/request/admissionreview.go`, `…/errors/statuserror.go`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes

API_VERSION = "admission.k8s.io/v1"


class UnusableError(Exception):
    """The answer of a webhook is none; str() is upstream's reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said. `result` is the Status of a refusal, `patch` the operations of a JSON patch."""

    allowed: bool
    result: Obj = field(default_factory=dict)
    patch: bytes = b""
    warnings: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)


def admission_request(attributes: Attributes, asked: Resource, shown: Resource, user: Obj) -> Obj:
    """The fields that webhooks and policies have in common; no objects, no uid."""
    found: Obj = {
        "kind": _kind(attributes, shown),
        "resource": {"group": shown.group, "version": shown.version, "resource": shown.plural},
        "requestKind": _kind(attributes, asked),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
    }
    if attributes.subresource:
        found["subResource"] = found["requestSubResource"] = attributes.subresource
    if attributes.name:
        found["name"] = attributes.name
    if attributes.namespace:
        found["namespace"] = attributes.namespace
    return {**found, "operation": attributes.operation, "userInfo": user, "dryRun": attributes.dry_run}


_OBJECTS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}


def _kind(attributes: Attributes, resource: Resource) -> Obj:
    found = resource.subresource(attributes.subresource) if attributes.subresource else None
    if found is not None and attributes.subresource not in ("status",):
        if attributes.operation == "CONNECT":
            name = _OBJECTS.get(attributes.subresource, f"{resource.kind}ProxyOptions")
            return {"group": "", "version": "v1", "kind": name}
        return {"group": found.group, "version": found.version, "kind": found.kind}
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def review(uid: str, request: Obj, obj: Obj | None, old: Obj | None, options: Obj | None) -> Obj:
    """The AdmissionReview that is sent."""
    body = {"uid": uid, **request, "object": obj, "oldObject": old, "options": options}
    return {"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": body}


def verdict(answer: Any, uid: str, *, mutating: bool) -> Verdict:
    """Raises UnusableError."""
    if not isinstance(answer, dict):
        raise UnusableError("webhook response was absent")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise UnusableError("webhook response was absent")
    if (answer.get("apiVersion"), answer.get("kind")) != (API_VERSION, "AdmissionReview"):
        group, _, version = str(answer.get("apiVersion", "")).rpartition("/")
        given = f"{group}/{version}, Kind={answer.get('kind', '')}"
        raise UnusableError(f"expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {given}")
    if response.get("uid") != uid:
        given = errors.quote(str(response.get("uid", "")))
        raise UnusableError(f"expected response.uid={errors.quote(uid)}, got {given}")
    patch = _patch(response, mutating=mutating)
    return Verdict(
        bool(response.get("allowed")),
        dict(response.get("status") or {}),
        patch,
        tuple(str(one) for one in response.get("warnings") or ()),
        {str(key): str(value) for key, value in (response.get("auditAnnotations") or {}).items()},
    )


def _patch(response: Obj, *, mutating: bool) -> bytes:
    given, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if given:
            raise UnusableError("validating webhook may not return response.patch")
        if kind is not None:
            raise UnusableError("validating webhook may not return response.patchType")
        return b""
    if given and kind is None:
        raise UnusableError("webhook returned response.patch but not response.patchType")
    if not given and kind is not None:
        raise UnusableError("webhook returned response.patchType but not response.patch")
    if not given:
        return b""
    if kind != "JSONPatch":
        raise UnusableError(f"webhook returned invalid response.patchType of {errors.quote(str(kind))}")
    try:
        return base64.b64decode(str(given), validate=True)
    except binascii.Error as error:
        raise UnusableError(f"received undecodable patch in webhook response: {error}") from None


def refusal(hook: str, result: Obj) -> errors.StatusError:
    """The Status of a refusal, with what the webhook said of it."""
    code = int(result.get("code") or 0)
    code = code if code >= 400 else 400
    denied = f"admission webhook {errors.quote(hook)} denied the request"
    reason, said = str(result.get("reason") or ""), str(result.get("message") or result.get("reason") or "")
    message = f"{denied}: {said}" if said else f"{denied} without explanation"
    return errors.status(code, reason, message, result.get("details"))
