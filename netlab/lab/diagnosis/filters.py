"""Rules that drop or refuse and that nobody of the cluster has written: iptables of any table, nft tables. PURE.

A rule is a suspect when nothing in it keeps it from meeting one of the packets asked about; what is not understood
counts as "may meet". Rules that count, and all of iptables do, are found guilty by their counters: those that rose
while probes failed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netlab.dataplane.policies import TABLE as POLICY_TABLE
from netlab.lab.diagnosis.model import DropRule, MachineFacts
from netlab.topology.model import family_of

OWN_CHAINS = ("KUBE-", "FLANNEL-")
OWN_TABLES = ("kube-proxy", POLICY_TABLE)
COMPATIBLE = frozenset({"filter", "nat", "mangle", "raw", "security"})
_LINE = re.compile(r"^\[(\d+):\d+\] -A (\S+) ?(.*)$")
_ENDS = {"DROP", "REJECT"}
_NFT_VERDICT = re.compile(r"(?:^|\s)(drop|reject)\b")
_NFT_COUNTER = re.compile(r"counter packets (\d+) bytes \d+")
_HANDLE = re.compile(r"# handle (\d+)$")


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that may come by. `port` 0: not known; `sport` likewise."""

    src: str
    dst: str
    protocol: str
    dport: int = 0
    sport: int = 0

    def reply(self) -> Packet:
        return Packet(self.dst, self.src, self.protocol, self.sport, self.dport)


def suspects(machine: MachineFacts, packets: Sequence[Packet] | None) -> list[DropRule]:
    """The foreign rules that drop: those that may meet one of the packets, or (None) all of them."""
    return [*_iptables(machine, packets), *_nft(machine, packets)]


def _iptables(machine: MachineFacts, packets: Sequence[Packet] | None) -> Iterator[DropRule]:
    for family, text in machine.tables.items():
        before = _counted(machine.tables_before.get(family, ""))
        program = "ip6tables" if family == "IPv6" else "iptables"
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith(":"):
                yield from _policy(line, table, program, before, family, packets)
            elif (found := _LINE.match(line)) and not found[2].startswith(OWN_CHAINS):
                rule = f"-A {found[2]} {found[3]}"
                if _drops(found[3]) and (packets is None or any(_meets(found[3], p, family) for p in packets)):
                    count = int(found[1]) - before.get((table, rule), 0)
                    name = "" if table == "filter" else f"-t {table} "
                    yield DropRule(f"{table} {found[2]}", rule, f"{program} {name}-D {found[2]} {found[3]}", count)


def _counted(text: str) -> dict[tuple[str, str], int]:
    """(table, rule) → packets; of rules that are there several times, the sum."""
    table, result = "", dict[tuple[str, str], int]()
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            words = line[1:].split()
            result[table, f":{words[0]}"] = int(words[2].strip("[").partition(":")[0]) if len(words) > 2 else 0
        elif found := _LINE.match(line):
            rule = f"-A {found[2]} {found[3]}"
            result[table, rule] = result.get((table, rule), 0) + int(found[1])
    return result


def _policy(
    line: str, table: str, program: str, before: dict[tuple[str, str], int], family: str, packets: object
) -> Iterator[DropRule]:
    """A built-in chain whose policy is DROP. What the cluster accepts by rules of its own does not get there."""
    name, policy, counters = (*line[1:].split(), "[0:0]")[:3]
    if policy != "DROP":
        return
    count = int(counters.strip("[").partition(":")[0]) - before.get((table, f":{name}"), 0)
    option = "" if table == "filter" else f"-t {table} "
    yield DropRule(f"{table} {name}", f"-P {name} DROP", f"{program} {option}-P {name} ACCEPT", count)


def _drops(spec: str) -> bool:
    words = spec.split()
    return "-j" in words[:-1] and words[words.index("-j") + 1] in _ENDS


def _meets(spec: str, packet: Packet, family: str) -> bool:
    """Whether the packet may match an iptables rule: false only where one of its conditions certainly does not hold."""
    if family_of(packet.dst) != family:
        return False
    words = shlex.split(spec)
    negated = False
    for at, word in enumerate(words):
        if word == "!":
            negated = True
            continue
        value = words[at + 1] if at + 1 < len(words) else ""
        holds = _condition(word, value, packet)
        if holds is not None and holds == negated:
            return False
        if word.startswith("-"):
            negated = False
    return True


