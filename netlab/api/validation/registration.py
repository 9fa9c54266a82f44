"""Rules of APIServices. Source followed: `kube-aggregator/pkg/apis/apiregistration/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, invalid, required
from netlab.api.validation.gofmt import quote
from netlab.api.validation.meta import each, metadata, metadata_update

_MOST_GROUP, _MOST_VERSION = 20000, 1000


def api_service(obj: Obj) -> list[FieldError]:
    """`ValidateAPIService`."""
    spec = obj["spec"]
    group, version = spec.get("group", ""), spec.get("version", "")
    found = metadata(obj, False, names.path_segment_name)
    wanted = f"{version}.{group}"
    if obj["metadata"].get("name") and obj["metadata"]["name"] != wanted:
        text = f'must be `spec.version+"."+spec.group`: {quote(wanted)}'
        found.append(invalid("metadata.name", obj["metadata"]["name"], text))
    if not group and version != "v1":
        found.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        found += each("spec.group", group, names.dns_subdomain(group))
    found += each("spec.version", version, names.dns_1035_label(version))
    for field, most in (("groupPriorityMinimum", _MOST_GROUP), ("versionPriority", _MOST_VERSION)):
        value = spec.get(field, 0)
        if not 0 < value <= most:
            found.append(invalid(f"spec.{field}", value, f"must be positive and less than {most}"))
    return found + _behind(spec)


def _behind(spec: Obj) -> list[FieldError]:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    found: list[FieldError] = []
    if service is None:
        if bundle:
            size = f"{len(bundle) * 3 // 4 - bundle.count('=')} bytes"
            found.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            text = "local APIServices may not have insecureSkipTLSVerify"
            found.append(invalid("spec.insecureSkipTLSVerify", True, text))
        return found
    found += [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    port = service.get("port", 443)
    if not 0 < port < 65536:
        text = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(invalid("spec.service.port", port, text))
    if insecure and bundle:
        found.append(invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return found


def _update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + api_service(new)


RULES = {"APIService": Rules(api_service, _update, metadata_update)}
