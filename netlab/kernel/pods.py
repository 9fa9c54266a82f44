"""Attaching pods to a node, many at once: what `dataplane.pods.pod_network` plans, at the kernel's own speed.

Per pod there are two visits. From the node's socket: the veth pair (its far end born in the pod's namespace, its near
end on the bridge), hairpin mode and the neighbour entry; the messages of all pods of a chunk travel in one sendmsg.
From the pod's own socket: lo up, eth0 without IPv6 link-local address, up, address, default route and the
gateway's neighbour entry, in one sendmsg per pod. Last, all near ends go up in one sendmsg: every carrier that comes is
an event which the kernel works off under the lock of all network configuration, and had they come one by one, every
request in between would have waited for one. In a namespace that holds nothing else eth0 has index 2; where a
kernel puts its fallback tunnels there (ipip, sit), the first message, which names both the index and the name, is
refused, and the index is asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import lru_cache

from netlab.dataplane.model import Address, Neighbour, Plan, Route
from netlab.dataplane.nodes import PodNet
from netlab.dataplane.pods import pod_gone
from netlab.kernel import addresses, links, neighbours, routes, veth
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.apply import GONE, apply
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NetlinkSocket, Refusal
from netlab.kernel.template import Template

CHUNK = 64
FIRST_INDEX = 2
LO = 1

_NAME = b"@ABCDEFGHIJKLMN"
_MAC = b"\x92\x83\x74\x65\x56\x47"
_FD = 0x5AC35A3C
_IP = b"\xa1\xb2\xc3\xd4"
_GATEWAY = b"\xa5\xb6\xc7\xd8"


def setup_pods(node: NetNs, pods: Sequence[tuple[NetNs, PodNet]]) -> None:
    """Attach each pod's (new) namespace to the node's bridge and configure it.

    Blocks for about 0.3 ms per pod. Raises KernelError naming the first pod that failed, after all were tried; what was
    made for a pod that failed is removed again, the others are complete.
    """
    bridges: dict[str, int] = {}
    failed: dict[str, KernelError] = {}
    for start in range(0, len(pods), CHUNK):
        chunk = pods[start : start + CHUNK]
        for _, pod in chunk:
            if pod.bridge not in bridges:
                reply = node.netlink.get(links.get(pod.bridge), f"bridge {pod.bridge} of {node.name}")
                bridges[pod.bridge] = links.index_of(reply)
        failed |= _on_node(node, chunk, bridges)
        for ns, pod in chunk:
            if pod.id in failed:
                continue
            try:
                _in_pod(ns, pod)
            except KernelError as problem:
                failed[pod.id] = problem
                apply(node, pod_gone(pod))
        failed |= _plug(node, [pod for _, pod in chunk if pod.id not in failed])
    for first in failed.values():
        raise first


def teardown_pods(node: NetNs, pods: Sequence[PodNet]) -> None:
    """Remove the node's ends, which takes the pods' ends with them; what is already gone is no error.

    Many pods go as one group: the kernel waits once for all of them instead of once for each.
    """
    apply(node, Plan(tuple(step for pod in pods for step in pod_gone(pod).steps if isinstance(step.object, Neighbour))))
    if len(pods) == 1:
        refused: Sequence[Refusal] = node.netlink.send([links.delete(pods[0].ifname)])
    else:
        refused = node.netlink.send(links.delete_group([pod.ifname for pod in pods]))
    for refusal in refused:
        if refusal.errno not in GONE:
            raise KernelError(refusal.errno or errno.EIO, f"pods of {node.name}", refusal.detail)


def node_requests(pod: PodNet, fd: int, bridge: int) -> list[bytes]:
    """What the node's socket sends for one pod."""
    near, neighbour = _node_templates(len(pod.ifname), pod.pod_ifname, pod.mtu, bridge)
    values = {"name": pod.ifname.encode(), "mac": nl.mac_bytes(pod.pod_mac), "fd": nl.U32.pack(fd)}
    requests = [near.fill(values)]
    for ip, _ in pod.attachments:
        if ":" in ip:
            requests.append(neighbours.add(Neighbour("", ip.partition("/")[0], pod.pod_mac), lambda _: bridge))
        else:
            requests.append(neighbour.fill({"ip": nl.ip_bytes(ip.partition("/")[0]), "mac": values["mac"]}))
    if pod.hairpin:
        requests.append(links.port_mode(pod.ifname, hairpin=True))
    return requests


def _on_node(node: NetNs, chunk: Sequence[tuple[NetNs, PodNet]], bridges: dict[str, int]) -> dict[str, KernelError]:
    requests: list[bytes] = []
    owner: list[PodNet] = []
    for ns, pod in chunk:
        mine = node_requests(pod, ns.fd, bridges[pod.bridge])
        requests += mine
        owner += [pod] * len(mine)
    failed: dict[str, KernelError] = {}
    for refusal in node.netlink.send(requests):
        pod = owner[refusal.index]
        if pod.id in failed:
            continue
        failed[pod.id] = _explain(refusal, pod, node)
        exists = refusal.errno == errno.EEXIST  # then the device is somebody else's, or another pod's
        steps = tuple(s for s in pod_gone(pod).steps if not (exists and s.object.key == ("link", pod.ifname)))
        apply(node, Plan(steps))
    return failed


