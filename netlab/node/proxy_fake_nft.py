"""The part of a fake netfilter that speaks nft: it keeps one table, and refuses what the kernel would refuse."""

from __future__ import annotations

import re
from dataclasses import replace

from netlab.dataplane.nftables import NftState, parse, parse_rule
from netlab.dataplane.nftables.rules import Chain, Container, Ip
from netlab.dataplane.nftables.table import references

_CONTAINER = re.compile(r"add (set|map) (ip6?) kube-proxy (\S+) \{ (.*) \}")
_FIELD = re.compile(r'(type|flags|timeout|comment) ("(?:[^"\\]|\\.)*"|[^;]*?) ?;')
_CHAIN = re.compile(r'add chain (ip6?) kube-proxy (\S+)(?: \{ (?:type (.*?) ; ?)?(?:comment "(.*)" ; ?)?\})?')


class NftRefused(Exception):  # noqa: N818
    """What nft would have answered."""


def apply_nft(line: str, state: NftState | None) -> NftState | None:
    """One line of a transaction."""
    verb, what, _, _, *rest = [*line.split(" ", 5), ""]
    if what == "table":
        return None if verb == "delete" else state or NftState()
    if state is None:
        raise NftRefused("no table")
    if what == "chain":
        _chain(verb, line, rest[0].split(" ")[0], state)
    elif what in ("set", "map"):
        _container(verb, line, rest[0], state)
    elif what == "rule":
        name = rest[0]
        if name not in state.chains:
            raise NftRefused(f"no chain {name}")
        chain = state.chains[name]
        state.chains[name] = replace(chain, rules=(*chain.rules, parse_rule(rest[1])))
    elif what == "element":
        _element(verb, line, rest[0], state)
    else:
        raise NftRefused("unknown")
    return state


def _chain(verb: str, line: str, name: str, state: NftState) -> None:
    if verb == "add":
        match = _CHAIN.fullmatch(line)
        if match is None:
            raise NftRefused("not understood")
        hook = f"{match[3]}; policy accept;".partition(";")[0].strip() if match[3] else ""
        state.chains.setdefault(name, Chain(name, (), hook, match[4] or ""))
    elif name not in state.chains:
        raise NftRefused(f"no chain {name}")
    elif verb == "flush":
        state.chains[name] = replace(state.chains[name], rules=())
    else:
        del state.chains[name]


def _container(verb: str, line: str, name: str, state: NftState) -> None:
    if verb == "delete":
        if name not in state.containers:
            raise NftRefused(f"no {name}")
        del state.containers[name]
        for key in [key for key in state.elements if key[0] == name]:
            del state.elements[key]
        return
    match = _CONTAINER.fullmatch(line)
    if match is None:
        raise NftRefused("not understood")
    fields = dict(_FIELD.findall(match[4]))
    timeout = int(fields["timeout"].strip()[:-1]) if "timeout" in fields else None
    kind = "set" if match[1] == "set" else "map"
    state.add(Container(name, kind, fields["type"].strip(), fields.get("comment", "").strip('"'), timeout))  # type: ignore[arg-type]


def _element(verb: str, line: str, name: str, state: NftState) -> None:
    if name not in state.containers:
        raise NftRefused(f"no {name}")
    body = line.partition("{ ")[2].rpartition(" }")[0]
    kind = state.containers[name].kind
    table = f"table ip kube-proxy {{\n{kind} {name} {{\ntype x\nelements = {{ {body} }}\n}}\n}}"
    (element,) = parse(table).elements.values()
    key = (name, element.key)
    if verb == "delete":
        if key not in state.elements:
            raise NftRefused(f"no element {key}")
        del state.elements[key]
    elif key in state.elements and state.elements[key].verdict != element.verdict:
        raise NftRefused(f"element {key} exists")
    else:
        state.elements.setdefault(key, element)


def check_nft(state: NftState) -> None:
    """No rule or element may refer to what is not there."""
    wanted = {chain for chain_ in state.chains.values() for chain in references(chain_.rules)}
    wanted |= {
        element.verdict.chain for element in state.elements.values() if element.verdict and element.verdict.chain
    }
    if missing := wanted - set(state.chains):
        raise NftRefused(f"no chain {sorted(missing)}")
    if orphans := {element.container for element in state.elements.values()} - set(state.containers):
        raise NftRefused(f"no {sorted(orphans)}")


def listing(state: NftState, ip: Ip = "ip") -> str:
    """As `nft list table` prints it."""
    lines = [f"table {ip} kube-proxy {{", '\tcomment "rules for kube-proxy"']
    for container in state.containers.values():
        lines += [f"\t{container.kind} {container.name} {{", f"\t\ttype {container.type}"]
        lines += [f"\t\ttimeout {container.timeout}s"] if container.timeout is not None else []
        lines += [f'\t\tcomment "{container.comment}"'] if container.comment else []
        elements = [str(element) for element in state.elements.values() if element.container == container.name]
        lines += ["\t\telements = { " + ",\n\t\t\t".join(elements) + " }"] if elements else []
        lines.append("\t}")
    for chain in state.chains.values():
        lines.append(f"\tchain {chain.name} {{")
        lines += [f"\t\ttype {chain.hook}; policy accept;"] if chain.hook else []
        lines += [f'\t\tcomment "{chain.comment}"'] if chain.comment else []
        lines += [f"\t\t{rule}" for rule in chain.rules]
        lines.append("\t}")
    return "\n".join([*lines, "}"]) + "\n"
