"""ValidatingAdmissionPolicies: which apply, what their expressions say, and what becomes of a request.

Sources followed: apiserver `pkg/admission/plugin/policy/validating` (`dispatcher.go`, `validator.go`, `message.go`),
`pkg/admission/plugin/policy/generic/policy_dispatcher.go` (parameters).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from netlab.api import errors, labels, meta
from netlab.api.cel.admission import compiled, environment, with_variables
from netlab.api.cel.environment import BUDGET, LONGEST_MESSAGE, Environment, Program
from netlab.api.cel.errors import CelError
from netlab.api.cel.plan import Lazy, LazyMap
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes
from netlab.apiserver.admission.dynamic import BINDING, POLICY, configurations
from netlab.apiserver.admission.dynamic.expressions import OUT_OF_BUDGET, condition_values, variables_of
from netlab.apiserver.admission.dynamic.hooks import subject_of
from netlab.apiserver.admission.dynamic.matching import Subject, chosen, selected

if TYPE_CHECKING:
    from netlab.apiserver.api import Api
    from netlab.apiserver.measured import Measured

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_LONGEST_ANNOTATION = 10 * 1024
FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, or why it is none."""

    text: str
    program: Program | None
    error: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A policy, ready to be asked."""

    variables: dict[str, Expression]
    validations: tuple[tuple[Obj, Expression, Expression | None], ...]
    annotations: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What denies a request, and for which policy and binding."""

    policy: str
    binding: str
    message: str
    reason: str = ""


@dataclass(slots=True)
class Outcome:
    measured: Measured
    denied: list[Decision] = field(default_factory=list)
    published: dict[str, list[str]] = field(default_factory=dict)


_KNOWN: OrderedDict[tuple[str, str], Compiled] = OrderedDict()
_MOST = 256


def compile_policy(policy: Obj) -> Compiled:
    """Compiled once for each version of a policy."""
    key = (meta.uid(policy), meta.resource_version(policy))
    known = _KNOWN.get(key)
    if known is None:
        known = _KNOWN[key] = _compiled(policy["spec"])
        if len(_KNOWN) > _MOST:
            _KNOWN.popitem(last=False)
    return known


def _compiled(spec: Obj) -> Compiled:
    params = spec.get("paramKind") is not None
    where, programs, failures = with_variables(spec, params)
    plain = Environment({name: kind for name, kind in where.variables.items() if not name.startswith("authorizer")})
    if not spec.get("variables"):
        where = environment(params=params)
        plain = environment(params=params, authorizer=False)

    def expression(text: str, scope: Environment, *wanted: str) -> Expression:
        return Expression(text, *compiled(text, scope, *wanted))

    variables = {
        str(one["name"]): Expression(str(one["expression"]), programs.get(one["name"]), failures.get(one["name"], ""))
        for one in spec.get("variables") or ()
    }
    validations = tuple(
        (
            one,
            expression(one["expression"], where, "bool", "dyn"),
            expression(one["messageExpression"], plain, "string", "dyn") if one.get("messageExpression") else None,
        )
        for one in spec.get("validations") or ()
    )
    annotations = tuple(
        (str(one["key"]), expression(one["valueExpression"], where, "string", "null_type", "dyn"))
        for one in spec.get("auditAnnotations") or ()
    )
    return Compiled(variables, validations, annotations)


def judge(api: Api, attributes: Attributes, resource: Resource) -> None:
    """Raises StatusError where a policy denies."""
    bindings: dict[str, list[Obj]] = {}
    for binding in configurations(api, BINDING):
        bindings.setdefault(str(meta.get(binding, "spec", "policyName", default="")), []).append(binding)
    subject = subject_of(api, attributes, resource)
    denied: list[Decision] = []
    for policy in configurations(api, POLICY):
        bound = bindings.get(meta.name(policy))
        if not bound:
            continue
        version = _matches(meta.get(policy, "spec", "matchConstraints", default={}), subject)
        if version is None:
            continue
        outcome = Outcome(api.measured)
        for binding in bound:
            narrower = meta.get(binding, "spec", "matchResources")
            if narrower is None or _matches(narrower, subject, all_rules=True) is not None:
                _ask(api, policy, binding, subject, version, outcome)
        denied += outcome.denied
        for key, values in outcome.published.items():
            attributes.annotations.setdefault(f"{meta.name(policy)}/{key}", ", ".join(values))
    if denied:
        raise _refusal(attributes, denied[0])


