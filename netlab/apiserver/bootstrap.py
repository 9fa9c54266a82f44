"""What the server itself keeps in the cluster: system namespaces, the `kubernetes` Service and where it leads,
the ServiceCIDR, priority classes. Made where missing, put right where wrong; run at every start.

Source followed: pkg/controlplane (instance.go, controller/kubernetesservice, controller/systemnamespaces,
controller/defaultservicecidr).
"""

import asyncio
from collections.abc import Sequence

from netlab.api import decoding, defaults, errors, legacy_tokens, meta
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver import lifecycle
from netlab.apiserver.aggregation.published import published
from netlab.apiserver.api import Api
from netlab.apiserver.authz import policy
from netlab.apiserver.authz.reconcile import is_default, led_elsewhere, reconciled
from netlab.apiserver.storage import load
from netlab.apiserver.writing import write_changed, write_gone, write_new
from netlab.store import Event

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SERVICE_PORT = 443
_KEEP_SECONDS = 0.2


async def bootstrap(api: Api) -> None:
    """Bring the system objects into the store, together, so that they share a commit."""
    wanted = [*_kept(api), *_priority_classes(), *policy.objects(), *published(api.pki)]
    await asyncio.gather(*(ensure(api, obj) for obj in wanted))
    api.allocation.repair(_own_service(api)[:1])


async def keep(api: Api) -> None:
    """Put system namespaces, the `kubernetes` Service and the ServiceCIDR back whenever somebody removes or bends them;
    until cancelled.

    What of them an administrator may change (labels, further annotations) stays as it is.
    """
    touched = asyncio.Event()
    kinds = {(obj["apiVersion"], obj["kind"]) for obj in _kept(api)}
    kept = {api.stored(get(obj["apiVersion"], obj["kind"])).key(*_place(obj)) for obj in _kept(api)}

    def look(events: Sequence[Event]) -> None:
        if any(event.item.key in kept for event in events):
            touched.set()

    leave = [api.store.subscribe(api.stored(get(*kind)).collection, look) for kind in kinds]
    try:
        while True:
            await touched.wait()
            touched.clear()
            await asyncio.gather(*(ensure(api, obj) for obj in _kept(api)), return_exceptions=True)
            api.allocation.repair(_own_service(api)[:1])
            # as upstream, not at once: whoever is fighting over them shall not make it spin
            await asyncio.sleep(_KEEP_SECONDS)
    finally:
        for end in leave:
            end()


def _kept(api: Api) -> list[Obj]:
    return [*(_namespace(name) for name in NAMESPACES), *_own_service(api), _service_cidr(api), _tracking(api)]


def _tracking(api: Api) -> Obj:
    """Since which day it is noted when tokens of Secrets are used; a date that is there stays."""
    known = api.read("v1", "ConfigMap", "kube-system", legacy_tokens.TRACKING) or {}
    since = str(meta.get(known, "data", "since", default=""))
    if len(since) != len("2006-01-02"):
        since = meta.now_rfc3339(api.clock)[:10]
    metadata = {"name": legacy_tokens.TRACKING, "namespace": "kube-system"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"since": since}}


def _place(obj: Obj) -> tuple[str, str]:
    return meta.namespace(obj), meta.name(obj)


def _own_service(api: Api) -> list[Obj]:
    address, port = api.config.advertise_address, api.config.advertise_port
    first = str(api.allocation.network.network_address + 1)
    return [_service(first, port), _endpoints(address, port), _slice(address, port)]


async def ensure(api: Api, wanted: Obj) -> None:
    """Create the object, with its status, or bring all else that `wanted` says into the one that is there."""
    status = wanted.get("status")
    resource = get(wanted["apiVersion"], wanted["kind"])
    stored = api.stored(resource)
    current = api.store.latest(stored.key(meta.namespace(wanted), meta.name(wanted)))
    if current is None:
        wanted, _ = decoding.decode(wanted, resource, "Ignore")
        defaults.apply_defaults(wanted)
        lifecycle.prepare_new(wanted, resource, meta.now_rfc3339(api.clock))
        if status:
            wanted["status"] = status
        try:
            await write_new(api, stored, resource, wanted)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return
    if is_default(wanted):
        await _reconcile(api, wanted, load(current, stored), current.revision)
        return
    old, new = load(current, stored), load(current, stored)
    for field, value in wanted.items():
        if field not in ("metadata", "status"):
            new[field] = {**new.get(field, {}), **value} if isinstance(value, dict) else value
    for field in ("labels", "annotations"):
        if wanted["metadata"].get(field):
            new["metadata"][field] = {**new["metadata"].get(field, {}), **wanted["metadata"][field]}
    if new != old:
        await write_changed(api, stored, resource, new, current.revision)


async def _reconcile(api: Api, wanted: Obj, old: Obj, revision: int) -> None:
    """Bring a default role or binding back, as far as an administrator lets it."""
    resource = get(wanted["apiVersion"], wanted["kind"])
    stored = api.stored(resource)
    if led_elsewhere(old, wanted):
        await write_gone(api, stored, resource, old, revision)
        await ensure(api, wanted)
        return
    new = reconciled(old, wanted)
    if new != old:
        await write_changed(api, stored, resource, new, revision)


def _namespace(name: str) -> Obj:
    labels = {"kubernetes.io/metadata.name": name}
    spec = {"finalizers": ["kubernetes"]}
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"phase": "Active"},
    }


def _service(address: str, port: int) -> Obj:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "https", "protocol": "TCP", "port": _SERVICE_PORT, "targetPort": port}],
            "sessionAffinity": "None",
            "ipFamilies": [_family(address)],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
    }


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _endpoints(address: str, port: int) -> Obj:
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    return {
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
    }


def _slice(address: str, port: int) -> Obj:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": _family(address),
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


def _service_cidr(api: Api) -> Obj:
    """The cluster's own ServiceCIDR, ready for use."""
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": meta.now_rfc3339(api.clock),
    }
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [str(one.network) for one in api.allocation.ranges.values()]},
        "status": {"conditions": [ready]},
    }


def _priority_classes() -> list[Obj]:
    rows = (
        ("system-node-critical", 2000001000, "must not be moved from their current node."),
        (
            "system-cluster-critical",
            2000000000,
            "must run in the cluster, but can be moved to another node if necessary.",
        ),
    )
    return [
        {
            "kind": "PriorityClass",
            "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name},
            "value": value,
            "description": f"Used for system critical pods that {text}",
            "preemptionPolicy": "PreemptLowerPriority",
        }
        for name, value, text in rows
    ]
