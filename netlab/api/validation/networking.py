"""Rules of Ingresses, their classes, and network policies. Source followed:
`pkg/apis/networking/validation/validation.go`."""

from __future__ import annotations

import ipaddress

from netlab.api.gotypes.fast import was_empty
from netlab.api.types import Obj
from netlab.api.validation import addresses, names
from netlab.api.validation.containers import PROTOCOLS
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, forbidden, invalid, not_supported, required, too_long
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import domain_prefixed_path, each, label_selector, metadata, metadata_update, unchanged

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_MAX_CONTROLLER = 250


# -- ingresses ---------------------------------------------------------------------------------------------------------


def _ingress(obj: Obj) -> list[FieldError]:
    return metadata(obj, True) + _ingress_spec(obj["spec"])


def ingress_create(obj: Obj) -> list[FieldError]:
    """`ValidateIngressCreate`."""
    found = _ingress(obj)
    annotation = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    name = obj["spec"].get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        detail = "must match `ingressClassName` when both are specified"
        found.append(invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, detail))
    return found


def ingress_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateIngressUpdate`."""
    return metadata_update(new, old) + _ingress(new)


def _ingress_status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    for index, one in enumerate(new["status"]["loadBalancer"].get("ingress") or ()):
        here, host = f"status.loadBalancer.ingress[{index}]", one.get("hostname", "")
        if one.get("ip"):
            found += addresses.valid_ip(one["ip"], f"{here}.ip")
        if host:
            found += each(f"{here}.hostname", host, names.dns_subdomain(host))
            if addresses.parse_ip(host) is not None:
                found.append(invalid(f"{here}.hostname", host, "must be a DNS name, not an IP address"))
    return found


def _ingress_spec(spec: Obj) -> list[FieldError]:
    rules = spec.get("rules") or []
    found: list[FieldError] = []
    if not rules and "defaultBackend" not in spec:
        shown = "[]networking.IngressRule{}" if was_empty(spec, "rules") else "[]networking.IngressRule(nil)"
        detail = "either `defaultBackend` or `rules` must be specified"
        found.append(invalid("spec", GoSyntax(shown), detail))
    if "defaultBackend" in spec:
        found += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(rules):
        found += _rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        for at, host in enumerate(tls.get("hosts") or ()):
            wrong = names.wildcard_subdomain(host) if "*" in host else names.dns_subdomain(host)
            found += each(f"spec.tls[{index}].hosts[{at}]", host, wrong)
        secret = tls.get("secretName", "")
        if secret:
            found += each(f"spec.tls[{index}].secretName", secret, names.dns_subdomain(secret))
    name = spec.get("ingressClassName")
    if name is not None:
        found += each("spec.ingressClassName", name, names.dns_subdomain(name))
    return found


def _rule(rule: Obj, field: str) -> list[FieldError]:
    host, http = rule.get("host", ""), rule.get("http")
    found: list[FieldError] = []
    if host:
        if addresses.parse_ip(host) is not None:
            found.append(invalid(f"{field}.host", host, "must be a DNS name, not an IP address"))
        wrong = names.wildcard_subdomain(host) if "*" in host else names.dns_subdomain(host)
        found += each(f"{field}.host", host, wrong)
    if http is None:
        return found
    paths = http.get("paths") or []
    if not paths:
        found.append(required(f"{field}.http.paths"))
    for index, path in enumerate(paths):
        found += _path(path, f"{field}.http.paths[{index}]")
    return found


def _path(given: Obj, field: str) -> list[FieldError]:
    kind, path = given.get("pathType"), given.get("path", "")
    if kind is None:
        return [required(f"{field}.pathType", "pathType must be specified")]
    found: list[FieldError] = []
    absolute = invalid(f"{field}.path", path, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        if not path.startswith("/"):
            found.append(absolute)
        wrong = [f"must not contain '{bad}'" for bad in _BAD_SEQUENCES if bad in path]
        wrong += [f"cannot end with '{bad}'" for bad in _BAD_SUFFIXES if path.endswith(bad)]
        found += each(f"{field}.path", path, wrong)
    elif kind == "ImplementationSpecific":
        if path and not path.startswith("/"):
            found.append(absolute)
    else:
        found.append(not_supported(f"{field}.pathType", kind, _PATH_TYPES))
    return found + _backend(given["backend"], f"{field}.backend")


def _backend(backend: Obj, field: str) -> list[FieldError]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [invalid(field, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(resource, f"{field}.resource")
    if service is None:
        return [invalid(field, "", "resource or service backend is required")]
    name, port = service.get("name", ""), service.get("port") or {}
    here = f"{field}.service"
    found = each(f"{here}.name", name, names.dns_1035_label(name)) if name else [required(f"{here}.name")]
    port_name, number = port.get("name", ""), port.get("number", 0)
    if port_name and number:
        found.append(invalid(field, "", "cannot set both port name & port number"))
    elif port_name:
        found += each(f"{here}.port.name", port_name, names.port_name(port_name))
    elif number:
        found += each(f"{here}.port.number", number, names.port_number(number))
    else:
        found.append(required(field, "port name or number is required"))
    return found


def _reference(given: Obj, field: str) -> list[FieldError]:
    """`validateIngressTypedLocalObjectReference`."""
    found: list[FieldError] = []
    group = given.get("apiGroup")
    if group is not None:
        found += each(f"{field}.apiGroup", group, names.dns_subdomain(group))
    for key in ("kind", "name"):
        value = given.get(key, "")
        found += each(f"{field}.{key}", value, names.path_segment(value)) if value else [required(f"{field}.{key}")]
    return found


# -- ingress classes ---------------------------------------------------------------------------------------------------


def class_create(obj: Obj) -> list[FieldError]:
    """`ValidateIngressClass`."""
    found = metadata(obj, False)
    controller = obj["spec"].get("controller", "")
    if not controller:
        found.append(required("spec.controller"))
    else:
        if len(controller) > _MAX_CONTROLLER:
            found.append(too_long("spec.controller", _MAX_CONTROLLER))
        found += domain_prefixed_path(controller, "spec.controller")
    parameters = obj["spec"].get("parameters")
    return found + (_parameters(parameters, "spec.parameters") if parameters is not None else [])


def _parameters(given: Obj, field: str) -> list[FieldError]:
    found = _reference(given, field)
    scope, namespace = given.get("scope"), given.get("namespace")
    if scope is None:
        return [*found, required(f"{field}.scope")]
    if scope not in ("Cluster", "Namespace"):
        found.append(not_supported(f"{field}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace":
        if namespace is None:
            found.append(required(f"{field}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            found += each(f"{field}.namespace", namespace, names.dns_label(namespace))
    elif namespace is not None:
        found.append(forbidden(f"{field}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return found


def class_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateIngressClassUpdate`."""
    after, before = new["spec"].get("controller", ""), old["spec"].get("controller", "")
    return metadata_update(new, old) + unchanged(after, before, "spec.controller") + class_create(new)


# -- network policies --------------------------------------------------------------------------------------------------


def policy_create(obj: Obj) -> list[FieldError]:
    """`ValidateNetworkPolicy`."""
    return metadata(obj, True) + _policy_spec(obj["spec"])


def policy_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateNetworkPolicyUpdate`."""
    return metadata_update(new, old) + _policy_spec(new["spec"])


