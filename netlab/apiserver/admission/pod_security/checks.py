"""PURE. The Pod Security Standards: what a pod of level baseline or restricted may not do, in upstream's words.

Source followed: k8s.io/pod-security-admission/policy (check_*.go) at the latest version. Not looked at: AppArmor
annotations, pods of Windows.
"""

from collections.abc import Callable, Iterator

from netlab.api.types import Obj

Finding = tuple[str, str]
"""The reason, and which containers or volumes are at fault."""
Check = Callable[[Obj], Finding | None]

_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"}
    | {"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_PROFILES = ("RuntimeDefault", "Localhost")


def containers(spec: Obj) -> Iterator[Obj]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(holder: Obj) -> Obj:
    return holder.get("securityContext") or {}


def _quoted(names: "list[str]") -> str:
    return ", ".join(f'"{name}"' for name in names)


def _many(one: str, names: "list[str]") -> str:
    return f"{one}{'s' if len(names) > 1 else ''} {_quoted(names)}"


def _containers(names: "list[str]") -> str:
    return _many("container", names)


def _who(spec: Obj, bad: Callable[[Obj], bool]) -> str:
    """Those whose security context is bad, as `pod and container "a"`."""
    names = [c["name"] for c in containers(spec) if bad(_context(c))]
    parts = (["pod"] if bad(_context(spec)) else []) + ([_containers(names)] if names else [])
    return " and ".join(parts)


def _only_containers(spec: Obj, bad: Callable[[Obj], bool]) -> "list[str]":
    return [c["name"] for c in containers(spec) if bad(_context(c))]


def _app_armor(spec: Obj) -> Finding | None:
    who = _who(spec, lambda context: (context.get("appArmorProfile") or {}).get("type") == "Unconfined")
    return ("forbidden AppArmor profile", f'{who} must not set AppArmor profile type to "Unconfined"') if who else None


def _added(context: Obj) -> "list[str]":
    return list((context.get("capabilities") or {}).get("add") or ())


def _capabilities(spec: Obj) -> Finding | None:
    names = _only_containers(spec, lambda context: bool(set(_added(context)) - _CAPABILITIES))
    bad = sorted({cap for c in containers(spec) for cap in _added(_context(c))} - _CAPABILITIES)
    if not names:
        return None
    detail = f"{_containers(names)} must not include {_quoted(bad)} in securityContext.capabilities.add"
    return "non-default capabilities", detail


def _host_namespaces(spec: Obj) -> Finding | None:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(found)) if found else None


def _host_path(spec: Obj) -> Finding | None:
    names = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    return ("hostPath volumes", _many("volume", names)) if names else None


