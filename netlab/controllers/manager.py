"""Which controllers there are, and how they run together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from netlab.api.measuring import Gauge
from netlab.client.client import Client
from netlab.client.leaderelection import run_as_leader
from netlab.client.measured import leading, queues
from netlab.client.requested import counted
from netlab.controllers.context import Context

if TYPE_CHECKING:
    from netlab.controllers import ControllersConfig

log = logging.getLogger(__name__)

NAME = "kube-controller-manager"


class Controller(Protocol):
    """Reads from informers, writes through the API, runs until cancelled."""

    async def run(self) -> None: ...


CONTROLLERS: dict[str, str] = {
    "node-ipam": "netlab.controllers.node_ipam:NodeIpamController",
    "serviceaccount": "netlab.controllers.serviceaccount:ServiceAccountController",
    "root-ca-certificate-publisher": "netlab.controllers.serviceaccount:RootCaController",
    "deployment": "netlab.controllers.deployment.controller:DeploymentController",
    "replicaset": "netlab.controllers.replicaset:ReplicaSetController",
    "endpointslice": "netlab.controllers.endpointslice:EndpointSliceController",
    "endpoints": "netlab.controllers.endpoints:EndpointsController",
    "node-lifecycle": "netlab.controllers.node_lifecycle:NodeLifecycleController",
    "taint-eviction": "netlab.controllers.taint_eviction:TaintEvictionController",
    "daemonset": "netlab.controllers.daemonset:DaemonSetController",
    "statefulset": "netlab.controllers.statefulset:StatefulSetController",
    "job": "netlab.controllers.job:JobController",
    "service-lb-controller": "netlab.controllers.loadbalancer:LoadBalancerController",
    "cronjob": "netlab.controllers.cronjob.controller:CronJobController",
    "endpointslicemirroring": "netlab.controllers.endpointslice_mirroring:MirroringController",
    "replicationcontroller": "netlab.controllers.replicaset:ReplicationControllerController",
    "persistentvolume-binder": "netlab.controllers.volume_binder:VolumeBinder",
    "persistentvolume-expander": "netlab.controllers.volume_expand:VolumeExpander",
    "local-path-provisioner": "netlab.controllers.local_path:LocalPathProvisioner",
    "ephemeral-volume": "netlab.controllers.ephemeral_volume:EphemeralVolumeController",
    "persistentvolumeclaim-protection": "netlab.controllers.storage_protection:ClaimProtection",
    "persistentvolume-protection": "netlab.controllers.storage_protection:VolumeProtection",
    "namespace": "netlab.controllers.namespace:NamespaceController",
    "garbage-collector": "netlab.controllers.garbage.collector:GarbageCollector",
    "pod-garbage-collector": "netlab.controllers.pod_gc:PodGcController",
    "disruption": "netlab.controllers.disruption:DisruptionController",
    "horizontal-pod-autoscaler": "netlab.controllers.horizontal.controller:HorizontalController",
    "resourcequota": "netlab.controllers.resourcequota:ResourceQuotaController",
    "clusterrole-aggregation": "netlab.controllers.clusterrole_aggregation:ClusterRoleAggregation",
    "validatingadmissionpolicy-status": "netlab.controllers.policy_status:PolicyStatusController",
    "service-cidr": "netlab.controllers.service_cidrs:ServiceCidrController",
    "csrapproving": "netlab.controllers.csr_approving:CsrApprovingController",
    "csrcleaner": "netlab.controllers.csr_cleaner:CsrCleaner",
    "bootstrapsigner": "netlab.controllers.bootstrap_tokens:BootstrapSigner",
    "tokencleaner": "netlab.controllers.bootstrap_tokens:TokenCleaner",
    "csrsigning": "netlab.controllers.csr_signing:CsrSigningController",
    "legacy-serviceaccount-token-cleaner": "netlab.controllers.legacy_tokens_cleaner:LegacyTokensCleaner",
    "serviceaccount-token": "netlab.controllers.serviceaccount_tokens:ServiceAccountTokens",
}
"""Upstream's names, in the order in which a starting cluster needs them; and what clusters have beside them."""

ABSENT: dict[str, str] = {
    "ttl": "kubelets here watch what their pods read, whatever a node's TTL annotation says",
    "ttl-after-finished": "the job controller does it",
    "persistentvolume-attach-detach": "no volume here has to be attached to a node",
    "node-route": "there is no cloud: the overlay has its own routes",
    "cloud-node-lifecycle": "there is no cloud",
    "selinux-warning": "nodes have no SELinux",
    "resourceclaim": "off by default in 1.33, as all below",
    "device-taint-eviction": "",
    "kube-apiserver-serving-clustertrustbundle-publisher": "",
    "storageversion-garbage-collector": "",
    "storage-version-migrator": "",
    "volumeattributesclass-protection": "",
}
"""The rest of upstream's controllers (kube-controller-manager 1.33), and why they are not here."""


def load(name: str) -> Callable[[Context], Controller]:
    """The constructor of a controller; imported when it is first asked for."""
    module, _, attribute = CONTROLLERS[name].partition(":")
    constructor: Callable[[Context], Controller] = getattr(import_module(module), attribute)
    return constructor


async def run(client: Client, config: ControllersConfig) -> None:
    """Start every chosen controller over shared informers, while leading; ends with the first that ends."""
    unknown = set(config.controllers) - set(CONTROLLERS)
    if unknown:
        raise ValueError(f"no such controller: {', '.join(sorted(unknown))}; known: {', '.join(CONTROLLERS)}")

    context, leads = Context(client, config), leading(NAME)

    async def lead() -> None:
        leads.set(1.0, NAME)
        await _run_all(context)

    door = asyncio.create_task(_door(context, leads)) if config.secure_port else None
    try:
        await run_as_leader(client, NAME, config.identity, lead, timing=config.timing, adopt=not config.elect)
    finally:
        if door is not None:
            door.cancel()


async def _door(context: Context, leads: Gauge) -> None:
    """Health and metrics of this process, on its own port."""
    from netlab.client.door import Door

    checks: dict[str, Callable[[], bool]] = {"leaderElection": lambda: True}
    checks |= {name: lambda: True for name in context.config.controllers or CONTROLLERS}
    asked = counted(context.client.transport)
    pages = {"/metrics": lambda: [leads, *queues(context.queues), *context.measured.all(), *asked]}
    await Door(context.client, NAME, checks, pages).serve(context.config.secure_port)


async def _run_all(context: Context) -> None:
    names = context.config.controllers or tuple(CONTROLLERS)
    running = [(name, load(name)(context)) for name in CONTROLLERS if name in names]
    try:
        async with asyncio.TaskGroup() as group:
            for name, controller in running:
                group.create_task(controller.run(), name=name)
    finally:
        await asyncio.gather(
            *(informer.stop() for informer in context.informers.values()),
            *(recorder.close() for recorder in context.recorders.values()),
            return_exceptions=True,
        )
