"""The ways that packets of a question take: to the resolver, and to what was asked for. PURE.

A leg is one client, one address and port that it sends to, and the endpoints that may answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from netlab.api.types import Obj
from netlab.lab.diagnosis.model import Objects, Place, Question, Target
from netlab.lab.diagnosis.places import key, machine_place, pod_place
from netlab.topology.model import Topology, family_of

NODE_LOCAL_DNS = "169.254.20.10"
LOST_MAX = 4
API_PORT = 6443
ENDS_MAX = 16
"""So many endpoints of a Service are looked at; the others are like them."""


@dataclass(frozen=True, slots=True)
class End:
    """An address and port at which something must listen. `place` None: nobody of the lab has the address."""

    ip: str
    port: int
    place: Place | None = None
    ready: bool = True

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class Leg:
    """`purpose` "name": the resolver; "data": what was asked for; "pods":
    the pods that should be behind it; "control": the API server. `entry`: where the client sends to, None where the
    endpoints are called directly (or there is nothing to send to). `at`: the node whose rules translate, if any."""

    purpose: str
    source: Place
    protocol: str
    ends: tuple[End, ...] = ()
    entry: tuple[str, int] | None = None
    service: Obj | None = None
    port: Obj | None = None
    at: str = ""
    lost: tuple[Place, ...] = ()
    """Pods that the Service selects and that are not ready: what keeps them may be on their nodes."""
    external: bool = False
    """Whether it comes to the Service by an address for the outside: NodePort, load balancer, external IP."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The caller, and whoever should answer."""
        return (self.source, *(end.place for end in self.ends if end.place is not None), *self.lost)

    @property
    def direct(self) -> bool:
        """Whether the client can send to the endpoints' own addresses: pods and nodes can, others have no route."""
        return self.source.kind in ("pod", "node") or not any(e.place and e.place.kind == "pod" for e in self.ends)


def with_lost(leg: Leg, topology: Topology, objects: Objects) -> Leg:
    """The leg with the pods that should be behind its Service and are not; for those that found no node, the nodes
    that are not Ready."""
    selector = ((leg.service or {}).get("spec") or {}).get("selector")
    if leg.service is None or not selector:
        return leg
    lost = [pod_place(pod) for pod in matched(leg.service, selector, objects) if not is_ready(pod)]
    placed = [place for place in lost if place.node][:LOST_MAX]
    if len(placed) < len(lost):
        down = [machine_place(topology, one["metadata"]["name"]) for one in objects.nodes if not is_ready(one)]
        placed += [place for place in down if place is not None][:LOST_MAX]
    return replace(leg, lost=tuple(placed))


def to_pods(leg: Leg, objects: Objects) -> Leg | None:
    """The pods that should be behind the Service of this leg and are not: whether they could be reached at all.

    Those that are selected and not ready; where none is selected, those that seem to be meant.
    """
    if leg.service is None or leg.port is None:
        return None
    selector = (leg.service.get("spec") or {}).get("selector") or {}
    pods = [pod for pod in matched(leg.service, selector, objects) if not is_ready(pod)] if selector else []
    if selector and not matched(leg.service, selector, objects):
        pods = [pod for pod in nearly(leg.service, selector, objects) if is_ready(pod)]
    known = {end.ip for end in leg.ends}
    ends = []
    for pod in pods[:LOST_MAX]:
        place, target = pod_place(pod), leg.port.get("targetPort") or leg.port["port"]
        number = target if isinstance(target, int) else _container_port(pod, target)
        if place.ip and place.ip not in known and number:
            ends.append(End(place.ip, number, place, ready=False))
    return replace(leg, purpose="pods", ends=tuple(ends), entry=None, lost=()) if ends else None


def nearly(service: Obj, selector: Mapping[str, str], objects: Objects) -> list[Obj]:
    """The pods that a selector that finds none nearly means: a value alike, or the Service's own name."""
    name = service["metadata"]["name"]
    best: list[Obj] = []
    score = 0.0
    for pod in objects.pods:
        labels = pod["metadata"].get("labels") or {}
        meta = pod["metadata"]
        if meta.get("namespace") != service["metadata"].get("namespace") or meta.get("deletionTimestamp"):
            continue
        wanted = [*selector.values(), name]
        found = 1.0 * sum(bool(get_close_matches(labels.get(k, ""), [v], 1, 0.6)) for k, v in selector.items())
        found += 0.5 * any(get_close_matches(v, wanted, 1, 0.8) for v in distinctive(labels).values())
        if found > score:
            best, score = [pod], found
        elif found == score and found:
            best.append(pod)
    return best