def _host_ports(spec: Obj) -> Finding | None:
    names, ports = [], set()
    for container in containers(spec):
        own = {port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")}
        if own:
            names.append(container["name"])
            ports |= own
    if not names:
        return None
    plural = "s" if len(ports) > 1 else ""
    listed = ", ".join(sorted(map(str, ports)))
    verb = "use" if len(names) > 1 else "uses"
    return f"hostPort{plural}", f"{_containers(names)} {verb} hostPort{plural} {listed}"


def _privileged(spec: Obj) -> Finding | None:
    names = _only_containers(spec, lambda context: bool(context.get("privileged")))
    return ("privileged", f"{_containers(names)} must not set securityContext.privileged=true") if names else None


def _proc_mount(spec: Obj) -> Finding | None:
    names = _only_containers(spec, lambda context: context.get("procMount", "Default") != "Default")
    bad = sorted({_context(c)["procMount"] for c in containers(spec) if c["name"] in names})
    return (
        ("procMount", f"{_containers(names)} must not set securityContext.procMount to {_quoted(bad)}") if bad else None
    )


def _selinux(spec: Obj) -> Finding | None:
    def options(context: Obj) -> Obj:
        return context.get("seLinuxOptions") or {}

    def bad(context: Obj) -> bool:
        own = options(context)
        return own.get("type", "") not in _SELINUX_TYPES or bool(own.get("user") or own.get("role"))

    who = _who(spec, bad)
    if not who:
        return None
    every = [options(_context(holder)) for holder in (spec, *containers(spec))]
    types = sorted({own.get("type", "") for own in every} - set(_SELINUX_TYPES))
    said = [_many("type", types)] if types else []
    said += [f"{field} may not be set" for field in ("user", "role") if any(own.get(field) for own in every)]
    return "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}"


def _profile(context: Obj) -> str | None:
    kind: str | None = (context.get("seccompProfile") or {}).get("type")
    return kind


def _seccomp(spec: Obj) -> Finding | None:
    who = _who(spec, lambda context: _profile(context) not in (None, *_PROFILES))
    if not who:
        return None
    return "seccompProfile", f'{who} must not set securityContext.seccompProfile.type to "Unconfined"'


def _sysctls(spec: Obj) -> Finding | None:
    bad = [one["name"] for one in _context(spec).get("sysctls") or () if one["name"] not in _SYSCTLS]
    return (f"forbidden sysctl{'s' if len(bad) > 1 else ''}", ", ".join(bad)) if bad else None


def _host_process(spec: Obj) -> Finding | None:
    who = _who(spec, lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    return ("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true") if who else None


def _escalation(spec: Obj) -> Finding | None:
    names = _only_containers(spec, lambda context: context.get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    detail = f"{_containers(names)} must set securityContext.allowPrivilegeEscalation=false"
    return "allowPrivilegeEscalation != false", detail


def _capabilities_restricted(spec: Obj) -> Finding | None:
    keeping = _only_containers(spec, lambda c: "ALL" not in ((c.get("capabilities") or {}).get("drop") or ()))
    allowed = {"NET_BIND_SERVICE"}
    adding = _only_containers(spec, lambda context: bool(set(_added(context)) - allowed))
    bad = sorted({cap for c in containers(spec) for cap in _added(_context(c))} - allowed)
    said = []
    if keeping:
        said.append(f'{_containers(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        said.append(f"{_containers(adding)} must not include {_quoted(bad)} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(said)) if said else None


def _volumes(spec: Obj) -> Finding | None:
    bad = []
    for volume in spec.get("volumes") or ():
        kinds = [key for key in volume if key != "name"]
        if kinds and kinds[0] not in _VOLUMES:
            bad.append((volume["name"], kinds[0]))
    if not bad:
        return None
    names, kinds = [name for name, _ in bad], sorted({kind for _, kind in bad})
    verb = "use" if len(names) > 1 else "uses"
    return "restricted volume types", f"{_many('volume', names)} {verb} restricted {_many('volume type', kinds)}"


def _lacking(spec: Obj, good: Callable[[Obj], bool]) -> "list[str]":
    """Containers without a setting of their own, where the pod has none."""
    return [] if good(_context(spec)) else _only_containers(spec, lambda context: not good(context))


def _non_root(spec: Obj) -> Finding | None:
    reason = "runAsNonRoot != true"
    explicit = _only_containers(spec, lambda context: context.get("runAsNonRoot") is False)
    pod = _context(spec).get("runAsNonRoot")
    unset = _only_containers(spec, lambda context: context.get("runAsNonRoot") is None)
    who = (["pod"] if pod is False and unset else []) + ([_containers(explicit)] if explicit else [])
    if who:
        return reason, f"{' and '.join(who)} must not set securityContext.runAsNonRoot=false"
    lacking = _lacking(spec, lambda context: bool(context.get("runAsNonRoot")))
    return (reason, f"pod or {_containers(lacking)} must set securityContext.runAsNonRoot=true") if lacking else None


def _run_as_user(spec: Obj) -> Finding | None:
    who = _who(spec, lambda context: context.get("runAsUser") == 0)
    return ("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _seccomp_restricted(spec: Obj) -> Finding | None:
    bad = _seccomp(spec)
    if bad is not None:
        return bad
    lacking = _lacking(spec, lambda context: _profile(context) in _PROFILES)
    if not lacking:
        return None
    wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return "seccompProfile", f"pod or {_containers(lacking)} {wanted}"


# In the order in which upstream reports; a restricted check replaces the baseline one about the same thing.
_BOTH: tuple[Check, ...] = (_host_namespaces, _host_ports, _privileged, _proc_mount, _selinux, _sysctls, _host_process)
BASELINE: tuple[Check, ...] = (
    _app_armor,
    _capabilities,
    _host_namespaces,
    _host_path,
    *_BOTH[1:5],
    _seccomp,
    *_BOTH[5:],
)
RESTRICTED: tuple[Check, ...] = (
    _app_armor,
    *_BOTH,
    _escalation,
    _capabilities_restricted,
    _volumes,
    _non_root,
    _run_as_user,
    _seccomp_restricted,
)
LEVELS: dict[str, tuple[Check, ...]] = {"privileged": (), "baseline": BASELINE, "restricted": RESTRICTED}


def violations(spec: Obj, level: str) -> str:
    """What of a pod's spec the level forbids, as upstream lists it; "" for nothing."""
    found = [finding for check in LEVELS[level] if (finding := check(spec)) is not None]
    return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in found)
