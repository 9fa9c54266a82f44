"""What the runtime has PID 1 remember of pods and containers, so that a later runtime knows them: JSON both ways."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

from netlab.runtime.contract import ContainerConfig, ContainerStatus, DnsConfig, Mount, SandboxConfig, SandboxStatus
from netlab.sandbox.spec import ExitInfo, ProcessInfo

SANDBOX, CONTAINER, EXEC = "pod", "ctr", "exec"
# containerd, internal/cri/server/container_start.go
START_ERROR_CODE = 128


def process_id(kind: str, node: str, id: str) -> str:  # noqa: A002
    return f"{kind}/{node}/{id}"


def split_id(process: str) -> tuple[str, str, str]:
    """kind, node, id (of an exec: "container/number")."""
    kind, _, rest = process.partition("/")
    node, _, id_ = rest.partition("/")
    return kind, node, id_


def _compact(config: Any) -> dict[str, Any]:
    """Fields that differ from their default, dataclasses among them as they are: `_json` takes these apart.

    (dataclasses.asdict copies everything deeply, which made up most of a pod's time in this process.)
    """
    data = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if value != item.default and not (value == {} and item.default_factory is dict):
            data[item.name] = value
    return data


def _plain(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__slots__}


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), default=_plain)


def sandbox_meta(config: SandboxConfig) -> str:
    return _json(_compact(config))


def sandbox_config(meta: str) -> SandboxConfig:
    data = json.loads(meta)
    if data.get("dns") is not None:
        data["dns"] = DnsConfig(**{key: tuple(value) for key, value in data["dns"].items()})
    data["ips"] = tuple(data.get("ips", ()))
    data["sysctls"] = tuple((name, value) for name, value in data.get("sysctls", ()))
    return SandboxConfig(**data)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container's configuration, and what was resolved when it was started (for exec and for its end)."""

    config: ContainerConfig
    node: str
    image_id: str
    created_at: float
    log_file: str
    cwd: str = "/"
    stop_signal: str = "SIGTERM"
    env: dict[str, str] = field(default_factory=dict)
    user: tuple[int, int] | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] | None = None
    programs: tuple[str, ...] = ()


def container_meta(record: ContainerRecord) -> str:
    data = _compact(record)
    data["config"] = _compact(record.config)
    data["config"].pop("env", None)  # `env` holds it, resolved
    return _json(data)


def container_record(meta: str) -> ContainerRecord:
    data = json.loads(meta)
    config = data["config"]
    config["mounts"] = tuple(Mount(**mount) for mount in config.get("mounts", ()))
    for key in ("command", "args", "supplemental_groups", "capabilities_add", "capabilities_drop"):
        config[key] = tuple(config.get(key, ()))
    data["config"] = ContainerConfig(**config)
    for key in ("user", "capabilities"):
        data[key] = tuple(data[key]) if data.get(key) is not None else None
    for key in ("groups", "programs"):
        data[key] = tuple(data.get(key, ()))
    return ContainerRecord(**data)


def sandbox_status(id: str, config: SandboxConfig, info: ProcessInfo) -> SandboxStatus:  # noqa: A002
    return SandboxStatus(id, config, "notready" if info.exit else "ready", info.started_at, info.pid)


def reason(info: ExitInfo) -> str:
    if info.error:
        return "StartError"
    if info.oom:
        return "OOMKilled"
    return "Completed" if info.status == 0 else "Error"


def container_status(id: str, record: ContainerRecord, info: ProcessInfo) -> ContainerStatus:  # noqa: A002
    config, ended = record.config, info.exit
    return ContainerStatus(
        id=id,
        sandbox_id=config.sandbox_id,
        node=record.node,
        name=config.name,
        attempt=config.attempt,
        image=config.image,
        image_id=record.image_id,
        state="exited" if ended else "running",
        created_at=record.created_at,
        # containerd: a container that failed to start has started at the epoch
        started_at=0.0 if ended and ended.error else info.started_at,
        finished_at=ended.finished_at if ended else 0.0,
        exit_code=(START_ERROR_CODE if ended.error else ended.status) if ended else 0,
        signal=ended.signal if ended else 0,
        reason=reason(ended) if ended else "",
        message=start_message(ended.error) if ended and ended.error else "",
        pid=0 if ended else info.pid,
        log_path=record.log_file,
        labels=config.labels,
        annotations=config.annotations,
    )


def start_message(error: str) -> str:
    """As containerd wraps runc (1.2)."""
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f"unable to start container process: error during container init: {error}"
    )


def exec_message(error: str) -> str:
    return f"OCI runtime exec failed: exec failed: unable to start container process: {error}"
