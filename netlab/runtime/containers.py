"""From a ContainerConfig and an Image to the ProcessSpec that PID 1 starts. Pure but for looking at files.

The defaults are containerd's and runc's: capabilities (oci/spec_opts.go), environment, masked and read-only paths.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from netlab.runtime.contract import ContainerConfig, SandboxConfig
from netlab.runtime.images import catalog, views
from netlab.runtime.images.model import Image
from netlab.runtime.records import CONTAINER, SANDBOX, ContainerRecord, container_meta, process_id
from netlab.sandbox.paths import INSIDE, LAYERS
from netlab.sandbox.spec import MountSpec, Namespace, NamespaceRef, ProcessSpec, RootFs, Stdio
from netlab.sandbox.syscalls import CAPABILITIES

DEFAULT_CAPABILITIES = frozenset(
    {"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"}
    | {"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"}
)
SHM = INSIDE / "shm"


class BadConfig(ValueError):  # noqa: N818
    """Something that runc would refuse; the message is its."""


@dataclass(frozen=True, slots=True)
class Started:
    spec: ProcessSpec
    record: ContainerRecord


def container(
    id: str,  # noqa: A002
    config: ContainerConfig,
    pod: SandboxConfig,
    image: Image,
    now: float,
    cgroup: str | None = None,
) -> Started:
    """What to start. Raises BadConfig."""
    arguments = command_line(config, image)
    capabilities = capability_set(config)
    user = user_ids(config, image)
    record = ContainerRecord(
        config=config,
        node=pod.node,
        image_id=image.id,
        created_at=now,
        log_file=str(Path(pod.log_directory) / config.log_path) if pod.log_directory and config.log_path else "",
        cwd=config.working_dir or image.working_dir or "/",
        stop_signal=image.stop_signal,
        env=environment(config, pod, image),
        user=user,
        groups=config.supplemental_groups,
        capabilities=tuple(sorted(capabilities)) if capabilities is not None else None,
        programs=image.programs,
    )
    program = target(arguments[0], image.programs)
    spec = ProcessSpec(
        id=process_id(CONTAINER, pod.node, id),
        target=program[0] if program else None,
        args=tuple(arguments[1:]) if program else (),
        argv=tuple(arguments),
        via=program[1] if program else "init",
        env=record.env,
        cwd=record.cwd,
        join=joined(config, pod),
        new=frozenset({"mnt"} if pod.share_pids else {"mnt", "pid"}),
        rootfs=root(id, config, pod, image),
        stdio=stdio(config),
        user=user,
        groups=config.supplemental_groups,
        capabilities=capabilities,
        no_new_privs=config.no_new_privs,
        cgroup=cgroup,
        meta=container_meta(record),
    )
    return Started(spec, record)


def command_line(config: ContainerConfig, image: Image) -> list[str]:
    """command and args over the image's: a given command drops the image's arguments, too."""
    if config.command:
        found = [*config.command, *config.args]
    else:
        found = [*image.entrypoint, *(config.args or image.cmd)]
    if not found:
        raise BadConfig(f'no command specified for image "{config.image}"')
    return found


def target(program: str, programs: tuple[str, ...]) -> tuple[str, Literal["init", "zygote"]] | None:
    """The Python target of one of the image's own programs, named plainly, in / or by its path."""
    name = program.rpartition("/")[2]
    if name in programs and program in (name, f"/{name}", f"/opt/netlab/bin/{name}", f"/usr/local/bin/{name}"):
        return catalog.TARGETS[name]
    return None


def environment(config: ContainerConfig, pod: SandboxConfig, image: Image) -> dict[str, str]:
    env = dict(image.env)
    env.setdefault("PATH", catalog.REAL_PATH)
    env["HOSTNAME"] = pod.hostname
    if config.tty:
        env["TERM"] = "xterm"
    env.update(config.env)
    env.setdefault("HOME", "/root" if not (config.run_as_user or 0) else "/")
    return env


def joined(config: ContainerConfig, pod: SandboxConfig) -> dict[Namespace, NamespaceRef]:
    pause = process_id(SANDBOX, pod.node, config.sandbox_id)
    names: tuple[Namespace, ...] = ("net", "uts", "ipc")
    found: dict[Namespace, NamespaceRef] = dict.fromkeys(names, pause)
    if pod.share_pids:
        found["pid"] = pause
    return found


def stdio(config: ContainerConfig) -> tuple[Stdio, Stdio, Stdio]:
    if config.tty:
        return ("pty", "pty", "pty")
    return ("pipe" if config.stdin else "null", "pipe", "pipe")


