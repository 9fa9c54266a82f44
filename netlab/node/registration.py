"""The Node object: who the node is, and in what state.

Follows upstream pkg/kubelet/kubelet_node_status.go and pkg/kubelet/nodestatus (reasons, messages). Building the object
is pure; `Registration` is the loop that keeps it true, and has the node's Lease renewed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from netlab.api.errors import StatusError
from netlab.api.kubelet_labels import kubelet_may_set
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import NODES
from netlab.client.transport import TransportError
from netlab.node.config import NodeConfig
from netlab.node.heartbeat import HeartThread, NodeLease
from netlab.node.kubelet.admission import is_extended
from netlab.node.kubelet.clock import rfc3339
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.records import version
from netlab.node.version import KUBELET_VERSION, RUNTIME_VERSION
from netlab.runtime.images.model import Image

log = logging.getLogger(__name__)

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)
MAX_IMAGES = 50


def architecture() -> str:
    """GOARCH of this machine."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def node_labels(config: NodeConfig) -> dict[str, str]:
    """Upstream's labels and the topology's over them; those that only an administrator may set are the add-ons' job."""
    arch = architecture()
    labels = {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
    }
    if config.control_plane:
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
    return {**labels, **{key: value for key, value in config.labels.items() if kubelet_may_set(key)}}


def _os_image() -> str:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return "Linux"
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip('"')
    return "Linux"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def node_info(name: str) -> Obj:
    """status.nodeInfo. The machine's ids are made of the node's name: nodes of a lab must differ."""
    digest = hashlib.sha256(f"netlab node {name}".encode()).hexdigest()
    return {
        "machineID": digest[:32],
        "systemUUID": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}",
        "bootID": _boot_id(),
        "kernelVersion": os.uname().release,
        "osImage": _os_image(),
        "containerRuntimeVersion": RUNTIME_VERSION,
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    }


def _image_list(images: Sequence[Image]) -> list[Obj]:
    ordered = sorted(images, key=lambda image: -image.size)[:MAX_IMAGES]
    return [{"names": list(image.names[:5]), "sizeBytes": image.size} for image in ordered if image.names]


def conditions(ready: bool, network: bool, old: Mapping[str, Obj], now: str) -> list[Obj]:
    """The kubelet's four conditions and, once the overlay is up, Flannel's."""
    rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
    if network:
        rows.insert(0, ("NetworkUnavailable", "False", "FlannelIsUp", "Flannel is running on this node"))
    if ready:
        rows.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    else:
        rows.append(("Ready", "False", "KubeletNotReady", NOT_READY))
    result = []
    for kind, status, reason, message in rows:
        before = old.get(kind)
        kept = before.get("lastTransitionTime") if before and before.get("status") == status else None
        result.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": kept or now,
                "reason": reason,
                "message": message,
            }
        )
    return result


def extended(resources: Mapping[str, str] | None) -> dict[str, str]:
    """Those that are no resources of Kubernetes' own (`v1helper.IsExtendedResourceName`): others advertise them."""
    return {name: amount for name, amount in (resources or {}).items() if is_extended(name)}


def node_status(config: NodeConfig, images: Sequence[Image], old: Obj | None = None) -> Obj:
    """status without conditions. What others put into `old`'s capacity stays, and is allocatable (`MachineInfo`)."""
    others = extended((old or {}).get("capacity"))
    resources = {"hugepages-1Gi": "0", "hugepages-2Mi": "0", **config.resources(), **others}
    return {
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in config.ips),
            {"type": "Hostname", "address": config.name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        "nodeInfo": node_info(config.name),
        "images": _image_list(images),
    }


def node_object(config: NodeConfig, annotations: Mapping[str, str], images: Sequence[Image], now: str) -> Obj:
    """The Node as it registers: not ready yet, because its network is not."""
    spec: Obj = {}
    if config.taints:
        spec["taints"] = [dict(taint) for taint in config.taints]
    if config.unschedulable:
        spec["unschedulable"] = True
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.name,
            "labels": node_labels(config),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true", **annotations},
        },
        "spec": spec,
        "status": {**node_status(config, images), "conditions": conditions(False, False, {}, now)},
    }