def _plug(node: NetNs, pods: Sequence[PodNet]) -> dict[str, KernelError]:
    refused = node.netlink.send([links.set_up(pod.ifname, True) for pod in pods])
    return {pods[refusal.index].id: _explain(refusal, pods[refusal.index], node) for refusal in refused}


def _explain(refusal: Refusal, pod: PodNet, node: NetNs) -> KernelError:
    detail = refusal.detail
    if refusal.errno == errno.EXFULL:
        detail = f"{pod.bridge} has 1,023 ports, which is all a Linux bridge can have"
    return KernelError(refusal.errno or errno.EIO, f"pod {pod.id}, {pod.ifname} on {node.name}", detail)


def _in_pod(ns: NetNs, pod: PodNet) -> None:
    refused = ns.netlink.send(pod_requests(pod, FIRST_INDEX))
    if refused and refused[0].index == 1 and refused[0].errno in (errno.EEXIST, errno.ENODEV):
        refused = _at_other_index(ns.netlink, pod)
    for refusal in refused:
        raise KernelError(refusal.errno or errno.EIO, f"pod {pod.id}, {pod.pod_ifname}", refusal.detail)


def _at_other_index(netlink: NetlinkSocket, pod: PodNet) -> list[Refusal]:
    """Something else has index 2: take back what it was given, and configure the right device."""
    wrong = [Address("", address) for address, _ in pod.attachments]
    wrong += [Address("", pod.link_local)] if pod.link_local else []
    netlink.send([addresses.delete(one, lambda _: FIRST_INDEX) for one in wrong])
    index = links.index_of(netlink.get(links.get(pod.pod_ifname), f"{pod.pod_ifname} of pod {pod.id}"))
    return netlink.send(pod_requests(pod, index))


def pod_requests(pod: PodNet, index: int) -> list[bytes]:
    """What the pod's socket sends: the devices first, since the rest needs them up."""
    requests: list[bytes] = []
    for cidr, via in pod.attachments:
        text, _, length = cidr.partition("/")
        v6 = ":" in text
        prefix = 24 if v6 else int(length)
        devices, address, route, neighbour = _pod_templates(pod.pod_ifname, prefix, index)
        requests += devices if not requests else ()
        if v6:
            requests += _requests6(pod, cidr, via, index)
            continue
        ip, gateway = nl.ip_bytes(text), nl.ip_bytes(via)
        requests += [
            address.fill({"ip": ip, "broadcast": _broadcast(ip, prefix)}),
            route.fill({"gateway": gateway}),
            neighbour.fill({"ip": gateway, "mac": nl.mac_bytes(pod.bridge_mac)}),
        ]
    return requests


def _requests6(pod: PodNet, cidr: str, gateway: str, index: int) -> list[bytes]:
    """The IPv6 half of a pod: a few dozen microseconds more than a template takes."""

    def itself(_: str) -> int:
        return index

    return [
        addresses.add(Address("", pod.link_local, "link"), itself),
        addresses.add(Address("", cidr), itself),
        routes.request("add", Route("::/0", "eth0", via=gateway), itself),
        neighbours.add(Neighbour("", gateway, pod.bridge_mac), itself),
    ]


def _broadcast(ip: bytes, prefix: int) -> bytes:
    return (int.from_bytes(ip, "big") | (0xFFFFFFFF >> prefix)).to_bytes(4, "big")


@lru_cache(maxsize=64)
def _node_templates(name_length: int, pod_ifname: str, mtu: int, bridge: int) -> tuple[Template, Template]:
    name = _NAME[:name_length]
    near = veth.End(name.decode("ascii"), mtu=mtu, master=bridge)
    pair = veth.create(near, veth.End(pod_ifname, mac=_MAC, mtu=mtu, fd=_FD))
    entry = neighbours.add(Neighbour("", nl.ip_text(_IP), nl.mac_text(_MAC)), lambda _: bridge)
    return (
        Template(pair, {"name": name, "mac": _MAC, "fd": nl.U32.pack(_FD)}),
        Template(entry, {"ip": _IP, "mac": _MAC}),
    )


@lru_cache(maxsize=64)
def _pod_templates(ifname: str, prefix: int, index: int) -> tuple[tuple[bytes, ...], Template, Template, Template]:
    def itself(_: str) -> int:
        return index

    name = nl.text(rt.IFLA_IFNAME, ifname)
    devices = (
        nl.message(rt.RTM_NEWLINK, 0, links.header(LO, rt.IFF_UP, rt.IFF_UP)),
        nl.message(rt.RTM_NEWLINK, 0, links.header(index), name, links.NO_IPV6),
        nl.message(rt.RTM_NEWLINK, 0, links.header(index, rt.IFF_UP, rt.IFF_UP)),
    )
    ip, gateway = nl.ip_text(_IP), nl.ip_text(_GATEWAY)
    address = addresses.add(Address(ifname, f"{ip}/{prefix}"), itself)
    fields = {"ip": _IP} if prefix >= 31 else {"ip": _IP, "broadcast": _broadcast(_IP, prefix)}
    route = routes.request("add", Route("default", ifname, via=gateway), itself)
    entry = neighbours.add(Neighbour(ifname, gateway, nl.mac_text(_MAC)), itself)
    return (
        devices,
        Template(address, fields),
        Template(route, {"gateway": _GATEWAY}),
        Template(entry, {"ip": _GATEWAY, "mac": _MAC}),
    )
