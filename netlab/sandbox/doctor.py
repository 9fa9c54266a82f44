"""What this machine and user can and cannot do for a lab: a pure list of checks, each with its remedy."""

import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from netlab.sandbox import cgroups, idmap, syscalls
from netlab.sandbox.paths import bundled_program

SYSCTL = Path("/proc/sys")
MIN_KERNEL = (5, 8)  # setns by pidfd
OVERLAY_KERNEL = (5, 11)  # overlayfs in a user namespace
MIN_FILES = 4096
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `klab doctor`. `level`: "required" (no lab without), "feature" (something is missing without)."""

    name: str
    ok: bool
    found: str
    needed_for: str
    remedy: str = ""
    level: Literal["required", "feature"] = "feature"


def checks() -> list[Check]:
    """All checks, required ones first. Changes nothing; takes some tens of milliseconds."""
    return [*required(), *_features(), *_kernel()]


def required() -> list[Check]:
    """Only what no lab can do without; what `launch` names when it fails."""
    found = [_kernel_version(), *_user_namespaces()]
    return [*found, _proc()]


def _features() -> list[Check]:
    found = [_subordinate_ids(), _overlay(), _open_files(), _cgroup()]
    return [*found, *(_program(row) for row in PROGRAMS)]


def _kernel() -> list[Check]:
    """The data plane's features, found out by the part that uses them."""
    from netlab.kernel.features import probe

    try:
        features = probe()
    except OSError as error:
        return [Check("kernel features", False, str(error), "the data plane", "run klab doctor again inside a lab")]
    return [
        Check(f.name, f.available, f.detail, f.needed_for, "" if f.available else f.remedy) for f in features.values()
    ]


# -- namespaces -------------------------------------------------------------------------------------------------------


def kernel_release() -> tuple[int, int]:
    major, _, rest = platform.release().partition(".")
    minor = "".join(c for c in rest.split(".")[0] if c.isdigit())
    return int(major), int(minor or 0)


def _kernel_version() -> Check:
    release = kernel_release()
    return Check(
        "kernel",
        release >= MIN_KERNEL,
        f"Linux {platform.release()}",
        "everything",
        "" if release >= MIN_KERNEL else "Linux 5.8 or newer is needed (Debian 11, Ubuntu 22.04 or newer)",
        "required",
    )


def _sysctl(name: str) -> str | None:
    try:
        return (SYSCTL / name.replace(".", "/")).read_text().strip()
    except OSError:
        return None


# sysctl, what says no, remedy
_SWITCHES: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    (
        "kernel.unprivileged_userns_clone",
        lambda value: value == "0",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1 (for good: a file in /etc/sysctl.d)",
    ),
    (
        "user.max_user_namespaces",
        lambda value: value == "0",
        "sudo sysctl -w user.max_user_namespaces=15000 (for good: a file in /etc/sysctl.d)",
    ),
    (
        "user.max_net_namespaces",
        lambda value: value == "0",
        "sudo sysctl -w user.max_net_namespaces=15000 (for good: a file in /etc/sysctl.d)",
    ),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        lambda value: value == "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (for good: a file in /etc/sysctl.d), or an "
        "AppArmor profile that gives this Python interpreter `userns,`",
    ),
)


def privileged() -> bool:
    """Whether no user namespace is needed."""
    needed = syscalls.cap_mask(("SYS_ADMIN", "NET_ADMIN", "SYS_CHROOT", "SETPCAP"))
    return syscalls.effective_capabilities() & needed == needed


def _user_namespaces() -> list[Check]:
    """Tried for real; when that fails, the sysctl that is known to forbid it is named."""
    if privileged():
        return [Check("namespaces", True, "running with privileges: no user namespace needed", "a lab", "", "required")]
    error = try_namespaces()
    if error is None:
        return [Check("user namespaces", True, "can be made by this user", "a lab without root", "", "required")]
    return [Check("user namespaces", False, *_why_not(error), "required")]


def _why_not(error: OSError) -> tuple[str, str, str]:
    needed = "a lab without root"
    for name, forbids, remedy in _SWITCHES:
        value = _sysctl(name)
        if value is not None and forbids(value):
            return f"forbidden: {name} is {value}", needed, remedy
    text = error.strerror or str(error)
    return (
        f"refused by the kernel: {text}",
        needed,
        "inside a container: run it with --privileged or allow unshare in its seccomp profile; else run klab as root",
    )