def _matches(constraints: Obj, subject: Subject, *, all_rules: bool = False) -> Resource | None:
    """The version in which the constraints see the request; without rules a binding takes what its policy takes."""
    if not selected(constraints, subject):
        return None
    policy = constraints.get("matchPolicy") or "Equivalent"
    excluded = constraints.get("excludeResourceRules") or ()
    if excluded and chosen(excluded, policy, subject) is not None:
        return None
    rules = constraints.get("resourceRules") or ()
    if not rules:
        return subject.resource if all_rules else None
    return chosen(rules, policy, subject)


def _refusal(attributes: Attributes, first: Decision) -> errors.StatusError:
    by = f"ValidatingAdmissionPolicy '{first.policy}'"
    if first.binding:
        by += f" with binding '{first.binding}'"
    message = f"{by} denied request: {first.message}"
    error = errors.forbidden(attributes.resource, attributes.shown_name, message, [{"message": message}])
    reason = first.reason or "Invalid"
    return errors.status(_CODES.get(reason, 422), reason, error.status["message"], error.status["details"])


def _ask(api: Api, policy: Obj, binding: Obj, subject: Subject, version: Resource, outcome: Outcome) -> None:
    fails = policy["spec"].get("failurePolicy", "Fail") == "Fail"
    names = meta.name(policy), meta.name(binding)
    try:
        params = list(_params(api, policy["spec"], binding["spec"].get("paramRef"), subject.attributes.namespace))
    except LookupError as error:
        if fails:
            outcome.denied.append(Decision(*names, f"failed to configure binding: {error.args[0]}"))
        return
    variables = variables_of(api, subject, version)
    for one in params:
        given = {**variables, "params": one} if policy["spec"].get("paramKind") else dict(variables)
        _evaluate(policy, binding, given, subject.attributes, outcome, fails)


def _params(api: Api, spec: Obj, reference: Obj | None, namespace: str) -> Iterator[Obj | None]:
    """The parameters of a binding. Raises LookupError with upstream's reason."""
    kind = spec.get("paramKind")
    if not kind or not reference:
        yield None
        return
    resource = api.registry.by_kind(kind.get("apiVersion", ""), kind.get("kind", ""))
    if resource is None:
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        shown = f"{group}/{version}, Kind={kind.get('kind', '')}"
        raise LookupError(f"failed to find resource referenced by paramKind: '{shown}'")
    where = ""
    if resource.namespaced:
        where = reference.get("namespace") or namespace
        if not where:
            raise LookupError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    elif reference.get("namespace"):
        raise LookupError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found = _params_of(api, resource, reference, where)
    if not found and reference.get("parameterNotFoundAction") != "Allow":
        raise LookupError("no params found for policy binding with `Deny` parameterNotFoundAction")
    for one in found:
        yield {"apiVersion": resource.api_version, "kind": resource.kind, **one}


def _params_of(api: Api, resource: Resource, reference: Obj, where: str) -> list[Obj]:
    if reference.get("name"):
        one = api.read(resource.api_version, resource.kind, where, reference["name"])
        return [] if one is None else [one]
    selector = labels.from_label_selector(reference.get("selector") or {})
    every = api.read_all(resource.api_version, resource.kind, where)
    return [one for one in every if selector.matches(meta.labels(one))]


class _Evaluation:
    """One policy with one set of values, and what is left of the budget."""

    def __init__(self, policy: Compiled, values: dict[str, Any]) -> None:
        self.left = BUDGET
        self.values = values
        values["variables"] = LazyMap({name: Lazy(self._maker(one)) for name, one in policy.variables.items()})

    def _maker(self, one: Expression) -> Any:
        def make() -> Any:
            if one.program is None:
                raise CelError(f"composited variable {one.text!r} fails to compile: {one.error}")
            found, cost = one.program.evaluate(self.values)
            self.left -= cost
            return found

        return make

    def value(self, one: Expression) -> tuple[Any, str]:
        """(value, error)."""
        if one.program is None:
            return None, f"compilation error: {one.error}"
        if self.left <= 0:
            return None, OUT_OF_BUDGET
        try:
            found, cost = one.program.evaluate(self.values)
        except CelError as error:
            return None, f"expression '{one.text}' resulted in error: {error}"
        self.left -= cost
        return (found, "") if self.left >= 0 else (None, OUT_OF_BUDGET)


