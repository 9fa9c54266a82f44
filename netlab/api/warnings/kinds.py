"""The kinds without pods. PURE.

Source followed: `pkg/api/{service,persistentvolume,persistentvolumeclaim,storage,node}` and the strategies named below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netlab.api import meta
from netlab.api.types import Obj
from netlab.api.validation.service_addresses import is_headless
from netlab.api.warnings.addresses import of_cidr, of_ip
from netlab.api.warnings.labels import DEPRECATED, of_selector, of_term
from netlab.api.warnings.pods import REMOVED_VOLUMES, of_claim_spec
from netlab.api.warnings.tls import of_pair

_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_CLASS = f'metadata.annotations[{_BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
_RECYCLE = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
    "Instead, the recommended approach is to use dynamic provisioning."
)
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_SEPARATE = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_OURS = frozenset({"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"})
Written = Callable[[Obj, Obj | None], list[str]]


def _service(obj: Obj, old: Obj | None) -> list[str]:
    spec, headless, found = obj["spec"], is_headless(obj), []
    if _HINTS in meta.annotations(obj):
        found.append(f"annotation {_HINTS} is deprecated, please use {_MODE} instead")
    if spec.get("type") != "ExternalName" and spec.get("clusterIP") not in (None, "", "None"):
        found += [
            text for i, ip in enumerate(spec.get("clusterIPs") or ()) for text in of_ip(f"spec.clusterIPs[{i}]", ip)
        ]
    if headless and spec.get("type") == "ClusterIP":
        for field in ("loadBalancerIP", "externalIPs"):
            if spec.get(field):
                found.append(f"spec.{field} is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    found += [
        text for i, ip in enumerate(spec.get("externalIPs") or ()) for text in of_ip(f"spec.externalIPs[{i}]", ip)
    ]
    found += of_ip("spec.loadBalancerIP", spec.get("loadBalancerIP") or "")
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += of_cidr(f"spec.loadBalancerSourceRanges[{i}]", cidr)
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    return found


def _volume(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj["spec"]
    found = [_CLASS] if _BETA_CLASS in meta.annotations(obj) else []
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(_RECYCLE)
    terms = meta.get(obj, "spec", "nodeAffinity", "required", "nodeSelectorTerms", default=None)
    for i, term in enumerate(terms or ()):
        found += of_term(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{i}]", values=True)
    return found + [f"spec.{name}: {why}" for name, why in REMOVED_VOLUMES.items() if spec.get(name) is not None]


def _claim(obj: Obj, old: Obj | None) -> list[str]:
    found = [_CLASS] if _BETA_CLASS in meta.annotations(obj) else []
    return found + of_claim_spec(obj["spec"], "spec")


def _storage_class(obj: Obj, old: Obj | None) -> list[str]:
    return [
        f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {one['key']} is {DEPRECATED[one['key']]}"
        for i, topology in enumerate(obj.get("allowedTopologies") or ())
        for j, one in enumerate(topology.get("matchLabelExpressions") or ())
        if one.get("key") in DEPRECATED
    ]


def _capacity(obj: Obj, old: Obj | None) -> list[str]:
    return of_selector(obj.get("nodeTopology") or {}, "nodeTopology")


def _runtime_class(obj: Obj, old: Obj | None) -> list[str]:
    selector = (obj.get("scheduling") or {}).get("nodeSelector") or {}
    return [f"scheduling.nodeSelector: {DEPRECATED[key]}" for key in selector if key in DEPRECATED]


def _node(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj.get("spec") or {}
    found = ["spec.configSource: the feature is removed"] if spec.get("configSource") else []
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    return found + [
        text for i, cidr in enumerate(spec.get("podCIDRs") or ()) for text in of_cidr(f"spec.podCIDRs[{i}]", cidr)
    ]


def _account(obj: Obj, old: Obj | None) -> list[str]:
    there = _MOUNTABLE in meta.annotations(obj) and not (old and _MOUNTABLE in meta.annotations(old))
    return [f"metadata.annotations[{_MOUNTABLE}]: {_SEPARATE}"] if there else []


def _secret(obj: Obj, old: Obj | None) -> list[str]:
    if obj.get("type") != "kubernetes.io/tls":
        return []
    data = obj.get("data") or {}
    wrong = of_pair(data.get("tls.crt") or "", data.get("tls.key") or "")
    return [wrong] if wrong else []


def _endpoints(obj: Obj, old: Obj | None) -> list[str]:
    return [
        text
        for i, subset in enumerate(obj.get("subsets") or ())
        for field in ("addresses", "notReadyAddresses")
        for j, address in enumerate(subset.get(field) or ())
        for text in of_ip(f"subsets[{i}].{field}[{j}].ip", address.get("ip", ""))
    ]


def _slice(obj: Obj, old: Obj | None) -> list[str]:
    if obj.get("addressType") == "FQDN":
        return ["addressType: FQDN endpoints are deprecated"]
    if meta.labels(obj).get("endpointslice.kubernetes.io/managed-by") in _OURS:
        return []
    return [
        text
        for i, endpoint in enumerate(obj.get("endpoints") or ())
        for j, address in enumerate(endpoint.get("addresses") or ())
        for text in of_ip(f"endpoints[{i}].addresses[{j}]", address)
    ]


def _network_policy(obj: Obj, old: Obj | None) -> list[str]:
    return [text for path, block in _blocks(obj["spec"]) for text in _block(block, path)]


def _blocks(spec: Obj) -> Iterator[tuple[str, Obj]]:
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(field) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                if peer.get("ipBlock"):
                    yield f"spec.{field}[{i}].{peers}[{j}].ipBlock", peer["ipBlock"]


def _block(block: Obj, path: str) -> list[str]:
    found = of_cidr(f"{path}.cidr", block.get("cidr", ""))
    return found + [
        text for k, out in enumerate(block.get("except") or ()) for text in of_cidr(f"{path}.except[{k}]", out)
    ]


def _ingress(obj: Obj, old: Obj | None) -> list[str]:
    if old is not None or _INGRESS_CLASS not in meta.annotations(obj):
        return []
    return [f"annotation \"{_INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]


WRITTEN: dict[str, Written] = {
    "Service": _service,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "StorageClass": _storage_class,
    "CSIStorageCapacity": _capacity,
    "RuntimeClass": _runtime_class,
    "Node": _node,
    "ServiceAccount": _account,
    "Secret": _secret,
    "Endpoints": _endpoints,
    "EndpointSlice": _slice,
    "NetworkPolicy": _network_policy,
    "Ingress": _ingress,
}
"""By kind: what is said of the object as it is written, and as it was (None where it is new)."""
