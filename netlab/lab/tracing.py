"""`klab trace`: what a user's words mean in this lab, and the trace made inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from urllib.parse import urlsplit

from netlab.api.addresses import is_address
from netlab.api.types import Obj
from netlab.dataplane.loadbalancers import candidates, leader, vip_addresses
from netlab.lab import looking
from netlab.lab.bus import ask
from netlab.lab.inside import running_pods
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology
from netlab.trace import connections
from netlab.trace.model import Difference, Exchanged, Report, from_obj

OUTSIDE = "outside"
SERVICE_LABEL = "kubernetes.io/service-name"
DNS_PORT = 53
PATIENCE = 90.0
"""Seconds that a trace may take besides the waiting that was asked for."""
MACHINES = ("node", "host", "router")
"""Prefixes of machines. Without one, a pod goes before a machine of the same name."""
SERVICE_PREFIXES = ("svc/", "service/", "services/")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user wants. `mode`: "both", "predict" or "observe". `size`: bytes of payload (of a datagram or an echo
    request). `df`: may not be fragmented. `live`: follow the next real packet for so many seconds, instead of
    sending."""

    source: str
    target: str
    protocol: str = ""
    mode: str = "both"
    size: int = 0
    df: bool = True
    ipv6: bool = False
    live: float = 0.0
    http: str = ""
    timeout: float = 2.0


