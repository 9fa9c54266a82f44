"""Which sources, targets and pairs a run has, from the API's objects and the lab's topology. PURE."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netlab.trace.reach.matrix import Group, Proto, Source, Target

Obj = Mapping[str, Any]
GROUPS: tuple[Group, ...] = ("pods", "services", "nodes", "dns", "nodeports", "hosts")
PROTOS: tuple[Proto, ...] = ("icmp", "tcp", "udp", "sctp")
GROUPS_OF: Mapping[Proto, tuple[Group, ...]] = {
    "icmp": ("pods", "nodes", "hosts"),
    "tcp": ("pods", "services", "nodes", "nodeports", "dns", "hosts"),
    "udp": ("pods", "services", "nodes", "nodeports", "dns", "hosts"),
    "sctp": ("pods", "services", "nodes", "nodeports", "hosts"),
}
"""What each protocol can ask. A Service's address answers no ICMP: it exists only in rules."""
DISCARD = 9
"""A port at which nothing is expected to listen: the machine's RST, or its port unreachable, is answer enough."""
KUBELET = 10250
DNS_NAME = "kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class Machine:
    """A node, host or router of the topology; its namespace has its name."""

    name: str
    ips: tuple[str, ...]
    is_node: bool
    segment: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What there is. Objects as the API has them; `dns_domain` of the cluster."""

    machines: tuple[Machine, ...]
    pods: tuple[Obj, ...]
    services: tuple[Obj, ...]
    slices: tuple[Obj, ...] = ()
    dns_domain: str = "cluster.local"


class Unknown(ValueError):  # noqa: N818
    """A name that nothing has; `known` are the names that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"no pod or machine '{name}' to ping from or to")


def key(obj: Obj) -> str:
    return f"{obj['metadata'].get('namespace', 'default')}/{obj['metadata']['name']}"


def pod_ips(pod: Obj) -> tuple[str, ...]:
    status = pod.get("status") or {}
    return tuple(entry["ip"] for entry in status.get("podIPs") or ())


def own_network(pods: Iterable[Obj]) -> list[Obj]:
    """Pods that run in a network of their own."""
    return [
        pod
        for pod in pods
        if not (pod.get("spec") or {}).get("hostNetwork")
        and (pod.get("status") or {}).get("phase") == "Running"
        and pod_ips(pod)
        and not pod["metadata"].get("deletionTimestamp")
    ]


def sources(world: World) -> list[Source]:
    """Everybody who can ask: pods, then machines."""
    pods = [
        Source(key(pod), f"cni-{pod['metadata']['uid'].replace('-', '')[:12]}", pod_ips(pod), _bridge(pod))
        for pod in own_network(world.pods)
    ]
    return pods + [Source(one.name, one.name, one.ips, one.segment) for one in world.machines]


def targets(world: World, proto: Proto, groups: Iterable[Group]) -> list[Target]:
    """Everything of these groups that the protocol can ask, in a fixed order."""
    makers = {
        "pods": _pods, "services": _services, "nodes": _nodes, "dns": _dns, "nodeports": _node_ports, "hosts": _hosts,
    }  # fmt: skip
    wanted = [group for group in GROUPS if group in set(groups) and group in GROUPS_OF[proto]]
    return [target for group in wanted for target in makers[group](world, proto)]


def _family(ips: Sequence[str]) -> list[tuple[str, str]]:
    """(address, what to add to the name): the first address, and a second one of a dual-stack machine."""
    return [(ip, "" if number == 0 else f" ({ip})") for number, ip in enumerate(ips)]


