"""kube-proxy's table as a whole, and the transaction that turns one into another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

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

    apply: tuple[str, ...]
    cleanup: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.apply or self.cleanup)


def text(lines: Iterable[str]) -> str:
    """Input for `nft -f`."""
    return "".join(f"{line}\n" for line in lines)


def diff(before: NftState, after: NftState, ip: Ip, table: str = TABLE) -> Transaction:
    """What to run, in nft's words; every prefix of the lines is valid by itself."""
    where = f"{ip} {table}"
    lines: list[str] = []
    for container in after.containers.values():
        if before.containers.get(container.name) != container:
            if container.name in before.containers:
                lines.append(f"delete {container.kind} {where} {container.name}")
            lines.append(f"add {container.kind} {where} {container.name} {{ {container.spec()} }}")
    lines += [_declare(chain, where) for chain in after.chains.values() if chain.name not in before.chains]
    lines += _chains(before, after, where)
    lines += _elements(before, after, where)
    # Emptied here, so that the next transaction finds no reference.
    gone = [name for name in before.chains if name not in after.chains]
    lines += [f"flush chain {where} {name}" for name in gone]
    cleanup = [f"delete chain {where} {name}" for name in gone]
    for name, container in before.containers.items():
        if name not in after.containers:
            cleanup.append(f"delete {container.kind} {where} {name}")
    return Transaction(tuple(lines), tuple(cleanup))


def create(after: NftState, ip: Ip) -> Transaction:
    """All of it, in a table that may or may not be there."""
    table = f'add table {ip} {TABLE} {{ comment "{TABLE_COMMENT}" ; }}'
    made = diff(NftState(), after, ip)
    return Transaction((table, *made.apply), made.cleanup)


def _declare(chain: Chain, where: str) -> str:
    words = [f"type {chain.hook} ;"] if chain.hook else []
    words += [f'comment "{chain.comment}" ;'] if chain.comment else []
    body = f" {{ {' '.join(words)} }}" if words else ""
    return f"add chain {where} {chain.name}{body}"


def _chains(before: NftState, after: NftState, where: str) -> Iterator[str]:
    for chain in after.chains.values():
        old = before.chains.get(chain.name)
        if old is not None and old.rules == chain.rules:
            continue
        if old is not None and old.rules:
            yield f"flush chain {where} {chain.name}"
        yield from (f"add rule {where} {chain.name} {rule}" for rule in chain.rules)


def _elements(before: NftState, after: NftState, where: str) -> Iterator[str]:
    for key, old in before.elements.items():
        if after.elements.get(key) != old:
            # Without its comment and verdict: that is all a deletion may say.
            yield f"delete element {where} {old.container} {{ {' . '.join(old.key)} }}"
    for key, element in after.elements.items():
        if before.elements.get(key) != element:
            yield f"add element {where} {element.container} {{ {element} }}"


def references(rules: Iterable[Rule]) -> set[str]:
    """The chains that rules jump or go to."""
    found: set[str] = set()
    for rule in rules:
        for statement in rule.statements:
            chain = getattr(statement, "chain", "")
            found.update([chain] if chain else getattr(statement, "chains", ()))
    return found
