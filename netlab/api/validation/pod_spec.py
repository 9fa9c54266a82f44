"""Rules of pod specs and templates. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import addresses, containers, names, resources, scheduling, security
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import annotation_map, each, labels
from netlab.api.validation.volumes import volumes

_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_MAX_INT32 = 2**31 - 1


def pod_spec(spec: Obj, field: str, *, pod_name: str = "", is_pod: bool = False) -> list[FieldError]:
    """`ValidatePodSpec`; `pod_name` and `is_pod` for a pod by itself, not for a template."""
    found: list[FieldError] = []
    if "terminationGracePeriodSeconds" not in spec:
        found.append(required(f"{field}.terminationGracePeriodSeconds"))
    good, wrong = volumes(spec.get("volumes") or [], pod_name, f"{field}.volumes")
    claims = spec.get("resourceClaims") or []
    found += wrong + _resource_claims(claims, f"{field}.resourceClaims")
    context = containers.PodContext(
        volumes=good,
        claims={one["name"] for one in claims if one.get("name")},
        grace_seconds=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy", ""),
        host_users=spec.get("hostUsers", True),
    )
    regular, init = spec.get("containers") or [], spec.get("initContainers") or []
    found += containers.containers(regular, context, f"{field}.containers")
    found += containers.init_containers(init, regular, context, f"{field}.initContainers")
    ephemeral = spec.get("ephemeralContainers") or []
    found += containers.ephemeral_containers(ephemeral, regular + init, context, f"{field}.ephemeralContainers")
    found += _host_network_ports(spec, field, is_pod)
    found += _policies(spec, field)
    found += labels(spec.get("nodeSelector"), f"{field}.nodeSelector")
    found += security.pod_context(spec, field, is_pod)
    found += scheduling.affinity(spec.get("affinity"), f"{field}.affinity")
    found += _dns_config(spec, f"{field}.dnsConfig")
    found += _gates(spec, field)
    found += scheduling.topology_spread(
        spec.get("topologySpreadConstraints") or [], f"{field}.topologySpreadConstraints"
    )
    found += security.host_process(spec, field)
    found += _host_users(spec, field)
    return found + _names_and_numbers(spec, field)


def _policies(spec: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, allowed in (("restartPolicy", _RESTART_POLICIES), ("dnsPolicy", _DNS_POLICIES)):
        given = spec.get(key, "")
        if not given:
            found.append(required(f"{field}.{key}"))
        elif given not in allowed:
            found.append(not_supported(f"{field}.{key}", given, allowed))
    return found


def _gates(spec: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(spec.get("readinessGates") or ()):
        kind = one.get("conditionType", "")
        found += each(f"{field}.readinessGates[{index}].conditionType", kind, names.qualified_name(kind))
    seen: set[str] = set()
    for index, one in enumerate(spec.get("schedulingGates") or ()):
        here, name = f"{field}.schedulingGates[{index}]", one.get("name", "")
        found += each(here, name, names.qualified_name(name))
        if name in seen:
            found.append(duplicate(here, name))
        seen.add(name)
    return found


def _names_and_numbers(spec: Obj, field: str) -> list[FieldError]:
    """The single fields at the end of `ValidatePodSpec`, in its order."""
    found: list[FieldError] = []
    for key in ("serviceAccountName", "nodeName"):
        if spec.get(key):
            found += each(f"{field}.{key}", spec[key], names.dns_subdomain(spec[key]))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        found.append(invalid(f"{field}.activeDeadlineSeconds", deadline, names.range_error(1, _MAX_INT32)))
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            found += each(f"{field}.{key}", spec[key], names.dns_label(spec[key]))
    found += scheduling.tolerations(spec.get("tolerations") or (), f"{field}.tolerations")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        here = f"{field}.hostAliases[{index}]"
        found += addresses.valid_ip(alias.get("ip", ""), f"{here}.ip")
        for at, host in enumerate(alias.get("hostnames") or ()):
            found += each(f"{here}.hostnames[{at}]", host, names.dns_subdomain(host))
    if spec.get("priorityClassName"):
        name = spec["priorityClassName"]
        found += each(f"{field}.priorityClassName", name, names.dns_subdomain(name))
    if "runtimeClassName" in spec:
        name = spec["runtimeClassName"]
        found += each(f"{field}.runtimeClassName", name, names.dns_subdomain(name))
    if "preemptionPolicy" in spec:
        found += preemption_policy(spec["preemptionPolicy"], f"{field}.preemptionPolicy")
    if spec.get("overhead"):
        found += resources.requirements({"limits": spec["overhead"]}, f"{field}.overhead")
    return found + _os(spec, f"{field}.os")


def preemption_policy(given: str, field: str) -> list[FieldError]:
    """`ValidatePreemptionPolicy`."""
    allowed = ("PreemptLowerPriority", "Never")
    if not given:
        return [required(field)]
    return [] if given in allowed else [not_supported(field, given, allowed)]


def _os(spec: Obj, field: str) -> list[FieldError]:
    given = spec.get("os")
    if given is None:
        return []
    name = given.get("name", "")
    if not name:
        return [required(f"{field}.name", "cannot be empty")]
    return [] if name in ("linux", "windows") else [not_supported(field, name, ("linux", "windows"))]


def _resource_claims(claims: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(claims):
        here, name = f"{field}[{index}]", one.get("name", "")
        if not name:
            found.append(required(f"{here}.name"))
        elif name in seen:
            found.append(duplicate(f"{here}.name", name))
        else:
            found += each(f"{here}.name", name, names.dns_label(name))
            seen.add(name)
        sources = [key for key in ("resourceClaimName", "resourceClaimTemplateName") if key in one]
        shown = GoSyntax(f"core.PodResourceClaim{{Name:{quote(name)}, …}}")
        if len(sources) > 1:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            found.append(invalid(here, shown, detail))
        if not sources:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            found.append(invalid(here, shown, detail))
        for key in sources:
            found += each(f"{here}.{key}", one[key], names.dns_subdomain(one[key]))
    return found


def _host_network_ports(spec: Obj, field: str, is_pod: bool) -> list[FieldError]:
    if not spec.get("hostNetwork"):
        return []
    found: list[FieldError] = []
    for index, one in enumerate(spec.get("containers") or ()):
        for at, port in enumerate(one.get("ports") or ()):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                detail = "must match `containerPort` when `hostNetwork` is true"
                found.append(invalid(f"{field}.containers[{index}].ports[{at}].hostPort", host, detail))
    return found


def _dns_config(spec: Obj, field: str) -> list[FieldError]:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(field, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{field}.nameservers", detail)]
    if config is None:
        return []
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    found: list[FieldError] = []
    if len(servers) > 3:
        found.append(invalid(f"{field}.nameservers", servers, "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        found += addresses.valid_ip(server, f"{field}.nameservers[{index}]")
    if len(searches) > 32:
        found.append(invalid(f"{field}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        found.append(invalid(f"{field}.searches", searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            found += each(f"{field}.searches[{index}]", bare, names.dns_subdomain_with_underscore(bare))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(required(f"{field}.options[{index}]", "must not be empty"))
    return found


def _host_users(spec: Obj, field: str) -> list[FieldError]:
    if spec.get("hostUsers", True):
        return []
    detail = "when `pod.Spec.HostUsers` is false"
    keys = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    return [forbidden(f"{field}.{shown}", detail) for key, shown in keys if spec.get(key)]


def pod_annotations(annotations: dict[str, str], spec: Obj, field: str) -> list[FieldError]:
    """`ValidatePodSpecificAnnotations`."""
    found: list[FieldError] = []
    if "kubernetes.io/config.mirror" in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        found.append(invalid(f"{field}[kubernetes.io/config.mirror]", "", detail))
    cost = annotations.get("controller.kubernetes.io/pod-deletion-cost")
    if cost is not None and not _is_cost(cost):
        detail = "must be a 32bit integer"
        found.append(invalid(f"{field}[controller.kubernetes.io/pod-deletion-cost]", cost, detail))
    found += security.seccomp_annotations(annotations, field)
    return found + security.apparmor_annotations(annotations, spec, field)


def _is_cost(text: str) -> bool:
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or not digits.startswith("0"))
    return plain and text != "-0" and -(2**31) <= int(text) < 2**31


def pod_template(template: Obj, field: str) -> list[FieldError]:
    """`ValidatePodTemplateSpec`."""
    metadata, spec = template["metadata"], template["spec"]
    annotations = metadata.get("annotations") or {}
    found = labels(metadata.get("labels"), f"{field}.labels")
    found += annotation_map(annotations, f"{field}.annotations")
    found += pod_annotations(annotations, spec, f"{field}.annotations")
    found += pod_spec(spec, f"{field}.spec")
    found += security.annotations_match(annotations, spec, f"{field}.spec")
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        found.append(forbidden(f"{field}.spec.ephemeralContainers", detail))
    return found
