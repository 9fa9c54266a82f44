"""What this kernel and this machine can do, found out by trying.

A module that is not loaded yet loads by itself when root's kernel allows it and somebody asks with the privileges of
the first user namespace; inside a lab nobody has these. So "available" means: now, for this user, without further
help; `remedy` says what root would do.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from netlab.dataplane.model import Link, Vxlan
from netlab.dataplane.shaping import Shaping
from netlab.kernel import libc, links, netns, qdisc, throwaway, veth, worker
from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError, UnsupportedFeature
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NetlinkSocket
from netlab.kernel.programs import find

VM_LANE = "run the lab under a stock kernel (scripts/vm-test, or the Vagrant machine)"


@dataclass(frozen=True, slots=True)
class Feature:
    """One capability. `detail` says how it was found (version, or the kernel's refusal), `remedy` how to get it."""

    name: str
    available: bool
    detail: str
    needed_for: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Row:
    test: Callable[[NetNs], str]
    """Returns what it found; raises OSError, CommandMissing or the like where the feature is not there."""
    needed_for: str
    remedy: str


class _Missing(Exception):  # noqa: N818
    """A program or a file is not there."""


def probe() -> Mapping[str, Feature]:
    """Try everything, in a throwaway network namespace; some 50 ms, most of it the programs' start.

    Where the caller may not make namespaces (an ordinary user outside a lab) a child process with a user namespace of
    its own does it.
    """
    return {name: feature(name) for name in _TABLE}


@cache
def feature(name: str) -> Feature:
    """One feature, tried once per process. KeyError: no such feature."""
    row = _TABLE[name]
    try:
        available, detail = _try_in(name) if _may_unshare() else throwaway.run(lambda: _try_in(name))
    except (KernelError, throwaway.ChildFailed) as problem:
        available, detail = False, str(problem).strip().splitlines()[-1]
    return Feature(name, available, detail, row.needed_for, "" if available else row.remedy)


def has(name: str) -> bool:
    """Whether that feature is there."""
    return feature(name).available


def require(name: str, needed_by: str) -> None:
    """UnsupportedFeature, naming the feature, who needs it and the remedy, where it is missing."""
    found = feature(name)
    if not found.available:
        raise UnsupportedFeature(name, needed_by, found.remedy)


@cache
def is_first_user_namespace() -> bool:
    """Whether root here is the machine's root, whom no socket buffer bounds."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


@cache
def _may_unshare() -> bool:
    try:
        worker.run(lambda: libc.unshare(libc.CLONE_NEWNET))
    except OSError:
        return False
    return True


def _try_in(name: str) -> tuple[bool, str]:
    try:
        with netns.create(f"probe-{name}", pin=False) as ns:
            return True, _TABLE[name].test(ns)
    except OSError as problem:
        return False, problem.strerror or str(problem)
    except (_Missing, subprocess.SubprocessError) as problem:
        return False, str(problem)


def _link(link: Link) -> Callable[[NetNs], str]:
    def test(ns: NetNs) -> str:
        for request in links.add(link, lambda _: 1):
            ns.netlink.request(request, f"a {link.kind} device")
        return "ip link add works"

    return test


def _qdisc(shaping: Shaping) -> Callable[[NetNs], str]:
    def test(ns: NetNs) -> str:
        ns.netlink.request(veth.create(veth.End("x0"), veth.End("x1")), "a veth pair")
        index = links.index_of(ns.netlink.get(links.get("x0"), "x0"))
        for request in qdisc.requests(shaping, index):
            ns.netlink.request(request, "a queueing discipline")
        return "tc qdisc add works"

    return test


def _htb(ns: NetNs) -> str:
    ns.netlink.request(veth.create(veth.End("x0"), veth.End("x1")), "a veth pair")
    _run(ns, "tc", "qdisc", "add", "dev", "x0", "root", "handle", "5:", "htb", "default", "1")
    return "tc qdisc add works"


def _sysctl(path: str) -> Callable[[NetNs], str]:
    return lambda ns: f"/proc/sys/{path} is {ns.read_proc('/proc/sys/' + path).strip()}"


def _run(ns: NetNs, *argv: str, text: str = "", env: Mapping[str, str] | None = None) -> str:
    program = find(argv[0])
    if program is None:
        raise _Missing(f"{argv[0]} is not installed")
    pipe = subprocess.PIPE
    with ns.popen(
        [program, *argv[1:]], env={**os.environ, **(env or {})}, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
    ) as process:
        output = process.communicate(text.encode())[0].decode(errors="replace").strip()
    if process.returncode:
        raise _Missing(f"{argv[0]}: {output.splitlines()[-1] if output else f'exit status {process.returncode}'}")
    return output


def _iptables(program: str, rule: str = "-A POSTROUTING -j MASQUERADE") -> Callable[[NetNs], str]:
    def test(ns: NetNs) -> str:
        text = f"*nat\n{rule}\nCOMMIT\n"
        _run(ns, f"{program}-restore", "--noflush", text=text, env={"XTABLES_LOCKFILE": "/dev/null"})
        return _run(ns, program, "--version")

    return test


def _ipv6(ns: NetNs) -> str:
    try:
        return _sysctl("net/ipv6/conf/all/forwarding")(ns)
    except FileNotFoundError:
        raise _Missing("the kernel has no IPv6") from None


def _ip6tables(ns: NetNs) -> str:
    """By the back end that iptables has here: the two must agree."""
    if has("iptables_legacy"):
        return _iptables("ip6tables-legacy")(ns)
    return _iptables("ip6tables-nft")(ns)


def _nft(ns: NetNs) -> str:
    table = "table ip probe { chain c { type nat hook postrouting priority 100; masquerade; }; }"
    _run(ns, "nft", "-f", "-", text=table)
    return _run(ns, "nft", "--version")


def _conntrack(ns: NetNs) -> str:
    body = bytes((socket.AF_INET, 0, 0, 0))
    ns.netfilter.dump(nl.message(0x0101, 0, body), "conntrack")  # IPCTNL_MSG_CT_GET
    return "ctnetlink answers"


def _ip_vs(ns: NetNs) -> str:
    generic = NetlinkSocket(ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16))
    try:
        body = bytes((3, 1, 0, 0))  # CTRL_CMD_GETFAMILY, version 1
        generic.get(nl.message(16, 0, body, nl.text(2, "IPVS")), "IPVS")
    finally:
        generic.close()
    return "generic netlink family IPVS is registered"


def _ip_vs_works(ns: NetNs) -> str:
    """As kube-proxy tries it: a virtual server at an address that is kept for documentation, and a setting."""
    from netlab.dataplane.ipvs.model import Frontend, VirtualServer
    from netlab.dataplane.ipvs.state import Step
    from netlab.kernel.ipvs import Ipvs

    found = _ip_vs(ns)
    ipvs = Ipvs(ns)
    server = VirtualServer(Frontend("TCP", "198.51.100.0", 20000), "rr")
    try:
        ipvs.apply((Step("add", server),))
        ipvs.apply((Step("del", server),))
    except KernelError as problem:
        if problem.errno == errno.EPERM:
            raise _Missing(
                "IPVS refuses user namespaces before Linux 6.11; it works when klab is run by root"
            ) from None
        raise
    finally:
        ipvs.close()
    for name in ("conntrack", "expire_nodest_conn", "expire_quiescent_template"):
        ns.run(partial(netns.write_proc, f"/proc/sys/net/ipv4/vs/{name}", "1"))
    return found


def _ip_set(ns: NetNs) -> str:
    """A set of each type that IPVS mode has, and a rule that asks one."""
    from netlab.dataplane.ipvs.sets import ip_sets
    from netlab.dataplane.ipvs.state import Step
    from netlab.kernel.ipset import IpSetHandle

    handle = IpSetHandle(ns)
    try:
        handle.apply([Step("add", set_) for set_ in ip_sets("IPv4").by_name.values()])
    finally:
        handle.close()
    rule = "-A POSTROUTING -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN"
    program = "iptables-legacy" if find("iptables-legacy-restore") else "iptables"
    return f"ipset by netlink; {_iptables(program, rule)(ns)}"


def _ovs(ns: NetNs) -> str:
    for program in ("ovs-vsctl", "ovs-vswitchd", "ovsdb-server"):
        if find(program) is None:
            raise _Missing(f"{program} is not installed")
    generic = NetlinkSocket(ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16))
    try:
        generic.get(nl.message(16, 0, bytes((3, 1, 0, 0)), nl.text(2, "ovs_datapath")), "Open vSwitch")
    except KernelError as problem:
        raise _Missing("the kernel has no openvswitch module loaded") from problem
    finally:
        generic.close()
    return _run(ns, "ovs-vsctl", "--version").splitlines()[0]


_VETH = Link("x0", "veth", peer=("", "x1"), up=False)
_TABLE: Mapping[str, _Row] = {
    "veth": _Row(_link(_VETH), "every link and every pod", "modprobe veth"),
    "bridge": _Row(_link(Link("x0", "bridge")), "switches and docker0", "modprobe bridge"),
    "vxlan": _Row(
        _link(Link("x0", "vxlan", vxlan=Vxlan(1, "127.0.0.1", "lo"), up=False)),
        "overlay backend vxlan",
        "modprobe vxlan, or use the overlay backend host-gw",
    ),
    "br_netfilter": _Row(
        _sysctl("net/bridge/bridge-nf-call-iptables"),
        "Services between pods of one node without masquerading",
        "modprobe br_netfilter",
    ),
    "conntrack": _Row(_conntrack, "Services, and the trace of their connections", "modprobe nf_conntrack_netlink"),
    "iptables_legacy": _Row(
        _iptables("iptables-legacy"),
        "proxy mode iptables, ten times faster on a full sync than iptables_nft",
        "install iptables; modprobe iptable_nat iptable_filter (or use iptables_nft)",
    ),
    "iptables_nft": _Row(_iptables("iptables-nft"), "proxy mode iptables", "install iptables; modprobe nft_compat"),
    "ipv6": _Row(_ipv6, "dual-stack and IPv6 clusters", "boot without ipv6.disable=1"),
    "ip6tables": _Row(
        _ip6tables,
        "Services and masquerading of IPv6",
        "install iptables; modprobe ip6table_nat ip6table_filter (or nft_compat)",
    ),
    "random_fully": _Row(
        _iptables("iptables", "-A POSTROUTING -j MASQUERADE --random-fully"),
        "masquerading that spreads source ports",
        "a newer iptables",
    ),
    "nft": _Row(_nft, "proxy mode nftables", "install nftables; modprobe nf_tables"),
    "ip_vs": _Row(
        _ip_vs_works,
        "proxy mode ipvs",
        f"as root: modprobe -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh xt_ipvs, or {VM_LANE}",
    ),
    "dummy": _Row(_link(Link("x0", "dummy")), "proxy mode ipvs (kube-ipvs0)", f"modprobe dummy, or {VM_LANE}"),
    "ip_set": _Row(
        _ip_set,
        "proxy mode ipvs (its rules ask ipsets)",
        f"as root: modprobe -a xt_set ip_set_hash_ipport ip_set_hash_ipportip ip_set_hash_ipportnet, or {VM_LANE}",
    ),
    "tbf": _Row(_qdisc(Shaping("x0", 10**6)), "links with a bandwidth", f"modprobe sch_tbf, or {VM_LANE}"),
    "htb": _Row(_htb, "Mininet's own TCLink", f"modprobe sch_htb, or {VM_LANE}"),
    "netem": _Row(
        _qdisc(Shaping("x0", delay_s=0.001)),
        "links with delay, jitter or loss",
        f"modprobe sch_netem where the kernel has it, or {VM_LANE}",
    ),
    "ovs": _Row(
        _ovs,
        "switches of kind ovs",
        f"install openvswitch-switch and modprobe openvswitch, use kind bridge, or {VM_LANE}",
    ),
}
NAMES = tuple(_TABLE)
__all__ = ["NAMES", "Feature", "UnsupportedFeature", "feature", "has", "probe", "require"]
