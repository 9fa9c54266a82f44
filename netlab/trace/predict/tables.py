"""Rules of a namespace as data that a walk can follow: legacy and nft-backed xtables, and nftables' own tables. PURE.

Parsing is by line, and forgiving: a rule that is not understood is kept as its text, and becomes an error only when a
packet reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Literal

from netlab.dataplane.iptables.parse import ParseError, parse_rule
from netlab.dataplane.iptables.rules import Rule
from netlab.dataplane.nftables import rules as n
from netlab.dataplane.nftables.parse import ParseError as NftParseError
from netlab.dataplane.nftables.parse import parse as parse_table
from netlab.dataplane.nftables.parse import parse_rule as parse_nft_rule
from netlab.dataplane.nftables.table import NftState

_COUNTED = re.compile(r"\[(\d+):(\d+)\] ")
_CHAIN = re.compile(r":(\S+) (\S+)(?: \[\d+:\d+\])?")


@dataclass(frozen=True, slots=True)
class XRule:
    """A rule of an xtables chain. `rule` None: not understood, for the reason `problem`. `number` from 1 in its
    chain."""

    chain: str
    number: int
    text: str
    rule: Rule | None
    packets: int = 0
    bytes: int = 0
    problem: str = ""
    handle: int = 0


@dataclass(frozen=True, slots=True)
class XTable:
    """One table: `backend` "legacy" or "nft" (iptables-nft). `policies` of built-in chains."""

    backend: Literal["legacy", "nft"]
    name: str
    policies: Mapping[str, str]
    chains: Mapping[str, tuple[XRule, ...]]

    def where(self, rule: XRule) -> str:
        return f"iptables {self.name} {rule.chain} {rule.number}"


def parse_xtables(text: str, backend: Literal["legacy", "nft"]) -> tuple[XTable, ...]:
    """`iptables-save -c` text."""
    tables: list[XTable] = []
    name, policies, chains = "", dict[str, str](), dict[str, list[XRule]]()
    for line in text.splitlines():
        if line.startswith("*"):
            name, policies, chains = line[1:], {}, {}
        elif found := _CHAIN.fullmatch(line):
            chains[found[1]] = []
            if found[2] != "-":
                policies[found[1]] = found[2]
        elif line == "COMMIT":
            tables.append(XTable(backend, name, policies, {key: tuple(value) for key, value in chains.items()}))
        elif line and not line.startswith("#"):
            _xrule(line, chains)
    return tuple(tables)


def _xrule(line: str, chains: dict[str, list[XRule]]) -> None:
    counters = _COUNTED.match(line)
    text = line[counters.end() :] if counters else line
    words = text.split(" ", 2)
    chain = chains.setdefault(words[1] if len(words) > 1 else "", [])
    rule, problem = None, ""
    try:
        rule = parse_rule(text)
    except (ParseError, ValueError, StopIteration) as error:
        problem = str(error) or "it ends early"
    packets, size = (int(counters[1]), int(counters[2])) if counters else (0, 0)
    chain.append(XRule(words[1] if len(words) > 1 else "", len(chain) + 1, text, rule, packets, size, problem))


def with_handles(tables: Sequence[XTable], listing: str, family: str) -> tuple[XTable, ...]:
    """Tables of iptables-nft with the handles by which the kernel's trace names their rules, from `nft -a list
    ruleset`: the same rules in the same order."""
    found: dict[tuple[str, str], list[int]] = {}
    table = chain = ""
    for raw in listing.splitlines():
        words = raw.split()
        if raw.startswith("table "):
            table = words[2] if words[1] == family else ""
        elif table and words[:1] == ["chain"]:
            chain = words[1]
            found[table, chain] = []
        elif table and chain and raw.strip() == "}":
            chain = ""
        elif table and chain and not raw.strip().startswith("type ") and (handle := _HANDLE.search(raw)):
            found[table, chain].append(int(handle[1]))
    return tuple(
        replace(
            one,
            chains={
                name: tuple(
                    replace(rule, handle=handle)
                    for rule, handle in zip(
                        rules, (*found.get((one.name, name), ()), *repeat(0, len(rules))), strict=False
                    )
                )
                for name, rules in one.chains.items()
            },
        )
        for one in tables
    )


# -- nftables ---------------------------------------------------------------------------------------------------------

_HANDLE = re.compile(r"\s*# handle (\d+)$")
_HOOK = re.compile(r"type (\S+) hook (\S+)(?: device \S+)? priority ([^;]+);(?: policy (\S+);)?")
_COUNTER = re.compile(r"counter packets (\d+) bytes (\d+)\s*")
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}


@dataclass(frozen=True, slots=True)
class NRule:
    """A rule of an nftables chain; `rule` None: not understood. `counter` where it has one."""

    handle: int
    text: str
    rule: n.Rule | None
    problem: str = ""
    counter: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NChain:
    """`hook` "" for a chain that only others jump to."""

    name: str
    rules: tuple[NRule, ...]
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class NftTable:
    """One table of a family (ip, ip6, inet). `state` has its sets and maps with their elements; `remembered` the
    members of sets that forget (session affinity), by set."""

    family: str
    name: str
    chains: Mapping[str, NChain]
    state: NftState = field(default_factory=NftState)
    remembered: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def where(self, chain: str, rule: NRule) -> str:
        return f"nft {self.family} {self.name} {chain} handle {rule.handle}"


def parse_nft(text: str) -> tuple[NftTable, ...]:
    """`nft -a list ruleset` text."""
    tables: list[NftTable] = []
    block: list[str] = []
    for raw in text.splitlines():
        if raw.startswith("table "):
            block = [raw]
        elif block:
            block.append(raw)
        if raw == "}" and block:
            words = block[0].split()
            if words[1] in ("ip", "ip6", "inet"):
                tables.append(_table(words[1], words[2], block[1:-1]))
            block = []
    return tuple(tables)


IPTABLES = ("raw", "mangle", "nat", "filter", "security")
BUILT_IN = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))


def by_iptables(table: NftTable) -> bool:
    """Whether iptables-nft wrote the table: by its name, and the names of its base chains."""
    hooked = {chain.name for chain in table.chains.values() if chain.hook}
    return table.family in ("ip", "ip6") and table.name in IPTABLES and hooked <= BUILT_IN


def _table(family: str, name: str, lines: list[str]) -> NftTable:
    chains: dict[str, NChain] = {}
    plain = [_HANDLE.sub("", line) for line in lines]
    state, remembered = _containers(family, plain)
    index = 0
    while index < len(lines):
        words = lines[index].split()
        if words[:1] == ["chain"]:
            end = next(i for i in range(index, len(lines)) if lines[i].strip() == "}")
            chains[words[1]] = _nchain(words[1], lines[index + 1 : end])
            index = end
        index += 1
    return NftTable(family, name, chains, state, remembered)


def _nchain(name: str, lines: list[str]) -> NChain:
    rules: list[NRule] = []
    base: dict[str, object] = {}
    for raw in lines:
        line = raw.strip()
        if found := _HOOK.match(line):
            base = {"type": found[1], "hook": found[2], "priority": _priority(found[3]), "policy": found[4] or "accept"}
        elif line and not line.startswith("comment "):
            rules.append(_nrule(line))
    return NChain(name, tuple(rules), **base)  # type: ignore[arg-type]


def _priority(words: str) -> int:
    """ "dstnat + 10", "filter", "-450"."""
    total, sign = 0, 1
    for word in words.split():
        if word in "+-":
            sign = -1 if word == "-" else 1
        else:
            total += sign * (_PRIORITIES[word] if word in _PRIORITIES else int(word))
    return total


def _nrule(line: str) -> NRule:
    handle = _HANDLE.search(line)
    text = line[: handle.start()] if handle else line
    counter = _COUNTER.search(text)
    rule, problem = None, ""
    try:
        rule = parse_nft_rule(_COUNTER.sub("", text))
    except (NftParseError, ValueError) as error:
        problem = str(error)
    counts = (int(counter[1]), int(counter[2])) if counter else None
    return NRule(int(handle[1]) if handle else 0, text, rule, problem, counts)


_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)


def _containers(family: str, lines: list[str]) -> tuple[NftState, Mapping[str, frozenset[str]]]:
    """The table's sets and maps, read by the parser of kube-proxy's table, whatever this table is called."""
    kept: list[str] = []
    remembered: dict[str, frozenset[str]] = {}
    index = 0
    while index < len(lines):
        words = lines[index].split()
        if words[:1] in (["set"], ["map"]):
            end = next(i for i in range(index, len(lines)) if lines[i].strip() == "}")
            block = lines[index : end + 1]
            if any("timeout" in line for line in block):
                found = _ELEMENTS.search("\n".join(block))
                members = (item.split()[0] for item in found[1].split(",") if item.strip()) if found else ()
                remembered[words[1]] = frozenset(members)
            else:
                kept += block
            index = end
        index += 1
    ip: n.Ip = "ip6" if family == "ip6" else "ip"
    listing = "\n".join((f"table {ip} kube-proxy {{", *kept, "}"))
    try:
        return parse_table(listing, ip), remembered
    except (NftParseError, ValueError):
        return NftState(), remembered
