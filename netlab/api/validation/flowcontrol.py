"""Rules of API priority and fairness. Source followed: `pkg/apis/flowcontrol/validation/validation.go`."""

from __future__ import annotations

from math import ceil, log2

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, metadata, metadata_update

_MOST_PRECEDENCE, _MOST_QUEUES, _HASH_BITS = 10_000, 10_000_000, 60
_METHODS = ("ByNamespace", "ByUser")
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_POSITIVE = "must be positive"


def flow_schema(obj: Obj) -> list[FieldError]:
    """`ValidateFlowSchema`."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    found, field = metadata(obj, False), "spec.matchingPrecedence"
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        found.append(invalid(field, precedence, "must be a positive value"))
    if precedence > _MOST_PRECEDENCE:
        found.append(invalid(field, precedence, f"must not be greater than {_MOST_PRECEDENCE}"))
    if precedence == 1 and name != "exempt":
        found.append(invalid(field, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type", "") not in _METHODS:
        shown = GoSyntax(f"flowcontrol.FlowDistinguisherMethod{{Type:{quote(method.get('type', ''))}}}")
        found.append(not_supported("spec.distinguisherMethod.type", shown, _METHODS))
    level, here = spec["priorityLevelConfiguration"].get("name", ""), "spec.priorityLevelConfiguration.name"
    if level:
        found += each(here, level, names.dns_subdomain(level))
    else:
        found.append(required(here, "must reference a priority level"))
    for index, rule in enumerate(spec.get("rules") or ()):
        found += _rule(rule, f"spec.rules[{index}]")
    return found + _conditions(obj.get("status") or {})


def _rule(rule: Obj, field: str) -> list[FieldError]:
    """`ValidateFlowSchemaPolicyRulesWithSubjects`."""
    subjects, of_resources, of_urls = (rule.get(key) or [] for key in ("subjects", "resourceRules", "nonResourceRules"))
    found: list[FieldError] = []
    for index, subject in enumerate(subjects):
        found += _subject(subject, f"{field}.subjects[{index}]")
    if not subjects:
        found.append(required(f"{field}.subjects", "subjects must contain at least one value"))
    if not of_resources and not of_urls:
        found.append(required(field, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, one in enumerate(of_resources):
        found += _resource_rule(one, f"{field}.resourceRules[{index}]")
    for index, one in enumerate(of_urls):
        found += _url_rule(one, f"{field}.nonResourceRules[{index}]")
    return found


def _subject(subject: Obj, field: str) -> list[FieldError]:
    kind = subject.get("kind", "")
    if kind not in _SUBJECTS:
        return [not_supported(f"{field}.kind", kind, tuple(_SUBJECTS))]
    key = _SUBJECTS[kind]
    here, given = f"{field}.{key}", subject.get(key)
    if given is None:
        found = [required(here, f"{key} is required when subject kind is '{kind}'")]
    elif kind == "ServiceAccount":
        found = _service_account(given, here)
    else:
        found = [] if given.get("name") else [required(f"{here}.name")]
    for other in ("ServiceAccount", "User", "Group"):
        at = _SUBJECTS[other]
        if other != kind and subject.get(at) is not None:
            found.append(forbidden(f"{field}.{at}", f"{at} is forbidden when subject kind is not '{other}'"))
    return found


def _service_account(given: Obj, field: str) -> list[FieldError]:
    name, namespace = given.get("name", ""), given.get("namespace", "")
    found = [] if name else [required(f"{field}.name")]
    if name and name != "*":
        found += each(f"{field}.name", name, names.dns_subdomain(name))
    if not namespace:
        return [*found, required(f"{field}.namespace", "must specify namespace for service account")]
    return found + each(f"{field}.namespace", namespace, names.dns_label(namespace))


def _verbs(rule: Obj, field: str) -> list[FieldError]:
    verbs, here = rule.get("verbs") or [], f"{field}.verbs"
    if not verbs:
        return [required(here, "verbs must contain at least one value")]
    if "*" in verbs:
        return [invalid(here, verbs, "if '*' is present, must not specify other verbs")] if len(verbs) > 1 else []
    return [] if set(verbs) <= set(_VERBS) else [not_supported(here, verbs, _VERBS)]


def _url_rule(rule: Obj, field: str) -> list[FieldError]:
    """`ValidateFlowSchemaNonResourcePolicyRule`."""
    urls, here = rule.get("nonResourceURLs") or [], f"{field}.nonResourceURLs"
    found = _verbs(rule, field)
    if not urls:
        return [*found, required(here, "nonResourceURLs must contain at least one value")]
    if "*" in urls:
        detail = "if '*' is present, must not specify other non-resource URLs"
        return found + ([invalid(here, urls, detail)] if len(urls) > 1 else [])
    for index, url in enumerate(urls):
        why = _url_error(url)
        found += [invalid(f"{here}[{index}]", url, why)] if why else []
    return found


def _url_error(url: str) -> str:
    """`ValidateNonResourceURLPath`."""
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


def _resource_rule(rule: Obj, field: str) -> list[FieldError]:
    """`ValidateFlowSchemaResourcePolicyRule`."""
    found = _verbs(rule, field)
    for key, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        given = rule.get(key) or []
        if not given:
            found.append(required(f"{field}.{key}", f"resource rules must supply at least one {one}"))
        elif len(given) > 1 and "*" in given:
            found.append(invalid(f"{field}.{key}", given, f"if '*' is present, must not specify other {many}"))
    namespaces, here = rule.get("namespaces") or [], f"{field}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        found.append(required(here, detail))
    elif "*" in namespaces:
        if len(namespaces) > 1:
            found.append(invalid(here, namespaces, "if '*' is present, must not specify other namespaces"))
    else:
        begin = "each member of this list must be '*' or a DNS-1123 label; "
        for index, one in enumerate(namespaces):
            found += each(f"{here}[{index}]", one, [begin + message for message in names.dns_label(one)])
    return found


def _conditions(status: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    known: list[str] = []
    for index, one in enumerate(status.get("conditions") or ()):
        field, kind = f"status.conditions[{index}].type", one.get("type", "")
        found += [duplicate(field, kind)] if kind in known else []
        found += [] if kind else [required(field, "must not be empty")]
        known.append(kind)
    return found


# -- priority levels ---------------------------------------------------------------------------------------------------


def priority_level(obj: Obj) -> list[FieldError]:
    """`ValidatePriorityLevelConfiguration`."""
    spec, found = obj["spec"], metadata(obj, False)
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    if (obj["metadata"].get("name") == "exempt") != (kind == "Exempt"):
        found.append(invalid("spec.type", kind, "type must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            found.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        found += _exempt(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            found.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            found.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            found += _limited(limited, "spec.limited")
    else:
        found.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return found + _conditions(obj.get("status") or {})


def _exempt(given: Obj, field: str) -> list[FieldError]:
    return _shares(given, field) + _lendable(given, field)


def _limited(given: Obj, field: str) -> list[FieldError]:
    """`ValidateLimitedPriorityLevelConfiguration`."""
    borrowing, found = given.get("borrowingLimitPercent"), _shares(given, field)
    found += _response(given.get("limitResponse") or {}, f"{field}.limitResponse") + _lendable(given, field)
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        found.append(invalid(f"{field}.borrowingLimitPercent", borrowing, detail))
    return found


def _shares(given: Obj, field: str) -> list[FieldError]:
    shares, detail = given.get("nominalConcurrencyShares", 0), "must be a non-negative integer"
    return [invalid(f"{field}.nominalConcurrencyShares", shares, detail)] if shares < 0 else []


def _lendable(given: Obj, field: str) -> list[FieldError]:
    percent = given.get("lendablePercent")
    if percent is None or 0 <= percent <= 100:
        return []
    return [invalid(f"{field}.lendablePercent", percent, "must be between 0 and 100, inclusive")]


def _response(given: Obj, field: str) -> list[FieldError]:
    """`ValidateLimitResponse`."""
    kind, queuing, here = given.get("type", ""), given.get("queuing"), f"{field}.queuing"
    if kind == "Reject":
        detail = "must be nil if limited.limitResponse.type is not Limited"
        return [forbidden(here, detail)] if queuing is not None else []
    if kind != "Queue":
        return [not_supported(f"{field}.type", kind, ("Queue", "Reject"))]
    if queuing is None:
        return [required(here, "must not be empty if limited.limitResponse.type is Limited")]
    return _queuing(queuing, here)


def _queuing(given: Obj, field: str) -> list[FieldError]:
    length, queues, hand = (given.get(key, 0) for key in ("queueLengthLimit", "queues", "handSize"))
    found = [invalid(f"{field}.queueLengthLimit", length, _POSITIVE)] if length <= 0 else []
    if queues <= 0:
        found.append(invalid(f"{field}.queues", queues, _POSITIVE))
    elif queues > _MOST_QUEUES:
        found.append(invalid(f"{field}.queues", queues, f"must not be greater than {_MOST_QUEUES}"))
    if hand <= 0:
        found.append(invalid(f"{field}.handSize", hand, _POSITIVE))
    elif hand > queues:
        found.append(invalid(f"{field}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif _entropy(queues, hand) > _HASH_BITS:
        what = f"required entropy bits of deckSize {queues} and handSize {hand}"
        found.append(invalid(f"{field}.handSize", hand, f"{what} should not be greater than {_HASH_BITS}"))
    return found


def _entropy(deck: int, hand: int) -> int:
    """`shufflesharding.RequiredEntropyBits`."""
    return ceil(sum(log2(deck - index) for index in range(hand)))


def _updated(rule: str) -> Rules:
    create = flow_schema if rule == "FlowSchema" else priority_level

    def update(new: Obj, old: Obj) -> list[FieldError]:
        return metadata_update(new, old) + create(new)

    def status(new: Obj, old: Obj) -> list[FieldError]:
        return metadata_update(new, old) + _conditions(new.get("status") or {})

    return Rules(create, update, status)


RULES = {kind: _updated(kind) for kind in ("FlowSchema", "PriorityLevelConfiguration")}
