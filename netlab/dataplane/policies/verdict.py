"""Whether policies let a connection through, judged from the objects: for explanations, and to test rules against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netlab.dataplane.policies.model import Cluster, Direction, Pod
from netlab.dataplane.policies.select import Allowed, Isolation, Ports


@dataclass(frozen=True, slots=True)
class Connection:
    """`dst` is the address behind any Service. `protocol` in lower case; `port` 0 where the protocol has none."""

    src: str
    dst: str
    protocol: str = "tcp"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`policies` isolate `pod` in that direction, and none of them allows it; empty: it is let through."""

    allowed: bool
    direction: Direction = "ingress"
    pod: str = ""
    policies: tuple[str, ...] = ()


def judge(found: Iterable[Isolation], cluster: Cluster, connection: Connection) -> Verdict:
    """The first direction that forbids it: egress of the source, then ingress of the destination."""
    everything = list(found)
    sides: tuple[tuple[Direction, str, str], ...] = (
        ("egress", connection.src, connection.dst),
        ("ingress", connection.dst, connection.src),
    )
    for direction, own, peer in sides:
        pod = _pod(cluster, own)
        mine = [one for one in everything if pod is not None and one.direction == direction and pod in one.pods]
        if mine and not any(_allows(rule, peer, connection) for one in mine for rule in one.rules):
            return Verdict(False, direction, pod.key if pod else "", tuple(one.key for one in mine))
    return Verdict(True)


def _pod(cluster: Cluster, address: str) -> Pod | None:
    return next((pod for pod in cluster.pods if address in pod.addresses), None)


def _allows(rule: Allowed, peer: str, connection: Connection) -> bool:
    if rule.ports and not any(_fits(ports, connection) for ports in rule.ports):
        return False
    if rule.everybody or peer in (rule.pods or ()):
        return True
    return any(
        _within(peer, block.cidr) and not any(_within(peer, one) for one in block.excepted)
        for block in rule.blocks or ()
    )


def _fits(ports: Ports, connection: Connection) -> bool:
    if ports.protocol != connection.protocol or (ports.on is not None and connection.dst not in ports.on):
        return False
    return not ports.first or ports.first <= connection.port <= ports.last


def _within(address: str, cidr: str) -> bool:
    one, network = ip_address(address), ip_network(cidr, strict=False)
    return one.version == network.version and one in network
