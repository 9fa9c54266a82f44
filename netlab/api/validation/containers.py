"""Rules of containers. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.api.validation import names, paths, resources, security
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from netlab.api.validation.meta import each, nonnegative
from netlab.api.validation.volumes import object_field, resource_field

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_EPHEMERAL_FORBIDDEN = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)
_NOT_FOR_INIT = "may not be set for init containers without restartPolicy=Always"


@dataclass(frozen=True)
class PodContext:
    """What the rules of a container need to know of its pod."""

    volumes: Mapping[str, Obj]
    claims: Collection[str]
    grace_seconds: int | None
    restart_policy: str
    host_users: bool


def containers(given: list[Obj], pod: PodContext, field: str) -> list[FieldError]:
    """`validateContainers`."""
    if not given:
        return [required(field)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(given):
        here, name = f"{field}[{index}]", one.get("name", "")
        found += _common(one, pod, here)
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        seen.add(name)
        found += _lifecycle_and_probes(one, pod, here)
        if "restartPolicy" in one:
            found.append(forbidden(f"{here}.restartPolicy", "may not be set for non-init containers"))
    return found + _host_port_conflicts(given, field)


def init_containers(given: list[Obj], regular: list[Obj], pod: PodContext, field: str) -> list[FieldError]:
    """`validateInitContainers`."""
    found: list[FieldError] = []
    seen = {one.get("name", "") for one in regular}
    for index, one in enumerate(given):
        here, name, policy = f"{field}[{index}]", one.get("name", ""), one.get("restartPolicy")
        found += _common(one, pod, here)
        if policy is not None and policy != "Always":
            found.append(not_supported(f"{here}.restartPolicy", policy, ("Always",)))
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        elif name:
            seen.add(name)
        found += _host_port_conflicts([one], field)
        if policy == "Always":
            found += _lifecycle_and_probes(one, pod, here)
        else:
            for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if key in one:
                    found.append(forbidden(f"{here}.{key}", _NOT_FOR_INIT))
    return found


def ephemeral_containers(given: list[Obj], others: list[Obj], pod: PodContext, field: str) -> list[FieldError]:
    """`validateEphemeralContainers`; `others` are the regular and init containers."""
    found: list[FieldError] = []
    other_names = {one.get("name", "") for one in others}
    seen = set(other_names)
    for index, one in enumerate(given):
        here, name, target = f"{field}[{index}]", one.get("name", ""), one.get("targetContainerName", "")
        found += _common(one, pod, here) + image_only_for_pod(one, here)
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        seen.add(name)
        if target and target not in other_names:
            found.append(not_found(f"{here}.targetContainerName", target))
        for key in _EPHEMERAL_FORBIDDEN:
            if one.get(key):
                found.append(forbidden(f"{here}.{key}", "cannot be set for an Ephemeral Container"))
        for at, mount in enumerate(one.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    detail = "cannot be set for an Ephemeral Container"
                    found.append(forbidden(f"{here}.volumeMounts[{at}].{key}", detail))
    return found


def image_only_for_pod(one: Obj, field: str) -> list[FieldError]:
    """`validateContainerOnlyForPod`: templates are older than this rule."""
    image = one.get("image", "")
    if image == image.strip():
        return []
    return [invalid(f"{field}.image", image, "must not have leading or trailing whitespace")]


def _common(one: Obj, pod: PodContext, field: str) -> list[FieldError]:
    """`validateContainerCommon`."""
    name = one.get("name", "")
    found = each(f"{field}.name", name, names.dns_label(name)) if name else [required(f"{field}.name")]
    if not one.get("image"):
        found.append(required(f"{field}.image"))
    policy = one.get("terminationMessagePolicy", "")
    if not policy:
        found.append(required(f"{field}.terminationMessagePolicy"))
    elif policy not in ("File", "FallbackToLogsOnError"):
        allowed = ("File", "FallbackToLogsOnError")
        found.append(not_supported(f"{field}.terminationMessagePolicy", policy, allowed))
    mounts, devices = one.get("volumeMounts") or [], one.get("volumeDevices") or []
    found += _ports(one.get("ports") or [], f"{field}.ports")
    found += _env(one.get("env") or [], f"{field}.env")
    found += _env_from(one.get("envFrom") or [], f"{field}.envFrom")
    found += _mounts(mounts, devices, one, pod, f"{field}.volumeMounts")
    found += _devices(devices, mounts, pod, f"{field}.volumeDevices")
    pull = one.get("imagePullPolicy", "")
    if not pull:
        found.append(required(f"{field}.imagePullPolicy"))
    elif pull not in _PULL_POLICIES:
        found.append(not_supported(f"{field}.imagePullPolicy", pull, _PULL_POLICIES))
    found += resources.requirements(one.get("resources") or {}, f"{field}.resources", pod.claims)
    found += _resize(one.get("resizePolicy") or [], pod, f"{field}.resizePolicy")
    return found + security.container_context(one.get("securityContext"), f"{field}.securityContext", pod.host_users)


def _ports(given: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(given):
        here, name, number = f"{field}[{index}]", port.get("name", ""), port.get("containerPort", 0)
        if name:
            wrong = names.port_name(name)
            found += each(f"{here}.name", name, wrong)
            if not wrong and name in seen:
                found.append(duplicate(f"{here}.name", name))
            elif not wrong:
                seen.add(name)
        if number == 0:
            found.append(required(f"{here}.containerPort"))
        else:
            found += each(f"{here}.containerPort", number, names.port_number(number))
        host = port.get("hostPort", 0)
        if host:
            found += each(f"{here}.hostPort", host, names.port_number(host))
        found += protocol(port.get("protocol", ""), f"{here}.protocol")
    return found


def protocol(given: str, field: str) -> list[FieldError]:
    """TCP, UDP or SCTP."""
    if not given:
        return [required(field)]
    return [] if given in PROTOCOLS else [not_supported(field, given, PROTOCOLS)]


def _host_port_conflicts(given: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(given):
        for at, port in enumerate(one.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                found.append(duplicate(f"{field}[{index}].ports[{at}].hostPort", key))
            seen.add(key)
    return found


# -- environment -------------------------------------------------------------------------------------------------------


def _env(given: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(given):
        here, name = f"{field}[{index}]", one.get("name", "")
        found += each(f"{here}.name", name, names.relaxed_env_name(name)) if name else [required(f"{here}.name")]
        if "valueFrom" in one:
            found += _env_source(one, f"{here}.valueFrom")
    return found


def _env_source(env: Obj, field: str) -> list[FieldError]:
    source = env["valueFrom"]
    found: list[FieldError] = []
    if "fieldRef" in source:
        found += object_field(source["fieldRef"], _ENV_FIELDS, f"{field}.fieldRef")
    if "resourceFieldRef" in source:
        found += resource_field(source["resourceFieldRef"], f"{field}.resourceFieldRef", in_volume=False)
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in source:
            found += _key_selector(source[key], f"{field}.{key}")
    if not source:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        found.append(invalid(field, "", detail))
    elif env.get("value"):
        found.append(invalid(field, "", "may not be specified when `value` is not empty"))
    elif len(source) > 1:
        found.append(invalid(field, "", "may not have more than one field specified at a time"))
    return found


def _key_selector(ref: Obj, field: str) -> list[FieldError]:
    name, key = ref.get("name", ""), ref.get("key", "")
    found = each(f"{field}.name", name, names.dns_subdomain(name))
    if not key:
        return [*found, required(f"{field}.key")]
    return found + each(f"{field}.key", key, names.config_map_key(key))


def _env_from(given: list[Obj], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(given):
        here, prefix = f"{field}[{index}]", one.get("prefix", "")
        if prefix:
            found += each(f"{here}.prefix", prefix, names.relaxed_env_name(prefix))
        sources = [key for key in ("configMapRef", "secretRef") if key in one]
        for key in sources:
            name = one[key].get("name", "")
            if not name:
                found.append(required(f"{here}.{key}.name"))
            else:
                found += each(f"{here}.{key}.name", name, names.subdomain_name(name, True))
        if not sources:
            found.append(invalid(field, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(sources) > 1:
            found.append(invalid(field, "", "may not have more than one field specified at a time"))
    return found


# -- mounts ------------------------------------------------------------------------------------------------------------


def _mounts(given: list[Obj], devices: list[Obj], one: Obj, pod: PodContext, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, mount in enumerate(given):
        here, name, path = f"{field}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(required(f"{here}.name"))
        if name not in pod.volumes:
            found.append(not_found(f"{here}.name", name))
        if not path:
            found.append(required(f"{here}.mountPath"))
        if path in seen:
            found.append(invalid(f"{here}.mountPath", path, "must be unique"))
        seen.add(path)
        if any(device.get("name", "") == name for device in devices):
            found.append(invalid(f"{here}.name", name, "must not already exist in volumeDevices"))
        if any(device.get("devicePath", "") == path for device in devices):
            detail = "must not already exist as a path in volumeDevices"
            found.append(invalid(f"{here}.mountPath", path, detail))
        found += _sub_paths(mount, pod, here, field)
        found += _propagation(mount, one, f"{field}.mountPropagation")
        found += _recursive_read_only(mount, f"{field}.recursiveReadOnly")
    return found


def _sub_paths(mount: Obj, pod: PodContext, here: str, field: str) -> list[FieldError]:
    path, expression = mount.get("subPath", ""), mount.get("subPathExpr", "")
    found: list[FieldError] = []
    if "image" in pod.volumes.get(mount.get("name", ""), {}):
        for key, value in (("subPath", path), ("subPathExpr", expression)):
            if value:
                found.append(invalid(f"{here}.{key}", value, "not allowed in image volume sources"))
    if path:
        found += paths.local_descending(path, f"{field}.subPath")
    if expression:
        if path:
            detail = "subPathExpr and subPath are mutually exclusive"
            found.append(invalid(f"{here}.subPathExpr", expression, detail))
        found += paths.local_descending(expression, f"{field}.subPathExpr")
    return found


def _propagation(mount: Obj, one: Obj, field: str) -> list[FieldError]:
    given = mount.get("mountPropagation")
    if given is None:
        return []
    allowed = ("Bidirectional", "HostToContainer", "None")
    found = [] if given in allowed else [not_supported(field, given, allowed)]
    if given == "Bidirectional" and not (one.get("securityContext") or {}).get("privileged"):
        detail = "Bidirectional mount propagation is available only to privileged containers"
        found.append(forbidden(field, detail))
    return found


def _recursive_read_only(mount: Obj, field: str) -> list[FieldError]:
    given = mount.get("recursiveReadOnly")
    if given is None:
        return []
    allowed = ("Disabled", "Enabled", "IfPossible")
    if given not in allowed:
        return [not_supported(field, given, allowed)]
    if given == "Disabled":
        return []
    found = []
    if not mount.get("readOnly"):
        found.append(forbidden(field, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        found.append(forbidden(field, "may only be specified when mountPropagation is None or not specified"))
    return found


def _devices(given: list[Obj], mounts: list[Obj], pod: PodContext, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for index, device in enumerate(given):
        here, name, path = f"{field}[{index}]", device.get("name", ""), device.get("devicePath", "")
        source = pod.volumes.get(name)
        if not name:
            found.append(required(f"{here}.name"))
        if name in seen_names:
            found.append(invalid(f"{here}.name", name, "must be unique"))
        if source is not None and "persistentVolumeClaim" not in source and "ephemeral" not in source:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(invalid(f"{here}.name", name, detail))
        if source is None:
            found.append(not_found(f"{here}.name", name))
        if not path:
            found.append(required(f"{here}.devicePath"))
        if path in seen_paths:
            found.append(invalid(f"{here}.devicePath", path, "must be unique"))
        if path and paths.no_backsteps(path, here):
            found.append(invalid(f"{here}.devicePath", path, "can not contain backsteps ('..')"))
        else:
            seen_paths.add(path)
        if any(mount.get("name", "") == name for mount in mounts):
            found.append(invalid(f"{here}.name", name, "must not already exist in volumeMounts"))
        if any(mount.get("mountPath", "") == path for mount in mounts):
            detail = "must not already exist as a path in volumeMounts"
            found.append(invalid(f"{here}.devicePath", path, detail))
        if name:
            seen_names.add(name)
    return found


def _resize(given: list[Obj], pod: PodContext, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(given):
        name, policy = one.get("resourceName", ""), one.get("restartPolicy", "")
        if name in seen:
            found.append(duplicate(f"{field}[{index}]", name))
        seen.add(name)
        for value, allowed in ((name, ("cpu", "memory")), (policy, ("NotRequired", "RestartContainer"))):
            if not value:
                found.append(required(field))
            elif value not in allowed:
                found.append(not_supported(field, value, allowed))
        if pod.restart_policy == "Never" and policy != "NotRequired":
            found.append(invalid(field, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return found


# -- probes and handlers -----------------------------------------------------------------------------------------------


def _lifecycle_and_probes(one: Obj, pod: PodContext, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in ("postStart", "preStop"):
        handler = (one.get("lifecycle") or {}).get(key)
        if handler is not None:
            found += _handler(handler, pod, f"{field}.lifecycle.{key}")
    found += _stop_signal(one, f"{field}.lifecycle")
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = one.get(key)
        if probe is None:
            continue
        here = f"{field}.{key}"
        found += _probe(probe, pod, here)
        if key == "readinessProbe":
            if "terminationGracePeriodSeconds" in probe:
                seconds = probe["terminationGracePeriodSeconds"]
                detail = "must not be set for readinessProbes"
                found.append(invalid(f"{here}.terminationGracePeriodSeconds", seconds, detail))
        elif probe.get("successThreshold", 0) != 1:
            found.append(invalid(f"{here}.successThreshold", probe.get("successThreshold", 0), "must be 1"))
    return found


def _stop_signal(one: Obj, field: str) -> list[FieldError]:
    if "stopSignal" not in (one.get("lifecycle") or {}):
        return []
    return [forbidden(f"{field}.stopSignal", "may not be set for containers with empty `spec.os.name`")]


def _probe(probe: Obj, pod: PodContext, field: str) -> list[FieldError]:
    found = _handler(probe, pod, field)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += nonnegative(probe.get(key, 0), f"{field}.{key}")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        found.append(invalid(f"{field}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return found


def _handler(handler: Obj, pod: PodContext, field: str) -> list[FieldError]:
    """`validateHandler`: exactly one way to ask."""
    found: list[FieldError] = []
    count = 0
    for key in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = handler.get(key)
        if action is None:
            continue
        here = f"{field}.{key}"
        if count:
            found.append(forbidden(here, "may not specify more than 1 handler type"))
            continue
        count += 1
        if key == "exec":
            found += [] if action.get("command") else [required(f"{here}.command")]
        elif key == "httpGet":
            found += _http_get(action, here)
        elif key == "sleep":
            found += _sleep(action, pod, here)
        else:
            found += port_number_or_name(action.get("port", 0), f"{here}.port")
    if not count:
        found.append(required(field, "must specify a handler type"))
    return found


def _sleep(action: Obj, pod: PodContext, field: str) -> list[FieldError]:
    seconds, grace = action.get("seconds", 0), pod.grace_seconds
    if grace is None or 0 <= seconds <= grace:
        return []
    detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [invalid(field, seconds, detail)]


def _http_get(action: Obj, field: str) -> list[FieldError]:
    found = [] if action.get("path") else [required(f"{field}.path")]
    found += port_number_or_name(action.get("port", 0), f"{field}.port")
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(not_supported(f"{field}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        found += each(f"{field}.httpHeaders", name, names.http_header(name))
    return found


def port_number_or_name(port: int | str, field: str) -> list[FieldError]:
    """`ValidatePortNumOrName`."""
    return each(field, port, names.port_number(port) if isinstance(port, int) else names.port_name(port))