def try_namespaces() -> OSError | None:
    """Make a user and a network namespace, with a map and a device mount, in a child; None when it worked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            uid, gid = os.getuid(), os.getgid()
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            syscalls.mount("tmpfs", "/run", "tmpfs")
        except OSError as error:
            code = error.errno or 1
        os.write(writer, bytes([code & 0xFF]))
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 1)
    os.close(reader)
    os.waitpid(pid, 0)
    if not answer:
        return OSError(0, "the attempt was killed")
    return OSError(answer[0], os.strerror(answer[0])) if answer[0] else None


def _proc() -> Check:
    """A masked /proc (as in most containers) forbids to mount one's own: a lab then works, but ps in it shows more."""
    masked = []
    try:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            point = line.split()[4]
            if point.startswith("/proc/") and point != "/proc/sys/fs/binfmt_misc":
                masked.append(point)
    except OSError:
        masked = ["/proc"]
    found = "complete" if not masked else f"partly hidden ({masked[0]}, …)"
    remedy = "" if not masked else "in a container: run it with --security-opt systempaths=unconfined"
    return Check("/proc", not masked, found, "an own process list in the lab and its pods", remedy)


# -- identity, files, limits ------------------------------------------------------------------------------------------


def _subordinate_ids() -> Check:
    needed = "runAsUser and servers that drop privileges"
    if privileged():
        return Check("subordinate ids", True, "not needed: running with privileges", needed)
    ranges = idmap.subordinate_ranges()
    if ranges is not None:
        return Check("subordinate ids", True, f"{ranges[0][1]} user ids from {ranges[0][0]}", needed)
    if not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return Check("subordinate ids", False, "newuidmap is not installed", needed, "install the package uidmap")
    user = idmap.user_name(os.getuid())
    return Check(
        "subordinate ids",
        False,
        f"no range for {user} in /etc/subuid and /etc/subgid",
        needed,
        f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
    )


def _overlay() -> Check:
    needed = "containers' private writable layers (without: a copy each, slower)"
    known = "overlay" in Path("/proc/filesystems").read_text().split()
    ok = known and (privileged() or kernel_release() >= OVERLAY_KERNEL)
    if ok:
        return Check("overlayfs", True, "available", needed)
    remedy = "Linux 5.11 or newer" if known else "sudo modprobe overlay"
    return Check("overlayfs", False, "not for this user" if known else "not loaded", needed, remedy)


def _open_files() -> Check:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = hard == resource.RLIM_INFINITY or hard >= MIN_FILES
    remedy = "" if ok else "raise the hard limit: LimitNOFILE of the user's session, or /etc/security/limits.conf"
    return Check("open files", ok, f"hard limit {hard}", "labs with hundreds of pods", remedy)


def _cgroup() -> Check:
    needed = "memory limits of containers (OOMKilled)"
    found = cgroups.delegated()
    if found is not None:
        return Check("memory cgroup", True, f"cgroup v{found.version} at {found.path}", needed)
    return Check(
        "memory cgroup",
        False,
        "none that this user may write",
        needed,
        "start klab below a delegated cgroup: systemd-run --user --scope -p Delegate=yes klab up …",
    )


# -- programs ---------------------------------------------------------------------------------------------------------

# program, arguments that print a version, needed for, Debian package, level
PROGRAMS: tuple[tuple[str, tuple[str, ...], str, str, Literal["required", "feature"]], ...] = (
    ("ip", ("-V",), "everything", "iproute2", "required"),
    ("mnexec", ("-v",), "Mininet's own commands outside a lab (a lab does without)", "mininet", "feature"),
    ("iptables", ("--version",), "Services in iptables mode, masquerade", "iptables", "required"),
    ("kubectl", (), "talking to the cluster", "kubernetes-client", "feature"),
    ("busybox", (), "the busybox image, and tools in every other one", "busybox-static", "feature"),
    ("nginx", (), "the nginx image", "nginx-light", "feature"),
    ("tcpdump", (), "looking at packets yourself", "tcpdump", "feature"),
)


def missing_programs() -> list[Check]:
    """The required programs that are not here. Milliseconds: nothing is run."""
    names = {row[0]: row for row in PROGRAMS if row[4] == "required"}
    lacking = [name for name in names if not (shutil.which(name) or shutil.which(name, path=SEARCH))]
    return [_program(names[name]) for name in lacking]


def _program(row: tuple[str, tuple[str, ...], str, str, Literal["required", "feature"]]) -> Check:
    name, version, needed, package, level = row
    path: str | Path | None = shutil.which(name)
    if path is None and name != "kubectl":  # klab runs the user's own kubectl, and no other
        path = shutil.which(name, path=SEARCH) or bundled_program(name)
    if path is None:
        return Check(name, False, "not found", needed, f"install the package {package}", level)
    return Check(name, True, _version([str(path), *version]) if version else str(path), needed, "", level)


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return command[0]
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else command[0]