@dataclass(slots=True)
class Scene:
    """A running lab by its names."""

    paths: LabPaths
    topology: Topology
    pods: dict[str, Obj]
    services: list[Obj]
    nodes: list[Obj]
    netns: dict[str, str]
    """Running pods' pinned namespaces by "namespace/name"."""
    places: list[Obj] = field(default_factory=list)
    names: connections.Names = field(default_factory=connections.Names)
    answers: dict[str, str] = field(default_factory=dict)
    """Load balancers' addresses → the node that answers ARP for them."""

    @classmethod
    def of(cls, paths: LabPaths) -> Scene:
        services, pods, nodes, slices = looking.objects(
            paths, ("v1", "services"), ("v1", "pods"), ("v1", "nodes"), ("discovery.k8s.io/v1", "endpointslices")
        )
        topology = load(paths.topology)
        by_name = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in pods}
        configs = running_pods(paths)
        netns = {name: one.netns.rpartition("/")[2] for name, one in configs.items() if not one.host_network}
        on_host = {name: one.node for name, one in configs.items() if one.host_network}
        scene = cls(paths, topology, by_name, services, nodes, netns)
        scene.names = connections.names(services, pods, nodes)
        scene._fill_answers(slices)
        for group in (topology.hosts, topology.routers):
            for machine in group:
                for end in topology.attachments(machine.name):
                    if end.ip:
                        scene.names.nodes.setdefault(str(end.ip), machine.name)
        scene._fill_places({name: one.node for name, one in configs.items()})
        scene.netns |= on_host
        return scene

    def _fill_places(self, node_of: Mapping[str, str]) -> None:
        add = self.places.append
        for group, kind in (
            (self.topology.nodes, "node"),
            (self.topology.routers, "router"),
            (self.topology.hosts, "host"),
        ):
            for machine in group:
                add({"name": machine.name, "netns": machine.name, "kind": kind, "node": ""})
        add({"name": "switches", "netns": "", "kind": "switches", "node": ""})
        for name, netns in self.netns.items():
            add({"name": name, "netns": netns, "kind": "pod", "node": node_of[name]})

    def _fill_answers(self, slices: Sequence[Obj]) -> None:
        for service in self.services:
            for address in vip_addresses(service):
                named = (service["metadata"]["namespace"], service["metadata"]["name"])
                mine = [one for one in slices if _slice_of(one) == named]
                node = leader(address, candidates(service, mine, self.nodes))
                if node is not None:
                    self.answers[address] = node

    # -- words

    @property
    def machines(self) -> list[str]:
        return [one["name"] for one in self.places if one["kind"] in ("node", "host", "router")]

    @property
    def outside(self) -> str:
        """A host of the topology that is not on the nodes' own segment, else any host."""
        hosts = [host.name for host in self.topology.hosts]
        if not hosts:
            raise LabError(f"the topology of lab '{self.paths.name}' has no host that could be the outside", 2)
        near = {
            self.topology.segment_of(end).name
            for node in self.topology.nodes
            for end in self.topology.attachments(node.name)
        }
        far = [
            name
            for name in hosts
            if not near & {self.topology.segment_of(e).name for e in self.topology.attachments(name)}
        ]
        return (far or hosts)[-1]

    def source(self, words: str) -> str:
        """The place meant by SRC. LabError with what there is, where none is."""
        if words == OUTSIDE:
            return self.outside
        prefix, _, rest = words.partition("/")
        if prefix in MACHINES and rest in self.machines:
            return rest
        name = rest if prefix == "pod" and rest else words
        pod = name if "/" in name else f"default/{name}"
        if words in self.machines and pod not in self.pods:
            return words
        if pod in self.netns:
            found = self.netns[pod]
            return found if found in self.machines else pod
        if pod in self.pods:
            phase = (self.pods[pod].get("status") or {}).get("phase", "Unknown")
            raise LabError(f"pod '{pod}' has no network yet: it is {phase}")
        known = [*self.machines, *self.netns, *(one.partition("/")[2] for one in self.netns)]
        close = get_close_matches(words, known, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        there = ", ".join([*self.machines, OUTSIDE])
        raise LabError(
            f"no machine or running pod '{words}' in lab '{self.paths.name}'; {hint}machines: {there}; "
            "a pod is [NAMESPACE/]NAME",
            2,
        )

    def service(self, words: str) -> Obj | None:
        """The Service of "svc/NAME", "svc/NAMESPACE/NAME" or a DNS name of one; None: not a Service's."""
        for prefix in SERVICE_PREFIXES:
            if words.startswith(prefix):
                rest = words.removeprefix(prefix)
                namespace, _, name = rest.rpartition("/")
                found = self._service(namespace or "default", name)
                if found is None:
                    there = [f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in self.services]
                    close = get_close_matches(rest, [*there, *(one.partition("/")[2] for one in there)], 1)
                    hint = f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(sorted(there))}"
                    raise LabError(f"no Service '{rest}' in lab '{self.paths.name}'{hint}", 2)
                return found
        return None

    def _service(self, namespace: str, name: str) -> Obj | None:
        wanted = (namespace, name)
        return next((o for o in self.services if (o["metadata"]["namespace"], o["metadata"]["name"]) == wanted), None)

    def service_by_dns(self, name: str, namespace: str) -> Obj | None:
        """The Service that a DNS name means, asked by a pod of a namespace."""
        domain = f".svc.{self.topology.cluster.dns_domain}"
        short = name.rstrip(".").removesuffix(domain).removesuffix(".svc")
        parts = short.split(".")
        if len(parts) == 1:
            return self._service(namespace, parts[0])
        return self._service(parts[1], parts[0]) if len(parts) == 2 else None

    def dns_names(self, name: str, namespace: str) -> list[str]:
        """What a pod's resolver asks, in order (ndots:5)."""
        domain = self.topology.cluster.dns_domain
        if name.endswith("."):
            return [name.rstrip(".")]
        searched = [f"{name}.{suffix}" for suffix in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)]
        return [name, *searched] if name.count(".") >= 5 else [*searched, name]

    def address(self, machine: str, ipv6: bool) -> str:
        """A machine's own address."""
        for node in self.nodes:
            if node["metadata"]["name"] == machine:
                for entry in (node.get("status") or {}).get("addresses") or ():
                    if entry.get("type") == "InternalIP" and (":" in entry["address"]) == ipv6:
                        return str(entry["address"])
        for end in self.topology.attachments(machine):
            if end.ip and (":" in str(end.ip)) == ipv6:
                return str(end.ip)
        raise LabError(f"{machine} has no IPv{6 if ipv6 else 4} address", 2)


