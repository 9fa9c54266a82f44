"""A pod's sandbox: its address, its network namespace, its pause process, and the files that name it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import RUNTIME_CLASSES
from netlab.client.transport import TransportError
from netlab.dataplane.hostports import port_mappings
from netlab.kernel.errors import CommandFailed
from netlab.node.kubelet import files, sysctls
from netlab.node.kubelet.containerconfig import pod_labels
from netlab.node.kubelet.downward import PodFacts
from netlab.node.kubelet.ipam import ExhaustedError
from netlab.node.kubelet.model import PodState
from netlab.node.kubelet.podspec import host_network
from netlab.node.kubelet.shared import Shared
from netlab.node.kubelet.volumes.pod import PodVolumes
from netlab.runtime.contract import ContainerError, DnsConfig, SandboxConfig

IPS = "netlab.io/pod-ips"
HANDLERS = ("runc", "test-handler")
"""Runtimes by the names that a RuntimeClass can ask for, as kind's nodes have them; all are the same one here."""


class SandboxError(Exception):
    """The sandbox cannot be made; the text ends the FailedCreatePodSandBox event.

    `asked`: the runtime said so, else the kubelet, which did not get that far.
    """

    def __init__(self, text: str, *, asked: bool = True) -> None:
        super().__init__(text)
        self.asked = asked


@dataclass(slots=True)
class Sandboxes:
    """Makes and removes the sandbox of one pod."""

    shared: Shared
    state: PodState
    volumes: PodVolumes
    attempt: int = -1

    def facts(self, pod: Obj) -> PodFacts:
        """The pod with its addresses, for the downward API."""
        context = self.shared.context
        return PodFacts(pod, context.name, context.host_ips, self.state.ips, self.shared.allocatable)

    async def create(self, pod: Obj) -> None:
        """Volumes and network side by side, then pause. Raises VolumeError, SandboxError."""
        state, context = self.state, self.shared.context
        hosted = host_network(pod["spec"])
        await self._check_handler(pod)
        if not state.ips:
            state.ips = context.host_ips if hosted else self._addresses()
        mounting = self.volumes.mount(pod, self.facts(pod))
        if hosted:
            netns = context.netns_path
            await mounting
        else:
            attaching = asyncio.ensure_future(context.wiring.attach(state.uid, state.ips))
            try:
                await mounting
            finally:
                await asyncio.wait((attaching,))
            netns = self._attached(attaching)
            await self._open_ports(pod)
        self.attempt += 1
        try:
            state.sandbox_id = await context.runtime.run_sandbox(self._config(pod, netns))
        except (ContainerError, OSError) as problem:
            raise SandboxError(str(problem)) from problem
        state.sandbox_ready = True

    async def _check_handler(self, pod: Obj) -> None:
        """The pod's RuntimeClass asks for a runtime that there is. Raises SandboxError."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return
        try:
            found = await self.shared.context.client.get(RUNTIME_CLASSES, name)
        except (StatusError, TransportError) as problem:
            raise SandboxError(str(problem), asked=False) from problem
        if (handler := found["handler"]) not in HANDLERS:
            raise SandboxError(f'failed to get sandbox runtime: no runtime for "{handler}" is configured')

    def _addresses(self) -> tuple[str, ...]:
        ipam = self.shared.ipam
        if ipam is None:
            raise SandboxError("network is not ready: the node has no podCIDR yet")
        try:
            return ipam.allocate(self.state.uid)
        except ExhaustedError as problem:
            text = 'failed to setup network for sandbox: plugin type="flannel" failed (add): '
            raise SandboxError(text + str(problem)) from problem

    def _attached(self, attaching: asyncio.Future[str]) -> str:
        problem = attaching.exception()
        if problem is not None:
            raise SandboxError(f"failed to setup network for sandbox: {problem}") from problem
        return attaching.result()

    async def _open_ports(self, pod: Obj) -> None:
        mappings = port_mappings(pod["spec"])
        if not mappings:
            return
        try:
            await self.shared.context.wiring.open_ports(self.state.uid, mappings)
        except (CommandFailed, OSError) as problem:
            text = 'failed to setup network for sandbox: plugin type="portmap" failed (add): '
            raise SandboxError(text + str(problem)) from problem

    def _config(self, pod: Obj, netns: str) -> SandboxConfig:
        context, meta, spec = self.shared.context, pod["metadata"], pod["spec"]
        domain = context.agent.dns_domain
        hosted = host_network(spec)
        node_resolver = files.parse_resolver(self.shared.node_resolver)
        resolver = files.resolver(pod, context.agent.dns_ip, domain, node_resolver)
        logs = context.log_dir(meta["namespace"], meta["name"], self.state.uid)
        return SandboxConfig(
            node=context.name,
            namespace=meta["namespace"],
            name=meta["name"],
            uid=self.state.uid,
            netns=netns,
            attempt=self.attempt,
            hostname=context.name if hosted else files.hostname(pod, domain),
            ips=self.state.ips,
            dns=DnsConfig(resolver.nameservers, resolver.searches, resolver.options),
            etc_hosts=files.hosts_file(pod, self.state.ips, domain, self.shared.node_hosts),
            log_directory=str(logs),
            host_network=hosted,
            share_pids=bool(spec.get("shareProcessNamespace")),
            sysctls=sysctls.wanted(spec),
            labels=pod_labels(pod),
            annotations={IPS: ",".join(self.state.ips)},
        )

    async def stop(self) -> None:
        """Kill what runs, take the network away, give the address back; the containers' records stay."""
        state, context = self.state, self.shared.context
        hosted = state.ips == context.host_ips
        if state.sandbox_id:
            await context.runtime.stop_sandbox(state.sandbox_id)
        state.sandbox_ready = False
        if not hosted:
            await context.wiring.detach(state.uid)
            if self.shared.ipam is not None:
                self.shared.ipam.release(state.uid)
        state.last_ips, state.ips = state.ips or state.last_ips, ()

    async def remove(self) -> None:
        """Forget the sandbox and its containers."""
        if self.state.sandbox_id:
            await self.shared.context.runtime.remove_sandbox(self.state.sandbox_id)
            self.state.sandbox_id = ""
