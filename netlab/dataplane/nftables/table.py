"""kube-proxy's table as a whole, and the transaction that turns one into another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from netlab.dataplane.nftables.operations import Operation, Placed, Table
from netlab.dataplane.nftables.rules import Chain, Container, Element, Ip, Rule
from netlab.dataplane.services.model import Family

TABLE = "kube-proxy"
TABLE_COMMENT = "rules for kube-proxy"

ElementKey = tuple[str, tuple[str, ...]]


def nft_family(family: Family) -> Ip:
    """nft's word for it."""
    return "ip6" if family == "IPv6" else "ip"


@dataclass(slots=True)
class NftState:
    """Chains and containers by name, elements by container and key. Elements that come and go by themselves (in sets
    with a timeout) are not part of it."""

    chains: dict[str, Chain] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    elements: dict[ElementKey, Element] = field(default_factory=dict)

    def add(self, *items: Chain | Container | Element) -> None:
        for item in items:
            if isinstance(item, Chain):
                self.chains[item.name] = item
            elif isinstance(item, Container):
                self.containers[item.name] = item
            else:
                self.elements[item.container, item.key] = item


@dataclass(frozen=True, slots=True)
class Transaction:
    """`apply` makes everything right; `cleanup`, to be run after it, removes chains and sets that nothing refers to any
    more (kernels before 6.2 refuse that in the transaction that removes the last reference)."""

    apply: tuple[Operation, ...]
    cleanup: tuple[Operation, ...]

    def __bool__(self) -> bool:
        return bool(self.apply or self.cleanup)


def diff(before: NftState, after: NftState, ip: Ip, table: str = TABLE) -> Transaction:
    """What to run. Where the operations must be cut into several transactions (not where one `belongs_to` the one
    before it), each of them leaves a table in which all that was served before and is to be served now is served."""
    made: list[Operation] = []
    for container in after.containers.values():
        if before.containers.get(container.name) != container:
            if container.name in before.containers:
                made.append(Operation("delete", ip, table, container))
            made.append(Operation("add", ip, table, container))
    made += [Operation("add", ip, table, chain) for chain in after.chains.values() if chain.name not in before.chains]
    made += _chains(before, after, ip, table)
    made += _elements(before, after, ip, table)
    # Emptied here, so that the next transaction finds no reference.
    gone = [chain for name, chain in before.chains.items() if name not in after.chains]
    made += [Operation("flush", ip, table, chain) for chain in gone]
    cleanup = [Operation("delete", ip, table, chain) for chain in gone]
    for name, container in before.containers.items():
        if name not in after.containers:
            cleanup.append(Operation("delete", ip, table, container))
    return Transaction(tuple(made), tuple(cleanup))


def create(after: NftState, ip: Ip) -> Transaction:
    """All of it, in a table that may or may not be there."""
    made = diff(NftState(), after, ip)
    return Transaction((Operation("add", ip, TABLE, Table(TABLE_COMMENT)), *made.apply), made.cleanup)


def remove(ip: Ip, table: str = TABLE) -> Operation:
    """Takes the whole table away, which must be there."""
    return Operation("delete", ip, table, Table())


def _chains(before: NftState, after: NftState, ip: Ip, table: str) -> Iterator[Operation]:
    """New chains first: whoever leads to one is written when its rules are there."""
    for chain in after.chains.values():
        if chain.name not in before.chains:
            yield from (Operation("add", ip, table, Placed(chain.name, rule)) for rule in chain.rules)
    for chain in after.chains.values():
        old = before.chains.get(chain.name)
        if old is not None and old.rules != chain.rules:
            if old.rules:
                yield Operation("flush", ip, table, chain)
            yield from (Operation("add", ip, table, Placed(chain.name, rule)) for rule in chain.rules)


def _elements(before: NftState, after: NftState, ip: Ip, table: str) -> Iterator[Operation]:
    for key, element in after.elements.items():
        old = before.elements.get(key)
        if old != element:
            if old is not None:
                yield Operation("delete", ip, table, old)
            yield Operation("add", ip, table, element)
    for key, old in reversed(before.elements.items()):
        if key not in after.elements:
            yield Operation("delete", ip, table, old)


def references(rules: Iterable[Rule]) -> set[str]:
    """The chains that rules jump or go to."""
    found: set[str] = set()
    for rule in rules:
        for statement in rule.statements:
            chain = getattr(statement, "chain", "")
            found.update([chain] if chain else getattr(statement, "chains", ()))
    return found
