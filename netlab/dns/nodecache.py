"""The `node-cache` program of NodeLocal DNSCache: a caching server on every node, and what makes packets go there.

As upstream's kubernetes/dns cmd/node-cache: a dummy interface `nodelocaldns` with the local addresses, rules that keep
their packets from connection tracking (so no proxy's DNAT takes them away) and let them in, and a server by
`/etc/coredns/Corefile.base`, in which the address of the cluster's DNS is filled in. At the end all of it is taken away
again, so that names are answered by the cluster's DNS as before.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from netlab.dns.config import Config
from netlab.dns.program import load, option, serve

log = logging.getLogger("coredns")

INTERFACE = "nodelocaldns"
BASE = Path("/etc/coredns/Corefile.base")
COMMENT = "NodeLocal DNS Cache"
HEALTH_PORT = "8080"


def rules(addresses: Sequence[str], port: str = "53", health: str = HEALTH_PORT) -> Iterator[tuple[str, ...]]:
    """(table, chain, rule…) for each, in upstream's order. Pure."""
    for address in addresses:
        for protocol in ("tcp", "udp"):
            to = ("-p", protocol, "-d", address, "--dport", port)
            came = ("-p", protocol, "-s", address, "--sport", port)
            yield ("raw", "PREROUTING", *to, "-j", "NOTRACK")
            yield ("filter", "INPUT", *to, "-j", "ACCEPT")
            yield ("raw", "OUTPUT", *came, "-j", "NOTRACK")
            yield ("filter", "OUTPUT", *came, "-j", "ACCEPT")
            yield ("raw", "OUTPUT", *to, "-j", "NOTRACK")
        yield ("raw", "OUTPUT", "-p", "tcp", "-d", address, "--dport", health, "-j", "NOTRACK")
        yield ("raw", "OUTPUT", "-p", "tcp", "-s", address, "--sport", health, "-j", "NOTRACK")


def substituted(text: str, cluster_dns: str, upstream: str = "/etc/resolv.conf") -> str:
    """The Corefile with upstream's placeholders filled in. Pure."""
    values = {"__PILLAR__CLUSTER__DNS__": cluster_dns, "__PILLAR__UPSTREAM__SERVERS__": upstream}
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def upstream_address(service: str) -> str:
    """The address of a Service by the pod's environment. SystemExit where it is not there."""
    name = f"{service.upper().replace('-', '_')}_SERVICE_HOST"
    address = os.environ.get(name, "")
    if not address:
        raise SystemExit(f"node-cache: {name} is not set: Service {service} must exist before this pod")
    return address


def _run(*command: str) -> str:
    """The program's complaint, empty where all went well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"status {done.returncode}" if done.returncode else ""


def _programs(family: int) -> list[str]:
    base = "ip6tables" if family == 6 else "iptables"
    return [name for name in (f"{base}-legacy", f"{base}-nft", base) if shutil.which(name)]


def _rule(verb: str, rule: tuple[str, ...]) -> str:
    """Add (-I) or delete (-D) a rule by the first iptables that can; its complaint, or ""."""
    table, chain, *rest = rule
    family = next((ip_address(word).version for word in rest if "." in word or ":" in word), 4)
    complaint = "iptables is not installed"
    for program in _programs(family):
        base = (program, "-w", "-t", table)
        text = (*rest[:-2], "-m", "comment", "--comment", f"{COMMENT}: {_what(rest)}", *rest[-2:])
        present = not _run(*base, "-C", chain, *text)
        if present == (verb == "-I"):
            return ""
        complaint = _run(*base, verb, chain, *text)
        if not complaint:
            return ""
    return complaint if verb == "-I" else ""


def _what(rest: Sequence[str]) -> str:
    return "skip conntrack" if rest[-1] == "NOTRACK" else "allow DNS traffic"


def set_up(addresses: Sequence[str]) -> None:
    """The interface, its addresses and the rules. SystemExit with the sentence of what failed."""
    complaint = _run("ip", "link", "add", INTERFACE, "type", "dummy")
    if complaint and "exists" not in complaint:  # a kernel without dummy interfaces: a bridge without ports is as good
        complaint = _run("ip", "link", "add", INTERFACE, "type", "bridge")
        if complaint and "exists" not in complaint:
            raise SystemExit(f"node-cache: cannot make the interface {INTERFACE}: {complaint}")
    for address in addresses:
        length = "128" if ":" in address else "32"
        complaint = _run("ip", "addr", "replace", f"{address}/{length}", "dev", INTERFACE)
        if complaint:
            raise SystemExit(f"node-cache: cannot add {address} to {INTERFACE}: {complaint}")
    for rule in rules(addresses):
        complaint = _rule("-I", rule)
        if complaint:
            raise SystemExit(f"node-cache: cannot add the rule -t {' '.join(rule)}: {complaint}")


def take_down(addresses: Sequence[str]) -> None:
    """As it was before."""
    for rule in rules(addresses):
        _rule("-D", rule)
    _run("ip", "link", "del", INTERFACE)


def main(*arguments: str) -> None:
    """`node-cache -localip A,B -conf FILE -upstreamsvc SERVICE`."""
    words = list(arguments)
    addresses = [str(ip_address(text)) for text in option(words, "localip", "169.254.20.10").split(",")]
    cluster_dns = upstream_address(option(words, "upstreamsvc", "kube-dns"))

    def load_again() -> Config:
        return load(BASE, lambda text: substituted(text, cluster_dns))

    set_up(addresses)
    try:
        serve(load_again, hosts=("0.0.0.0",), own=tuple(addresses))
    finally:
        take_down(addresses)