def _slice_of(one: Obj) -> tuple[str, str]:
    """(namespace, name) of an EndpointSlice's Service."""
    return one["metadata"]["namespace"], (one["metadata"].get("labels") or {}).get(SERVICE_LABEL, "")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: an address, or a DNS name to be looked up first (`names` in the order in which they are asked)."""

    address: str
    port: int
    protocol: str
    names: tuple[str, ...] = ()


def split_port(words: str) -> tuple[str, str]:
    """ "HOST:PORT", "[V6]:PORT", "HOST" → (host, port or "")."""
    if words.startswith("["):
        host, _, port = words[1:].partition("]")
        return host, port.lstrip(":")
    if words.count(":") > 1:
        return words, ""
    host, _, port = words.partition(":")
    return host, port


def target(scene: Scene, asked: Asked, source: str) -> Target:
    """What DST means for this source. LabError where it means nothing."""
    host, port = split_port(asked.target)
    service = scene.service(host)
    if service is not None:
        return _to_service(scene, service, port, asked, source)
    if is_address(host):
        return _plain(host, port, asked)
    if host == OUTSIDE:
        return _plain(scene.address(scene.outside, asked.ipv6), port, asked)
    namespace = source.partition("/")[0] if "/" in source else "default"
    service = scene.service_by_dns(host, namespace)
    if not (asked.http and service):  # a URL's name is what a program would look up
        prefix, _, rest = host.partition("/")
        if prefix in MACHINES and rest in scene.machines:
            return _plain(scene.address(rest, asked.ipv6), port, asked)
        pod = host.removeprefix("pod/")
        pod = pod if "/" in pod else f"default/{pod}"
        if pod in scene.pods:
            return _to_pod(scene.pods[pod], port, asked)
        if host in scene.machines:
            return _plain(scene.address(host, asked.ipv6), port, asked)
    if "/" in host or (service is None and "." not in host):
        scene.source(host)  # says what there is
    if "/" not in source and source not in [node.name for node in scene.topology.nodes]:
        raise LabError(f"{source} is not of the cluster and does not ask its DNS; name svc/NAME, or an address", 2)
    found = _to_service(scene, service, port, asked, source) if service else _plain("", port, asked)
    return replace(found, names=tuple(scene.dns_names(host, namespace)))


def _plain(address: str, port: str, asked: Asked) -> Target:
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise LabError(f"'{port}' is no port: a number from 1 to 65535, or a port's name in the Service or pod", 2)
    protocol = asked.protocol or ("tcp" if port else "icmp")
    if protocol != "icmp" and not port:
        raise LabError(f"to which port? {asked.target}:PORT", 2)
    return Target(address, int(port or 0) if protocol != "icmp" else 0, protocol)


def _to_pod(pod: Obj, port: str, asked: Asked) -> Target:
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    ips = [one["ip"] for one in (pod.get("status") or {}).get("podIPs") or () if (":" in one["ip"]) == asked.ipv6]
    if not ips:
        raise LabError(f"pod '{name}' has no IPv{6 if asked.ipv6 else 4} address yet")
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    named = next((p for p in ports if port and p.get("name") == port), None)
    if named is not None:
        protocol = named.get("protocol", "TCP").lower()
        return _plain(ips[0], str(named["containerPort"]), replace(asked, protocol=asked.protocol or protocol))
    if asked.protocol in ("tcp", "udp") and not port:
        first = next((p for p in ports if p.get("protocol", "TCP").lower() == asked.protocol), None)
        port = str(first["containerPort"]) if first else ""
    return _plain(ips[0], port, asked)


def _to_service(scene: Scene, service: Obj, port: str, asked: Asked, source: str) -> Target:
    spec, meta = service["spec"], service["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    ports = [p for p in spec.get("ports") or () if port in ("", str(p["port"]), p.get("name"))]
    if asked.protocol in ("tcp", "udp"):
        ports = [p for p in ports if p.get("protocol", "TCP").lower() == asked.protocol]
    if spec.get("type") == "ExternalName":
        raise LabError(
            f"Service '{name}' is an ExternalName: there is nothing to trace but '{spec['externalName']}'", 2
        )
    if asked.protocol == "icmp" or not ports:
        there = ", ".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in spec.get("ports") or ())
        what = "no echo requests" if asked.protocol == "icmp" else f"no port '{port}'" if port else "no such port"
        raise LabError(f"Service '{name}' has {what}; it has: {there}", 2)
    one = ports[0]
    protocol = one.get("protocol", "TCP").lower()
    addresses = [a for a in spec.get("clusterIPs") or [spec.get("clusterIP")] if a and a != "None"]
    mine = [a for a in addresses if (":" in a) == asked.ipv6]
    outside = "/" not in source and source not in [node.name for node in scene.topology.nodes]
    if outside:
        return _entrance(scene, service, one, asked)
    if not mine:
        raise LabError(
            f"Service '{name}' has no IPv{6 if asked.ipv6 else 4} cluster IP; DNS gives its pods, trace one of those", 2
        )
    return Target(mine[0], int(one["port"]), protocol)


def _entrance(scene: Scene, service: Obj, port: Obj, asked: Asked) -> Target:
    """How someone outside comes in: the load balancer's address, else a node port on the first worker."""
    protocol = port.get("protocol", "TCP").lower()
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    ips = [one["ip"] for one in ingress if one.get("ip") and (":" in one["ip"]) == asked.ipv6]
    if ips:
        return Target(ips[0], int(port["port"]), protocol)
    if port.get("nodePort"):
        workers = [node.name for node in scene.topology.nodes if node.role == "worker"]
        node = (workers or [node.name for node in scene.topology.nodes])[0]
        return Target(scene.address(node, asked.ipv6), int(port["nodePort"]), protocol)
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    raise LabError(f"Service '{name}' is of type {service['spec'].get('type', 'ClusterIP')}: nobody outside gets in", 2)


