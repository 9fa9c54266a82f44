"""From a container of a pod's spec to what the runtime is asked to start. Pure but for the paths it names.

Follows upstream pkg/kubelet/kuberuntime/kuberuntime_container.go (generateContainerConfig) and security_context.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.node.kubelet.environment import ConfigError, Environment, expand
from netlab.node.kubelet.podspec import quantity, uid
from netlab.runtime.contract import ContainerConfig, Mount
from netlab.runtime.images.model import Image

POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
CONTAINER_NAME_LABEL = "io.kubernetes.container.name"
RESTART_COUNT = "io.kubernetes.container.restartCount"
TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
TERMINATION_FILE = "netlab.io/termination-file"


@dataclass(frozen=True, slots=True)
class Volumes:
    """What a container's mounts need: volume name → (path, read-only), and how a subPath is resolved."""

    paths: Mapping[str, tuple[str, bool]]
    sub_path: Callable[[str, str], str]


def pod_labels(pod: Obj) -> dict[str, str]:
    """The labels by which a sandbox or container is recognised as the pod's."""
    meta = pod["metadata"]
    return {POD_NAME_LABEL: meta["name"], POD_NAMESPACE_LABEL: meta["namespace"], POD_UID_LABEL: uid(pod)}


def mounts(container: Obj, volumes: Volumes, environment: Environment) -> list[Mount]:
    """The container's volumeMounts. Raises ConfigError."""
    found = []
    for mount in container.get("volumeMounts") or ():
        name = mount["name"]
        if name not in volumes.paths:
            raise ConfigError(f'cannot find volume "{name}" to mount into container "{container["name"]}"')
        path, volume_read_only = volumes.paths[name]
        sub = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            sub = _sub_path_expression(mount["subPathExpr"], environment)
        if sub:
            try:
                path = volumes.sub_path(name, sub)
            except (ValueError, OSError) as problem:
                message = f'failed to prepare subPath for volumeMount "{name}" of container "{container["name"]}"'
                raise ConfigError(message) from problem
        target = mount["mountPath"]
        target = target if target.startswith("/") else "/" + target
        found.append(Mount(path, target, bool(mount.get("readOnly")) or volume_read_only))
    return found


def _sub_path_expression(expression: str, environment: Environment) -> str:
    missing: list[str] = []

    def lookup(name: str) -> str | None:
        value = environment.variables.get(name)
        if value is None:
            missing.append(name)
        return value

    value = expand(expression, lookup)
    if missing:
        raise ConfigError(f'missing value for "{missing[0]}"')
    if value.startswith("/"):
        raise ConfigError(f"error SubPath `{value}` must not be an absolute path")
    return value


def _image_user(image: Image) -> int | None:
    """The uid an image asks for, 0 where it says nothing, None for a name."""
    user = image.user.partition(":")[0]
    return 0 if not user else int(user) if user.isdigit() else None


def check_non_root(pod: Obj, container: Obj, image: Image) -> None:
    """runAsNonRoot. Raises ConfigError with upstream's text."""
    context = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    if not context.get("runAsNonRoot"):
        return
    who = (
        f'(pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}({uid(pod)})", container: {container["name"]})'
    )
    wanted = context.get("runAsUser")
    if wanted is not None:
        if int(wanted) == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {who}")
        return
    user = _image_user(image)
    if user is None:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.user}), "
            f"cannot verify user is non-root {who}"
        )
    if user == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {who}")


def container_config(
    pod: Obj,
    container: Obj,
    sandbox_id: str,
    attempt: int,
    environment: Environment,
    mount_list: list[Mount],
    termination_file: str,
) -> ContainerConfig:
    """The runtime's ContainerConfig; `termination_file` is where terminationMessagePath is kept on the node."""
    context = container.get("securityContext") or {}
    pod_context = pod["spec"].get("securityContext") or {}
    both = {**pod_context, **context}
    capabilities = context.get("capabilities") or {}
    groups = [int(group) for group in pod_context.get("supplementalGroups") or ()]
    if pod_context.get("fsGroup") is not None:
        groups.append(int(pod_context["fsGroup"]))
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    name = container["name"]
    message_path = container.get("terminationMessagePath") or ""
    if message_path and termination_file:
        mount_list = [*mount_list, Mount(termination_file, message_path)]
    escalation = context.get("allowPrivilegeEscalation")
    return ContainerConfig(
        sandbox_id=sandbox_id,
        name=name,
        image=container["image"],
        attempt=attempt,
        command=tuple(environment.expand(container.get("command") or ())),
        args=tuple(environment.expand(container.get("args") or ())),
        env=tuple(environment.variables.items()),
        working_dir=container.get("workingDir") or "",
        mounts=tuple(mount_list),
        log_path=f"{name}/{attempt}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        run_as_user=_number(both.get("runAsUser")),
        run_as_group=_number(both.get("runAsGroup")),
        supplemental_groups=tuple(groups),
        privileged=bool(context.get("privileged")),
        capabilities_add=tuple(capabilities.get("add") or ()),
        capabilities_drop=tuple(capabilities.get("drop") or ()),
        no_new_privs=escalation is False,
        read_only_rootfs=bool(context.get("readOnlyRootFilesystem")),
        memory_limit=int(quantity(limit)) if limit is not None else None,
        labels={**pod_labels(pod), CONTAINER_NAME_LABEL: name},
        annotations=_annotations(container, attempt, termination_file),
    )


def _annotations(container: Obj, attempt: int, termination_file: str) -> dict[str, str]:
    """What the kubelet must know of a container after a restart of its own."""
    return {
        RESTART_COUNT: str(attempt),
        TERMINATION_PATH: container.get("terminationMessagePath") or "",
        TERMINATION_POLICY: container.get("terminationMessagePolicy") or "File",
        TERMINATION_FILE: termination_file,
    }


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))
