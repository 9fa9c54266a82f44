"""What is left in the kernel of pods and Services that are gone: tracked connections, and rules.

Objects go at once, what nodes have made of them some milliseconds later; and nobody but a reset forgets the TCP
connections of an address that no pod has any more (the kernel keeps them for two minutes, kube-proxy cleans UDP only).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.kernel import conntrack, xtables
from netlab.kernel.nlsocket import NETLINK_NETFILTER, NetlinkSocket
from netlab.lab.portal import Where

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

SAVED: Mapping[str, str] = {
    "iptables": "iptables-save",
    "nftables": "nft list ruleset",
    "ipvs": "ip addr show dev kube-ipvs0",
}
"""Proxy mode → the command that prints the addresses of Services that a node has. Mode "external": nothing of ours."""
PATH = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
_ADDRESS = re.compile(r"[0-9a-f]*[.:][0-9a-f.:]+")


def addresses_of(objects: Iterable[Obj]) -> set[str]:
    """Of pods and Services: every address that is theirs alone."""
    found: set[str] = set()
    for obj in objects:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("hostNetwork"):
            found |= {one["ip"] for one in status.get("podIPs") or ()}
        found |= set(spec.get("clusterIPs") or ()) - {"None"}
        found |= {one["ip"] for one in (status.get("loadBalancer") or {}).get("ingress") or () if one.get("ip")}
    return found


def mentioned(text: str, wanted: Collection[str]) -> set[str]:
    """PURE. Which of the addresses occur in what a program has printed."""
    return set(wanted) & {one.rstrip(".:") for one in _ADDRESS.findall(text)}


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where the cluster's own addresses are from."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def stale(self, entry: conntrack.Entry, held: Collection[str]) -> bool:
        """PURE. Whether a connection has an end at an address of the ranges that is nobody's any more."""
        ends = {end for one in (entry.original, entry.reply) for end in (one.src, one.dst)}
        return any(end not in held and self._has(end) for end in ends)

    def _has(self, address: str) -> bool:
        number = ip_address(address)
        return any(number in network for network in self.networks)


class Remains:
    """A socket of every machine's namespace: one machine is asked by one thread at a time."""

    def __init__(self, lab: Lab, machines: Iterable[str]) -> None:
        self.lab = lab
        cluster = lab.topology.cluster
        self.machines = tuple(machines)
        self.ranges = Ranges(tuple(ip_network(cidr) for cidr in (*cluster.pod_cidrs, *cluster.service_cidrs)))
        self._dual = "IPv6" in cluster.families
        self._doors: dict[str, _Door] = {}
        self._legacy: bool | None = None
        self._raw: dict[tuple[str, bool], socket.socket] = {}

    def open(self) -> None:
        """Beforehand, so that the first reset does not pay for it."""
        for machine in self.machines:
            sock = self.lab.portal.open_socket(machine, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            self._doors[machine] = _Door(NetlinkSocket(sock))

    def close(self) -> None:
        for door in self._doors.values():
            door.netfilter.close()
        for sock in self._raw.values():
            sock.close()

    def held(self, pods: Iterable[Obj], services: Iterable[Obj], nodes: Iterable[Obj]) -> set[str]:
        """The addresses of the cluster's ranges that are somebody's."""
        found = addresses_of(pods) | addresses_of(services)
        for node in nodes:
            for cidr in (node.get("spec") or {}).get("podCIDRs") or ():
                network = ip_network(cidr)
                found |= {str(network[0]), str(network[1])}  # flannel.1's and docker0's
        return found

    def forget_flows(self, machine: str, held: Collection[str]) -> int:
        """Delete every tracked connection of an address that is nobody's; how many there were."""
        door, deleted = self._doors[machine], 0
        if not conntrack.count(door):
            return 0
        for ipv6 in (False, True) if self._dual else (False,):
            for entry in conntrack.entries(door, ipv6=ipv6):
                if self.ranges.stale(entry, held):
                    deleted += conntrack.delete(door, entry)
        return deleted

    def rules(self, node: str, mode: str, addresses: Collection[str]) -> str:
        """In words: for which of the addresses the node still has rules; "" for none."""
        command = SAVED.get(mode)
        if command is None or (mode == "iptables" and self._gone_from_tables(node, addresses)):
            return ""
        if self._dual and mode == "iptables":
            command = f"{command}; ip6tables-save"
        found = mentioned(self._printed(node, command), addresses)
        return f"{node} still has rules for {', '.join(sorted(found))}" if found else ""

    def _gone_from_tables(self, node: str, addresses: Collection[str]) -> bool:
        """Whether none of them is in the tables: a few µs where the back end is the legacy one. False: not known."""
        if self._legacy is None:
            self._legacy = "nat" in self._printed(node, "cat /proc/net/ip_tables_names").split()
        if not self._legacy:
            return False
        try:
            return not any(
                xtables.mentions(xtables.entries(self._raw_socket(node, ":" in address), table), address)
                for address in addresses
                for table in ("nat", "filter")
            )
        except OSError:
            return False

    def _raw_socket(self, node: str, ipv6: bool) -> socket.socket:
        if (node, ipv6) not in self._raw:
            family = socket.AF_INET6 if ipv6 else socket.AF_INET
            made = self.lab.portal.open_socket(node, family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._raw[node, ipv6] = made
        return self._raw[node, ipv6]

    def _printed(self, node: str, command: str) -> str:
        return self.lab.portal.run(Where(node), ("sh", "-c", command), env=PATH, what=node).stdout


@dataclass(frozen=True, slots=True)
class _Door:
    """What `netlab.kernel.conntrack` wants of a namespace."""

    netfilter: NetlinkSocket
