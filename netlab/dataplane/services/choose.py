"""Which endpoints a node sends which traffic to: the one choice that all back ends share. Pure.

Follows upstream's `pkg/proxy/topology.go` (CategorizeEndpoints): ready endpoints are preferred; where there is none,
those that are terminating but still serving; traffic policies Cluster and Local; topology hints, which count only where
every ready endpoint has them and one is meant for this node or zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netlab.dataplane.services.model import Endpoint, NodeView, ServicePort


@dataclass(frozen=True, slots=True)
class Choice:
    """The endpoints of a service port on one node, each tuple in the order of the endpoints given.

    `cluster` serves traffic under policy Cluster, `local` under policy Local; `reachable` is all that either needs.
    `has_any` is False where there is nothing at all, anywhere: connections are then refused, not dropped.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    reachable: tuple[Endpoint, ...] = ()
    has_any: bool = False

    def has_internal(self, port: ServicePort) -> bool:
        """Whether traffic to the cluster IP has somewhere to go."""
        return self.has_any and (not port.internal_local or bool(self.local))

    def has_external(self, port: ServicePort) -> bool:
        """Whether traffic from outside to an external address has somewhere to go."""
        return self.has_any and (not port.external_local or bool(self.local))


def choose(port: ServicePort, endpoints: Sequence[Endpoint], view: NodeView) -> Choice:
    """The endpoints of `port` as the node of `view` uses them."""
    cluster: tuple[Endpoint, ...] = ()
    topology_mode, fallback = "", False
    has_any = False
    if port.uses_cluster_endpoints:
        topology_mode = _topology_mode(endpoints, view)
        cluster = tuple(ep for ep in endpoints if ep.ready and _near(ep, topology_mode, view))
        if not cluster:
            cluster = tuple(ep for ep in endpoints if ep.serving and ep.terminating)
            fallback = bool(cluster)
        has_any = bool(cluster)
    if not port.uses_local_endpoints:
        return Choice(cluster, (), cluster, has_any)
    has_any = has_any or any(ep.ready or (ep.serving and ep.terminating) for ep in endpoints)
    local = tuple(ep for ep in endpoints if ep.local and ep.ready)
    if not local:
        local = tuple(ep for ep in endpoints if ep.local and ep.serving and ep.terminating)
        fallback = fallback or bool(local)
    if not port.uses_cluster_endpoints:
        return Choice((), local, local, has_any)
    if not topology_mode and not fallback:
        return Choice(cluster, local, cluster, has_any)
    needed = {str(ep) for ep in (*cluster, *local)}
    return Choice(cluster, local, tuple(ep for ep in endpoints if str(ep) in needed), has_any)


def _topology_mode(endpoints: Sequence[Endpoint], view: NodeView) -> str:
    """ "node" or "zone" where hints are complete and lead somewhere, else "": one endpoint without hints is enough to
    mistrust them all, since hints are handed out for a set of endpoints as a whole."""
    ready = [ep for ep in endpoints if ep.ready]
    if not ready:
        return ""
    if all(ep.node_hints for ep in ready) and any(view.name in ep.node_hints for ep in ready):
        return "node"
    if view.zone and all(ep.zone_hints for ep in ready) and any(view.zone in ep.zone_hints for ep in ready):
        return "zone"
    return ""


def _near(endpoint: Endpoint, topology_mode: str, view: NodeView) -> bool:
    if topology_mode == "node":
        return view.name in endpoint.node_hints
    return topology_mode != "zone" or view.zone in endpoint.zone_hints