def _evaluate(
    policy: Obj, binding: Obj, values: dict[str, Any], attributes: Attributes, outcome: Outcome, fails: bool
) -> None:
    ready = compile_policy(policy)
    conditions = policy["spec"].get("matchConditions")
    if conditions:
        matches, failure = condition_values(conditions, values)
        if failure and fails:
            _deny(policy, binding, attributes, outcome, failure, "", 0)
        if failure or not matches:
            return
    evaluation = _Evaluation(ready, values)
    for index, (given, expression, said) in enumerate(ready.validations):
        begun = time.perf_counter()
        found, error = evaluation.value(expression)
        _measure(policy, binding, outcome, error, found is True or bool(error and not fails), begun)
        if error and fails:
            _deny(policy, binding, attributes, outcome, error, "", index)
        elif not error and found is not True:
            message = _message(evaluation, given, said)
            _deny(policy, binding, attributes, outcome, message, given.get("reason") or "Invalid", index)
    for key, expression in ready.annotations:
        _annotate(policy, binding, outcome, key, expression, evaluation.value(expression), fails)


def _measure(policy: Obj, binding: Obj, outcome: Outcome, error: str, admitted: bool, begun: float) -> None:
    """Upstream's check metrics: one for each action that the binding takes, or one for an admission."""
    kind = "no_error"
    if error:
        compiling, budget = error.startswith("compilation error"), error == OUT_OF_BUDGET
        kind = "compile_error" if compiling else "out_of_budget" if budget else "invalid_error"
    actions = ["allow"] if admitted else [one.lower() for one in binding["spec"].get("validationActions") or ()]
    seconds = time.perf_counter() - begun
    for action in actions:
        labels = (action, kind, meta.name(policy), meta.name(binding))
        outcome.measured.policy_checks.add(*labels)
        outcome.measured.policy_duration.observe(seconds, *labels)


def _message(evaluation: _Evaluation, given: Obj, said: Expression | None) -> str:
    """The messageExpression's text where it is one, else the message, else the expression."""
    if said is not None:
        found, error = evaluation.value(said)
        text = found.strip() if isinstance(found, str) and not error else ""
        if text and "\n" not in text and len(text.encode()) <= LONGEST_MESSAGE:
            return text
    return str(given.get("message") or "").strip() or f"failed expression: {given['expression'].strip()}"


def _deny(
    policy: Obj, binding: Obj, attributes: Attributes, outcome: Outcome, message: str, reason: str, index: int
) -> None:
    """What a binding's validationActions make of a denial."""
    names = meta.name(policy), meta.name(binding)
    actions = binding["spec"].get("validationActions") or ()
    for action in actions:
        if action == "Deny":
            outcome.denied.append(Decision(*names, message, reason))
        elif action == "Warn":
            by = f"Validation failed for ValidatingAdmissionPolicy '{names[0]}' with binding '{names[1]}'"
            attributes.warnings.append(f"{by}: {message}")
        elif action == "Audit":
            told = {
                "message": message,
                "policy": names[0],
                "binding": names[1],
                "expressionIndex": index,
                "validationActions": list(actions),
            }
            attributes.annotations.setdefault(FAILURE_ANNOTATION, orjson.dumps([told]).decode())


def _annotate(
    policy: Obj,
    binding: Obj,
    outcome: Outcome,
    key: str,
    expression: Expression,
    found: tuple[Any, str],
    fails: bool,
) -> None:
    value, error = found
    if not error and isinstance(value, str):
        text = value.strip().encode()[:_LONGEST_ANNOTATION].decode(errors="ignore")
        values = outcome.published.setdefault(key, [])
        if text and text not in values:
            values.append(text)
        if not values:
            del outcome.published[key]
        return
    if not error and value is None:
        return
    if not error:
        error = (
            f"valueExpression '{expression.text}' resulted in unsupported return type: {type(value).__name__}. "
            "Return type must be either string or null."
        )
    if fails:
        outcome.denied.append(Decision(meta.name(policy), meta.name(binding), error))
