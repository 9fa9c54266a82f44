"""Rules of security contexts. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netlab.api.types import Obj
from netlab.api.validation import names, paths
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required, too_long
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each

SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR_CONTAINER = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_is_sysctl = re.compile(_SYSCTL[1:-1]).fullmatch
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def containers_of(spec: Obj, field: str) -> Iterator[tuple[Obj, str]]:
    """Every container of a pod with its path, in upstream's order of visiting."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for index, one in enumerate(spec.get(key) or ()):
            yield one, f"{field}.{key}[{index}]"


def pod_context(spec: Obj, field: str, is_pod: bool) -> list[FieldError]:
    """`validatePodSpecSecurityContext`; `field` is the spec's path."""
    context = spec.get("securityContext")
    here = f"{field}.securityContext"
    if context is None:
        return []
    found: list[FieldError] = []
    for key in ("fsGroup", "runAsUser", "runAsGroup"):
        if key in context:
            found += each(f"{here}.{key}", context[key], names.user_id(context[key]))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        found += each(f"{here}.supplementalGroups[{index}]", group, names.user_id(group))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid(f"{here}.shareProcessNamespace", True, detail))
    found += _sysctls(context.get("sysctls") or (), spec, f"{here}.sysctls", is_pod)
    for key, allowed in (("fsGroupChangePolicy", ("Always", "OnRootMismatch")),):
        if key in context and context[key] not in allowed:
            found.append(not_supported(f"{here}.{key}", context[key], allowed))
    found += seccomp(context.get("seccompProfile"), f"{here}.seccompProfile")
    found += windows_options(context.get("windowsOptions"), f"{here}.windowsOptions")
    found += apparmor(context.get("appArmorProfile"), f"{here}.appArmorProfile")
    for key, allowed in (
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if key in context and context[key] not in allowed:
            found.append(not_supported(f"{here}.{key}", context[key], allowed))
    return found


def _sysctls(given: tuple[Obj, ...] | list[Obj], spec: Obj, field: str, is_pod: bool) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, one in enumerate(given):
        here, name = f"{field}[{index}].name", one.get("name", "")
        if not name:
            found.append(required(here))
        elif len(name) > 253 or not _is_sysctl(name):
            found.append(invalid(here, name, f"must have at most 253 characters and match regex {_SYSCTL}"))
        elif name in seen:
            found.append(duplicate(here, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            found.append(invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and (dotted.startswith(_IPC_SYSCTLS) or dotted == "kernel.sem"):
            found.append(invalid(here, name, "may not be specified when 'hostIPC' is true"))
    return found


def container_context(context: Obj | None, field: str, host_users: bool) -> list[FieldError]:
    """`ValidateSecurityContext`."""
    if context is None:
        return []
    found: list[FieldError] = []
    for key in ("runAsUser", "runAsGroup"):
        if key in context:
            found += each(f"{field}.{key}", context[key], names.user_id(context[key]))
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            found.append(not_supported(f"{field}.procMount", mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            found.append(invalid(f"{field}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    found += seccomp(context.get("seccompProfile"), f"{field}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        shown = GoSyntax("core.SecurityContext{…}")
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(invalid(field, shown, detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(invalid(field, shown, detail))
    found += windows_options(context.get("windowsOptions"), f"{field}.windowsOptions")
    found += apparmor(context.get("appArmorProfile"), f"{field}.appArmorProfile")
    return found


def seccomp(profile: Obj | None, field: str) -> list[FieldError]:
    """`validateSeccompProfileField`."""
    if profile is None:
        return []
    found: list[FieldError] = []
    kind = profile.get("type", "")
    if not kind:
        found.append(required(f"{field}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        found.append(not_supported(f"{field}.type", kind, _PROFILES))
    path = profile.get("localhostProfile")
    if kind == "Localhost":
        if path is None:
            found.append(required(f"{field}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            found += paths.local_descending(path, f"{field}.localhostProfile")
    elif path is not None:
        shown = GoSyntax(f"core.SeccompProfile{{Type:{quote(kind)}, LocalhostProfile:(*string)(0xc000000000)}}")
        found.append(invalid(f"{field}.localhostProfile", shown, "can only be set when seccomp type is Localhost"))
    return found


def apparmor(profile: Obj | None, field: str) -> list[FieldError]:
    """`ValidateAppArmorProfileField`."""
    if profile is None:
        return []
    kind, path = profile.get("type", ""), profile.get("localhostProfile")
    here = f"{field}.localhostProfile"
    if kind == "Localhost":
        missing = required(here, "must be set when AppArmor type is Localhost")
        if path is None:
            return [missing]
        found = []
        if path.strip() != path:
            found.append(invalid(here, path, "must not be padded with whitespace"))
        elif not path:
            found.append(missing)
        return [*found, too_long(here, 4095)] if len(path) > 4095 else found
    if kind in ("RuntimeDefault", "Unconfined"):
        return [invalid(here, path, "can only be set when AppArmor type is Localhost")] if path is not None else []
    if not kind:
        return [required(f"{field}.type", "type is required when appArmorProfile is set")]
    return [not_supported(f"{field}.type", kind, _PROFILES)]


# -- annotations, the older way ----------------------------------------------------------------------------------------


def seccomp_annotations(annotations: dict[str, str], field: str) -> list[FieldError]:
    """`ValidateSeccompPodAnnotations`."""
    found: list[FieldError] = []
    if SECCOMP_POD in annotations:
        found += _seccomp_annotation(annotations[SECCOMP_POD], f"{field}.{SECCOMP_POD}")
    for key, profile in annotations.items():
        if key.startswith(SECCOMP_CONTAINER):
            found += _seccomp_annotation(profile, f"{field}.{key}")
    return found


def _seccomp_annotation(profile: str, field: str) -> list[FieldError]:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return []
    if profile.startswith("localhost/"):
        return paths.local_descending(profile.removeprefix("localhost/"), field)
    return [invalid(field, profile, "must be a valid seccomp profile")]


def apparmor_annotations(annotations: dict[str, str], spec: Obj, field: str) -> list[FieldError]:
    """`ValidateAppArmorPodAnnotations`."""
    found: list[FieldError] = []
    for key, profile in annotations.items():
        if not key.startswith(APPARMOR_CONTAINER):
            continue
        name = key.removeprefix(APPARMOR_CONTAINER)
        if all(one.get("name") != name for one, _ in containers_of(spec, "spec")):
            found.append(invalid(f"{field}[{key}]", name, "container not found"))
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
            found.append(invalid(f"{field}[{key}]", profile, f"invalid AppArmor profile name: {quote(profile)}"))
    return found


def annotations_match(annotations: dict[str, str], spec: Obj, field: str) -> list[FieldError]:
    """Fields and the older annotations must agree: first seccomp, then AppArmor."""
    found: list[FieldError] = []
    pod = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations:
        where = f"{field}.securityContext.seccompProfile"
        found += _match(annotations[SECCOMP_POD], pod.get("seccompProfile"), where, "seccomp")
    for one, here in containers_of(spec, field):
        key = SECCOMP_CONTAINER + one.get("name", "")
        profile = (one.get("securityContext") or {}).get("seccompProfile")
        if key in annotations:
            found += _match(annotations[key], profile, f"{here}.securityContext.seccompProfile", "seccomp")
    if (spec.get("os") or {}).get("name") == "windows":
        return found
    for one, here in containers_of(spec, field):
        key = APPARMOR_CONTAINER + one.get("name", "")
        profile = (one.get("securityContext") or {}).get("appArmorProfile") or pod.get("appArmorProfile")
        if key in annotations:
            found += _match(annotations[key], profile, f"{here}.securityContext.appArmorProfile", "apparmor")
    return found


def _match(annotation: str, profile: Obj | None, field: str, what: str) -> list[FieldError]:
    kind = (profile or {}).get("type")
    wrong_type = [forbidden(f"{field}.type", f"{what} type in annotation and field must match")]
    if profile is None:
        return []
    if kind == "Unconfined":
        return [] if annotation == "unconfined" else wrong_type
    if kind == "RuntimeDefault":
        known = ("runtime/default", "docker/default") if what == "seccomp" else ("runtime/default",)
        return [] if annotation in known else wrong_type
    if kind == "Localhost":
        if not annotation.startswith("localhost/"):
            return wrong_type
        if annotation.removeprefix("localhost/") != profile.get("localhostProfile"):
            return [forbidden(f"{field}.localhostProfile", f"{what} profile in annotation and field must match")]
    return []


# -- Windows -----------------------------------------------------------------------------------------------------------


def windows_options(options: Obj | None, field: str) -> list[FieldError]:
    """`validateWindowsSecurityContextOptions`."""
    if options is None:
        return []
    found: list[FieldError] = []
    name = options.get("gmsaCredentialSpecName")
    if name is not None:
        found += each(f"{field}.gmsaCredentialSpecName", name, names.dns_subdomain(name))
    credential = options.get("gmsaCredentialSpec")
    if credential == "":
        found.append(invalid(f"{field}.gmsaCredentialSpec", "", "gmsaCredentialSpec cannot be an empty string"))
    elif credential is not None and len(credential.encode()) > _LONGEST_CREDENTIAL_KIB << 10:
        detail = f"gmsaCredentialSpec size must be under {_LONGEST_CREDENTIAL_KIB} KiB"
        found.append(invalid(f"{field}.gmsaCredentialSpec", credential, detail))
    user = options.get("runAsUserName")
    if user is not None:
        found += each(f"{field}.runAsUserName", user, [f"runAsUserName{error}" for error in _windows_user(user)])
    return found


_LONGEST_CREDENTIAL_KIB, _LONGEST_DOMAIN, _LONGEST_USER = 64, 256, 104
_NETBIOS = re.compile(r"[^\\/:*?\"<>|.][^\\/:*?\"<>|]{0,14}")
_DNS_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?)*"
)


def _windows_user(name: str) -> list[str]:
    """What is wrong with `[DOMAIN\\]USER`."""
    if not name:
        return [" cannot be an empty string"]
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return [" cannot contain control characters"]
    if name.count("\\") > 1:
        return [" cannot contain more than one backslash"]
    domain, backslash, user = name.rpartition("\\")
    found = []
    if len(domain) >= _LONGEST_DOMAIN:
        found.append(f"'s Domain length must be under {_LONGEST_DOMAIN} characters")
    if backslash and not (_NETBIOS.fullmatch(domain) or _DNS_DOMAIN.fullmatch(domain)):
        found.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("'s User cannot be empty")
    elif len(user) > _LONGEST_USER:
        found.append(f"'s User length must not be longer than {_LONGEST_USER} characters")
    if user and not user.strip(". "):
        found.append("'s User cannot contain only periods or spaces")
    if any(char in '"/:;|=,+*?<>@[]' for char in user):
        found.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return found


def host_process(spec: Obj, field: str) -> list[FieldError]:
    """`validateWindowsHostProcessPod`."""
    found: list[FieldError] = []
    pod_value = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    total = count = 0
    for one, here in containers_of(spec, field):
        total += 1
        own = ((one.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if pod_value is not None and own is not None and pod_value != own:
            detail = f"pod hostProcess value must be identical if both are specified, was {str(pod_value).lower()}"
            found.append(invalid(f"{here}.securityContext.windowsOptions.hostProcess", own, detail))
        count += bool(own if own is not None else pod_value)
    if count:
        if count != total:
            detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
            found.append(invalid(field, "", detail))
        if not spec.get("hostNetwork"):
            detail = "hostNetwork must be true if pod contains any hostProcess containers"
            found.append(invalid(f"{field}.hostNetwork", False, detail))
    return found
