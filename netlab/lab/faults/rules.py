"""Wrong Service rules in kube-proxy's own chains: what to write, from what is there. PURE.

A stale rule is what upstream leaves when an endpoint's removal was missed; a missing one what somebody's flush leaves.
The proxy would mend both at its next full sync, so the engine looks and writes again while the fault lasts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from netlab.dataplane.iptables import names as chains
from netlab.dataplane.nftables import names as sets
from netlab.dataplane.services.model import Endpoint, ServicePortName
from netlab.lab.faults.model import FaultError

TABLE = "ip kube-proxy"


@dataclass(frozen=True, slots=True)
class Edit:
    """What to feed to iptables-restore --noflush or nft; empty: it is as wanted already."""

    program: str
    text: str = ""


def _wanted(service: str) -> tuple[str, str]:
    """("namespace/name", port name or number or "")."""
    name, _, port = service.partition(":")
    return (name if "/" in name else f"default/{name}"), port


def iptables(saved: str, service: str, endpoint: str) -> Edit:
    """From `iptables-save -t nat`. Raises FaultError where the Service has no rules there."""
    rule = _cluster_rule(saved, service)
    if not endpoint:
        # As it was: what is not there any more needs no second look.
        return Edit("iptables", f"*nat\n-D{rule[2:]}\nCOMMIT\n" if rule else "")
    if not rule:
        raise FaultError(f"there is no rule of Service '{service}' with endpoints on this node", "service")
    name, protocol, chain = _facts(rule)
    own = chains.endpoint_chain(name, endpoint)
    if f"-A {chain} " in saved and f"-j {own}\n" in saved:
        return Edit("iptables")
    ends = [line for line in saved.splitlines() if line.startswith(f"-A {chain} ")]
    first = next((place for place, line in enumerate(ends, 1) if "-j KUBE-SEP-" in line), len(ends) + 1)
    share = 1 / (sum("-j KUBE-SEP-" in line for line in ends) + 1)
    label = f'-m comment --comment "{name}'
    lines = [
        "*nat",
        f":{own} - [0:0]",
        f'-A {own} -s {endpoint.rpartition(":")[0]} {label}" -j {chains.MARK_MASQ}',
        f'-A {own} {label}" -p {protocol} -m {protocol} -j DNAT --to-destination {endpoint}',
        f'-I {chain} {first} {label} -> {endpoint}" -m statistic --mode random --probability {share:.10f} -j {own}',
        "COMMIT",
    ]
    return Edit("iptables", "\n".join(lines) + "\n")


def _cluster_rule(saved: str, service: str) -> str:
    name, port = _wanted(service)
    for line in saved.splitlines():
        found = re.match(r'-A KUBE-SERVICES .*--comment "(\S+?)(?::(\S+))? cluster IP"', line)
        if found and found[1] == name and "-j KUBE-SVC-" in line:
            number = re.search(r"--dport (\d+)", line)
            if port in ("", found[2] or "", number[1] if number else ""):
                return line
    return ""


def _facts(rule: str) -> tuple[ServicePortName, str, str]:
    found = re.search(r'--comment "(\S+?)/(\S+?)(?::(\S+))? cluster IP"', rule)
    protocol, chain = re.search(r"-p (\w+)", rule), re.search(r"-j (KUBE-SVC-\w+)", rule)
    if not (found and protocol and chain):
        raise FaultError(f"a rule of kube-proxy that is not understood: {rule}", "service")
    return ServicePortName(found[1], found[2], found[3] or "", protocol[1].upper()), protocol[1], chain[1]  # type: ignore[arg-type]


def iptables_heal(saved: str, service: str, endpoint: str) -> Edit:
    """Takes a stale endpoint's rules away again; a missing rule is the proxy's to write."""
    if not endpoint:
        return Edit("iptables")
    name, _ = _wanted(service)
    jumps = [
        line for line in saved.splitlines() if line.startswith("-A KUBE-SVC-") and f"-> {endpoint}\"" in line
        and re.search(rf'"{re.escape(name)}(:\S+)? ->', line)
    ]  # fmt: skip
    own = {line.rpartition("-j ")[2].strip() for line in jumps}
    lines = [f"-D{line[2:]}" for line in jumps]
    lines += [f"-F {chain}\n-X {chain}" for chain in sorted(own)]
    return Edit("iptables", "\n".join(["*nat", *lines, "COMMIT"]) + "\n" if lines else "")


def nftables(listed: str, service: str, endpoint: str) -> Edit:
    """From `nft -a list table ip kube-proxy`."""
    chain, element = _service_chain(listed, service)
    if not endpoint:
        return Edit("nft", f"delete element {TABLE} {sets.SERVICE_IPS} {{ {element} }}\n" if element else "")
    if not chain:
        raise FaultError(f"there is no rule of Service '{service}' with endpoints on this node", "service")
    found = re.match(r"service-[A-Z0-9]+-([^/]+)/([^/]+)/(\w+)/(.*)", chain)
    if found is None:
        raise FaultError(f"a chain of kube-proxy that is not understood: {chain}", "service")
    name = ServicePortName(found[1], found[2], found[4], found[3].upper())  # type: ignore[arg-type]
    ip, _, port = endpoint.rpartition(":")
    own = f"endpoint-{sets.endpoint_base(name, Endpoint(ip, int(port)))}"
    body = _chain_body(listed, chain)
    if f"goto {own}" in body:
        return Edit("nft")
    choice = re.search(r"numgen random mod (\d+) vmap .*# handle (\d+)", body)
    if choice is None:
        raise FaultError(f"there is no rule of Service '{service}' with endpoints on this node", "service")
    lines = [
        f"add chain {TABLE} {own}",
        f"flush chain {TABLE} {own}",
        f"add rule {TABLE} {own} ip saddr {ip} jump {sets.MARK_FOR_MASQUERADE}",
        f"add rule {TABLE} {own} meta l4proto {found[3]} dnat to {endpoint}",
        f"insert rule {TABLE} {chain} position {choice[2]} numgen random mod {int(choice[1]) + 1} 0 goto {own}",
    ]
    return Edit("nft", "\n".join(lines) + "\n")


def _service_chain(listed: str, service: str) -> tuple[str, str]:
    """The Service's chain and its element of the map of cluster IPs."""
    name, port = _wanted(service)
    own = rf"service-[A-Z0-9]+-{re.escape(name)}/\w+/(\S*?)"
    pattern = rf"(\S+ \. (\w+) \. (\S+))(?: comment \"[^\"]*\")? : goto ({own})[,\s}}]"
    for element, _, number, chain, port_name in re.findall(pattern, listed):
        if port in ("", port_name, number):
            return chain, element
    return "", ""


def _chain_body(listed: str, chain: str) -> str:
    start = listed.find(f"chain {chain} {{")
    return listed[start : listed.find("\n\t}", start)] if start >= 0 else ""


def nftables_heal(listed: str, service: str, endpoint: str) -> Edit:
    """The stale rule goes; its chain with the proxy's next full sync, or here."""
    if not endpoint:
        return Edit("nft")
    name, _ = _wanted(service)
    ip, _, port = endpoint.rpartition(":")
    tail = f"__{ip.replace(':', '.')}/{port}"
    lines = []
    for block in re.findall(r"chain (service-[A-Z0-9]+-\S+) \{(.*?)\n\t\}", listed, re.DOTALL):
        if f"-{name}/" in block[0]:
            rules = re.findall(rf"numgen random mod \d+ 0 goto (\S+{re.escape(tail)}) # handle (\d+)", block[1])
            for own, handle in rules:
                lines += [f"delete rule {TABLE} {block[0]} handle {handle}", f"delete chain {TABLE} {own}"]
    return Edit("nft", "\n".join(lines) + "\n" if lines else "")