def trace(paths: LabPaths, asked: Asked) -> Report:
    """Made now, in the running lab. LabError where SRC or DST mean nothing, or it cannot be made."""
    scene = Scene.of(paths)
    return report(scene, run(paths, request(scene, asked)))


def request(scene: Scene, asked: Asked) -> Obj:
    """The request for `netlab.trace.session`, as JSON data."""
    if asked.http:
        asked = replace(asked, target=_of_url(asked.http), protocol="tcp")
    source = scene.source(asked.source)
    to = target(scene, asked, source)
    names = scene.names
    made: Obj = {
        "places": scene.places, "source": source, "dst": to.address, "protocol": to.protocol, "dport": to.port,
        "mode": asked.mode, "size": asked.size, "df": asked.df, "answer": asked.timeout,
        "names": {**names.nodes, **names.pods},
        "services": {" ".join(map(str, key)): name for key, name in names.services.items()},
        "lookups": list(to.names), "dns_server": str(scene.topology.cluster.dns_ip).split(",")[0] if to.names else "",
        "answers": scene.answers,
        "ipv6": asked.ipv6, "live": asked.live, "url": asked.http,
    }  # fmt: skip
    if to.protocol == "udp" and to.port == DNS_PORT:
        made["question"] = f"kubernetes.default.svc.{scene.topology.cluster.dns_domain}"
    return made


def _of_url(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise LabError(f"'{url}' is no http:// address", 2)
    return (
        f"{parts.hostname}:{parts.port or 80}"
        if ":" not in parts.hostname
        else f"[{parts.hostname}]:{parts.port or 80}"
    )


def run(paths: LabPaths, asked: Obj) -> Obj:
    """Inside the lab. LabError with its words where it cannot be made."""
    patience = PATIENCE + asked["live"] + asked["answer"] * (1 + len(asked["lookups"]))
    try:
        found = next(ask(paths.control_socket, {"op": "trace", "request": asked}, patience))
    except (OSError, StopIteration, TimeoutError) as problem:
        raise LabError(f"lab '{paths.name}' did not make the trace: {problem or 'it closed the connection'}") from None
    if found.get("failed"):
        raise LabError(found["error"])
    return found


def report(scene: Scene, found: Obj) -> Report:
    names = scene.names
    difference = found["difference"]
    return Report(
        tuple(from_obj(one) for one in found["predicted"]),
        from_obj(found["observed"]) if found["observed"] else None,
        Difference(**difference) if difference else None,
        {**{key[1]: name.partition(":")[0] for key, name in names.services.items()}, **names.nodes, **names.pods},
        tuple(tuple(one) for one in found["frames"]),
        tuple(Exchanged(one["time"], one["text"], tuple(one["places"])) for one in found["exchange"]),
        found["error"],
    )