def _condition(option: str, value: str, packet: Packet) -> bool | None:
    """None: not known, or no condition."""
    if option in ("-s", "-d"):
        return _in(packet.src if option == "-s" else packet.dst, value)
    if option == "-p":
        return value in ("all", packet.protocol) or (value == "icmp" and packet.protocol == "icmp")
    if option in ("--dport", "--sport"):
        number = packet.dport if option == "--dport" else packet.sport
        return _port(number, value) if number else None
    return None


def _port(number: int, value: str) -> bool | None:
    low, _, high = value.partition(":")
    if not low.isdigit() or (high and not high.isdigit()):
        return None
    return int(low) <= number <= int(high or low)


def _in(address: str, cidr: str) -> bool | None:
    try:
        return ip_address(address) in ip_network(cidr, strict=False)
    except ValueError:
        return None


# -- nftables ---------------------------------------------------------------------------------------------------------


def _nft(machine: MachineFacts, packets: Sequence[Packet] | None) -> Iterator[DropRule]:
    before = dict(_nft_rules(machine.nft_before))
    for (table, chain, line), count in _nft_rules(machine.nft):
        rule = _HANDLE.sub("", line).strip()
        if line.startswith("type "):
            if "policy drop;" in rule:
                yield DropRule(f"{table} {chain}", rule, f"nft add chain {table} {chain} '{{ policy accept; }}'")
        elif _NFT_VERDICT.search(rule) and (packets is None or any(_nft_meets(rule, p) for p in packets)):
            seen = None if count is None else count - (before.get((table, chain, line)) or 0)
            text = _NFT_COUNTER.sub("counter", rule)
            yield DropRule(f"{table} {chain}", text, _nft_remove(table, chain, line), seen)


def _nft_rules(ruleset: str) -> Iterator[tuple[tuple[str, str, str], int | None]]:
    """((table, chain, line without its counts), packets or None) of tables that are not the cluster's."""
    table = chain = ""
    for raw in ruleset.splitlines():
        line = raw.strip()
        if line.startswith("table "):
            table, chain = " ".join(line.split()[1:3]), ""
        elif line.startswith("chain "):
            chain = line.split()[1]
        elif chain and table.split()[1] not in OWN_TABLES and line != "}":
            counter = _NFT_COUNTER.search(line)
            yield (table, chain, _NFT_COUNTER.sub("counter", line)), int(counter[1]) if counter else None


def _nft_remove(table: str, chain: str, line: str) -> str:
    found = _HANDLE.search(line)
    return f"nft delete rule {table} {chain} handle {found[1]}" if found else f"nft delete table {table}"


def without_compatible(ruleset: str) -> str:
    """Without the tables of iptables' nft back end, which are read as iptables."""
    lines, inside = [], False
    for line in ruleset.splitlines():
        if line.startswith("table "):
            _, family, name, *_ = line.split()
            inside = family in ("ip", "ip6") and name in COMPATIBLE
        if not inside:
            lines.append(line)
    return "\n".join(lines)


def _nft_meets(line: str, packet: Packet) -> bool:
    """The same for a line of nft: addresses, protocol and ports are understood, one value or a set of them."""
    for family, side, negated, value in re.findall(r"\b(ip6?) ([sd])addr (!= )?(\{[^}]*\}|[^\s{]+)", line):
        address = packet.src if side == "s" else packet.dst
        if (family == "ip6") != (":" in address):
            return False
        holds = [_in(address, one) for one in _values(value)]
        if None not in holds and any(holds) == bool(negated):
            return False
    for protocol, side, negated, value in re.findall(r"\b(tcp|udp|th) ([sd])port (!= )?(\{[^}]*\}|[^\s{]+)", line):
        number = packet.sport if side == "s" else packet.dport
        if protocol not in ("th", packet.protocol):
            return False
        parts = [_port(number, one.replace("-", ":")) for one in _values(value)] if number else [None]
        if None not in parts and any(parts) == bool(negated):
            return False
    for negated, value in re.findall(r"\b(?:l4proto|protocol) (!= )?(\{[^}]*\}|\w+)", line):
        if value not in ("ip", "ip6", "arp") and (packet.protocol in _values(value)) == bool(negated):
            return False
    return True


def _values(text: str) -> list[str]:
    return [one.strip() for one in text.strip("{} ").split(",") if one.strip()]


def guilty(found: Iterable[DropRule]) -> list[DropRule]:
    """Those that dropped while we tried; where none counts so, those that do not count."""
    listed = list(found)
    proved = [rule for rule in listed if rule.packets]
    return proved or [rule for rule in listed if rule.packets is None]
