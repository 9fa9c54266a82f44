"""From NetworkPolicy objects to what they allow: typed, with selectors resolved to addresses.

Source followed: the networking.k8s.io/v1 API's own documentation (types.go), which defines the behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.dataplane.policies.model import Cluster, Direction, Pod


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses of a CIDR, except some."""

    cidr: str
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """`first` to `last` of a protocol (lower case); 0: all. `on`: only of these destinations (a port by its name means
    another number in every pod)."""

    protocol: str
    first: int = 0
    last: int = 0
    on: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """One rule of a policy: these peers, at these ports. `pods` are addresses; None for both kinds of peers: everybody.
    No `ports`: all."""

    pods: tuple[str, ...] | None
    blocks: tuple[Block, ...] | None
    ports: tuple[Ports, ...] = ()

    @property
    def everybody(self) -> bool:
        return self.pods is None and self.blocks is None


@dataclass(frozen=True, slots=True)
class Isolation:
    """What one policy does in one direction: to whom, and what it allows them. `key` is the policy's namespace/name."""

    key: str
    direction: Direction
    pods: tuple[Pod, ...]
    rules: tuple[Allowed, ...]


def isolation(policy: Obj, cluster: Cluster) -> list[Isolation]:
    """One for each of the policy's types."""
    spec, metadata = policy.get("spec") or {}, policy["metadata"]
    home = metadata["namespace"]
    pods = tuple(cluster.select({"podSelector": spec.get("podSelector")}, home))
    found = []
    for direction, word, field in (("ingress", "Ingress", "from"), ("egress", "Egress", "to")):
        if word in _types(spec):
            rules = tuple(
                _allowed(rule, field, home, pods if direction == "ingress" else None, cluster)
                for rule in spec.get(direction) or ()
            )
            found.append(Isolation(f"{home}/{metadata['name']}", direction, pods, rules))  # type: ignore[arg-type]
    return found


def _types(spec: Obj) -> list[str]:
    """As the API defaults them, for objects that nobody has defaulted."""
    return list(spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]))


def _allowed(rule: Obj, field: str, home: str, isolated: tuple[Pod, ...] | None, cluster: Cluster) -> Allowed:
    """`isolated`: the destinations of an ingress rule; None for egress, whose destinations are the peers."""
    peers = rule.get(field) or ()
    blocks = tuple(
        Block(one["ipBlock"]["cidr"], tuple(one["ipBlock"].get("except") or ())) for one in peers if one.get("ipBlock")
    )
    chosen = {pod.key: pod for one in peers if not one.get("ipBlock") for pod in cluster.select(one, home)}
    destinations: Iterable[Pod] = isolated if isolated is not None else chosen.values() if peers else cluster.pods
    ports = tuple(found for port in rule.get("ports") or () for found in _ports(port, destinations))
    if rule.get("ports") and not ports:
        return Allowed((), ())
    if not peers:
        return Allowed(None, None, ports)
    return Allowed(tuple(address for pod in chosen.values() for address in pod.addresses), blocks, ports)


def _ports(port: Obj, destinations: Iterable[Pod]) -> list[Ports]:
    protocol, number = port.get("protocol", "TCP"), port.get("port")
    if number is None:
        return [Ports(protocol.lower())]
    if isinstance(number, int):
        return [Ports(protocol.lower(), number, int(port.get("endPort") or number))]
    by_number: dict[int, list[str]] = {}
    for pod in destinations:
        meant = pod.ports.get((number, protocol))
        if meant is not None:
            by_number.setdefault(meant, []).extend(pod.addresses)
    return [Ports(protocol.lower(), meant, meant, tuple(on)) for meant, on in sorted(by_number.items())]


def by_pod(found: Iterable[Isolation]) -> Mapping[tuple[str, Direction], list[Isolation]]:
    """(pod, direction) → everything that isolates it."""
    result: dict[tuple[str, Direction], list[Isolation]] = {}
    for one in found:
        for pod in one.pods:
            result.setdefault((pod.key, one.direction), []).append(one)
    return result