def distinctive(labels: Mapping[str, str]) -> dict[str, str]:
    """Without what controllers generate."""
    generated = ("pod-template-hash", "controller-revision-hash")
    return {k: v for k, v in labels.items() if k not in generated}


def to_control_plane(legs: Sequence[Leg], topology: Topology, objects: Objects) -> Iterator[Leg]:
    """For each node of these legs that is not Ready, its way to the API server: something may be wrong there."""
    down = {one["metadata"]["name"] for one in objects.nodes if not is_ready(one)}
    concerned = dict.fromkeys(place.node for leg in legs for place in leg.places if place.node in down)
    for name in concerned:
        place = machine_place(topology, name)
        for control in topology.control_planes[:1]:
            end = machine_place(topology, control.name)
            if place is not None and end is not None and end.name != name:
                yield Leg("control", place, "tcp", (End(end.ip, API_PORT, end),))


def matched(service: Obj, selector: Mapping[str, str], objects: Objects) -> list[Obj]:
    """The pods that a selector finds; those that have ended or are ending left out."""
    namespace = service["metadata"].get("namespace")
    return [
        pod
        for pod in objects.pods
        if pod["metadata"].get("namespace") == namespace
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        and not pod["metadata"].get("deletionTimestamp")
        and selector.items() <= (pod["metadata"].get("labels") or {}).items()
    ]


def to_target(question: Question, topology: Topology, objects: Objects) -> Leg:
    """The leg to what was asked for. Where a Service, port or pod does not exist, the leg has no ends."""
    target, place = question.target, question.source
    empty = Leg("data", place, question.protocol)
    if target.kind == "service":
        service = find_service(objects, target.name)
        return _to_service(empty, service, target, topology, objects) if service else empty
    if target.kind == "pod":
        pod = next((one for one in objects.pods if key(one) == target.name), None)
        return replace(empty, ends=_pod_ends(pod, target)) if pod else empty
    if target.kind == "machine":
        machine = machine_place(topology, target.name)
        return _to_address(empty, machine.ip, target, topology, objects) if machine else empty
    return _to_address(empty, target.name, target, topology, objects) if target.kind == "address" else empty


def to_resolver(question: Question, server: str, topology: Topology, objects: Objects) -> Leg:
    """The leg by which names are asked for."""
    leg = Leg("name", question.source, "udp")
    if server == NODE_LOCAL_DNS:
        node = machine_place(topology, question.source.node)
        return replace(leg, ends=(End(server, 53, node),))
    service = next((one for one in objects.services if server in cluster_ips(one)), None)
    if service is None:
        return _to_address(leg, server, Target("address", server, 53), topology, objects)
    ports = (service.get("spec") or {}).get("ports") or ()
    port = next((p for p in ports if p.get("port") == 53 and p.get("protocol", "TCP") == "UDP"), None)
    found = replace(leg, service=service, port=port, entry=(server, 53), at=question.source.node)
    return replace(found, ends=tuple(ends_of(service, port, objects, server))) if port else found


def cluster_ips(service: Obj) -> list[str]:
    spec = service.get("spec") or {}
    found = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [ip for ip in found if ip != "None"]


def find_service(objects: Objects, name: str) -> Obj | None:
    return next((one for one in objects.services if key(one) == name), None)


def service_port(service: Obj, target: Target) -> Obj | None:
    """The port meant; the first one where none is named. None where it has no such port."""
    ports = (service.get("spec") or {}).get("ports") or ()
    for port in ports:
        if target.port_name:
            if port.get("name") == target.port_name:
                return dict(port)
        elif target.port in (None, port.get("port")):
            return dict(port)
    return None


def _to_service(leg: Leg, service: Obj, target: Target, topology: Topology, objects: Objects) -> Leg:
    port = service_port(service, target)
    leg = replace(leg, service=service, port=port)
    if port is None:
        return leg
    leg = replace(leg, protocol=port.get("protocol", "TCP").lower())
    ips = cluster_ips(service)
    if not ips:
        ends = tuple(ends_of(service, port, objects, leg.source.ip))
        return replace(leg, ends=ends)
    if leg.source.kind in ("pod", "node"):
        entry = next((ip for ip in ips if family_of(ip) == family_of(leg.source.ip or ips[0])), ips[0])
        ends = tuple(ends_of(service, port, objects, entry))
        return replace(leg, ends=ends, entry=(entry, int(port["port"])), at=leg.source.node)
    return _from_outside(leg, service, port, topology, objects)


