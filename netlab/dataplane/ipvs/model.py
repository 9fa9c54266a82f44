"""Virtual servers, real servers, sets and their members: frozen, hashable, printed in the words of the kernel's tools.

IPVS is a load balancer below INPUT: a packet that is for a local address, a protocol and a port of a virtual server is
given to one of its real servers, chosen by the scheduler. Hence the dummy device that has every service address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from netlab.dataplane.services.model import Family, Protocol

DEVICE = "kube-ipvs0"
"""The dummy device that has the service addresses; it stays down, which is enough for them to be local."""

Scheduler = Literal["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh", "lblc", "lblcr"]
SCHEDULERS: tuple[Scheduler, ...] = get_args(Scheduler)

SetType = Literal["hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "bitmap:port"]

_OPTION = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}


def host_port(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """What a virtual server is known by."""

    protocol: Protocol
    address: str
    port: int

    @property
    def family(self) -> Family:
        return "IPv6" if ":" in self.address else "IPv4"

    def __str__(self) -> str:
        """As ipvsadm's options have it: `-t 10.96.0.1:443`."""
        return f"{_OPTION[self.protocol]} {host_port(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """A virtual server. `persistent`: seconds for which a client keeps its real server, None for none.

    `source_hash` is upstream's FlagSourceHash, which it sets for the scheduler mh: the source port counts too.
    """

    frontend: Frontend
    scheduler: Scheduler = "rr"
    persistent: int | None = None
    source_hash: bool = False

    def __str__(self) -> str:
        words = f"{self.frontend} -s {self.scheduler}"
        if self.persistent is not None:
            words += f" -p {self.persistent}"
        return f"{words} -b mh-port" if self.source_hash else words


@dataclass(frozen=True, slots=True, order=True)
class RealServer:
    """One endpoint behind a virtual server, reached by NAT (masquerading, in IPVS' words)."""

    address: str
    port: int
    weight: int = 1

    @property
    def key(self) -> tuple[str, int]:
        return self.address, self.port

    def __str__(self) -> str:
        return f"-r {host_port(self.address, self.port)} -m -w {self.weight}"


@dataclass(frozen=True, slots=True)
class IpSet:
    """A set without its members, with the sizes that upstream asks for."""

    name: str
    type: SetType
    family: Family = "IPv4"

    def __str__(self) -> str:
        if self.type == "bitmap:port":
            return f"{self.name} {self.type} range 0-65535"
        family = "inet6" if self.family == "IPv6" else "inet"
        return f"{self.name} {self.type} family {family} hashsize 1024 maxelem 65536"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A member of a set; which fields count is said by the set's type. `second` is an address or a CIDR."""

    address: str = ""
    protocol: str = ""
    port: int = 0
    second: str = ""

    def __str__(self) -> str:
        if not self.address:
            return str(self.port)
        if not self.protocol:
            return self.address
        first = f"{self.address},{self.protocol}:{self.port}"
        return f"{first},{self.second}" if self.second else first
