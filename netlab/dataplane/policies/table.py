"""One node's policies as an nftables table of one family.

    egress, egress-to-node   a new connection of a local pod, by its source    → isolated pods' chains
    ingress                  a new connection to a local pod, by its destination → isolated pods' chains

An isolated pod's chain, shared by all that the same policies isolate, asks the policies one after the other and drops
what none has accepted. A chain that accepts ends its own base chain only: what egress allows is still judged by
ingress. What comes from the node itself never passes FORWARD, so probes always get through, as upstream demands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import collapse_addresses, ip_network

from netlab.dataplane.nftables import rules as n
from netlab.dataplane.nftables.table import NftState
from netlab.dataplane.policies.model import Direction, Pod
from netlab.dataplane.policies.select import Allowed, Isolation, Ports, by_pod

TABLE = "kube-network-policies"
LONGEST_NAME, LONGEST_COMMENT = 120, 120
_SIDES: dict[Direction, tuple[n.Side, n.Side]] = {"ingress": ("saddr", "daddr"), "egress": ("daddr", "saddr")}
"""Where the peer's address stands, and where the pod's."""
_HOOKS: tuple[tuple[str, str, Direction], ...] = (
    ("egress", "filter hook forward priority filter - 2", "egress"),
    ("egress-to-node", "filter hook input priority filter - 2", "egress"),
    ("ingress", "filter hook forward priority filter - 1", "ingress"),
)


def policy_table(found: Iterable[Isolation], local: Iterable[Pod], ip: n.Ip) -> NftState:
    """The table for the pods `local`; an empty state where no policy isolates one of them."""
    everything = by_pod(found)
    state = NftState()
    for pod in local:
        for direction in _SIDES:
            mine = everything.get((pod.key, direction))
            if mine:
                _isolate(state, pod, direction, sorted(mine, key=lambda one: one.key), ip)
    return _with_hooks(state, ip) if state.elements else NftState()


def _with_hooks(state: NftState, ip: n.Ip) -> NftState:
    complete = NftState()
    for direction in _SIDES:
        complete.add(n.Container(f"{direction}-pods", "map", f"{_type(ip)} : verdict"))
    for name, hook, direction in _HOOKS:
        rule = n.Rule((n.CtNew(), n.AddressVerdict(ip, _SIDES[direction][1], f"{direction}-pods")))
        complete.add(n.Chain(name, (rule,), hook))
    complete.add(*state.containers.values(), *state.chains.values(), *state.elements.values())
    return complete


def _isolate(state: NftState, pod: Pod, direction: Direction, mine: Sequence[Isolation], ip: n.Ip) -> None:
    names = [one.key for one in mine]
    chain = _name(f"{direction}-pod", direction, *names)
    for one in mine:
        if _policy_chain(one) not in state.chains:
            state.add(*_policy(one, ip))
    if chain not in state.chains:
        last = n.Rule((n.Verdict("drop"),), _comment(f"{direction}: allowed by no NetworkPolicy of {', '.join(names)}"))
        state.add(n.Chain(chain, (*(n.Rule((n.Verdict("jump", _policy_chain(one)),)) for one in mine), last)))
    for address in pod.addresses:
        if _is(address, ip):
            verdict = n.Verdict("goto", chain)
            state.add(n.Element(f"{direction}-pods", (address,), verdict, _comment(pod.key)))


def _policy_chain(one: Isolation) -> str:
    return _name(one.direction, one.direction, one.key) + "-" + one.key[: LONGEST_NAME - 20]


def _policy(one: Isolation, ip: n.Ip) -> Iterator[n.Chain | n.Container | n.Element]:
    peer, own = _SIDES[one.direction]
    rules: list[n.Rule] = []
    for index, rule in enumerate(one.rules):
        name = _name("peers", one.direction, one.key, str(index))
        members = [address for address in rule.pods or () if _is(address, ip)]
        if members:
            yield n.Container(name, "set", _type(ip))
            yield from (n.Element(name, (address,)) for address in members)
        ways = list(_who(rule, name if members else "", peer, ip))
        rules += [
            n.Rule((*who, *what, n.Verdict("accept")), _comment(f"NetworkPolicy {one.key}"))
            for who in ways
            for what in _what(rule, who, own if one.direction == "ingress" else peer, ip)
        ]
    yield n.Chain(_policy_chain(one), tuple(rules))


def _who(rule: Allowed, members: str, side: n.Side, ip: n.Ip) -> Iterator[tuple[n.Statement, ...]]:
    if rule.everybody:
        yield ()
    if members:
        yield (n.InSet(ip, side, members),)
    for block in rule.blocks or ():
        if _is(block.cidr, ip):
            excepted = (n.Addr(ip, side, _cidrs(block.excepted), negated=True),) if block.excepted else ()
            yield (n.Addr(ip, side, _cidrs([block.cidr])), *excepted)


def _what(
    rule: Allowed, who: Sequence[n.Statement], destination: n.Side, ip: n.Ip
) -> Iterator[tuple[n.Statement, ...]]:
    if not rule.ports:
        yield ()
    for ports in rule.ports:
        on = tuple(address for address in ports.on or () if _is(address, ip))
        if ports.on is not None and not on:
            continue
        yield (*((n.Addr(ip, destination, on),) if on else ()), _port(ports))


def _port(ports: Ports) -> n.Statement:
    if not ports.first:
        return n.L4Proto(ports.protocol)
    if ports.first == ports.last:
        return n.Port(ports.protocol, ports.first)
    return n.PortRange(ports.protocol, ports.first, ports.last)


def _cidrs(given: Iterable[str]) -> tuple[str, ...]:
    """Without overlaps, which nft refuses; single addresses as nft prints them."""
    found = collapse_addresses(ip_network(one, strict=False) for one in given)  # type: ignore[type-var]
    return tuple(str(one.network_address) if one.num_addresses == 1 else str(one) for one in found)


def _is(address: str, ip: n.Ip) -> bool:
    return (":" in address) == (ip == "ip6")


def _type(ip: n.Ip) -> str:
    return "ipv6_addr" if ip == "ip6" else "ipv4_addr"


def _name(kind: str, *parts: str) -> str:
    return f"{kind}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:10].upper()}"


def _comment(text: str) -> str:
    return text if len(text) <= LONGEST_COMMENT else text[: LONGEST_COMMENT - 1] + "…"
