"""Starts one container of a pod: image, configuration, process, postStart hook; and says so in upstream's words."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netlab.api.types import Obj
from netlab.node.kubelet import containerconfig, environment
from netlab.node.kubelet.actions import backoff_key
from netlab.node.kubelet.downward import PodFacts
from netlab.node.kubelet.environment import ConfigError
from netlab.node.kubelet.hooks import HookError, run_hook
from netlab.node.kubelet.imagecache import shown
from netlab.node.kubelet.model import ContainerState, Exit, PodState
from netlab.node.kubelet.shared import Shared
from netlab.node.kubelet.sources import FetchedData, UnavailableError
from netlab.node.kubelet.volumes.pod import PodVolumes
from netlab.runtime.contract import ContainerError, Mount, StartError
from netlab.runtime.images.model import Image, ImageNotFound, InvalidImageName

log = logging.getLogger(__name__)

CONFIG_RETRY = 2.0
"""A container that cannot be configured is tried again this often, and at once when an object it names changes."""


class _BlockedError(Exception):
    """The container does not start now; `reason` and `message` go into its waiting state."""

    def __init__(self, reason: str, message: str, retry: float) -> None:
        self.reason, self.message, self.retry = reason, message, retry
        super().__init__(message)


@dataclass(slots=True)
class Starter:
    """Of one pod. `stopping()` says that the pod is to end, so that nothing more should be started."""

    shared: Shared
    state: PodState
    volumes: PodVolumes
    stopping: Callable[[], bool]

    async def start(self, pod: Obj, container: Obj, facts: PodFacts) -> bool:
        """Whether the container runs now. What went wrong is in its state and in events."""
        known = self.state.containers[container["name"]]
        now = self.shared.context.clock()
        try:
            image = self._image(pod, container, known)
            environ = await self._environment(pod, container, facts)
            self._warn_invalid(pod, known, environ)
            containerconfig.check_non_root(pod, container, image)
            volumes = containerconfig.Volumes(self.volumes.paths, self.volumes.sub_path)
            mounts = containerconfig.mounts(container, volumes, environ)
        except _BlockedError as blocked:
            self._wait(known, blocked.reason, blocked.message, now + blocked.retry)
            return False
        except (ConfigError, UnavailableError) as problem:
            known_already = known.waiting == ("CreateContainerConfigError", str(problem))
            self._wait(known, "CreateContainerConfigError", str(problem), now + CONFIG_RETRY)
            if not known_already:
                self._event(pod, known, "Failed", f"Error: {problem}", warning=True)
            return False
        if self.stopping():
            return False
        if known.exit is not None:
            self.shared.backoff.next(backoff_key(self.state.uid, known.name), now, known.exit.finished_at)
        return await self._run(pod, container, known, image, environ, mounts)

    async def _run(
        self,
        pod: Obj,
        container: Obj,
        known: ContainerState,
        image: Image,
        environ: environment.Environment,
        mounts: list[Mount],
    ) -> bool:
        runtime = self.shared.context.runtime
        previous, attempt = known.id, known.attempt + 1
        config = containerconfig.container_config(
            pod, container, self.state.sandbox_id, attempt, environ, mounts, self._termination_file(container, attempt)
        )
        known.attempt = attempt
        if known.exit is not None:
            known.last, known.exit = known.exit, None
        try:
            container_id = await runtime.start_container(config)
        except StartError as problem:
            self._failed_start(pod, container, known, image, problem)
            return False
        except (ContainerError, OSError) as problem:
            known.attempt = attempt - 1
            self._wait(known, "CreateContainerError", str(problem), self.shared.context.clock() + CONFIG_RETRY)
            self._event(pod, known, "Failed", f"Error: {problem}", warning=True)
            return False
        known.id, (known.image, known.image_id) = container_id, shown(container["image"], image.id)
        known.running, known.waiting, known.retry_at = True, None, 0.0
        known.started_at = self.shared.context.clock()
        self._event(pod, known, "Created", f"Created container: {known.name}")
        self._event(pod, known, "Started", f"Started container {known.name}")
        await self._tidy(pod, known, previous)
        return await self._post_start(pod, container, known)

    def _failed_start(self, pod: Obj, container: Obj, known: ContainerState, image: Image, problem: StartError) -> None:
        now = self.shared.context.clock()
        known.id = problem.container_id or known.id
        known.image, known.image_id = shown(container["image"], image.id)
        known.exit = Exit(known.id, problem.exit_code, "StartError", str(problem), 0.0, now)
        known.waiting = ("RunContainerError", str(problem))
        self._event(pod, known, "Created", f"Created container: {known.name}")
        self._event(pod, known, "Failed", f"Error: {problem}", warning=True)

    async def _post_start(self, pod: Obj, container: Obj, known: ContainerState) -> bool:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return True
        context = self.shared.context
        ip = self.state.ips[0] if self.state.ips else ""
        running = asyncio.ensure_future(run_hook(context, hook, container, known.id, ip))
        while not running.done():
            await asyncio.wait((running,), timeout=0.2)
            if self.stopping() or not known.running:
                running.cancel()
                return False
        problem = running.exception()
        if problem is None:
            return True
        if not isinstance(problem, HookError):
            raise problem
        self._event(pod, known, "FailedPostStartHook", "PostStartHook failed", warning=True)
        self._event(pod, known, "Killing", "FailedPostStartHook")
        log.info("postStart of %s in %s: %s", known.name, pod["metadata"]["name"], problem)
        known.stopping = True
        await context.runtime.stop_container(known.id, float(pod["spec"].get("terminationGracePeriodSeconds") or 30))
        return False

    def _image(self, pod: Obj, container: Obj, known: ContainerState) -> Image:
        """The image, or _BlockedError with ErrImagePull, ImagePullBackOff, ErrImageNeverPull or InvalidImageName."""
        ref, policy = container["image"], container.get("imagePullPolicy") or "IfNotPresent"
        began = time.monotonic()
        try:
            image = self.shared.images.resolve(ref)
        except InvalidImageName as problem:
            message = f'Failed to apply default image tag "{ref}": {problem}'
            if known.waiting != ("InvalidImageName", message):
                self._event(pod, known, "InspectFailed", message, warning=True)
                self._event(pod, known, "Failed", "Error: InvalidImageName", warning=True)
            raise _BlockedError("InvalidImageName", message, CONFIG_RETRY) from problem
        except ImageNotFound as problem:
            raise self._missing_image(pod, known, ref, policy, str(problem)) from problem
        if policy == "Always":
            self._event(pod, known, "Pulling", f'Pulling image "{ref}"')
            took = f"{max(1, round((time.monotonic() - began) * 1000))}ms"
            text = f'Successfully pulled image "{ref}" in {took} ({took} including waiting).'
            self._event(pod, known, "Pulled", f"{text} Image size: {image.size} bytes.")
        else:
            self._event(pod, known, "Pulled", f'Container image "{ref}" already present on machine')
        self.shared.image_backoff.forget(self._image_key(ref))
        return image

    def _image_key(self, ref: str) -> str:
        return f"{self.state.uid}_{ref}"

    def _missing_image(self, pod: Obj, known: ContainerState, ref: str, policy: str, why: str) -> _BlockedError:
        backoff, now, key = self.shared.image_backoff, self.shared.context.clock(), self._image_key(ref)
        if policy == "Never":
            message = f'Container image "{ref}" is not present with pull policy of Never'
            if known.waiting != ("ErrImageNeverPull", message):
                self._event(pod, known, "ErrImageNeverPull", message, warning=True)
                self._event(pod, known, "Failed", "Error: ErrImageNeverPull", warning=True)
            return _BlockedError("ErrImageNeverPull", message, CONFIG_RETRY)
        if known.waiting and known.waiting[0] == "ErrImagePull":
            left = backoff.remaining(key, known.retry_at, now)
            if left > 0:
                message = f'Back-off pulling image "{ref}"'
                self._event(pod, known, "BackOff", message)
                self._event(pod, known, "Failed", "Error: ImagePullBackOff", warning=True)
                return _BlockedError("ImagePullBackOff", f"{message}: ErrImagePull: {why}", left)
        self._event(pod, known, "Pulling", f'Pulling image "{ref}"')
        self._event(pod, known, "Failed", f'Failed to pull image "{ref}": {why}', warning=True)
        self._event(pod, known, "Failed", "Error: ErrImagePull", warning=True)
        backoff.next(key, now, now)
        return _BlockedError("ErrImagePull", why, 0.5)

    async def _environment(self, pod: Obj, container: Obj, facts: PodFacts) -> environment.Environment:
        data = FetchedData()
        configmaps, secrets = _references(container)
        namespace = pod["metadata"]["namespace"]
        if configmaps or secrets:
            source = self.shared.source
            found = await asyncio.gather(
                *(source.get("configmaps", namespace, name, self.state.uid) for name in configmaps),
                *(source.get("secrets", namespace, name, self.state.uid) for name in secrets),
            )
            data = FetchedData(
                dict(zip(configmaps, found, strict=False)), dict(zip(secrets, found[len(configmaps) :], strict=False))
            )
        links = pod["spec"].get("enableServiceLinks")
        services = await self.shared.source.service_env(namespace, links is not False)
        return environment.build(container, facts, data, services)

    def _warn_invalid(self, pod: Obj, known: ContainerState, environ: environment.Environment) -> None:
        for source, keys in environ.invalid:
            text = (
                f"Keys [{', '.join(keys)}] from the EnvFrom {source} were skipped "
                "since they are considered invalid environment variable names."
            )
            self._event(pod, known, "InvalidEnvironmentVariableNames", text, warning=True)

    def _termination_file(self, container: Obj, attempt: int) -> str:
        if not container.get("terminationMessagePath"):
            return ""
        path = f"{self.volumes.memory}/{container['name']}.{attempt}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            os.makedirs(self.volumes.memory, exist_ok=True)  # noqa: PTH103
            return self._termination_file(container, attempt)
        os.fchmod(descriptor, 0o666)
        os.close(descriptor)
        return path

    async def _tidy(self, pod: Obj, known: ContainerState, previous: str) -> None:
        """Keep the log of the attempt before; forget its record and whatever is older."""
        if previous:
            await self.shared.context.runtime.remove_container(previous)
        if known.attempt >= 2:
            meta = pod["metadata"]
            logs = self.shared.context.log_dir(meta["namespace"], meta["name"], self.state.uid)
            _unlink(logs / known.name / f"{known.attempt - 2}.log")

    def _wait(self, known: ContainerState, reason: str, message: str, retry_at: float) -> None:
        known.waiting, known.retry_at = (reason, message), retry_at

    def _event(self, pod: Obj, known: ContainerState, reason: str, message: str, *, warning: bool = False) -> None:
        self.shared.events.container(pod, known.kind, known.name, reason, message, warning=warning)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _references(container: Obj) -> tuple[list[str], list[str]]:
    """Names of the ConfigMaps and Secrets that the environment needs."""
    configmaps: dict[str, None] = {}
    secrets: dict[str, None] = {}
    for source in container.get("envFrom") or ():
        if ref := source.get("configMapRef"):
            configmaps[ref["name"]] = None
        if ref := source.get("secretRef"):
            secrets[ref["name"]] = None
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        if ref := value.get("configMapKeyRef"):
            configmaps[ref["name"]] = None
        if ref := value.get("secretKeyRef"):
            secrets[ref["name"]] = None
    return list(configmaps), list(secrets)