class Registration:
    """Registers the node, reports its status when it changed and once in a while otherwise.

    Its Lease is renewed on `heart`, through `lease_client`, which is of that thread and is closed by it."""

    def __init__(
        self, context: NodeContext, annotations: Mapping[str, str], heart: HeartThread, lease_client: Client
    ) -> None:
        self.context = context
        self._heart, self._lease_client = heart, lease_client
        self.node: Obj | None = None
        self._annotations = annotations
        self._network = False
        self._changed = asyncio.Event()

    def network_up(self) -> None:
        """The overlay works: the node is Ready."""
        self._network = True
        self._changed.set()

    async def register(self) -> None:
        """Until the Node exists with our labels and annotations."""
        delay = 0.05
        while True:
            try:
                await self._register_once()
                return
            except (StatusError, TransportError) as problem:
                log.info("registering node %s: %s", self.context.name, problem)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _register_once(self) -> None:
        context, client = self.context, self.context.client
        images = context.runtime.images.list()
        wanted = node_object(context.config, self._annotations, images, rfc3339(context.clock()))
        try:
            self.node = await client.create(NODES, wanted)
        except StatusError as problem:
            if problem.code != 409:
                raise
            current = await client.get(NODES, context.name)
            self.node = await self._reconcile(current, wanted)
        event = {"apiVersion": "v1", "kind": "Node", "name": context.name, "uid": context.name}
        context.recorder.event(event, "Normal", "Starting", "Starting kubelet.")

    async def _reconcile(self, current: Obj, wanted: Obj) -> Obj:
        """Our labels and annotations on a Node that was there; others' stay."""
        changes: Obj = {}
        for part in ("labels", "annotations"):
            have = current["metadata"].get(part) or {}
            differ = {key: value for key, value in wanted["metadata"][part].items() if have.get(key) != value}
            if differ:
                changes[part] = differ
        if not changes:
            return current
        return await self.context.client.patch(NODES, self.context.name, {"metadata": changes}, patch_type="merge")

    def seen(self, node: Obj) -> None:
        """A Node as the API has it now: when somebody (the node-lifecycle controller, after an outage) wrote other
        conditions to ours than we would, or advertised a resource, that is reported at once instead of with the next
        full report."""
        if node["metadata"]["name"] != self.context.name or self.node is None or version(node) <= version(self.node):
            return
        status = node.get("status", {})
        if extended(status.get("capacity")) != extended(status.get("allocatable")):
            self.node = node
            self._changed.set()
        ready = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions") or ()}
        ours = {c["type"]: c["status"] for c in self.node.get("status", {}).get("conditions") or ()}
        if any(ready.get(kind) != status for kind, status in ours.items()):
            self.node = node
            self._changed.set()

    async def run(self) -> None:
        """Lease and status, until cancelled."""
        lease = asyncio.create_task(self._keep_lease())
        try:
            await self._report()
        finally:
            lease.cancel()

    async def _keep_lease(self) -> None:
        context = self.context
        lease = NodeLease(context.name, context.timing, context.clock, lambda: self.node)
        # The first one by the connection that is there: at the start a handshake more would be in everybody's way.
        wait = await lease.beat(context.client)
        await self._heart.run(lambda: lease.keep(self._lease_client, wait))

    async def _report(self) -> None:
        timing = self.context.timing
        while True:
            self._changed.clear()
            try:
                await self._report_once()
                wait = timing.node_status_report
            except StatusError as problem:
                if problem.code == 404:
                    await self.register()
                log.info("status of node %s: %s", self.context.name, problem)
                wait = 0.5
            except TransportError as problem:
                log.info("status of node %s: %s", self.context.name, problem)
                wait = 0.5
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _report_once(self) -> None:
        context = self.context
        old = (self.node or {}).get("status") or {}
        existing = {c["type"]: c for c in old.get("conditions") or ()}
        now = rfc3339(context.clock())
        changes: Obj = {"conditions": conditions(self._network, self._network, existing, now)}
        images = context.runtime.images.list()
        for key, value in node_status(context.config, images, old).items():
            if old.get(key) != value:
                changes[key] = value
        if "allocatable" in changes:
            gone = extended(old.get("allocatable")).keys() - changes["allocatable"].keys()
            changes["allocatable"] = {**changes["allocatable"], **dict.fromkeys(gone)}
        if "addresses" in changes and old.get("addresses"):
            changes["addresses"] = [{"$patch": "replace"}, *changes["addresses"]]
        self.node = await context.client.patch_status(NODES, context.name, {"status": changes})
