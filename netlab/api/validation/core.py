"""Rules of the smaller kinds of the core group. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import base64

import orjson

from netlab.api import legacy_tokens
from netlab.api.types import Obj
from netlab.api.validation import addresses, names, resources, scheduling
from netlab.api.validation.containers import protocol
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, required, too_long
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, kube_finalizer, metadata, metadata_update, unchanged

_MAX_DATA = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


# -- namespaces, service accounts --------------------------------------------------------------------------------------


def namespace(obj: Obj) -> list[FieldError]:
    """`ValidateNamespace`."""
    found = metadata(obj, False, names.label_name)
    for one in obj["spec"].get("finalizers") or ():
        found += each("spec.finalizers", one, names.qualified_name(one)) + kube_finalizer(one, "spec.finalizers")
    return found


def _namespace_status(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    phase, deleted = new["status"].get("phase", ""), new["metadata"].get("deletionTimestamp")
    if not deleted and phase != "Active":
        detail = "may only be 'Active' if `deletionTimestamp` is empty"
        found.append(invalid("status.Phase", phase, detail))
    if deleted and phase != "Terminating":
        detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        found.append(invalid("status.Phase", phase, detail))
    return found


def _namespace_finalize(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    for index, one in enumerate(new["spec"].get("finalizers") or ()):
        field = f"spec.finalizers[{index}]"
        found += each(field, one, names.qualified_name(one)) + kube_finalizer(one, field)
    return found


def service_account(obj: Obj) -> list[FieldError]:
    """`ValidateServiceAccount`."""
    return metadata(obj, True)


def _service_account_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + service_account(new)


# -- secrets, config maps ----------------------------------------------------------------------------------------------


def _decoded(data: Obj, key: str) -> bytes:
    return base64.b64decode(data.get(key) or "")


def secret(obj: Obj) -> list[FieldError]:
    """`ValidateSecret`."""
    found = metadata(obj, True)
    data, kind = obj.get("data") or {}, obj.get("type", "")
    size = 0
    for key, value in data.items():
        found += each(f"data[{key}]", key, names.config_map_key(key))
        size += len(base64.b64decode(value))
    if size > _MAX_DATA:
        found.append(too_long("data", _MAX_DATA))
    if kind == legacy_tokens.TYPE:
        name = legacy_tokens.ACCOUNT_NAME
        if not (obj["metadata"].get("annotations") or {}).get(name):
            found.append(required(f"metadata.annotations[{name}]"))
    elif kind in _JSON_SECRETS:
        found += _json_secret(data, _JSON_SECRETS[kind])
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            found += [required("data[username]"), required("data[password]")]
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            found.append(required("data[ssh-privatekey]"))
    elif kind == "kubernetes.io/tls":
        found += [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
    return found


_JSON_SECRETS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


def _json_secret(data: Obj, key: str) -> list[FieldError]:
    if key not in data:
        return [required(f"data[{key}]")]
    try:
        orjson.loads(_decoded(data, key))
    except ValueError:
        from netlab.api.gotypes import jsontext

        why = "unexpected end of JSON input"
        try:
            jsontext.parse(_decoded(data, key))
        except jsontext.JSONSyntaxError as error:
            why = str(error)
        return [invalid(f"data[{key}]", "<secret contents redacted>", why)]
    return []


def _secret_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old) + unchanged(new.get("type", ""), old.get("type", ""), "type")
    return found + _frozen(new, old, ("data",)) + secret(new)


def _frozen(new: Obj, old: Obj, keys: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    found = [] if new.get("immutable") else [forbidden("immutable", _FROZEN)]
    return found + [forbidden(key, _FROZEN) for key in keys if (new.get(key) or {}) != (old.get(key) or {})]


def config_map(obj: Obj) -> list[FieldError]:
    """`ValidateConfigMap`."""
    found = metadata(obj, True)
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        if not names.is_config_map_key(key):
            found += each(f"data[{key}]", key, names.config_map_key(key))
        if key in binary:
            found.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        found += each(f"binaryData[{key}]", key, names.config_map_key(key))
        size += len(base64.b64decode(value))
    if size > _MAX_DATA:
        found.append(too_long("", _MAX_DATA))
    return found


def _config_map_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + _frozen(new, old, ("data", "binaryData")) + config_map(new)


# -- endpoints ---------------------------------------------------------------------------------------------------------


def endpoints(obj: Obj) -> list[FieldError]:
    """`ValidateEndpoints`."""
    found = metadata(obj, True)
    for index, subset in enumerate(obj.get("subsets") or ()):
        here = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(required(here, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for at, one in enumerate(subset.get(key) or ()):
                found += _endpoint_address(one, f"{here}.{key}[{at}]")
        ports = subset.get("ports") or []
        for at, port in enumerate(ports):
            found += _endpoint_port(port, len(ports) > 1, f"{here}.ports[{at}]")
    return found


def _endpoint_address(one: Obj, field: str) -> list[FieldError]:
    ip = one.get("ip", "")
    found = addresses.valid_ip(ip, f"{field}.ip")
    if one.get("hostname"):
        found += each(f"{field}.hostname", one["hostname"], names.dns_label(one["hostname"]))
    if "nodeName" in one:
        found += each(f"{field}.nodeName", one["nodeName"], names.dns_subdomain(one["nodeName"]))
    return found + addresses.not_special(ip, f"{field}.ip")


def _endpoint_port(port: Obj, need_name: bool, field: str) -> list[FieldError]:
    name, number = port.get("name", ""), port.get("port", 0)
    found: list[FieldError] = []
    if need_name and not name:
        found.append(required(f"{field}.name"))
    elif name:
        found += each(f"{field}.name", name, names.dns_label(name))
    found += each(f"{field}.port", number, names.port_number(number))
    found += protocol(port.get("protocol", ""), f"{field}.protocol")
    if "appProtocol" in port:
        found += each(f"{field}.appProtocol", port["appProtocol"], names.qualified_name(port["appProtocol"]))
    return found


def _endpoints_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + endpoints(new)


# -- nodes -------------------------------------------------------------------------------------------------------------


def node(obj: Obj) -> list[FieldError]:
    """`ValidateNode`."""
    spec = obj["spec"]
    found = metadata(obj, False)
    found += scheduling.taints(spec.get("taints") or (), "metadata.taints")
    found += _node_resources(obj)
    cidrs, first = spec.get("podCIDRs") or [], spec.get("podCIDR")
    if first and first not in cidrs[:1]:
        cidrs = [first]  # conversion: the older field wins
    for index, one in enumerate(cidrs):
        found += addresses.valid_cidr(one, f"spec.podCIDRs[{index}]")
    if len(cidrs) > 1:
        if not addresses.dual_stack([one.partition("/")[0] for one in cidrs]) or len(cidrs) > 2:
            found.append(invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"))
        for index, one in enumerate(cidrs):
            if one in cidrs[:index]:
                found.append(duplicate(f"spec.podCIDRs[{index}]", one))
    return found


def _node_resources(obj: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    for key in ("capacity", "allocatable"):
        for name, amount in (obj["status"].get(key) or {}).items():
            found += resources.quantity_value(name, amount, f"status.{key}.{name}")
    return found


def _node_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateNodeUpdate`, also of the status."""
    found = metadata_update(new, old) + _node_resources(new)
    seen: list[Obj] = []
    for index, one in enumerate(new["status"].get("addresses") or ()):
        if one in seen:
            shown = f"core.NodeAddress{{Type:{quote(one.get('type', ''))}, Address:{quote(one.get('address', ''))}}}"
            found.append(duplicate(f"status.addresses[{index}]", GoSyntax(shown)))
        seen.append(one)
    after, before = new["spec"], old["spec"]
    cidrs = before.get("podCIDRs") or []
    if cidrs and cidrs != (after.get("podCIDRs") or []):
        detail = 'node updates may not change podCIDR except from "" to valid'
        found.append(forbidden("spec.podCIDRs", detail))
    provider = before.get("providerID", "")
    if provider and provider != after.get("providerID", ""):
        detail = 'node updates may not change providerID except from "" to valid'
        found.append(forbidden("spec.providerID", detail))
    found += scheduling.taints(after.get("taints") or (), "metadata.taints")
    if after.get("externalID", "") != before.get("externalID", ""):
        found.append(forbidden("spec.externalID", "may not be updated"))
    return found


RULES = {
    "Namespace": Rules(namespace, metadata_update, _namespace_status, {"finalize": _namespace_finalize}),
    "ServiceAccount": Rules(service_account, _service_account_update, _service_account_update),
    "Secret": Rules(secret, _secret_update, _secret_update),
    "ConfigMap": Rules(config_map, _config_map_update, _config_map_update),
    "Endpoints": Rules(endpoints, _endpoints_update, _endpoints_update),
    "Node": Rules(node, _node_update, _node_update),
}
