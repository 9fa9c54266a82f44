"""A pod's host ports as iptables rules, as the CNI plugin portmap writes them. Pure.

The same chains, comments, marks and order (containernetworking/plugins, plugins/meta/portmap/portmap_iptables.go, with
its defaults): CNI-HOSTPORT-DNAT has an entry for each pod that leads to its own CNI-DN-… chain; hairpin and loopback
traffic is marked 0x2000 and masqueraded. The network is called cbr0, as in Flannel's configuration; where a container
runtime has the container's id, here is the pod's uid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netlab.api.types import Obj

NETWORK = "cbr0"
DNAT, SET_MARK, MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
PREFIX = "CNI-DN-"
MARK = "0x2000/0x2000"
LONGEST_CHAIN = 28
PER_MULTIPORT = 15
LONGEST_COMMENT = 255


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One host port of a pod; `host_ip` is "" where every address of the node has it."""

    protocol: str
    host_port: int
    container_port: int
    host_ip: str = ""

    def applies_to(self, pod_ip: str) -> bool:
        return not self.host_ip or (":" in self.host_ip) == (":" in pod_ip)


def port_mappings(spec: Obj) -> tuple[PortMapping, ...]:
    """The host ports of a pod's spec (sidecars too), () for a pod in the host's network."""
    if spec.get("hostNetwork"):
        return ()
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    return tuple(
        PortMapping(
            (port.get("protocol") or "TCP").lower(),
            int(port["hostPort"]),
            int(port["containerPort"]),
            "" if (port.get("hostIP") or "0.0.0.0") in ("0.0.0.0", "::") else port["hostIP"],
        )
        for container in [*spec["containers"], *sidecars]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def chain_of(uid: str) -> str:
    """The pod's chain: a prefix and the hash of network and id."""
    return f"{PREFIX}{hashlib.sha512((NETWORK + uid).encode()).hexdigest()}"[:LONGEST_CHAIN]


def open_text(uid: str, pod_net: str, mappings: Sequence[PortMapping], present: Sequence[str]) -> str:
    """Input for `iptables-restore --noflush` that opens a pod's host ports, whatever was there of them.

    `pod_net`: address and prefix ("10.244.1.5/24"). `present`: the nat table's lines as `iptables-save` prints them.
    """
    chain = chain_of(uid)
    there = frozenset(present)
    lines = ["*nat", f":{chain} - [0:0]", *_summary(there)]
    lines += _stale(chain, present)
    lines += [f"-A {DNAT} {entry} -j {chain}" for entry in _entries(uid, mappings)]
    lines += [f"-A {chain} {rule}" for rule in _rules(pod_net, mappings)]
    return "\n".join([*lines, "COMMIT"]) + "\n"


def close_text(uid: str, present: Sequence[str]) -> str:
    """Input that takes them away again; "" where the pod has none."""
    chain = chain_of(uid)
    if not any(line.startswith(f":{chain} ") for line in present):
        return ""
    return "\n".join(["*nat", f":{chain} - [0:0]", *_stale(chain, present), f"-X {chain}", "COMMIT"]) + "\n"


def _stale(chain: str, present: Sequence[str]) -> list[str]:
    """Deletes the entries that lead to the chain."""
    return [f"-D{line[2:]}" for line in present if line.startswith(f"-A {DNAT} ") and line.endswith(f" -j {chain}")]


def _summary(there: frozenset[str]) -> Iterator[str]:
    """The chains that all pods share, and the jumps to them, where they are missing."""
    for chain in (DNAT, SET_MARK, MASQ):
        if not any(line.startswith(f":{chain} ") for line in there):
            yield f":{chain} - [0:0]"
    rules = (
        ("A", SET_MARK, f'-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark {MARK}'),
        ("A", MASQ, f"-m mark --mark {MARK} -j MASQUERADE"),
        ("I", "POSTROUTING", f'-m comment --comment "CNI portfwd requiring masquerade" -j {MASQ}'),
        ("A", "PREROUTING", f"-m addrtype --dst-type LOCAL -j {DNAT}"),
        ("A", "OUTPUT", f"-m addrtype --dst-type LOCAL -j {DNAT}"),
    )
    for verb, chain, rule in rules:
        if f"-A {chain} {rule}" not in there:
            yield f"-{verb} {chain} {rule}"


def _entries(uid: str, mappings: Sequence[PortMapping]) -> Iterator[str]:
    comment = f'dnat name: "{NETWORK}" id: "{uid}"'[:LONGEST_COMMENT].replace('"', '\\"')
    for protocol in sorted({mapping.protocol for mapping in mappings}):
        ports = sorted({mapping.host_port for mapping in mappings if mapping.protocol == protocol})
        for at in range(0, len(ports), PER_MULTIPORT):
            listed = ",".join(map(str, ports[at : at + PER_MULTIPORT]))
            yield f'-p {protocol} -m comment --comment "{comment}" -m multiport --dports {listed}'


def _rules(pod_net: str, mappings: Sequence[PortMapping]) -> Iterator[str]:
    pod_ip = pod_net.partition("/")[0]
    subnet = ip_network(pod_net, strict=False)
    ipv6 = ip_address(pod_ip).version == 6
    for mapping in mappings:
        if not mapping.applies_to(pod_ip):
            continue
        to = f" -d {mapping.host_ip}/{128 if ipv6 else 32}" if mapping.host_ip else ""
        port = f"-p {mapping.protocol} -m {mapping.protocol} --dport {mapping.host_port}"
        yield f"-s {subnet}{to} {port} -j {SET_MARK}"
        if not ipv6:
            yield f"-s 127.0.0.1/32{to} {port} -j {SET_MARK}"
        target = f"[{pod_ip}]" if ipv6 else pod_ip
        yield f"{to[1:] + ' ' if to else ''}{port} -j DNAT --to-destination {target}:{mapping.container_port}"