def _from_outside(leg: Leg, service: Obj, port: Obj, topology: Topology, objects: Objects) -> Leg:
    """By a load balancer's address where there is one, else by a NodePort of the first worker that has an endpoint."""
    ends = tuple(ends_of(service, port, objects, leg.source.ip or "0"))
    leg = replace(leg, ends=ends, external=True)
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if ingress.get("ip") and family_of(ingress["ip"]) == family_of(leg.source.ip or "0"):
            return replace(leg, entry=(ingress["ip"], int(port["port"])))
    if not port.get("nodePort"):
        return replace(leg, external=False)
    workers = [one.name for one in (*topology.workers, *topology.nodes)]
    near = [e.place.node for e in ends if e.place is not None and e.place.node]
    node = next((name for name in workers if name in near), workers[0])
    return replace(leg, entry=(topology.node_ip(node), int(port["nodePort"])), at=node)


def _to_address(leg: Leg, ip: str, target: Target, topology: Topology, objects: Objects) -> Leg:
    """An address may be a Service's, a node's with a NodePort, a pod's or a machine's."""
    for service in objects.services:
        ports = (service.get("spec") or {}).get("ports") or ()
        if ip in (*cluster_ips(service), *_external_ips(service)):
            port = service_port(service, target)
            leg = replace(leg, service=service, port=port, external=ip not in cluster_ips(service))
            if port is None:
                return leg
            ends = tuple(ends_of(service, port, objects, ip))
            protocol = port.get("protocol", "TCP").lower()
            at = leg.source.node
            return replace(leg, protocol=protocol, ends=ends, entry=(ip, int(port["port"])), at=at)
        node = next((n.name for n in topology.nodes if ip in topology.node_ips(n.name)), "")
        chosen = next((p for p in ports if node and target.port and p.get("nodePort") == target.port), None)
        if chosen is not None:
            ends = tuple(ends_of(service, chosen, objects, ip))
            found = replace(leg, service=service, port=dict(chosen), ends=ends, external=True, at=node)
            return replace(found, entry=(ip, int(chosen["nodePort"])), protocol=chosen.get("protocol", "TCP").lower())
    return replace(leg, ends=(End(ip, target.port or 0, place_of(ip, topology, objects)),))


def _external_ips(service: Obj) -> list[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [*((service.get("spec") or {}).get("externalIPs") or ()), *(one["ip"] for one in ingress if one.get("ip"))]


def place_of(ip: str, topology: Topology, objects: Objects) -> Place | None:
    """Whose address it is: a pod's, a machine's, a node's bridge's."""
    for pod in objects.pods:
        if (pod.get("spec") or {}).get("hostNetwork"):
            continue
        status = pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        if ip in [entry["ip"] for entry in status.get("podIPs") or ()]:
            return replace(pod_place(pod), ip=ip)
    for group in (topology.nodes, topology.hosts, topology.routers):
        for machine in group:
            if any(ip in (end.ip, end.ip6) for end in topology.attachments(machine.name)):
                found = machine_place(topology, machine.name)
                return replace(found, ip=ip) if found else None
    return None


def _pod_ends(pod: Obj, target: Target) -> tuple[End, ...]:
    place = pod_place(pod)
    if not place.ip:
        return ()
    port = target.port or _container_port(pod, target.port_name)
    return (End(place.ip, port, place, is_ready(pod)),)


def _container_port(pod: Obj, name: str) -> int:
    """The named port, or the first that its containers declare, or 0."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if name in ("", port.get("name")):
                return int(port["containerPort"])
    return 0


def is_ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def slices_of(service: Obj, objects: Objects) -> Iterator[Obj]:
    """The EndpointSlices of a Service."""
    namespace, name = key(service).split("/")
    for one in objects.slices:
        labels = one["metadata"].get("labels") or {}
        if one["metadata"].get("namespace") == namespace and labels.get("kubernetes.io/service-name") == name:
            yield one


def ends_of(service: Obj, port: Obj, objects: Objects, like: str) -> Iterator[End]:
    """The ready endpoints of a Service's port, of the family of the address `like`, the first of them."""
    pods = {pod["metadata"]["uid"]: pod for pod in objects.pods}
    seen: set[tuple[str, int]] = set()
    for one in slices_of(service, objects):
        if one.get("addressType", "IPv4") != family_of(like):
            continue
        number = _slice_port(one, port)
        for endpoint in one.get("endpoints") or () if number else ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            pod = pods.get((endpoint.get("targetRef") or {}).get("uid", ""))
            for ip in endpoint.get("addresses") or ():
                if (ip, number) not in seen and len(seen) < ENDS_MAX:
                    seen.add((ip, number))
                    yield End(ip, number, replace(pod_place(pod), ip=ip) if pod else None)


def _slice_port(one: Obj, port: Obj) -> int:
    for entry in one.get("ports") or ():
        same = (entry.get("name") or "") == (port.get("name") or "")
        if same and entry.get("protocol", "TCP") == port.get("protocol", "TCP") and entry.get("port"):
            return int(entry["port"])
    return 0
