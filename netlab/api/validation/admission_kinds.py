"""Rules of webhook configurations and admission policies.

Source followed: `pkg/apis/admissionregistration/validation/validation.go`, apiserver `pkg/util/webhook/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from netlab.api.validation.meta import each, label_selector, metadata, metadata_update

if TYPE_CHECKING:
    from netlab.api.cel.environment import Environment

_FAILURE, _MATCH = ("Fail", "Ignore"), ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_SIDE_EFFECTS, _REINVOCATION = ("None", "NoneOnDryRun"), ("IfNeeded", "Never")
_REVIEWS = ("v1", "v1beta1")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_MOST_CONDITIONS, _MOST_ANNOTATIONS, _LONGEST_VALUE = 64, 20, 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def webhooks(obj: Obj) -> list[FieldError]:
    """`ValidateMutatingWebhookConfiguration`, `ValidateValidatingWebhookConfiguration`."""
    found = metadata(obj, False, names.subdomain_name)
    return found + _webhooks(obj, None)


def webhooks_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _webhooks(new, old)


def _webhooks(obj: Obj, old: Obj | None) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    before = [one.get("matchConditions") for one in (old or {}).get("webhooks") or ()]
    after = [one.get("matchConditions") for one in obj.get("webhooks") or ()]
    for index, hook in enumerate(obj.get("webhooks") or ()):
        at, name = f"webhooks[{index}]", hook.get("name", "")
        found += _webhook(hook, at, conditions=old is None or before != after)
        found += _review_versions(hook.get("admissionReviewVersions") or [], f"{at}.admissionReviewVersions")
        if name and name in seen:
            found.append(duplicate(f"{at}.name", name))
        seen.add(name)
    return found


def _webhook(hook: Obj, at: str, *, conditions: bool) -> list[FieldError]:
    found = _qualified(hook.get("name", ""), f"{at}.name")
    for index, rule in enumerate(hook.get("rules") or ()):
        found += _rule(rule, f"{at}.rules[{index}]")
    found += _one_of(hook, "failurePolicy", _FAILURE, at) + _one_of(hook, "matchPolicy", _MATCH, at)
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(required(f"{at}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}"))
    found += _one_of(hook, "sideEffects", _SIDE_EFFECTS, at)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        found.append(invalid(f"{at}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds"))
    for key in ("namespaceSelector", "objectSelector"):
        found += label_selector(hook.get(key), f"{at}.{key}")
    found += _one_of(hook, "reinvocationPolicy", _REINVOCATION, at)
    found += client_config(hook.get("clientConfig") or {}, f"{at}.clientConfig")
    if conditions:
        found += _conditions(hook.get("matchConditions") or [], f"{at}.matchConditions", params=False)
    return found


def _one_of(obj: Obj, key: str, allowed: Sequence[str], at: str) -> list[FieldError]:
    given = obj.get(key)
    return [] if given is None or given in allowed else [not_supported(f"{at}.{key}", given, allowed)]


def _qualified(name: str, at: str) -> list[FieldError]:
    """`IsFullyQualifiedName`."""
    if not name:
        return [required(at)]
    wrong = names.dns_subdomain(name)
    if wrong:
        return [invalid(at, name, ",".join(wrong))]
    if name.count(".") < 2:
        return [invalid(at, name, "should be a domain with at least three segments separated by dots")]
    return []


def client_config(client: Obj, at: str) -> list[FieldError]:
    """By URL or by Service, never both; also of conversion webhooks."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(at, "exactly one of url or service is required")]
    return _url(url, f"{at}.url") if url is not None else _service(service or {}, f"{at}.service")


_FORM = "; desired format: https://host[/path]"


