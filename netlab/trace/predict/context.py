"""What a rule may ask besides the packet, how a walk through rules ends, and who decides what is random. PURE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from netlab.dataplane.services.objects import in_range
from netlab.trace.model import Step
from netlab.trace.predict.packet import Connection, Pkt
from netlab.trace.predict.state import Machine

Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]
CtState = Literal["NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"]


class Oracle(Protocol):
    """Decides at random choices. Options are (key, weight); a key names where an option leads, an endpoint's
    "address:port" if it leads to one."""

    def choose(self, what: str, options: Sequence[tuple[str, float]]) -> int: ...


@dataclass(slots=True)
class Context:
    """One hook of one machine. `bridged`: the packet came in over a bridge's port (physdev).
    `reply`: it is of the reply direction of `connection`."""

    machine: Machine
    hook: Hook
    oracle: Oracle
    indev: str = ""
    outdev: str = ""
    bridged: bool = False
    state: CtState = "NEW"
    connection: Connection | None = None
    reply: bool = False
    owner: Callable[[str, int], str] = lambda address, port: ""

    def local(self, address: str) -> bool:
        """fib type local."""
        loopback = "::1/128" if ":" in address else "127.0.0.0/8"
        if in_range(address, loopback) or self.machine.is_local(address):
            return True
        return any(r.kind == "local" and r.table == 255 and in_range(address, r.dst) for r in self.machine.routes)


@dataclass(slots=True)
class Outcome:
    """How rules left a packet: `verdict` "accept", "drop" or "reject"; a translation in a nat chain is "dnat" or "snat"
    with `to` ("address:port", or "" for masquerading), `random` for a random port."""

    packet: Pkt
    verdict: str = "accept"
    to: str = ""
    random: bool = False
    masquerade: bool = False
    steps: list[Step] = field(default_factory=list)


def split(to: str) -> tuple[str, int | None]:
    """ "address:port", "[address]:port" or an address alone."""
    if to.startswith("["):
        address, _, port = to[1:].partition("]:")
        return address, int(port) if port else None
    if to.count(":") == 1:
        address, _, port = to.partition(":")
        return address, int(port)
    return to, None
