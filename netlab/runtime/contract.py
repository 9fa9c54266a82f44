"""The runtime as the kubelet sees it: the part of the Container Runtime Interface (cri-api v1) that pods need.

Names and meanings follow cri-api's runtime.proto and containerd's CRI plugin (exit codes, reasons, messages).
Crash-only: every fact about pods and containers is kept by the lab's PID 1, so a new Runtime object knows all that
the previous one started. Times are seconds since the epoch.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from netlab.runtime.images.model import ImageStore


@dataclass(frozen=True, slots=True)
class DnsConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def resolv_conf(self) -> str:
        """The file's text as dockershim and containerd write it."""
        lines = []
        if self.searches:
            lines.append("search " + " ".join(self.searches))
        lines += [f"nameserver {server}" for server in self.servers]
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(line + "\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A pod. `netns` is the path of its network namespace (/run/netns/cni-… or, for hostNetwork, the node's).

    hostname: the pod's; for hostNetwork the node's name. etc_hosts: text of /etc/hosts (None: localhost and `ips`).
    log_directory: where containers' log paths start. share_pids: shareProcessNamespace (pause is PID 1).
    sysctls: (dotted name, value) of kernel parameters of the pod's own network and IPC namespaces.
    """

    node: str
    namespace: str
    name: str
    uid: str
    netns: str
    attempt: int = 0
    hostname: str = ""
    ips: tuple[str, ...] = ()
    dns: DnsConfig | None = None
    etc_hosts: str | None = None
    log_directory: str = ""
    host_network: bool = False
    share_pids: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the lab (an emptyDir's, a ConfigMap's, a hostPath) inside a container.

    The source must exist, as a plain path: mounts made inside the lab after its start are not seen by containers.
    """

    host_path: str
    container_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """A container. Empty `command`/`args` take the image's entrypoint and arguments, with upstream's rule: a given
    command drops the image's arguments too. log_path is relative to the sandbox's log_directory.

    capabilities: names without CAP_, as in securityContext; "ALL" is understood.
    """

    sandbox_id: str
    name: str
    image: str
    attempt: int = 0
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    mounts: tuple[Mount, ...] = ()
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    no_new_privs: bool = False
    read_only_rootfs: bool = False
    memory_limit: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """state "ready" while its pause process lives. `pid` is pause's, in the lab."""

    id: str
    config: SandboxConfig
    state: Literal["ready", "notready"]
    created_at: float
    pid: int


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """reason (exited): Completed, Error, OOMKilled, StartError; exit_code 128 for StartError, 137 after SIGKILL."""

    id: str
    sandbox_id: str
    node: str
    name: str
    attempt: int
    image: str
    image_id: str
    state: Literal["running", "exited"]
    created_at: float
    started_at: float
    finished_at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0
    log_path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """Something changed; read the status for what. `container_id` is empty for a sandbox's own event."""

    kind: Literal["started", "exited", "removed", "sandbox_exited"]
    node: str
    sandbox_id: str
    container_id: str = ""


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """cpu_seconds: user and system time since the start. memory_bytes: working set of its processes."""

    container_id: str
    cpu_seconds: float
    memory_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


class ContainerError(Exception):
    """Base of the runtime's errors."""


class StartError(ContainerError):
    """A container (or an exec) did not start. The message is worded as runc and containerd word it.

    For a container the record exists, as `container_id`, exited with reason StartError and code 128.
    `exit_code`: 126 (not executable) or 127 (not found) for an exec, 128 for a container.
    """

    def __init__(self, message: str, *, container_id: str = "", exit_code: int = 128) -> None:
        super().__init__(message)
        self.container_id, self.exit_code = container_id, exit_code


class NotFound(ContainerError):  # noqa: N818
    """No such sandbox or container."""


class NotRunning(ContainerError):  # noqa: N818
    """The container is not running."""


class Session(Protocol):
    """A running exec, or an attachment to a container. With a tty all output comes as "stdout"."""

    async def read(self, stream: Literal["stdout", "stderr"]) -> bytes:
        """The next bytes, b"" at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """To stdin; silently dropped when the process does not read any more."""

    async def close_stdin(self) -> None:
        """End of input (with a tty: nothing, as upstream)."""

    def resize(self, width: int, height: int) -> None:
        """The terminal's new size; ignored without a tty."""

    async def wait(self) -> int:
        """Exit status (128 + signal) of the process."""

    async def close(self) -> None:
        """Let go of the descriptors; an exec that still runs is killed, an attached container is not."""


class Runtime(Protocol):
    """What the kubelet asks for. Ids are opaque strings. All methods may be called concurrently."""

    @property
    def images(self) -> ImageStore: ...

    async def run_sandbox(self, config: SandboxConfig) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill whatever still runs in it, pause included. Idempotent."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Stop it and forget it with its containers. Idempotent."""

    async def start_container(self, config: ContainerConfig) -> str:
        """Create and start. Raises NotFound (sandbox), ImageNotFound, StartError."""

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """The image's stop signal (SIGTERM), the grace, SIGKILL; returns when it has ended. Idempotent."""

    async def remove_container(self, container_id: str) -> None:
        """Forget an ended container (a running one is killed first). Its log file stays. Idempotent."""

    async def list_sandboxes(self, node: str | None = None) -> list[SandboxStatus]: ...

    async def list_containers(self, node: str | None = None) -> list[ContainerStatus]: ...

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """Raises NotFound."""

    async def container_status(self, container_id: str) -> ContainerStatus:
        """Raises NotFound."""

    def events(self, node: str | None = None) -> AsyncIterator[ContainerEvent]:
        """Changes from now on; several consumers may listen. Level-based: list after subscribing."""

    async def exec(self, container_id: str, argv: Sequence[str], *, tty: bool = False, stdin: bool = False) -> Session:
        """Raises NotFound, NotRunning, StartError."""

    async def exec_sync(self, container_id: str, argv: Sequence[str], timeout: float = 0.0) -> ExecResult:
        """Run to the end; TimeoutError (and the process killed) after `timeout` seconds if that is not 0."""

    async def attach(self, container_id: str, *, stdin: bool = False) -> Session:
        """Output from now on; stdin only when the container was started with it."""

    async def reopen_log(self, container_id: str) -> None:
        """After the log file was renamed (rotation)."""

    async def stats(self, node: str | None = None) -> list[ContainerStats]: ...

    async def close(self) -> None:
        """Let go; containers go on."""