def _policy_spec(spec: Obj) -> list[FieldError]:
    found = label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            here = f"spec.{direction}[{index}]"
            for at, port in enumerate(rule.get("ports") or ()):
                found += _policy_port(port, f"{here}.ports[{at}]")
            for at, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, f"{here}.{peers}[{at}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        shown = GoSyntax(f"[]networking.PolicyType{{{', '.join(quote(one) for one in types)}}}")
        return [*found, invalid("spec.policyTypes", shown, "may not specify more than two policyTypes")]
    for index, one in enumerate(types):
        if one not in ("Ingress", "Egress"):
            found.append(not_supported(f"spec.policyTypes[{index}]", one, ("Ingress", "Egress")))
    return found


def _policy_port(given: Obj, field: str) -> list[FieldError]:
    protocol, port, end = given.get("protocol"), given.get("port"), given.get("endPort")
    found: list[FieldError] = []
    if protocol is not None and protocol not in PROTOCOLS:
        found.append(not_supported(f"{field}.protocol", protocol, ("TCP", "UDP", "SCTP")))
    if port is None:
        if end is not None:
            detail = "may not be specified when `port` is not specified"
            found.append(invalid(f"{field}.endPort", end, detail))
        return found
    if isinstance(port, int):
        found += each(f"{field}.port", port, names.port_number(port))
        if end is not None:
            if end < port:
                found.append(invalid(f"{field}.endPort", end, "must be greater than or equal to `port`"))
            found += each(f"{field}.endPort", end, names.port_number(end))
        return found
    if end is not None:
        detail = "may not be specified when `port` is non-numeric"
        found.append(invalid(f"{field}.endPort", end, detail))
    return found + each(f"{field}.port", port, names.port_name(port))


def _peer(peer: Obj, field: str) -> list[FieldError]:
    found = label_selector(peer.get("podSelector"), f"{field}.podSelector")
    found += label_selector(peer.get("namespaceSelector"), f"{field}.namespaceSelector")
    block = peer.get("ipBlock")
    if block is not None:
        found += _ip_block(block, f"{field}.ipBlock")
    if not peer:
        found.append(required(field, "must specify a peer"))
    elif len(peer) > 1 and block is not None:
        found.append(forbidden(field, "may not specify both ipBlock and another peer"))
    return found


def _ip_block(block: Obj, field: str) -> list[FieldError]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{field}.cidr")]
    found = addresses.valid_cidr(cidr, f"{field}.cidr")
    if found:
        return found
    whole = ipaddress.ip_network(cidr, strict=False)
    for index, one in enumerate(block.get("except") or ()):
        here = f"{field}.except[{index}]"
        wrong = addresses.valid_cidr(one, here)
        found += wrong
        if wrong:
            continue
        part = ipaddress.ip_network(one, strict=False)
        inside = part.version == whole.version and part.network_address in whole
        if not inside or whole.prefixlen >= part.prefixlen:
            found.append(invalid(here, one, "must be a strict subset of `cidr`"))
    return found


RULES = {
    "Ingress": Rules(ingress_create, ingress_update, _ingress_status_update),
    "IngressClass": Rules(class_create, class_update, class_update),
    "NetworkPolicy": Rules(policy_create, policy_update, policy_update),
}
