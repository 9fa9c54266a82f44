"""A container's environment: envFrom, env with valueFrom, service variables, $(VAR) expansion. Pure.

Follows upstream pkg/kubelet/kubelet_pods.go makeEnvironmentVariables, pkg/kubelet/envvars and
third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netlab.api.types import Obj
from netlab.node.kubelet.downward import DownwardError, PodFacts, container_field, pod_field

_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


class ConfigError(Exception):
    """The container cannot be made from its configuration: CreateContainerConfigError, with upstream's message."""


class Data(Protocol):
    """ConfigMaps and Secrets of the pod's namespace, already fetched; None when one does not exist."""

    def configmap(self, name: str) -> Mapping[str, str] | None: ...

    def secret(self, name: str) -> Mapping[str, bytes] | None: ...


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """`$(NAME)` replaced where NAME is known, left alone where not; `$$` is a literal dollar."""
    if "$" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        value = lookup(name)
        return match.group(0) if value is None else value

    return _REFERENCE.sub(replace, text)


def service_variables(services: Iterable[Obj], namespace: str, links: bool) -> dict[str, str]:
    """Docker-link style variables of the services of `namespace` (if `links`), and of `kubernetes` always."""
    chosen: dict[str, Obj] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        if spec.get("clusterIP") in (None, "", "None"):
            continue
        name, where = meta["name"], meta.get("namespace", "default")
        own = where == namespace and links
        master = where == "default" and name == "kubernetes"
        if own or (master and name not in chosen):
            chosen[name] = service
    result: dict[str, str] = {}
    for service in chosen.values():
        result.update(_variables_of(service))
    return result


def _variables_of(service: Obj) -> dict[str, str]:
    spec = service["spec"]
    address, ports = str(spec["clusterIP"]), spec.get("ports") or ()
    prefix = str(service["metadata"]["name"]).upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    found: dict[str, str] = {f"{prefix}_SERVICE_HOST": address}
    for index, port in enumerate(ports):
        number, protocol = str(port["port"]), str(port.get("protocol", "TCP"))
        url = f"{protocol.lower()}://{host}:{number}"
        if index == 0:
            found[f"{prefix}_SERVICE_PORT"] = number
            found[f"{prefix}_PORT"] = url
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{str(port['name']).upper().replace('-', '_')}"] = number
        stem = f"{prefix}_PORT_{number}_{protocol}"
        found |= {stem: url, f"{stem}_PROTO": protocol.lower(), f"{stem}_PORT": number, f"{stem}_ADDR": address}
    return found


@dataclass(frozen=True)
class Environment:
    """The variables in order, and the envFrom keys that were left out: (source, keys) each."""

    variables: dict[str, str]
    invalid: list[tuple[str, list[str]]] = field(default_factory=list)

    def expand(self, words: Iterable[str]) -> list[str]:
        """`command` or `args` of the container."""
        return [expand(word, self.variables.get) for word in words]


def build(container: Obj, facts: PodFacts, data: Data, services: Mapping[str, str]) -> Environment:
    """The environment of one container. Raises ConfigError."""
    invalid: list[tuple[str, list[str]]] = []
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        found.update(_from_source(source, facts, data, invalid))
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            value = _value_from(variable["valueFrom"], container, facts, data)
            if value is None:
                continue
        else:
            value = expand(variable.get("value") or "", lambda key: found.get(key, services.get(key)))
        found[name] = value
    for name, value in services.items():
        found.setdefault(name, value)
    return Environment(found, invalid)


def _from_source(
    source: Obj, facts: PodFacts, data: Data, invalid: list[tuple[str, list[str]]]
) -> Iterable[tuple[str, str]]:
    prefix = source.get("prefix") or ""
    pairs: dict[str, str] = {}
    if ref := source.get("configMapRef"):
        kind, values = "ConfigMap", data.configmap(ref["name"])
        if values is None:
            _missing("configmap", ref)
        pairs = dict(values or {})
    elif ref := source.get("secretRef"):
        kind, secret = "Secret", data.secret(ref["name"])
        if secret is None:
            _missing("secret", ref)
        pairs = {key: value.decode("utf-8", "replace") for key, value in (secret or {}).items()}
    else:
        return ()
    bad = sorted(key for key in pairs if not _ENV_NAME.match(prefix + key))
    if bad:
        invalid.append((f"{kind} {facts.namespace}/{ref['name']}", bad))
    return [(prefix + key, value) for key, value in pairs.items() if key not in bad]


def _missing(kind: str, ref: Obj) -> None:
    if not ref.get("optional"):
        raise ConfigError(f'{kind} "{ref["name"]}" not found')


def _value_from(source: Obj, container: Obj, facts: PodFacts, data: Data) -> str | None:
    try:
        if ref := source.get("fieldRef"):
            return pod_field(facts, ref["fieldPath"])
        if ref := source.get("resourceFieldRef"):
            return container_field(facts, ref, container)
    except DownwardError as error:
        raise ConfigError(str(error)) from error
    if ref := source.get("configMapKeyRef"):
        values = data.configmap(ref["name"])
        if values is None:
            _missing("configmap", ref)
            return None
        if ref["key"] in values:
            return values[ref["key"]]
        _missing_key("ConfigMap", ref, facts)
        return None
    if ref := source.get("secretKeyRef"):
        secret = data.secret(ref["name"])
        if secret is None:
            _missing("secret", ref)
            return None
        if ref["key"] in secret:
            return secret[ref["key"]].decode("utf-8", "replace")
        _missing_key("Secret", ref, facts)
        return None
    return ""


def _missing_key(kind: str, ref: Obj, facts: PodFacts) -> None:
    if not ref.get("optional"):
        raise ConfigError(f"couldn't find key {ref['key']} in {kind} {facts.namespace}/{ref['name']}")
