"""`iptables-save` and `iptables-restore` text to typed rules. What it does not know, it refuses by name.

A refusal is wanted: the trace may not walk past a rule that it cannot interpret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from netlab.dataplane.iptables.rules import (
    AddrType,
    Comment,
    CtState,
    Dnat,
    InSet,
    IpvsMatch,
    Jump,
    MarkMatch,
    Masquerade,
    Match,
    Net,
    NfAcct,
    PhysdevIn,
    Ports,
    Recent,
    Reject,
    Rule,
    SetMark,
    Statistic,
    Target,
)

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_UNESCAPE = re.compile(r"\\(.)")
_CHAIN = re.compile(r":(\S+) (\S+)(?: \[(\d+):(\d+)\])?")
_COUNTERS = re.compile(r"\[(\d+):(\d+)\] ")
_TRANSPORT = ("tcp", "udp", "sctp")


class ParseError(ValueError):
    """A line that is not understood, with its number in the text."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule with the packets and bytes that it saw (0 where the text has no counters)."""

    rule: Rule
    packets: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Table:
    """One table: `chains` maps names to policies, "-" for chains of the user's; rules are in the order of the text."""

    name: str
    chains: dict[str, str] = field(default_factory=dict)
    counted: list[Counted] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    """Chains removed by `-X` (restore text only)."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(entry.rule for entry in self.counted)

    def chain(self, name: str) -> tuple[Rule, ...]:
        return tuple(entry.rule for entry in self.counted if entry.rule.chain == name)


def parse(text: str) -> Mapping[str, Table]:
    """The tables of a text, by name. ParseError names the first line that is not understood."""
    tables: dict[str, Table] = {}
    table = Table("")
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("*"):
                table = tables[line[1:]] = Table(line[1:])
            elif line.startswith(":"):
                _chain(table, line)
            elif line.startswith("-X "):
                table.deleted.append(line[3:].strip())
            elif line != "COMMIT":
                table.counted.append(_counted(line))
        except (ParseError, StopIteration, ValueError) as error:
            raise ParseError(f"line {number}: {error or 'it ends early'}: {line}") from None
    return tables


@dataclass(frozen=True, slots=True)
class Existing:
    """What a full sync must know of a table as it is: its chains, and the jumps of built-in chains to ours."""

    chains: frozenset[str] = frozenset()
    jumps: frozenset[Rule] = frozenset()


def scan(text: str) -> Mapping[str, Existing]:
    """The same text, but only skimmed: rules that are not ours need not be understood, and it is fifty times faster."""
    result: dict[str, Existing] = {}
    table, chains, jumps = "", set[str](), set[Rule]()
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains, jumps = line[1:], set(), set()
        elif line.startswith(":"):
            chains.add(line[1:].split(" ", 1)[0])
        elif line.startswith("-A ") and not line.startswith("-A KUBE-") and " -j KUBE-" in line:
            jumps.add(parse_rule(line))
        elif line == "COMMIT":
            result[table] = Existing(frozenset(chains), frozenset(jumps))
    return result


def _chain(table: Table, line: str) -> None:
    match = _CHAIN.fullmatch(line)
    if match is None:
        raise ParseError("no chain declaration")
    table.chains[match[1]] = match[2]


def _counted(line: str) -> Counted:
    counters = _COUNTERS.match(line)
    if counters is None:
        return Counted(parse_rule(line))
    return Counted(parse_rule(line[counters.end() :]), int(counters[1]), int(counters[2]))


def parse_rule(line: str) -> Rule:
    """One `-A CHAIN …` line, or `-I CHAIN 1 …` of restore text."""
    tokens = _Tokens(line)
    verb = next(tokens)
    if verb not in ("-A", "-I"):
        raise ParseError("expected -A")
    fields: dict[str, Any] = {"chain": next(tokens)}
    if verb == "-I":
        next(tokens)
    matches: list[Match] = []
    negated = False
    for token in tokens:
        if token == "!":
            negated = True
            continue
        if token in ("-s", "-d"):
            fields["source" if token == "-s" else "destination"] = _net(next(tokens), negated)
        elif token in ("-p", "-i", "-o"):
            if negated:
                raise ParseError(f"unknown: ! {token}")
            fields[{"-p": "protocol", "-i": "in_interface", "-o": "out_interface"}[token]] = next(tokens)
        elif token == "-m":
            matches.append(_match(next(tokens), tokens, fields))
        elif token == "-j":
            fields["target"] = _target(next(tokens), tokens)
        else:
            raise ParseError(f"unknown option {token}")
        negated = False
    return Rule(matches=tuple(matches), **fields)


class _Tokens(Iterator[str]):
    """Words of a line; a quoted one is unquoted. One word can be put back."""

    def __init__(self, line: str) -> None:
        self._words = [
            _UNESCAPE.sub(r"\1", match[1]) if match[1] is not None else match[2] for match in _TOKEN.finditer(line)
        ]
        self._at = 0

    def __next__(self) -> str:
        if self._at >= len(self._words):
            raise StopIteration
        self._at += 1
        return self._words[self._at - 1]

    def options(self) -> Iterator[tuple[str, bool]]:
        """The long options that follow, with whether each is negated."""
        while self._at < len(self._words):
            negated = self._words[self._at] == "!"
            option = self._words[self._at + negated] if self._at + negated < len(self._words) else ""
            if not option.startswith("--"):
                return
            self._at += 1 + negated
            yield option, negated


def _net(text: str, negated: bool) -> Net:
    return Net(text, negated) if "/" in text else Net(Net.host(text).cidr, negated)


def _match(name: str, tokens: _Tokens, fields: Mapping[str, Any]) -> Match:
    reader = _MATCHES.get(name)
    if name in _TRANSPORT:
        return _ports(name, tokens)
    if reader is None:
        raise ParseError(f"unknown match {name}")
    return reader(tokens)


def _ports(name: str, tokens: _Tokens) -> Ports:
    found: dict[str, int] = {}
    # In restore text an option of the protocol may stand behind other options (`-m tcp -p tcp -d X --dport 80`).
    for option, negated in tokens.options():
        if option not in ("--dport", "--sport") or negated:
            raise ParseError(f"unknown option of {name}: {option}")
        found[option[2:]] = int(next(tokens))
    return Ports(name, **found)


def _only(tokens: _Tokens, *known: str) -> tuple[str, bool, str]:
    """The one option of a match, with its value."""
    options = tokens.options()
    option, negated = next(options)
    if option not in known:
        raise ParseError(f"unknown option {option}")
    return option, negated, next(tokens)


def _comment(tokens: _Tokens) -> Comment:
    return Comment(_only(tokens, "--comment")[2])


def _ctstate(tokens: _Tokens) -> CtState:
    _, negated, value = _only(tokens, "--ctstate")
    return CtState(cast(Any, tuple(value.split(","))), negated)


def _addrtype(tokens: _Tokens) -> AddrType:
    option, negated, value = _only(tokens, "--src-type", "--dst-type")
    return AddrType("src" if option == "--src-type" else "dst", value, negated)


def _mark(tokens: _Tokens) -> MarkMatch:
    _, negated, value = _only(tokens, "--mark")
    number, _, mask = value.partition("/")
    return MarkMatch(int(number, 0), int(mask, 0) if mask else 0xFFFFFFFF, negated)


def _recent(tokens: _Tokens) -> Recent:
    fields: dict[str, Any] = {}
    for option, negated in tokens.options():
        if negated:
            raise ParseError(f"unknown: ! {option}")
        if option in ("--set", "--rcheck"):
            fields["action"] = option[2:]
        elif option == "--reap":
            fields["reap"] = True
        elif option == "--seconds":
            fields["seconds"] = int(next(tokens))
        elif option in ("--name", "--mask"):
            fields[option[2:]] = next(tokens)
        elif option != "--rsource":
            raise ParseError(f"unknown option of recent: {option}")
    return Recent(**fields)


def _statistic(tokens: _Tokens) -> Statistic:
    probability = None
    for option, _ in tokens.options():
        value = next(tokens)
        if option == "--probability":
            probability = float(value)
        elif (option, value) != ("--mode", "random"):
            raise ParseError(f"unknown option of statistic: {option} {value}")
    if probability is None:
        raise ParseError("statistic without a probability")
    return Statistic.of(probability)


def _nfacct(tokens: _Tokens) -> NfAcct:
    return NfAcct(_only(tokens, "--nfacct-name")[2])


def _set(tokens: _Tokens) -> InSet:
    _, negated, name = _only(tokens, "--match-set")
    return InSet(name, tuple(next(tokens).split(",")), negated)


def _physdev(tokens: _Tokens) -> PhysdevIn:
    option, negated = next(tokens.options())
    if option != "--physdev-is-in":
        raise ParseError(f"unknown option {option}")
    return PhysdevIn(negated)


def _ipvs(tokens: _Tokens) -> IpvsMatch:
    found: dict[str, str] = {}
    for option, negated in tokens.options():
        if option not in ("--vproto", "--vaddr", "--vport") or negated:
            raise ParseError(f"unknown option of ipvs: {option}")
        found[option] = next(tokens)
    address = found["--vaddr"].removesuffix("/32").removesuffix("/128")
    return IpvsMatch(int(found["--vproto"]), address, int(found["--vport"]))


_MATCHES: Mapping[str, Callable[[_Tokens], Match]] = {
    "comment": _comment,
    "conntrack": _ctstate,
    "addrtype": _addrtype,
    "mark": _mark,
    "recent": _recent,
    "statistic": _statistic,
    "nfacct": _nfacct,
    "set": _set,
    "physdev": _physdev,
    "ipvs": _ipvs,
}


def _target(name: str, tokens: _Tokens) -> Target:
    options = {option: next(tokens) if option not in ("--random-fully",) else "" for option, _ in tokens.options()}
    if name == "DNAT" and set(options) == {"--to-destination"}:
        return Dnat(options["--to-destination"])
    if name == "MASQUERADE" and set(options) <= {"--random-fully"}:
        return Masquerade("--random-fully" in options)
    if name == "REJECT" and set(options) <= {"--reject-with"}:
        return Reject(options.get("--reject-with", "icmp-port-unreachable"))
    if name == "MARK" and len(options) == 1:
        return _set_mark(*next(iter(options.items())))
    if options:
        raise ParseError(f"unknown options of target {name}: {' '.join(options)}")
    return Jump(name)


def _set_mark(option: str, value: str) -> SetMark:
    number, _, mask = value.partition("/")
    bits = int(number, 0)
    if option == "--set-xmark":
        return SetMark(bits, int(mask, 0) if mask else 0xFFFFFFFF)
    if option == "--or-mark":
        return SetMark(bits, bits)
    if option == "--xor-mark":
        return SetMark(bits, 0)
    raise ParseError(f"unknown option of target MARK: {option}")