def _url(url: str, at: str) -> list[FieldError]:
    """`ValidateWebhookURL`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        return [required(at, f"url must be a valid URL: {error}{_FORM}")]
    found: list[FieldError] = []
    if parts.scheme != "https":
        found.append(invalid(at, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not host:
        found.append(invalid(at, parts.netloc, f"host must be specified{_FORM}"))
    if parts.username is not None:
        found.append(invalid(at, parts.username, "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid(at, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid(at, parts.query, "query parameters are not permitted in the URL"))
    return found


def _service(service: Obj, at: str) -> list[FieldError]:
    """`ValidateWebhookService`."""
    found = [
        required(f"{at}.{key}", f"service {key} is required") for key in ("name", "namespace") if not service.get(key)
    ]
    port, path = service.get("port", 443), service.get("path")
    if not 1 <= port <= 65535:
        found.append(invalid(f"{at}.port", port, "port is not valid: must be between 1 and 65535, inclusive"))
    if not path or path == "/":
        return found
    if not path.startswith("/"):
        found.append(invalid(f"{at}.path", path, "must start with a '/'"))
    for index, step in enumerate(path.removeprefix("/").removesuffix("/").split("/")):
        if step == "":
            found.append(invalid(f"{at}.path", path, f"segment[{index}] may not be empty"))
        elif step and (wrong := names.dns_subdomain(step)):
            found.append(invalid(f"{at}.path", path, f"segment[{index}]: {','.join(wrong)}"))
    return found


def _review_versions(versions: list[str], at: str) -> list[FieldError]:
    if not versions:
        return [required(at, f"must specify one of {', '.join(_REVIEWS)}")]
    found: list[FieldError] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.append(invalid(f"{at}[{index}]", version, "duplicate version"))
        else:
            found += each(f"{at}[{index}]", version, names.dns_1035_label(version))
    if not any(one in _REVIEWS for one in versions):
        found.append(invalid(at, versions, f"must include at least one of {', '.join(_REVIEWS)}"))
    return found


# -- rules -------------------------------------------------------------------------------------------------------------


def _rule(rule: Obj, at: str) -> list[FieldError]:
    """`validateRuleWithOperations`."""
    operations = rule.get("operations") or []
    found = [] if operations else [required(f"{at}.operations")]
    if len(operations) > 1 and "*" in operations:
        found.append(invalid(f"{at}.operations", operations, "if '*' is present, must not specify other operations"))
    for index, one in enumerate(operations):
        if one not in _OPERATIONS:
            found.append(not_supported(f"{at}.operations[{index}]", one, _OPERATIONS))
    for key, words in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        given = rule.get(key) or []
        if not given:
            found.append(required(f"{at}.{key}"))
        if len(given) > 1 and "*" in given:
            found.append(invalid(f"{at}.{key}", given, f"if '*' is present, must not specify other {words}"))
    versions = rule.get("apiVersions") or ()
    found += [required(f"{at}.apiVersions[{index}]") for index, one in enumerate(versions) if not one]
    found += _resources(rule.get("resources") or [], f"{at}.resources")
    return found + _one_of(rule, "scope", _SCOPES, at)


def _resources(resources: list[str], at: str) -> list[FieldError]:
    """`validateResources`."""
    found = [] if resources else [required(at)]
    whole: set[str] = set()
    subs: set[str] = set()
    for index, one in enumerate(resources):
        here = f"{at}[{index}]"
        plural, _, sub = one.partition("/")
        if not one:
            found.append(required(here))
            continue
        if one == "*/*":
            continue
        if plural in whole:
            found.append(invalid(here, one, f"if '{plural}/*' is present, must not specify {one}"))
        if sub and sub in subs:
            found.append(invalid(here, one, f"if '*/{sub}' is present, must not specify {one}"))
        if sub == "*":
            whole.add(plural)
        if plural == "*" and sub:
            subs.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid(at, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any("/" not in one and one != "*" for one in resources):
        words = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid(at, resources, words))
    return found


def _named_rules(rules: list[Obj], at: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, rule in enumerate(rules):
        here, given = f"{at}[{index}]", rule.get("resourceNames") or []
        for place, name in enumerate(given):
            found += each(f"{here}.resourceNames[{place}]", name, names.path_segment(name))
            if name in given[:place]:
                found.append(duplicate(f"{here}.resourceNames[{place}]", name))
        found += _rule(rule, here)
    return found


def _match_resources(given: Obj | None, at: str) -> list[FieldError]:
    if given is None:
        return []
    found = _one_of(given, "matchPolicy", _MATCH, at) if given.get("matchPolicy") else [required(f"{at}.matchPolicy")]
    for key in ("namespaceSelector", "objectSelector"):
        if given.get(key) is None:
            found.append(required(f"{at}.{key}"))
        found += label_selector(given.get(key), f"{at}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        found += _named_rules(given.get(key) or [], f"{at}.{key}")
    return found


# -- expressions -------------------------------------------------------------------------------------------------------


def _conditions(given: list[Obj], at: str, *, params: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if len(given) > _MOST_CONDITIONS:
        found.append(too_many(at, len(given), _MOST_CONDITIONS))
    seen: set[str] = set()
    for index, one in enumerate(given):
        here, text, name = f"{at}[{index}]", (one.get("expression") or "").strip(), one.get("name") or ""
        if not text:
            found.append(required(f"{here}.expression"))
        else:
            from netlab.api.cel.admission import environment

            found += _compiles(text, environment(params=params), f"{here}.expression", "bool")
        if not name:
            found.append(required(f"{here}.name"))
            continue
        found += each(f"{here}.name", name, names.qualified_name(name))
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        seen.add(name)
    return found


def _compiles(text: str, where: Environment, at: str, *wanted: str) -> list[FieldError]:
    from netlab.api.cel.admission import compiled

    _, error = compiled(text, where, *wanted)
    return [invalid(at, text, error)] if error else []


# -- policies ----------------------------------------------------------------------------------------------------------


def policy(obj: Obj) -> list[FieldError]:
    """`ValidateValidatingAdmissionPolicy`."""
    return metadata(obj, False, names.subdomain_name) + _policy(obj)


def policy_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _policy(new)


def _policy(obj: Obj) -> list[FieldError]:
    spec: Obj = obj.get("spec") or {}
    params, at = spec.get("paramKind"), "spec"
    found = (
        _one_of(spec, "failurePolicy", _FAILURE, at) if spec.get("failurePolicy") else [required("spec.failurePolicy")]
    )
    if params is not None:
        found += _param_kind(params, "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(required("spec.matchConstraints"))
    else:
        found += _match_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            found.append(required("spec.matchConstraints.resourceRules"))
    found += _conditions(spec.get("matchConditions") or [], "spec.matchConditions", params=params is not None)
    found += _expressions(obj, spec, params is not None)
    return found


def _expressions(obj: Obj, spec: Obj, params: bool) -> list[FieldError]:
    from netlab.api.cel.admission import environment, with_variables

    found: list[FieldError] = []
    where, _, failures = with_variables(spec, params)
    plain = environment(params=params, authorizer=False)
    if not spec.get("variables"):
        where = environment(params=params)
    else:
        kept = {name: kind for name, kind in where.variables.items() if not name.startswith("authorizer")}
        plain = type(where)(kept)
    for index, one in enumerate(spec.get("variables") or ()):
        found += _variable(one, f"spec.variables[{index}]", failures)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        words = "validations or auditAnnotations must contain at least one item"
        return [*found, required("spec.validations", words), required("spec.auditAnnotations", words)]
    for index, one in enumerate(validations):
        found += _validation(one, f"spec.validations[{index}]", where, plain)
    if len(annotations) > _MOST_ANNOTATIONS:
        words = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        found.append(invalid("spec.auditAnnotations", annotations, words))
    keys: set[str] = set()
    for index, one in enumerate(annotations):
        here, key = f"spec.auditAnnotations[{index}]", one.get("key") or ""
        found += _annotation(str(obj["metadata"].get("name") or ""), one, here, where)
        if key in keys:
            found.append(duplicate(f"{here}.key", key))
        keys.add(key)
    return found


def _variable(one: Obj, at: str, failures: dict[str, str]) -> list[FieldError]:
    found: list[FieldError] = []
    name, text = one.get("name") or "", one.get("expression") or ""
    if not name.strip():
        found.append(required(f"{at}.name", "name is not specified"))
    elif not _IDENTIFIER.fullmatch(name):
        found.append(invalid(f"{at}.name", name, "name is not a valid CEL identifier"))
    if not text.strip():
        found.append(required(f"{at}.expression", "expression is not specified"))
    elif name in failures:
        found.append(invalid(f"{at}.expression", text, failures[name]))
    return found


def _validation(one: Obj, at: str, where: Environment, plain: Environment) -> list[FieldError]:
    found: list[FieldError] = []
    text, told, said = one.get("expression") or "", one.get("messageExpression") or "", one.get("message") or ""
    if not text.strip():
        found.append(required(f"{at}.expression", "expression is not specified"))
    else:
        found += _compiles(text, where, f"{at}.expression", "bool")
    if told and not told.strip():
        found.append(invalid(f"{at}.messageExpression", told, "must be non-empty if specified"))
    elif told:
        found += _compiles(told, plain, f"{at}.messageExpression", "string")
    if said and not said.strip():
        found.append(invalid(f"{at}.message", said, "message must be non-empty if specified"))
    elif re.search(r"[\n\r]", said.strip()):
        found.append(invalid(f"{at}.message", said, "message must not contain line breaks"))
    return found + _one_of(one, "reason", _REASONS, at)


def _annotation(name: str, one: Obj, at: str, where: Environment) -> list[FieldError]:
    key, text = one.get("key") or "", (one.get("valueExpression") or "").strip()
    if name:
        found = each(f"{at}.key", f"{name}/{key}", names.qualified_name(f"{name}/{key}"))
    else:
        found = [invalid(f"{at}.key", key, "requires metadata.name be non-empty")]
    if not text:
        return [*found, required(f"{at}.valueExpression", "valueExpression is not specified")]
    if len(text.encode()) > _LONGEST_VALUE:
        return [*found, required(f"{at}.valueExpression", f"must not exceed {_LONGEST_VALUE} bytes in length")]
    return found + _compiles(text, where, f"{at}.valueExpression", "string", "null_type")


def _param_kind(given: Obj, at: str) -> list[FieldError]:
    found: list[FieldError] = []
    api_version, kind = given.get("apiVersion") or "", given.get("kind") or ""
    group, _, version = api_version.rpartition("/")
    if not api_version:
        found.append(required(f"{at}.apiVersion"))
    elif api_version.count("/") > 1:
        found.append(invalid(f"{at}.apiVersion", api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        if group and (wrong := names.dns_subdomain(group)):
            found.append(invalid(f"{at}.apiVersion", group, ",".join(wrong)))
        if not version:
            found.append(invalid(f"{at}.apiVersion", api_version, "version must be specified"))
        elif wrong := names.dns_1035_label(version):
            found.append(invalid(f"{at}.apiVersion", version, ",".join(wrong)))
    if not kind:
        found.append(required(f"{at}.kind"))
    elif wrong := names.dns_1035_label(kind.lower()):
        words = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
        found.append(invalid(f"{at}.kind", kind, words))
    return found


# -- bindings ----------------------------------------------------------------------------------------------------------


def binding(obj: Obj) -> list[FieldError]:
    """`ValidateValidatingAdmissionPolicyBinding`."""
    return metadata(obj, False, names.subdomain_name) + _binding(obj.get("spec") or {})


def binding_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _binding(new.get("spec") or {})


def _binding(spec: Obj) -> list[FieldError]:
    name = spec.get("policyName") or ""
    found = each("spec.policyName", name, names.dns_subdomain(name)) if name else [required("spec.policyName")]
    found += _param_ref(spec.get("paramRef"), "spec.paramRef")
    found += _match_resources(spec.get("matchResources"), "spec.matchResouces")  # upstream's spelling
    return found + _validation_actions(spec.get("validationActions") or [], "spec.validationActions")


def _param_ref(given: Obj | None, at: str) -> list[FieldError]:
    if given is None:
        return []
    found: list[FieldError] = []
    name, selector, words = given.get("name") or "", given.get("selector"), "name and selector are mutually exclusive"
    if name:
        found += each(f"{at}.name", name, names.path_segment(name))
        if selector is not None:
            found += [forbidden(f"{at}.name", words), forbidden(f"{at}.selector", words)]
    found += label_selector(selector, f"{at}.selector")
    if not name and selector is None:
        found.append(required(at, "one of name or selector must be specified"))
    action = given.get("parameterNotFoundAction") or ""
    if not action:
        found.append(required(f"{at}.parameterNotFoundAction"))
    elif action not in ("Deny", "Allow"):
        found.append(not_supported(f"{at}.parameterNotFoundAction", action, ("Deny", "Allow")))
    return found


def _validation_actions(given: list[str], at: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, action in enumerate(given):
        if action not in _ACTIONS:
            found.append(not_supported(f"{at}[{index}]", action, _ACTIONS))
        if action in given[:index]:
            found.append(duplicate(f"{at}[{index}]", action))
    if "Deny" in given and "Warn" in given:
        words = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        found.append(invalid(at, given, words))
    if not given:
        found.append(required(at, "at least one validation action is required"))
    return found


RULES = {
    "MutatingWebhookConfiguration": Rules(webhooks, webhooks_update, webhooks_update),
    "ValidatingWebhookConfiguration": Rules(webhooks, webhooks_update, webhooks_update),
    "ValidatingAdmissionPolicy": Rules(policy, policy_update, metadata_update),
    "ValidatingAdmissionPolicyBinding": Rules(binding, binding_update, binding_update),
}
