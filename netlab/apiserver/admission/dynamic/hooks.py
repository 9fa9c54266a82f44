"""What both kinds of webhooks share: which are called, with what, and what their failures mean.

Source followed: apiserver `pkg/admission/plugin/webhook/generic`, `…/matchconditions`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj, clone
from netlab.apiserver.admission.attributes import Attributes
from netlab.apiserver.admission.dynamic import review
from netlab.apiserver.admission.dynamic.calls import CallError
from netlab.apiserver.admission.dynamic.matching import Subject, chosen, selected
from netlab.apiserver.conversion import convert

if TYPE_CHECKING:
    from netlab.apiserver.api import Api

log = logging.getLogger("netlab.apiserver")

_TIMEOUT = 10


class CallingError(Exception):
    """A webhook could not be asked: the failure policy decides. str() is upstream's message."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A webhook that is to be called: its configuration, and the version it sees."""

    configuration: str
    uid: str
    hook: Obj
    shown: Resource

    @property
    def name(self) -> str:
        return str(self.hook["name"])

    @property
    def ignores_failures(self) -> bool:
        return self.hook.get("failurePolicy") == "Ignore"


def subject_of(api: Api, attributes: Attributes, resource: Resource) -> Subject:
    return Subject(attributes, resource, equivalents(api, attributes.resource), _namespace_labels(api, attributes))


def equivalents(api: Api, resource: Resource) -> list[Resource]:
    """All versions and groups under which the same objects are served."""
    dynamic = api.dynamic
    if dynamic.registry is not api.registry:
        dynamic.registry, dynamic.same = api.registry, {}
    found = dynamic.same.get(resource)
    if found is None:
        found = dynamic.same[resource] = _equivalents(api, resource)
    return found


def _equivalents(api: Api, resource: Resource) -> list[Resource]:
    home = api.stored(resource).collection
    return [
        one
        for one in api.registry
        if one.stored and one.plural == resource.plural and api.stored(one).collection == home
    ]


def _namespace_labels(api: Api, attributes: Attributes) -> Obj | None:
    if attributes.resource.group_resource == "namespaces":
        own = attributes.obj or attributes.old or {}
        return dict(meta.labels(own))
    if not attributes.namespace:
        return None
    found = api.read("v1", "Namespace", "", attributes.namespace)
    return dict(meta.labels(found)) if found is not None else {}


def called(api: Api, configurations: list[Obj], subject: Subject) -> Iterator[Invocation]:
    """The webhooks that rules, selectors and match conditions let through; lazily, for earlier ones change objects.

    Raises StatusError where match conditions fail and the failure policy says so.
    """
    for configuration in configurations:
        for index, hook in enumerate(configuration.get("webhooks") or ()):
            shown = chosen(hook.get("rules") or (), hook.get("matchPolicy") or "Equivalent", subject)
            if shown is None or not selected(hook, subject):
                continue
            name = meta.name(configuration)
            found = Invocation(name, f"{name}/{hook['name']}/{index}", hook, shown)
            if not hook.get("matchConditions") or _conditions(api, found, subject):
                yield found


def _conditions(api: Api, invocation: Invocation, subject: Subject) -> bool:
    from netlab.apiserver.admission.dynamic.expressions import condition_values, variables_of

    attributes = subject.attributes
    variables = variables_of(api, subject, invocation.shown)
    matches, failure = condition_values(invocation.hook["matchConditions"], variables)
    if not failure or not matches:
        return matches
    if invocation.ignores_failures:
        log.warning("match conditions of webhook %s: %s", invocation.name, failure)
        return False
    raise errors.forbidden(attributes.resource, attributes.shown_name, failure)


def check_dry_run(attributes: Attributes, hook: Obj) -> None:
    """A webhook with side effects is not called in a dry run; the request fails."""
    if attributes.dry_run and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise errors.bad_request(f"admission webhook {errors.quote(str(hook['name']))} does not support dry run")


async def ask(api: Api, invocation: Invocation, subject: Subject, *, mutating: bool) -> review.Verdict:
    """Raises CallingError; StatusError for a dry run that the webhook does not support."""
    attributes, hook = subject.attributes, invocation.hook
    check_dry_run(attributes, hook)
    uid = str(uuid.uuid4())
    request = review.admission_request(attributes, subject.resource, invocation.shown, attributes.user.info())
    obj, old = (shown(one, attributes, invocation.shown) for one in (attributes.obj, attributes.old))
    body = review.review(uid, request, obj, old, attributes.options or None)
    timeout, begun = float(hook.get("timeoutSeconds") or _TIMEOUT), time.perf_counter()
    rejected = "true"
    try:
        answer = await api.dynamic.caller().post(api, hook.get("clientConfig") or {}, body, timeout)
        found = review.verdict(answer, uid, mutating=mutating)
        rejected = "false" if found.allowed else "true"
    except CallError as error:
        raise CallingError(_failed(hook, f"failed to call webhook: {error}")) from None
    except review.UnusableError as error:
        raise CallingError(_failed(hook, f"received invalid webhook response: {error}")) from None
    finally:
        seconds, type_ = time.perf_counter() - begun, "admit" if mutating else "validate"
        api.measured.webhooks.observe(seconds, str(hook["name"]), attributes.operation, rejected, type_)
    attributes.warnings += found.warnings
    for key, value in found.annotations.items():
        attributes.annotations.setdefault(f"{hook['name']}/{key}", value)
    return found


def _failed(hook: Obj, why: str) -> str:
    return f"failed calling webhook {errors.quote(str(hook['name']))}: {why}"


def shown(obj: Obj | None, attributes: Attributes, resource: Resource) -> Obj | None:
    """An object as a version shows it; a copy."""
    if obj is None:
        return None
    if attributes.subresource and obj.get("kind") != attributes.resource.kind:
        return clone(obj)
    found = convert(clone(obj), attributes.resource, resource)
    return {"kind": resource.kind, "apiVersion": resource.api_version, **found}
