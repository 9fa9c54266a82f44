"""One pod on its node, from bound to gone: a task that is woken when anything about the pod changed, and then makes the
world fit the pod's newest spec.

Everything that may wait long (stopping, hooks, publishing) runs beside it, so that a shorter grace period or an exit is
seen at once. The worker owns the pod's PodState; nobody else writes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PODS
from netlab.client.transport import TransportError
from netlab.node.kubelet.actions import Actions, backoff_key, plan
from netlab.node.kubelet.clock import go_duration, parse
from netlab.node.kubelet.imagecache import shown
from netlab.node.kubelet.model import ContainerState, Exit, Kind, PodState
from netlab.node.kubelet.podspec import find_container, full_name, host_network, uid
from netlab.node.kubelet.prober import Prober
from netlab.node.kubelet.probes import ProbeKind, killing_message
from netlab.node.kubelet.publisher import StatusPublisher
from netlab.node.kubelet.records import matters, same_meta, sync_containers, version
from netlab.node.kubelet.rubbish import discard
from netlab.node.kubelet.sandbox import SandboxError, Sandboxes
from netlab.node.kubelet.shared import Shared
from netlab.node.kubelet.starter import Starter
from netlab.node.kubelet.status import pod_status, status_patch
from netlab.node.kubelet.stopper import Stopper, effective_grace
from netlab.node.kubelet.termination import exit_of
from netlab.node.kubelet.volumes.payload import VolumeError
from netlab.node.kubelet.volumes.pod import PodVolumes
from netlab.runtime.contract import ContainerError, ContainerStatus, NotFound, SandboxStatus

log = logging.getLogger(__name__)

QUEUED_DELAY = 5.0
"""How long a pod that waits for its turn to be made may look as the scheduler left it, Pending."""
CREATING_DELAY = 1.0
"""How long "ContainerCreating" may stay unpublished: most pods are running before."""
STARTING_DELAY = 0.25
"""How long "Running" waits for a readiness probe that may succeed at once."""
TERMINAL = ("Succeeded", "Failed")


class PodWorker:
    """See the module. All methods but `run` return at once."""

    def __init__(self, shared: Shared, pod: Obj) -> None:
        self.shared = shared
        self.pod = pod
        self.uid = uid(pod)
        self.gone = False
        self.done = False
        self.state = PodState(self.uid)
        self.volumes = PodVolumes(shared.context, shared.source, self.uid)
        self.sandboxes = Sandboxes(shared, self.state, self.volumes)
        self.starter = Starter(shared, self.state, self.volumes, self._ending)
        self.stopper = Stopper(shared, self.state)
        self.prober = Prober(shared.context, self._pod_ip, self._on_verdict, self._on_probe_failure)
        self.publisher = StatusPublisher(shared.context, pod, self._patch, self._published)
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._stopping: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._mounted = False
        self._turn = False
        self._stale_volumes = False
        self._failures = 0
        self._retry_at = 0.0
        self._grace = 0.0
        status = pod.get("status") or {}
        self.state.start_time = parse(status.get("startTime"))
        self.state.terminal = status.get("phase") in TERMINAL
        sync_containers(self.pod, self.state)
        self._wake.set()

    # What others tell it

    def update(self, pod: Obj) -> None:
        """A newer API object. What the answer to our own patch told already, or more, is skipped."""
        if version(pod) < version(self.pod):
            return
        old, self.pod = self.pod, pod
        changed = old["spec"] is not pod["spec"] and old["spec"] != pod["spec"]
        if changed:
            sync_containers(pod, self.state)
        if not same_meta(old, pod):
            self._stale_volumes = changed = True
        if changed or matters(old, pod):
            self.wake()
        if version(pod) > version(old) and pod.get("status") != old.get("status"):
            self.publisher.soon(self._delay())  # somebody else wrote our status (after an outage): ours is the truth

    def removed(self, pod: Obj) -> None:
        """The API object is no more."""
        self.pod, self.gone = pod, True
        self.wake()

    def reject(self, reason: str, message: str) -> None:
        """The node does not admit the pod."""
        self.state.verdict = ("Failed", reason, message)
        self.state.terminal = True
        self.state.containers.clear()
        self.publisher.soon()

    def objects_changed(self) -> None:
        """A ConfigMap or Secret that the pod uses changed."""
        self._stale_volumes = True
        self._retry_at = 0.0
        for container in self.state.containers.values():
            if container.waiting and container.waiting[0] == "CreateContainerConfigError":
                container.retry_at = 0.0
        self.wake()

    def container_changed(self, status: ContainerStatus) -> None:
        """The runtime's word on one of the pod's containers."""
        container = self.state.containers.get(status.name)
        if container is None or container.id != status.id or status.state != "exited" or not container.running:
            return
        self._exited(container, status)
        self.wake()

    def sandbox_exited(self, sandbox_id: str) -> None:
        """Pause has ended: all is to be made anew."""
        if sandbox_id == self.state.sandbox_id and self.state.sandbox_ready:
            self.state.sandbox_ready = False
            self.wake()

    def adopt(self, sandbox: SandboxStatus, containers: Iterable[ContainerStatus]) -> None:
        """Take over what an earlier kubelet started."""
        state = self.state
        state.sandbox_id, state.sandbox_ready = sandbox.id, sandbox.state == "ready"
        state.ips = sandbox.config.ips
        self.sandboxes.attempt = sandbox.config.attempt
        for status in sorted(containers, key=lambda c: c.attempt):
            container = state.containers.get(status.name)
            if container is None or status.attempt < container.attempt:
                continue
            container.id, container.attempt = status.id, status.attempt
            container.image, container.image_id = shown(status.image, status.image_id)
            container.started_at = status.started_at
            container.waiting = None
            container.running = status.state == "running"
            if not container.running:
                self._exited(container, status)
                continue
            container.exit = None
            if container.kind is Kind.MAIN:
                state.initialized = True
            self._begin_probes(container)

    def wake(self) -> None:
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Until the pod's last trace is gone."""
        while not self.done:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._sync()
            except (ContainerError, OSError, StatusError) as problem:
                log.warning("pod %s: %s", full_name(self.pod), problem)
                self._again(1.0)
            except Exception:
                log.exception("pod %s", full_name(self.pod))
                self._again(1.0)
            finally:
                self._end_turn()

    def _end_turn(self) -> None:
        if self._turn:
            self._turn = False
            self.shared.slots.release()

    async def _sync(self) -> None:
        if self._ending():
            self._terminate()
            return
        if self.state.terminal:
            self.publisher.soon()
            return
        if not self.state.start_time:
            self.state.start_time = self.shared.context.clock()
        if self._past_deadline():
            return
        if not await self._ready_to_start():
            return
        await self._refresh_volumes()
        while not self._ending():
            actions = plan(self.pod, self.state, self.shared.backoff, self.shared.context.clock())
            if actions.finished:
                self._stop("", effective_grace(self.pod, gone=False))
                return
            await self._start(actions)
            if not actions.start:
                self._wait_for(actions)
                break
        self.publisher.soon(self._delay())

    def _ending(self) -> bool:
        meta = self.pod["metadata"]
        return self.gone or bool(meta.get("deletionTimestamp")) or self.state.verdict is not None

    def _delay(self) -> float:
        """How long the status may wait before it is published."""
        mains = self.state.of(Kind.MAIN)
        if any(c.waiting for c in self.state.containers.values()):
            return 0.0
        if not all(c.created for c in mains):
            begun = any(c.created for c in self.state.containers.values())
            return self.shared.patience(CREATING_DELAY / 4 if begun else CREATING_DELAY)
        return 0.0 if all(c.ready or not c.running for c in mains) else STARTING_DELAY

    async def _ready_to_start(self) -> bool:
        """Volumes and sandbox are there; if not, they are made, or it is arranged to try again."""
        state, now = self.state, self.shared.context.clock()
        if state.sandbox_id and not state.sandbox_ready:
            await self._sandbox_died()
        if state.sandbox_ready and self._mounted:
            return True
        if now < self._retry_at:
            self._again(self._retry_at - now)
            return False
        if not host_network(self.pod["spec"]) and not self.shared.network_up.is_set():
            self._spawn(self._when_network_up())
            self.publisher.soon(CREATING_DELAY)
            return False
        self.publisher.soon(self.shared.patience(QUEUED_DELAY))
        self.shared.queued += 1
        try:
            await self.shared.slots.acquire()
        finally:
            self.shared.queued -= 1
        self._turn = True  # until `run` has brought the containers up too: what is begun shall be finished first
        if self._ending():
            return False
        self.publisher.soon(self.shared.patience(CREATING_DELAY))
        try:
            if state.sandbox_ready:  # adopted
                await self.volumes.mount(self.pod, self.sandboxes.facts(self.pod))
            else:
                self._forget_initialization()
                await self.sandboxes.create(self.pod)
        except VolumeError as problem:
            self._setup_failed("FailedMount", f'MountVolume.SetUp failed for volume "{problem.volume}" : {problem}')
            return False
        except SandboxError as problem:
            said = "rpc error: code = Unknown desc = " if problem.asked else ""
            text = f"Failed to create pod sandbox: {said}{problem}"
            self._setup_failed("FailedCreatePodSandBox", text)
            return False
        self._mounted, self._failures = True, 0
        return True

    async def _when_network_up(self) -> None:
        await self.shared.network_up.wait()
        self.wake()

    def _setup_failed(self, reason: str, message: str) -> None:
        self._failures += 1
        if self._failures > 1 or reason != "FailedMount":
            self.shared.events.pod(self.pod, reason, message)
        most = 122.0 if self.shared.context.agent.upstream_timing else 2.0
        delay = min(0.1 * 2 ** min(self._failures, 10), most)
        self._retry_at = self.shared.context.clock() + delay
        self._again(delay)

    async def _sandbox_died(self) -> None:
        text = "Pod sandbox changed, it will be killed and re-created."
        self.shared.events.pod(self.pod, "SandboxChanged", text, warning=False)
        self.prober.stop_all()
        await self.sandboxes.stop()
        for container in self.state.containers.values():
            if container.running:
                await self._read_exit(container)
        await self.sandboxes.remove()

    def _forget_initialization(self) -> None:
        """In a new sandbox init containers run anew."""
        self.state.initialized = False
        for container in self.state.of(Kind.INIT):
            if container.exit is not None:
                container.last, container.exit = container.exit, None

    async def _refresh_volumes(self) -> None:
        if not self._stale_volumes:
            return
        self._stale_volumes = False
        try:
            await self.volumes.refresh(self.pod, self.sandboxes.facts(self.pod))
        except VolumeError as problem:
            text = f'MountVolume.SetUp failed for volume "{problem.volume}" : {problem}'
            self.shared.events.pod(self.pod, "FailedMount", text)

    async def _start(self, actions: Actions) -> None:
        """Start what is to be started. Each attempt changes what `plan` says next: it runs, it is to be retried later,
        or it ended and is backing off."""
        for spec in actions.start:
            if self._ending():
                return
            container = self.state.containers[spec["name"]]
            if (spec.get("lifecycle") or {}).get("postStart"):  # it takes as long as it likes
                self._end_turn()
            await self.starter.start(self.pod, spec, self.sandboxes.facts(self.pod))
            if container.kind is Kind.MAIN and container.created:
                self.state.initialized = True
            if container.running and not container.stopping:
                self._begin_probes(container)
                await self._check_alive(container)

    async def _check_alive(self, container: ContainerState) -> None:
        """An exit that was told before the container's id was known would be lost."""
        try:
            status = await self.shared.context.runtime.container_status(container.id)
        except NotFound:
            return
        container.started_at = status.started_at or container.started_at
        if status.state == "exited" and container.running:
            self._exited(container, status)

    def _wait_for(self, actions: Actions) -> None:
        for name, left in actions.backing_off.items():
            container = self.state.containers[name]
            delay = self.shared.backoff.current(backoff_key(self.uid, name))
            full = full_name(self.pod)
            message = f"back-off {go_duration(delay)} restarting failed container={name} pod={full}"
            if container.waiting != ("CrashLoopBackOff", message):
                text = f"Back-off restarting failed container {name} in pod {full}"
                self.shared.events.container(self.pod, container.kind, name, "BackOff", text, warning=True)
            container.waiting = ("CrashLoopBackOff", message)
            self._again(left)
        for left in actions.retry.values():
            self._again(left)

    # Ending

    def _past_deadline(self) -> bool:
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return False
        left = self.state.start_time + float(limit) - self.shared.context.clock()
        if left > 0:
            self._again(left)
            return False
        text = "Pod was active on the node longer than the specified deadline"
        self.shared.events.pod(self.pod, "DeadlineExceeded", text, warning=False)
        self.evict("DeadlineExceeded", text)
        return True

    def evict(self, reason: str, message: str) -> None:
        """Fail the pod: stop its containers, keep its object."""
        self.state.verdict = ("Failed", reason, message)
        self.wake()

    def _terminate(self) -> None:
        grace = effective_grace(self.pod, gone=self.gone)
        if self._stopping is None:
            self._stop("", grace)
        elif not self._stopping.done() and grace < self._grace:
            self._grace = grace
            self.stopper.hurry(grace)
        elif self._stopping.done() and not self.done:
            self._stop("", grace)

    def _stop(self, message: str, grace: float) -> None:
        if self._stopping is not None and not self._stopping.done():
            return
        self._grace = grace
        self._stopping = asyncio.get_running_loop().create_task(self._end(message, grace))

    async def _end(self, message: str, grace: float) -> None:
        """Stop everything; then either keep the ended pod's status, or take its last trace away."""
        try:
            await self._end_containers(message, grace)
            if self.gone or self.pod["metadata"].get("deletionTimestamp"):
                await self._remove()
            else:
                await self.publisher.flush()
        except (ContainerError, OSError, StatusError) as problem:
            log.warning("ending pod %s: %s", full_name(self.pod), problem)
            self._again(0.5)
        except Exception:
            log.exception("ending pod %s", full_name(self.pod))
            self._again(1.0)
        else:
            if not self.done and (self.gone or self.pod["metadata"].get("deletionTimestamp")):
                self.wake()

    async def _end_containers(self, message: str, grace: float) -> None:
        for container in self.state.containers.values():
            self.prober.stop(container.name, keep_readiness=container.running)
        await self.stopper.stop_pod(self.pod, grace, message)
        self.prober.stop_all()
        for container in self.state.containers.values():
            if container.running:
                await self._read_exit(container)
        self.state.terminal = True
        await self.sandboxes.stop()

    async def _remove(self) -> None:
        """Tell the API how it ended and that it ended; forget everything."""
        if not self.gone:
            await self.publisher.flush()
        await self.sandboxes.remove()
        self.volumes.unmount()
        await self.shared.source.release(self.uid)
        if not self.gone:
            await self._delete_object()
        meta = self.pod["metadata"]
        discard(self.shared.context.log_dir(meta["namespace"], meta["name"], self.uid))
        self.finish()

    async def _delete_object(self) -> None:
        meta = self.pod["metadata"]
        try:
            context = self.shared.context
            async with context.requests:
                await context.client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace_period=0)
        except StatusError as problem:
            if problem.code not in (404, 409):
                raise
        except TransportError:
            if not self.gone:
                raise

    def finish(self) -> None:
        """Nothing is left to do, ever."""
        self.done = True
        self.publisher.close()
        self.prober.stop_all()
        if self._timer is not None:
            self._timer.cancel()
        self.shared.backoff.forget(self.uid)
        self.shared.image_backoff.forget(self.uid)
        self._wake.set()
        self.shared.on_gone(self.uid)

    def close(self) -> None:
        """The kubelet ends; the pod goes on."""
        self.publisher.close()
        self.prober.stop_all()
        if self._timer is not None:
            self._timer.cancel()
        for task in (*self._background, *((self._stopping,) if self._stopping else ())):
            task.cancel()

    # Containers

    def _begin_probes(self, container: ContainerState) -> None:
        spec = find_container(self.pod["spec"], container.name) or {}
        container.started = not spec.get("startupProbe")
        container.ready = container.started and not spec.get("readinessProbe") and container.running
        self.prober.start(spec, container.id, started=container.started)

    def _exited(self, container: ContainerState, status: ContainerStatus) -> None:
        meta = self.pod["metadata"]
        logs = self.shared.context.log_dir(meta["namespace"], meta["name"], self.uid)
        container.exit = exit_of(status, (logs,))
        container.running = container.started = container.ready = container.stopping = False
        container.waiting = None
        self.prober.stop(container.name)

    async def _read_exit(self, container: ContainerState) -> None:
        """The exit of a container that was just stopped, before its event arrives."""
        try:
            status = await self.shared.context.runtime.container_status(container.id)
        except NotFound:
            status = None
        if status is not None and status.state == "exited":
            if container.running:
                self._exited(container, status)
            return
        now = self.shared.context.clock()
        text = "The container could not be located when the pod was terminated"
        container.exit = Exit(container.id, 137, "ContainerStatusUnknown", text, 0.0, now)
        container.running = container.started = container.ready = False

    def _pod_ip(self) -> str:
        return self.state.ips[0] if self.state.ips else ""

    def _on_probe_failure(self, name: str, text: str) -> None:
        container = self.state.containers[name]
        self.shared.events.container(self.pod, container.kind, name, "Unhealthy", text, warning=True)

    def _on_verdict(self, name: str, container_id: str, kind: ProbeKind, healthy: bool) -> None:
        container = self.state.containers.get(name)
        if container is None or container.id != container_id or not container.running:
            return
        if kind is ProbeKind.READINESS:
            if container.ready != healthy:
                container.ready = healthy
                self.publisher.soon()
        elif kind is ProbeKind.STARTUP and healthy:
            spec = find_container(self.pod["spec"], name) or {}
            self.prober.stop(name)
            container.started = True
            container.ready = not spec.get("readinessProbe")
            self.prober.start(spec, container_id, started=True)
            self.publisher.soon()
            self.wake()
        elif not healthy and not container.stopping:
            self.prober.stop(name)
            self._spawn(self._kill_unhealthy(container, kind))

    async def _kill_unhealthy(self, container: ContainerState, kind: ProbeKind) -> None:
        spec = find_container(self.pod["spec"], container.name) or {}
        grace = (spec.get(kind.value) or {}).get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        container.ready = False
        await self.stopper.stop_one(self.pod, container, max(1.0, float(grace)), killing_message(kind, container.name))

    # Status

    def _patch(self) -> Obj | None:
        if self.gone:
            return None
        context = self.shared.context
        status = pod_status(self.pod, self.state, context.host_ips, context.clock())
        return status_patch(self.pod, status)

    def _published(self, answer: Obj) -> None:
        """The API's object after our patch: newer than what the informer has told so far."""
        if answer["metadata"]["uid"] == self.pod["metadata"]["uid"] and version(answer) > version(self.pod):
            old, self.pod = self.pod, {**self.pod, "status": answer.get("status") or {}, "metadata": answer["metadata"]}
            if not same_meta(old, self.pod) or matters(old, self.pod):
                self._stale_volumes = True
                self.wake()

    # Small things

    def _again(self, delay: float) -> None:
        """Wake in `delay` seconds, or earlier if that was arranged already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        if self._timer is not None:
            if loop.time() < self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = loop.call_at(due, self.wake)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _guard(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except (ContainerError, OSError) as problem:
            log.warning("pod %s: %s", full_name(self.pod), problem)