# -- identity ---------------------------------------------------------------------------------------------------------


def capability_set(config: ContainerConfig) -> frozenset[str] | None:
    """Names to keep; None: all (privileged). Raises BadConfig for a name there is not."""
    if config.privileged:
        return None
    add = {name.upper().removeprefix("CAP_") for name in config.capabilities_add}
    drop = {name.upper().removeprefix("CAP_") for name in config.capabilities_drop}
    unknown = sorted((add | drop) - set(CAPABILITIES) - {"ALL"})
    if unknown:
        raise BadConfig(f'unknown capability "CAP_{unknown[0]}"')
    kept = set(CAPABILITIES) if "ALL" in add else set(DEFAULT_CAPABILITIES)
    if "ALL" in drop:
        kept = set()
    return frozenset((kept | (add - {"ALL"})) - (drop - {"ALL"}))


def user_ids(config: ContainerConfig, image: Image) -> tuple[int, int] | None:
    """None for root, which a container is anyway (and which needs no call in a user namespace with one id)."""
    uid, gid = image_user(image)
    if config.run_as_user is not None:
        uid, gid = config.run_as_user, 0
    if config.run_as_group is not None:
        gid = config.run_as_group
    return None if (uid, gid) == (0, 0) else (uid, gid)


def image_user(image: Image) -> tuple[int, int]:
    """USER of an image: "name", "uid", "name:group", "uid:gid"; names are looked up in the image's own files."""
    user, _, group = image.user.partition(":")
    if not user:
        return 0, 0
    uid, gid = _look_up(image, "etc/passwd", user, default_group=True)
    if group:
        gid = _look_up(image, "etc/group", group, default_group=False)[0]
    return uid, gid


def _look_up(image: Image, file: str, name: str, *, default_group: bool) -> tuple[int, int]:
    for directory in image.lower:
        try:
            lines = (Path(directory) / file).read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            fields = line.split(":")
            if len(fields) > 3 and name in (fields[0], fields[2]):
                return int(fields[2]), int(fields[3]) if default_group and fields[3].isdigit() else 0
    if name.isdigit():
        return int(name), 0
    if name == "root":
        return 0, 0
    raise BadConfig(f"unable to find user {name}: no matching entries in passwd file")


# -- the root file system ---------------------------------------------------------------------------------------------


def root(id: str, config: ContainerConfig, pod: SandboxConfig, image: Image) -> RootFs:  # noqa: A002
    view = views.view(image.view)
    system = views.with_layers(view.mounts, image.lower)
    own = {mount.container_path.rstrip("/") or "/" for mount in config.mounts}
    # A path shows the later mount: shorter paths first, as the kubelet's order need not be.
    ordered = sorted(config.mounts, key=lambda mount: mount.container_path.rstrip("/").count("/"))
    for mount in ordered:
        system = views.writable(system, mount.container_path.rstrip("/"))
    return RootFs(
        lower=(*image.lower, *view.lower),
        layer=str(LAYERS / id),
        mounts=(
            *pod_files(pod, own),
            *system,
            MountSpec("proc", "/proc", options="unmasked" if config.privileged else ""),
            MountSpec("sysfs", "/sys", read_only=not config.privileged),
            MountSpec(
                "dev", "/dev", source=str(SHM / config.sandbox_id), options="private" if private_dev(own) else ""
            ),
            *(MountSpec("bind", m.container_path.rstrip("/") or "/", m.host_path, m.read_only) for m in ordered),
        ),
        read_only=config.read_only_rootfs,
    )


def private_dev(targets: set[str]) -> bool:
    return any(t.startswith("/dev/") and t not in ("/dev/shm", "/dev/termination-log") for t in targets)


def pod_files(pod: SandboxConfig, own: set[str]) -> list[MountSpec]:
    """hosts, hostname and resolv.conf, unless the kubelet mounts its own."""
    texts = {"/etc/hostname": pod.hostname + "\n", "/etc/hosts": hosts_file(pod)}
    if pod.dns is not None:
        texts["/etc/resolv.conf"] = pod.dns.resolv_conf()
    return [MountSpec("file", target, text=text) for target, text in texts.items() if target not in own]


def hosts_file(pod: SandboxConfig) -> str:
    if pod.etc_hosts is not None:
        return pod.etc_hosts
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{pod.hostname}" for address in pod.ips]
    return "\n".join(lines) + "\n"
