"""Mutating webhooks, one after the other; when one changed something, those that wish it are asked again, once.

Source followed: apiserver `pkg/admission/plugin/webhook/mutating` (`dispatcher.go`, `reinvocationcontext.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from netlab.api import defaults, errors
from netlab.api import patch as patches
from netlab.api.resources import Resource
from netlab.api.types import Obj, clone
from netlab.apiserver.admission.attributes import Attributes
from netlab.apiserver.admission.dynamic import MUTATING, configurations, review
from netlab.apiserver.admission.dynamic.hooks import CallingError, Invocation, ask, called, log, shown, subject_of
from netlab.apiserver.admission.dynamic.matching import Subject
from netlab.apiserver.body import decode
from netlab.apiserver.conversion import convert

if TYPE_CHECKING:
    from netlab.apiserver.api import Api


async def mutate(api: Api, attributes: Attributes, resource: Resource) -> None:
    """Raises StatusError."""
    found = configurations(api, MUTATING)
    subject = subject_of(api, attributes, resource)
    again: dict[str, None] = {}
    """Webhooks that want to be asked again, of those asked so far."""
    due: set[str] = set()
    before = clone(attributes.obj)
    for invocation in called(api, found, subject):
        changed = await _call(api, invocation, subject, 0)
        if changed:
            due |= set(again)
        if invocation.hook.get("reinvocationPolicy") == "IfNeeded":
            again[invocation.uid] = None
    if attributes.obj is None or attributes.obj == before:
        return
    # the built-in plug-ins see what webhooks made of the object
    after = clone(attributes.obj)
    api.admission.mutate(api, attributes)
    if attributes.obj != after:
        due |= set(again)
    if due:
        for invocation in called(api, found, subject):
            if invocation.uid in due and await _call(api, invocation, subject, 1):
                due |= set(again)


async def _call(api: Api, invocation: Invocation, subject: Subject, round_: int) -> bool:
    """Whether the webhook changed the object."""
    attributes = subject.attributes
    try:
        found = await ask(api, invocation, subject, mutating=True)
    except CallingError as failure:
        if not invocation.ignores_failures:
            raise errors.internal(str(failure)) from None
        log.warning("failed calling webhook, failing open %s: %s", invocation.name, failure)
        attributes.annotations[f"failed-open.mutation.webhook.admission.k8s.io/round_{round_}_index_0"] = (
            invocation.name
        )
        return False
    if not found.allowed:
        raise review.refusal(invocation.name, found.result)
    if not found.patch:
        return False
    return _patched(attributes, invocation, found.patch)


def _patched(attributes: Attributes, invocation: Invocation, patch: bytes) -> bool:
    name = errors.quote(invocation.name)
    try:
        operations = orjson.loads(patch)
    except orjson.JSONDecodeError as error:
        why = f"received undecodable patch in webhook response: {error}"
        raise errors.internal(f"failed calling webhook {name}: {why}") from None
    if not operations:
        return False
    if attributes.obj is None:
        why = "attempted to modify the object, which is not supported for this operation"
        raise errors.internal(f"admission webhook {name} {why}")
    current = shown(attributes.obj, attributes, invocation.shown) or {}
    try:
        patched = patches.apply(patches.JSON_PATCH, operations, current, invocation.shown)
    except errors.StatusError as error:
        raise errors.internal(str(error.status.get("message", ""))) from None
    wanted = _decoded(attributes, invocation.shown, patched)
    if wanted == attributes.obj:
        return False
    attributes.obj.clear()
    attributes.obj.update(wanted)
    return True


def _decoded(attributes: Attributes, resource: Resource, patched: Obj) -> Obj:
    """What a patch made, as any object that comes in: decoded, pruned, defaulted, in the stored version."""
    if attributes.subresource and patched.get("kind") != resource.kind:
        return patched
    managed = patched.get("metadata", {}).get("managedFields")
    wanted, _ = decode(patched, resource, "Ignore")
    defaults.apply_defaults(wanted)
    if managed:
        wanted["metadata"]["managedFields"] = managed
    return convert(wanted, resource, attributes.resource)
