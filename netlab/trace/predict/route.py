"""Which route a packet takes on a machine, and which neighbour. PURE.

As the kernel's FIB: policy rules by priority, in each table the longest prefix, then the lowest metric. What a rule
asks that is not known here is an error that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from netlab.dataplane.explain.model import Uninterpretable
from netlab.dataplane.fib import FibRoute, PolicyRule
from netlab.dataplane.services.objects import in_range
from netlab.trace.predict.context import Oracle
from netlab.trace.predict.state import Machine

DEFAULT_RULES = (PolicyRule(0, "table", 255), PolicyRule(32766, "table", 254), PolicyRule(32767, "table", 253))


@dataclass(frozen=True, slots=True)
class Found:
    """`kind`: "local", "unicast", "broadcast", …, or "" where no route matches. `via` "" for a neighbour on the
    link."""

    kind: str
    dev: str = ""
    via: str = ""
    src: str = ""
    text: str = "no route"


@lru_cache(maxsize=65536)
def _number(address: str) -> int:
    return int(ip_address(address))


@lru_cache(maxsize=65536)
def _network(cidr: str) -> tuple[int, int, int]:
    """(first address, mask, prefix length)."""
    network = ip_network(cidr, strict=False)
    return int(network.network_address), int(network.netmask), network.prefixlen


def lookup(
    machine: Machine, dst: str, oracle: Oracle, *, src: str = "", iif: str = "", oif: str = "", mark: int = 0
) -> Found:
    """The route to `dst`. `iif` is "lo" for packets of the machine's own."""
    for rule in sorted(machine.rules or DEFAULT_RULES, key=lambda one: one.priority):
        if not _selects(rule, dst, src, iif or "lo", oif, mark):
            continue
        if rule.action in ("blackhole", "unreachable", "prohibit"):
            return Found(rule.action, text=f"policy rule {rule.priority}: {rule.action}")
        if rule.action != "table":
            raise Uninterpretable(f"on {machine.name}, policy rule {rule.priority} with action {rule.action}")
        best = _best(machine.routes, rule.table, dst, oif)
        if best is not None and best.kind != "throw":
            return _found(best, dst, oracle)
    return Found("")


def _selects(rule: PolicyRule, dst: str, src: str, iif: str, oif: str, mark: int) -> bool:
    if rule.unknown:
        raise Uninterpretable(f"policy rule {rule.priority} asks for {rule.unknown}")
    met = (
        (not rule.dst or in_range(dst, rule.dst))
        and (not rule.src or (bool(src) and in_range(src, rule.src)))
        and (not rule.iif or rule.iif == iif)
        and (not rule.oif or rule.oif == oif)
        and ((rule.mark ^ mark) & rule.mask == 0)
    )
    return met != rule.invert


def _best(routes: Sequence[FibRoute], table: int, dst: str, oif: str) -> FibRoute | None:
    wanted, best, rank = _number(dst), None, (-1, 0)
    v6 = ":" in dst
    for route in routes:
        if route.table != table or route.dead or (":" in route.dst) != v6 or (oif and route.dev not in ("", oif)):
            continue
        first, mask, length = _network(route.dst)
        if wanted & mask == first and (length, -route.metric) > rank:
            best, rank = route, (length, -route.metric)
    return best


def _found(route: FibRoute, dst: str, oracle: Oracle) -> Found:
    if route.hops:
        options = [(f"{hop.via or dst} dev {hop.dev}", float(hop.weight)) for hop in route.hops]
        hop = route.hops[oracle.choose(f"route {route.dst}", options) if len(options) > 1 else 0]
        return Found(route.kind, hop.dev, hop.via or "", route.src, str(route))
    return Found(route.kind, route.dev, route.via, route.src, str(route))


def source_address(machine: Machine, found: Found, dst: str) -> str:
    """What the kernel takes as source where nobody says: the route's, else an address of the device, preferring one in
    whose subnet the next hop is."""
    if found.src:
        return found.src
    if found.kind == "local":
        return dst
    return device_address(machine, found.dev, found.via or dst)


def device_address(machine: Machine, dev: str, near: str) -> str:
    """inet_select_addr: the device's first global address in whose subnet `near` is, else its first; "" for none."""
    interface = machine.interfaces.get(dev)
    v6 = ":" in near
    own = [(a, p) for a, p, scope in (interface.addresses if interface else ()) if (":" in a) == v6 and scope < 253]
    for address, prefix in own:
        if in_range(near, f"{address}/{prefix}"):
            return address
    return own[0][0] if own else ""
