"""PURE but for what it is given: the values that expressions of admission see, and match conditions.

Source followed: apiserver `pkg/admission/plugin/cel` (`activation.go`, `condition.go`), `…/webhook/matchconditions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from netlab.api import errors
from netlab.api.cel.admission import compiled, environment
from netlab.api.cel.environment import MATCH_CONDITIONS_BUDGET, Environment, Program
from netlab.api.cel.errors import CelError
from netlab.api.cel.library.authorizer import Authorizer, Check, Decision, ResourceCheck
from netlab.api.cel.schemas import converter
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.admission.dynamic import review
from netlab.apiserver.admission.dynamic.hooks import shown
from netlab.apiserver.admission.dynamic.matching import Subject
from netlab.apiserver.authz import Action
from netlab.apiserver.wire.message import User

if TYPE_CHECKING:
    from netlab.apiserver.api import Api

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_TIME = {"type": "string", "format": "date-time"}
_NAMESPACE = converter(
    {
        "type": "object",
        "properties": {
            "metadata": {"type": "object", "properties": {"creationTimestamp": _TIME, "deletionTimestamp": _TIME}},
        },
    }
)


def variables_of(api: Api, subject: Subject, version: Resource) -> dict[str, Any]:
    """object, oldObject, request, namespaceObject and authorizer, as the version that was matched shows them."""
    attributes = subject.attributes
    request = review.admission_request(attributes, subject.resource, version, attributes.user.info())
    request["options"] = attributes.options or None
    authorizer = Authorizer(_asker(api, attributes.user))
    check = Check(
        group=subject.resource.group,
        resource=subject.resource.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    return {
        "object": shown(attributes.obj, attributes, version),
        "oldObject": shown(attributes.old, attributes, version),
        "request": request,
        "namespaceObject": _namespace(api, subject),
        "authorizer": authorizer,
        "authorizer.requestResource": ResourceCheck(authorizer.ask, check),
    }


def _namespace(api: Api, subject: Subject) -> Obj | None:
    attributes = subject.attributes
    if not attributes.namespace or attributes.resource.group_resource == "namespaces":
        return None
    found = api.read("v1", "Namespace", "", attributes.namespace)
    return _NAMESPACE(found) if found is not None and _NAMESPACE is not None else found


def _asker(api: Api, user: User) -> Any:
    known: dict[Check, Decision] = {}

    def ask(check: Check) -> Decision:
        found = known.get(check)
        if found is None:
            who = user
            if check.user:
                namespace = check.user.split(":")[2]
                groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
                who = User(check.user, groups)
            action = Action(
                check.verb, check.group, check.resource, check.subresource, check.namespace, check.name, check.path
            )
            decision = api.authorizer.decide(who, action)
            found = known[check] = Decision(decision.allowed, decision.reason)
        return found

    return ask


@lru_cache(maxsize=1024)
def _condition(text: str, params: bool) -> tuple[Program | None, str]:
    return compiled(text, _environment(params), "bool", "dyn")


@lru_cache(maxsize=2)
def _environment(params: bool) -> Environment:
    return environment(params=params)


def condition_values(conditions: Sequence[Obj], variables: dict[str, Any]) -> tuple[bool, str]:
    """(matches, failure): a condition that is false decides; otherwise failures do, together."""
    failures: list[str] = []
    budget = MATCH_CONDITIONS_BUDGET
    for one in conditions:
        text = str(one.get("expression", "")).strip()
        program, error = _condition(text, "params" in variables)
        if program is None:
            failures.append(f"compilation error: {error}")
            continue
        try:
            found, cost = program.evaluate(variables)
        except CelError as failure:
            failures.append(f"expression '{text}' resulted in error: {failure}")
            continue
        budget -= cost
        if budget < 0:
            failures.append(OUT_OF_BUDGET)
            break
        if found is not True:
            return False, ""
    return True, errors.aggregate(failures) if failures else ""
