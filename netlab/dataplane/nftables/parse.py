"""`nft list table` text of kube-proxy's table to typed data. What it does not know, it refuses by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from netlab.dataplane.nftables import rules as r
from netlab.dataplane.nftables.table import NftState

_COMMENT = re.compile(r'\s*comment "((?:[^"\\]|\\.)*)"')
_DURATION = re.compile(r"(\d+)([dhms])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

Make = Callable[[re.Match[str]], r.Statement]


class ParseError(ValueError):
    """A line that is not understood."""


def _addresses(match: re.Match[str]) -> r.Statement:
    values = tuple(value.strip() for value in match[4].strip("{} ").split(","))
    return r.Addr(cast(r.Ip, match[1]), cast(r.Side, match[2]), values, bool(match[3]))


def _spread(match: re.Match[str]) -> r.Statement:
    return r.Spread(tuple(item.partition(" : goto ")[2].strip() for item in match[2].split(",")))


_STATEMENTS: tuple[tuple[re.Pattern[str], Make], ...] = tuple(
    (re.compile(pattern + r"(?=\s|$)"), make)
    for pattern, make in (
        (r"ct state new", lambda m: r.CtNew()),
        (r"(?:(ip6?) daddr \. )?meta l4proto \. th dport vmap @(\S+)", lambda m: r.Lookup(m[2], m[1])),
        (r"(ip6?) ([sd]addr) vmap @(\S+)", lambda m: r.AddressVerdict(m[1], m[2], m[3])),
        (r"(ip6?) ([sd]addr) @(\S+)", lambda m: r.InSet(m[1], m[2], m[3])),
        (r"(ip6?) ([sd]addr) (!= )?(\{[^}]*\}|\S+)", _addresses),
        (r"(tcp|udp|sctp) dport (\d+)-(\d+)", lambda m: r.PortRange(m[1], int(m[2]), int(m[3]))),
        (r"(tcp|udp|sctp) dport (\d+)", lambda m: r.Port(m[1], int(m[2]))),
        (r"meta l4proto (\w+)", lambda m: r.L4Proto(m[1])),
        (r"fib ([sd]addr) type local", lambda m: r.FibLocal(m[1])),
        (r"meta mark & (\w+) == 0x0+", lambda m: r.MarkUnset(int(m[1], 16))),
        (r"meta mark set (?:meta )?mark ([|^]) (\w+)", lambda m: r.SetMark(m[1], int(m[2], 16))),
        (r"numgen random mod (\d+) vmap \{([^}]*)\}", _spread),
        (r"update @(\S+) \{ (ip6?) saddr \}", lambda m: r.Remember(m[2], m[1])),
        (r"dnat(?: ip6?)? to (\S+)", lambda m: r.Dnat(m[1])),
        (r"masquerade( fully-random)?", lambda m: r.Masquerade(bool(m[1]))),
        (r"(jump|goto) (\S+)", lambda m: r.Verdict(m[1], m[2])),
        (r"reject(?: with \S+ \S+| with \S+ type \S+)?", lambda m: r.Verdict("reject")),
        (r"(return|drop|accept)", lambda m: r.Verdict(m[1])),
    )
)  # fmt: skip


def parse_rule(text: str) -> r.Rule:
    """One rule as listed; counters and handles are not expected."""
    statements: list[r.Statement] = []
    rest, comment = text.strip(), ""
    while rest:
        found = _COMMENT.fullmatch(rest)
        if found:
            comment = _unquote(found[1])
            break
        for pattern, make in _STATEMENTS:
            match = pattern.match(rest)
            if match:
                statements.append(make(match))
                rest = rest[match.end() :].lstrip()
                break
        else:
            raise ParseError(f"unknown statement: {rest!r} in {text!r}")
    return r.Rule(tuple(statements), comment)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def parse(text: str, ip: r.Ip = "ip") -> NftState:
    """The table `ip kube-proxy` (or ip6) of a listing; an empty state where the listing has none."""
    state = NftState()
    lines = iter(_joined(text))
    for line in lines:
        if line == f"table {ip} kube-proxy {{":
            _table(lines, state)
    return state


def _joined(text: str) -> Iterator[str]:
    """Stripped lines; a list of elements that spans several is one."""
    pending = ""
    for raw in text.splitlines():
        line = raw.strip()
        if pending:
            line = f"{pending} {line}"
            pending = ""
        if line.startswith("elements = {") and not line.endswith("}"):
            pending = line
        elif line:
            yield line


def _table(lines: Iterator[str], state: NftState) -> None:
    for line in lines:
        if line == "}":
            return
        words = line.split()
        if words[0] == "chain":
            _chain(words[1], lines, state)
        elif words[0] in ("set", "map"):
            _container(words[1], words[0], lines, state)
        elif words[0] != "comment":
            raise ParseError(f"unknown: {line!r}")


def _chain(name: str, lines: Iterator[str], state: NftState) -> None:
    rules: list[r.Rule] = []
    hook = comment = ""
    for line in lines:
        if line == "}":
            break
        if line.startswith("type "):
            hook = line[5:].partition(";")[0].strip()
        elif found := _COMMENT.fullmatch(line):
            comment = _unquote(found[1])
        else:
            rules.append(parse_rule(line))
    state.add(r.Chain(name, tuple(rules), hook, comment))


def _container(name: str, kind: str, lines: Iterator[str], state: NftState) -> None:
    fields: dict[str, Any] = {}
    elements = ""
    for line in lines:
        if line == "}":
            break
        if line.startswith("type "):
            fields["type"] = line[5:]
        elif line.startswith("timeout "):
            fields["timeout"] = sum(int(n) * _SECONDS[unit] for n, unit in _DURATION.findall(line[8:]))
        elif line.startswith("elements = {"):
            elements = line[len("elements = {") : -1]
        elif found := _COMMENT.fullmatch(line):
            fields["comment"] = _unquote(found[1])
        elif not line.startswith(("size ", "flags ")):
            raise ParseError(f"unknown: {line!r} in {kind} {name}")
    container = r.Container(name, cast(Any, kind), **fields)
    state.add(container)
    if container.timeout is None:
        state.add(*(_element(name, item) for item in _split(elements)))


def _split(text: str) -> Iterator[str]:
    """At commas outside quotes."""
    for item in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', text):
        if item.strip():
            yield item.strip()


def _element(container: str, text: str) -> r.Element:
    comment = ""
    found = re.search(_COMMENT, text)
    if found:
        comment = _unquote(found[1])
        text = text[: found.start()] + text[found.end() :]
    key, colon, verdict = text.partition(" : ")
    parsed = cast(r.Verdict, parse_rule(verdict).statements[0]) if colon else None
    return r.Element(container, tuple(part.strip() for part in key.split(" . ")), parsed, comment)
