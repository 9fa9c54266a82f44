"""Of a pod, or of a pod's template. PURE.

Source followed: upstream `pkg/api/pod/warnings.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netlab.api import meta, quantity
from netlab.api.types import Obj
from netlab.api.validation.gofmt import quote
from netlab.api.warnings import paths, ports
from netlab.api.warnings.addresses import of_ip
from netlab.api.warnings.labels import DEPRECATED, of_term

_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
_SYSCTLS = 'non-functional in v1.11+; use the "sysctls" field instead'
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": _SYSCTLS,
    "security.alpha.kubernetes.io/unsafe-sysctls": _SYSCTLS,
}
REMOVED_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageOS": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def of_pod(pod: Obj) -> list[str]:
    return _of(pod, "")


def of_template(template: Obj, path: str) -> list[str]:
    return _of(template, f"{path}.")


def _of(pod: Obj, prefix: str) -> list[str]:
    spec, path = pod.get("spec") or {}, f"{prefix}spec"
    found = [*_placing(spec, path), *_annotations(pod, f"{prefix}metadata.annotations"), *_volumes(spec, path)]
    found += [*paths.overlapping(spec.get("volumes") or ()), *_lists(spec, path)]
    found += _fractional(spec.get("overhead") or {}, f"{path}.overhead")
    for at, container in _containers(spec, path):
        found += _container(container, at)
    found += ports.of(_containers(spec, path))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}.terminationGracePeriodSeconds: {why}")
    return found


def _containers(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{i}]", container


def _placing(spec: Obj, path: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in DEPRECATED:
            yield f"{path}.nodeSelector[{key}]: {DEPRECATED[key]}"
    affinity = spec.get("affinity") or {}
    wanted, at = affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity"
    for i, term in enumerate((wanted.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from of_term(term, f"{at}.{_REQUIRED}.nodeSelectorTerms[{i}]")
    for i, term in enumerate(wanted.get(_PREFERRED) or ()):
        yield from of_term(term.get("preference") or {}, f"{at}.{_PREFERRED}[{i}].preference")
    nothing = "a null labelSelector results in matching no pod"
    for i, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{i}]", spread.get("topologyKey")
        if key in DEPRECATED:
            yield f"{at}.topologyKey: {key} is {DEPRECATED[key]}"
        if spread.get("labelSelector") is None:
            yield f"{at}.labelSelector: {nothing}"
    for which in ("podAffinity", "podAntiAffinity"):
        wanted, at = affinity.get(which) or {}, f"{path}.affinity.{which}"
        for i, term in enumerate(wanted.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{at}.{_REQUIRED}[{i}].labelSelector: {nothing}"
        for i, weighted in enumerate(wanted.get(_PREFERRED) or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{at}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {nothing}"


def _annotations(pod: Obj, path: str) -> Iterator[str]:
    annotations = meta.annotations(pod)
    if not annotations:
        return
    spec = pod.get("spec") or {}
    security = spec.get("securityContext") or {}
    for key, why in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{path}[{key}]: {why}"
    key = "seccomp.security.alpha.kubernetes.io/pod"
    if key in annotations and not security.get("seccompProfile"):
        yield f"{path}[{key}]: {_SECCOMP}"
    for _, container in _containers(spec, ""):
        own, name = container.get("securityContext") or {}, container.get("name", "")
        key = f"container.seccomp.security.alpha.kubernetes.io/{name}"
        if key in annotations and not own.get("seccompProfile"):
            yield f"{path}[{key}]: {_SECCOMP}"
        key = f"container.apparmor.security.beta.kubernetes.io/{name}"
        if key in annotations and not own.get("appArmorProfile") and not security.get("appArmorProfile"):
            yield f'{path}[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'


def _volumes(spec: Obj, path: str) -> Iterator[str]:
    for i, volume in enumerate(spec.get("volumes") or ()):
        for source, why in REMOVED_VOLUMES.items():
            if volume.get(source) is not None:
                yield f"{path}.volumes[{i}].{source}: {why}"
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template:
            yield from of_claim_spec(
                template.get("spec") or {}, f"{path}.volumes[{i}].ephemeral.volumeClaimTemplate.spec"
            )


def of_claim_spec(spec: Obj, path: str) -> list[str]:
    """Of a PersistentVolumeClaim's spec, also one in a template."""
    resources = spec.get("resources") or {}
    return [
        warning
        for kind in ("requests", "limits")
        for warning in _fractional(resources.get(kind) or {}, f"{path}.resources.{kind}", ("storage",))
    ]


def _lists(spec: Obj, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        at, address = f"{path}.hostAliases[{i}].ip", alias.get("ip", "")
        yield from of_ip(at, address)
        if address in seen:
            yield f"{at}: duplicate ip {quote(address)}"
        seen.add(address)
    for i, address in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from of_ip(f"{path}.dnsConfig.nameservers[{i}]", address)
    names = [secret.get("name", "") for secret in spec.get("imagePullSecrets") or ()]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield f"{path}.imagePullSecrets[{i}].name: duplicate name {quote(name)}"
        if not name:
            yield f'{path}.imagePullSecrets[{i}].name: invalid empty name ""'


def _fractional(amounts: Obj, path: str, which: Iterable[str] = ("memory", "ephemeral-storage")) -> Iterator[str]:
    for name in which:
        if name in amounts and quantity.milli(amounts[name]) % 1000:
            value = quote(quantity.canonical(amounts[name]))
            yield f"{path}[{name}]: fractional byte value {value} is invalid, must be an integer"


def _container(container: Obj, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for name in ("memory", "ephemeral-storage"):
        for kind in ("limits", "requests"):
            yield from _fractional(resources.get(kind) or {}, f"{path}.resources.{kind}", (name,))
    seen: set[str] = set()
    for i, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value") or ""
        earlier = f"$({name})"
        if name in seen and (variable.get("valueFrom") or value == earlier or earlier not in value):
            hidden = f"hides previous definition of {quote(name)}, which may be dropped when using apply"
            yield f"{path}.env[{i}]: {hidden}"
        seen.add(name)
