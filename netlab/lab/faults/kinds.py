"""The kinds of faults, each one frozen data. PURE. `KINDS` is the table; help, files and tests go through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from netlab.lab.faults.model import (
    Fault,
    address,
    endpoint,
    mac,
    offset,
    one_of,
    option,
    rate,
    seconds,
    share,
    size,
    word,
)

WRONG_MAC = "02:00:00:00:00:66"
"""Locally administered, and nobody's."""
NOWHERE = "192.0.2.66"
"""A VTEP that is not there: an address of the documentation's (RFC 5737)."""
PLACES = "MACHINE, MACHINE:INTERFACE or pod/[NAMESPACE/]NAME"
CABLES = "MACHINE (all its cables), MACHINE:INTERFACE, or MACHINE--MACHINE"
_way = one_of("both", "in", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown(Fault):
    kind: ClassVar[str] = "link-down"
    about: ClassVar[str] = "A cable is out: the carrier is lost, addresses and routes stay."
    what: ClassVar[str] = CABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFlap(Fault):
    kind: ClassVar[str] = "link-flap"
    about: ClassVar[str] = "A cable goes out and in again, at times that the seed spreads by a quarter."
    what: ClassVar[str] = CABLES
    down: float = option(seconds, "how long it is out", 1.0)
    up: float = option(seconds, "how long it is in", 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    kind: ClassVar[str] = "partition"
    about: ClassVar[str] = "Machines of different sets do not hear each other (nftables; everybody else hears all)."
    what: ClassVar[str] = "sets of machines, each with commas: node1,node2 node3; one set is cut off from all others"
    way: str = option(_way, "both, in (the first set does not hear) or out (it is not heard)", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCrash(Fault):
    kind: ClassVar[str] = "node-crash"
    about: ClassVar[str] = "Power cut: every process of the node is killed, its kernel forgets all; mending boots it."
    what: ClassVar[str] = "NODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReboot(Fault):
    kind: ClassVar[str] = "node-reboot"
    about: ClassVar[str] = "A power cut that ends by itself."
    what: ClassVar[str] = "NODE"
    down: float = option(seconds, "how long the node is off", 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessKill(Fault):
    kind: ClassVar[str] = "process-kill"
    about: ClassVar[str] = "SIGKILL, once; with --for again and again as it comes back."
    what: ClassVar[str] = "a component (klab status) or pod/[NAMESPACE/]NAME[:CONTAINER]"
    once: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPause(Fault):
    kind: ClassVar[str] = "process-pause"
    about: ClassVar[str] = "SIGSTOP to a component, or to every process of a container; mending goes on."
    what: ClassVar[str] = "a component (klab status) or pod/[NAMESPACE/]NAME[:CONTAINER]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Fault):
    kind: ClassVar[str] = "loss"
    about: ClassVar[str] = (
        "Packets get lost (nftables). With a seed always the same ones of a thousand, else at random."
    )
    what: ClassVar[str] = PLACES
    percent: float = option(share, "how many, such as 20%")
    way: str = option(_way, "both, in or out, as the target sees it", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Fault):
    kind: ClassVar[str] = "delay"
    about: ClassVar[str] = "Packets wait (netem)."
    what: ClassVar[str] = PLACES
    netem: ClassVar[bool] = True
    delay: float = option(seconds, "how long, one way")
    jitter: float = option(seconds, "more or less by so much", 0.0)
    way: str = option(_way, "both, in or out, as the target sees it", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Fault):
    kind: ClassVar[str] = "reorder"
    about: ClassVar[str] = "Some packets overtake the others (netem)."
    what: ClassVar[str] = PLACES
    netem: ClassVar[bool] = True
    percent: float = option(share, "how many go at once")
    delay: float = option(seconds, "how long the others wait", 0.01)
    way: str = option(_way, "both, in or out, as the target sees it", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Fault):
    kind: ClassVar[str] = "duplicate"
    about: ClassVar[str] = "Some packets come twice (netem)."
    what: ClassVar[str] = PLACES
    netem: ClassVar[bool] = True
    percent: float = option(share, "how many")
    way: str = option(_way, "both, in or out, as the target sees it", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Fault):
    kind: ClassVar[str] = "bandwidth"
    about: ClassVar[str] = "The link is slower (tbf)."
    what: ClassVar[str] = PLACES
    rate: int = option(rate, "such as 1Mbit")
    way: str = option(_way, "both, in or out, as the target sees it", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class MtuBlackHole(Fault):
    kind: ClassVar[str] = "mtu-black-hole"
    about: ClassVar[str] = "Packets above a size vanish, and nobody says so (no ICMP)."
    what: ClassVar[str] = PLACES
    size: int = option(size, "the largest IP packet, in bytes, that still gets through", 1400)
    way: str = option(_way, "both, in or out, as the target sees it", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongFdb(Fault):
    kind: ClassVar[str] = "wrong-fdb"
    about: ClassVar[str] = (
        "The node's VXLAN forwarding entry for a peer points elsewhere, or is gone; resync leaves it."
    )
    what: ClassVar[str] = "NODE"
    peer: str = option(word, "the node behind the entry")
    to: str = option(lambda text: text if text == "none" else address(text), "where to, or none: no entry", NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongArp(Fault):
    kind: ClassVar[str] = "wrong-arp"
    about: ClassVar[str] = "A machine or pod believes that an address has another MAC; resync leaves it."
    what: ClassVar[str] = "MACHINE or pod/[NAMESPACE/]NAME"
    ip: str = option(address, "whose entry")
    mac: str = option(mac, "what it believes", WRONG_MAC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConntrackFull(Fault):
    kind: ClassVar[str] = "conntrack-full"
    about: ClassVar[str] = (
        "The connection tracking table takes no new entry: what stands goes on, what is new is dropped."
    )
    what: ClassVar[str] = "NODE (or any machine that tracks connections)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsLoss(Fault):
    kind: ClassVar[str] = "dns-loss"
    about: ClassVar[str] = "Questions to port 53 get lost."
    what: ClassVar[str] = "MACHINE or pod/[NAMESPACE/]NAME; a node's pods are included"
    percent: float = option(share, "how many", 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRule(Fault):
    kind: ClassVar[str] = "stale-rule"
    about: ClassVar[str] = (
        "On the node an endpoint that is gone still gets its share of a Service (iptables, nftables)."
    )
    what: ClassVar[str] = "NODE"
    service: str = option(word, "[NAMESPACE/]NAME[:PORT]")
    endpoint: str = option(endpoint, "the one that is gone, such as 10.244.1.250:8080")


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRule(Fault):
    kind: ClassVar[str] = "missing-rule"
    about: ClassVar[str] = "On the node the rule that catches a Service's cluster IP is missing (iptables, nftables)."
    what: ClassVar[str] = "NODE"
    service: str = option(word, "[NAMESPACE/]NAME[:PORT]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew(Fault):
    kind: ClassVar[str] = "clock-skew"
    about: ClassVar[str] = "The node's agent (kubelet) reads a wrong time: leases, conditions, statuses."
    what: ClassVar[str] = "NODE"
    offset: float = option(offset, "by how much, such as -30s")


ALL: tuple[type[Fault], ...] = (
    LinkDown,
    LinkFlap,
    Partition,
    NodeCrash,
    NodeReboot,
    ProcessKill,
    ProcessPause,
    Loss,
    Delay,
    Reorder,
    Duplicate,
    Bandwidth,
    MtuBlackHole,
    WrongFdb,
    WrongArp,
    ConntrackFull,
    DnsLoss,
    StaleRule,
    MissingRule,
    ClockSkew,
)
KINDS: Mapping[str, type[Fault]] = {kind.kind: kind for kind in ALL}