def _declared(pod: Obj, proto: Proto) -> int:
    """The first port of the protocol that a container declares, 0 where none does."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if str(port.get("protocol", "TCP")).lower() == proto:
                return int(port["containerPort"])
    return 0


def _bridge(pod: Obj) -> str:
    return f"docker0 of {(pod.get('spec') or {}).get('nodeName', '')}"


def _pods(world: World, proto: Proto) -> list[Target]:
    """TCP and SCTP at a declared port. UDP at one where nothing listens: a server that ignores what it does not
    understand would look like a denial, and "port unreachable" is an answer of the machine itself."""
    found = []
    for pod in own_network(world.pods):
        port = _declared(pod, proto) if proto in ("tcp", "sctp") else 0
        for ip, more in _family(pod_ips(pod)):
            number = port or (DISCARD if proto != "icmp" else 0)
            name = key(pod)
            found.append(Target(name + more, "pods", ip, number, bool(port), owner=name, segment=_bridge(pod)))
    return found


def _nodes(world: World, proto: Proto) -> list[Target]:
    return _machines(world, proto, "nodes", KUBELET if proto == "tcp" else 0)


def _hosts(world: World, proto: Proto) -> list[Target]:
    return _machines(world, proto, "hosts", 0)


def _machines(world: World, proto: Proto, group: Group, listening: int) -> list[Target]:
    port = 0 if proto == "icmp" else listening or DISCARD
    return [
        Target(machine.name + more, group, ip, port, bool(listening), owner=machine.name, segment=machine.segment)
        for machine in world.machines
        if machine.is_node == (group == "nodes")
        for ip, more in _family(machine.ips)
    ]


def _ports(service: Obj, proto: Proto) -> list[Obj]:
    spec = service.get("spec") or {}
    return [port for port in spec.get("ports") or () if str(port.get("protocol", "TCP")).lower() == proto]


def _label(service: Obj, port: Obj) -> str:
    return f"svc/{key(service)}:{port.get('name') or port['port']}"


def _cluster_ips(service: Obj) -> list[str]:
    spec = service.get("spec") or {}
    return [ip for ip in spec.get("clusterIPs") or () if ip and ip != "None"]


def _services(world: World, proto: Proto) -> list[Target]:
    return [
        Target(_label(service, port) + more, "services", ip, int(port["port"]), proto == "tcp")
        for service in world.services
        for port in _ports(service, proto)
        for ip, more in _family(_cluster_ips(service))
        if not (proto == "udp" and int(port["port"]) == 53)  # that one is asked a question: group dns
    ]


def _node_ports(world: World, proto: Proto) -> list[Target]:
    return [
        Target(f"{machine.name}:{port['nodePort']} ({_label(service, port)})", "nodeports", machine.ips[0],
               int(port["nodePort"]), proto == "tcp")
        for service in world.services
        for port in _ports(service, proto)
        if port.get("nodePort")
        for machine in world.machines
        if machine.is_node and machine.ips
    ]  # fmt: skip


def _dns(world: World, proto: Proto) -> list[Target]:
    """The cluster's DNS, asked for the API server's Service. Over TCP the same question."""
    answers = [ip for one in world.services if key(one) == "default/kubernetes" for ip in _cluster_ips(one)[:1]]
    name = f"{DNS_NAME}.{world.dns_domain}"
    return [
        Target(f"dns/{key(service)}", "dns", ip, 53, True, answers[0] if answers else "", name)
        for service in world.services
        if key(service) == "kube-system/kube-dns"
        for ip in _cluster_ips(service)[:1]
    ]


def choose(
    world: World, proto: Proto, groups: Sequence[Group], source: str | None, target: str | None
) -> tuple[list[Source], list[Target]]:
    """The sources and targets of `klab ping [SRC [DST]]`. Raises Unknown.

    Without SRC every pod asks, and every node where nodes are asked for or there is no pod. A DST is a name of any
    target, or an address.
    """
    everybody = sources(world)
    if source is None:
        pods = [one for one in everybody if one.netns.startswith("cni-")]
        nodes = [one for one in everybody if any(m.is_node and m.name == one.name for m in world.machines)]
        asking = pods + (nodes if "nodes" in groups or not pods else [])
    else:
        asking = [_named(source, {one.name: one for one in everybody})]
    if target is None:
        return asking, targets(world, proto, groups)
    return asking, _target(world, proto, target)


def _named(name: str, known: Mapping[str, Source]) -> Source:
    for wanted in _meant(name):
        if wanted in known:
            return known[wanted]
    raise Unknown(name, list(known))


def _meant(name: str) -> tuple[str, ...]:
    """What a name may be, in order: a pod goes before a machine of the same name; pod/, node/ and host/ say which."""
    prefix, _, rest = name.partition("/")
    if prefix in ("node", "host", "router") and rest:
        return (rest,)
    if prefix == "pod" and rest:
        return (rest if "/" in rest else f"default/{rest}",)
    return (f"default/{name}", name)


def _target(world: World, proto: Proto, name: str) -> list[Target]:
    every = targets(world, proto, GROUPS)
    wanted = {*_meant(name)}
    if not name.startswith(("pod/", "node/", "host/", "router/")):
        wanted.add(f"svc/default/{name.removeprefix('svc/')}")
    found = [one for one in every if one.name in wanted or one.name.split(" (")[0] in wanted]
    found = found or [one for one in every if one.name.rpartition(":")[0] in wanted]
    if found:
        return found
    address, _, port = name.partition(":") if name.count(":") == 1 else (name, "", "")
    if address.replace(".", "").isdigit() or ":" in address:
        number = int(port) if port.isdigit() else 0 if proto == "icmp" else DISCARD
        return [Target(name, "hosts", address, number, bool(port) and proto == "tcp")]
    raise Unknown(name, [one.name for one in every])


def skips(asking: Sequence[Source], asked: Sequence[Target]) -> list[set[int]]:
    """For each source the targets that it does not ask: itself, and addresses of a family that it has not."""
    found = []
    for source in asking:
        families = {":" in ip for ip in source.ips} or {False, True}
        found.append(
            {j for j, t in enumerate(asked) if t.owner == source.name or (":" in t.ip) not in families}
        )  # fmt: skip
    return found


def sample(pairs: int, number: int, seed: int = 0) -> set[int]:
    """`number` of `pairs` indices, the same for the same seed."""
    return set(random.Random(seed).sample(range(pairs), min(number, pairs)))


def work(asking: Sequence[Source], asked: Sequence[Target], number: int | None, seed: int = 0) -> list[list[int]]:
    """For each source the targets that it asks; `number` pairs of all where given."""
    left_out = skips(asking, asked)
    wanted = [[j for j in range(len(asked)) if j not in left_out[i]] for i in range(len(asking))]
    if number is None:
        return wanted
    chosen, start, found = sample(sum(map(len, wanted)), number, seed), 0, []
    for row in wanted:
        found.append([j for place, j in enumerate(row, start) if place in chosen])
        start += len(row)
    return found
