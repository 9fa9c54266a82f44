"""The netlink encoder against pyroute2's, byte by byte, and its decoder against messages as the kernel sends them."""

from __future__ import annotations

import struct

import pytest

from netlab.dataplane.model import Address, Fdb, Hop, Link, Neighbour, Route, Vxlan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.shaping import Shaping
from netlab.kernel import addresses, links, neighbours, pods, qdisc, routes, veth
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.template import Template

INDEXES = {"eth0": 2, "docker0": 3, "flannel.1": 4, "": 0}
NODE = NodeNet("node1", "10.244.1.0/24", "192.168.0.1")
POD = PodNet.of("5a3b-uid", "10.244.1.7", NODE)


@pytest.fixture(scope="module")
def pr():
    """pyroute2's message classes (imported here: it takes a third of a second)."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyroute2.netlink.rtnl import ifaddrmsg, ifinfmsg, ndmsg, rtmsg
    return {
        "link": ifinfmsg.ifinfmsg,
        "address": ifaddrmsg.ifaddrmsg,
        "neighbour": ndmsg.ndmsg,
        "route": rtmsg.rtmsg,
    }


def encoded(cls, flags: int, kind: int, fields: dict, attrs: list) -> bytes:
    message = cls()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags | nl.NLM_F_REQUEST
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data)


def same(ours: bytes, theirs: bytes) -> None:
    """Equal except for sequence number and port, and the flag that marks an attribute as nested."""
    assert plain(ours) == plain(theirs)


def plain(message: bytes) -> bytes:
    length, kind, flags, _, _ = nl.HEADER.unpack_from(message)
    assert length == len(message)
    return nl.HEADER.pack(length, kind, flags, 0, 0) + message[16:]


def index(name: str) -> int:
    return INDEXES[name]


CREATE = nl.NLM_F_CREATE | nl.NLM_F_EXCL
REPLACE = nl.NLM_F_CREATE | nl.NLM_F_REPLACE


def test_a_bridge_is_encoded_as_pyroute2_does(pr):
    ours = links.add(Link("docker0", "bridge", mac="02:42:0a:f4:01:01", mtu=1450), index)[0]
    attrs = [
        ["IFLA_IFNAME", "docker0"],
        ["IFLA_ADDRESS", "02:42:0a:f4:01:01"],
        ["IFLA_MTU", 1450],
        [
            "IFLA_LINKINFO",
            {"attrs": [["IFLA_INFO_KIND", "bridge"], ["IFLA_INFO_DATA", {"attrs": [["IFLA_BR_STP_STATE", 0]]}]]},
        ],
    ]
    same(ours, encoded(pr["link"], CREATE, rt.RTM_NEWLINK, {"index": 0, "flags": 1, "change": 1}, attrs))


def test_a_vxlan_device_is_encoded_as_pyroute2_does(pr):
    link = Link("flannel.1", "vxlan", mtu=1450, vxlan=Vxlan(1, "192.168.0.1", "eth0"))
    data = [
        ["IFLA_VXLAN_ID", 1],
        ["IFLA_VXLAN_LINK", 2],
        ["IFLA_VXLAN_LOCAL", "192.168.0.1"],
        ["IFLA_VXLAN_LEARNING", 0],
        ["IFLA_VXLAN_PORT", 8472],
    ]
    info = {"attrs": [["IFLA_INFO_KIND", "vxlan"], ["IFLA_INFO_DATA", {"attrs": data}]]}
    attrs = [["IFLA_IFNAME", "flannel.1"], ["IFLA_MTU", 1450], ["IFLA_LINKINFO", info]]
    theirs = encoded(pr["link"], CREATE, rt.RTM_NEWLINK, {"index": 0, "flags": 1, "change": 1}, attrs)
    same(links.add(link, index)[0], theirs)


def test_a_pods_veth_is_encoded_as_pyroute2_does(pr):
    peer = {
        "index": 0,
        "flags": 0,
        "change": 0,
        "attrs": [
            ["IFLA_IFNAME", "eth0"],
            ["IFLA_ADDRESS", POD.pod_mac],
            ["IFLA_MTU", 1450],
            ["IFLA_NET_NS_FD", 77],
            ["IFLA_NUM_TX_QUEUES", 1],
            ["IFLA_NUM_RX_QUEUES", 1],
        ],
    }
    attrs = [
        ["IFLA_IFNAME", POD.ifname],
        ["IFLA_MTU", 1450],
        ["IFLA_MASTER", 3],
        ["IFLA_NUM_TX_QUEUES", 1],
        ["IFLA_NUM_RX_QUEUES", 1],
        [
            "IFLA_LINKINFO",
            {"attrs": [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", peer]]}]]},
        ],
    ]
    theirs = encoded(pr["link"], CREATE, rt.RTM_NEWLINK, {"index": 0, "flags": 0, "change": 0}, attrs)
    same(pods.node_requests(POD, 77, 3)[0], theirs)


def test_an_address_is_encoded_as_pyroute2_does(pr):
    attrs = [["IFA_LOCAL", "10.244.1.7"], ["IFA_ADDRESS", "10.244.1.7"], ["IFA_BROADCAST", "10.244.1.255"]]
    fields = {"family": 2, "prefixlen": 24, "flags": 0, "scope": 0, "index": 2}
    theirs = encoded(pr["address"], REPLACE, rt.RTM_NEWADDR, fields, attrs)
    same(addresses.add(Address("eth0", "10.244.1.7/24"), index), theirs)
    same(pods.pod_requests(POD, 2)[3], theirs)


ROUTES = {
    "by a gateway": (Route("default", "eth0", via="10.244.1.1"), 0, 0, [["RTA_GATEWAY", "10.244.1.1"], ["RTA_OIF", 2]]),
    "onlink": (
        Route("10.244.2.0/24", "flannel.1", via="10.244.2.0", onlink=True),
        24,
        4,
        [["RTA_DST", "10.244.2.0"], ["RTA_GATEWAY", "10.244.2.0"], ["RTA_OIF", 4]],
    ),
}


@pytest.mark.parametrize("case", ROUTES)
def test_a_route_is_encoded_as_pyroute2_does(pr, case):
    route, length, flags, attrs = ROUTES[case]
    fields = {"family": 2, "dst_len": length, "src_len": 0, "tos": 0, "table": 254, "proto": 3, "scope": 0, "type": 1}
    theirs = encoded(pr["route"], CREATE, rt.RTM_NEWROUTE, {**fields, "flags": flags}, attrs)
    same(routes.request("add", route, index), theirs)


def test_neighbour_and_forwarding_entries_are_encoded_as_pyroute2_does(pr):
    fields = {"family": 2, "ifindex": 4, "state": 0x80, "flags": 0, "ndm_type": 0}
    attrs = [["NDA_DST", "10.244.2.0"], ["NDA_LLADDR", "02:00:00:00:00:02"]]
    theirs = encoded(pr["neighbour"], REPLACE, rt.RTM_NEWNEIGH, fields, attrs)
    same(neighbours.add(Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:02"), index), theirs)
    fields = {"family": 7, "ifindex": 4, "state": 0xC0, "flags": 2, "ndm_type": 0}
    attrs = [["NDA_LLADDR", "02:00:00:00:00:02"], ["NDA_DST", "192.168.0.2"]]
    theirs = encoded(pr["neighbour"], REPLACE, rt.RTM_NEWNEIGH, fields, attrs)
    same(neighbours.add_fdb(Fdb("flannel.1", "02:00:00:00:00:02", "192.168.0.2"), index), theirs)


@pytest.mark.parametrize("ip", ["10.244.1.2", "10.244.1.254", "10.244.255.3"])
@pytest.mark.parametrize("fd", [5, 70_000])
def test_a_filled_template_equals_a_message_encoded_from_its_parts(ip, fd):
    pod = PodNet.of(f"uid-of-{ip}", ip, NODE)
    pair, entry, hairpin = pods.node_requests(pod, fd, 3)
    near = veth.End(pod.ifname, mtu=1450, master=3)
    assert pair == veth.create(near, veth.End("eth0", mac=nl.mac_bytes(pod.pod_mac), mtu=1450, fd=fd))
    assert entry == neighbours.add(Neighbour("docker0", ip, pod.pod_mac), index)
    assert hairpin == links.port_mode(pod.ifname, hairpin=True)
    *_, address, route, gateway = pods.pod_requests(pod, 2)
    assert address == addresses.add(Address("eth0", pod.address), index)
    assert route == routes.request("add", Route("default", "eth0", via=pod.gateway), index)
    assert gateway == neighbours.add(Neighbour("eth0", pod.gateway, pod.bridge_mac), index)


def test_many_neighbours_are_encoded_as_one_is():
    entries = [Neighbour("eth0", f"10.0.0.{i}", f"02:00:00:00:00:{i:02x}") for i in range(1, 6)]
    assert neighbours.add_all(entries, 2) == [neighbours.add(entry, index) for entry in entries]


def test_a_template_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="marker of x does not occur"):
        Template(b"abc", {"x": b"zz"})
    with pytest.raises(ValueError, match="x must be 2 bytes, not 3"):
        Template(b"abcab", {"x": b"ab"}).fill({"x": b"123"})
    assert Template(b"abcab", {"x": b"ab"}).fill({"x": b"12"}) == b"12c12"


LINKS = (
    Link("docker0", "bridge", mac="02:42:0a:f4:01:01", mtu=1450),
    Link("br1", "bridge", mac="02:42:0a:f4:01:01", mtu=1500, stp=True, up=False),
    Link("flannel.1", "vxlan", mac="02:00:00:00:00:01", mtu=1450, vxlan=Vxlan(1, "192.168.0.1", "eth0")),
)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_link_survives_its_own_message(link):
    reply = next(nl.messages(links.add(link, index)[0]))
    assert links.decode(reply, {number: name for name, number in INDEXES.items()}) == link


@pytest.mark.parametrize(
    "route",
    [
        Route("default", "eth0", via="10.244.1.1"),
        Route("10.244.2.0/24", "flannel.1", via="10.244.2.0", onlink=True, metric=7),
        Route("10.0.0.0/8", hops=(Hop("10.1.1.1", "eth0"), Hop("10.1.1.2", "docker0", 3))),
        Route("10.9.0.0/16", kind="blackhole"),
        Route("10.96.0.0/12", "eth0", scope="link"),
    ],
    ids=str,
)
def test_a_route_survives_its_own_message(route):
    reply = next(nl.messages(routes.request("add", route, index)))
    assert routes.decode(reply, {number: name for name, number in INDEXES.items()}) == route


def test_an_error_carries_the_kernels_words():
    note = nl.text(nl.NLMSGERR_ATTR_MSG, "Nexthop has invalid gateway")
    body = nl.ERRNO.pack(-101) + nl.HEADER.pack(16, 24, 5, 9, 0) + note
    reply = nl.Message(nl.NLMSG_ERROR, nl.NLM_F_CAPPED | nl.NLM_F_ACK_TLVS, 9, body)
    assert nl.error(reply) == (101, "Nexthop has invalid gateway")
    assert nl.error(nl.Message(nl.NLMSG_ERROR, 0, 9, nl.ERRNO.pack(0))) == (0, "")


def test_shaping_is_encoded_as_the_kernel_lays_it_out():
    bucket, delay = qdisc.requests(Shaping("eth0", 10_000_000, delay_s=0.02, jitter_s=0.001, loss=0.5), 2)
    parms = nl.attributes(nl.attributes(bucket, 16 + rt.TCMSG.size)[qdisc.TCA_OPTIONS])[qdisc.TCA_TBF_PARMS]
    assert struct.unpack_from("=I", parms, 8)[0] == 1_250_000  # bytes per second
    assert len(parms) == 36
    options = nl.attributes(delay, 16 + rt.TCMSG.size)[qdisc.TCA_OPTIONS]
    assert struct.unpack_from("=IIIIII", options) == (312_500, 1000, 0x80000000, 0, 0, 15_625)
    assert struct.unpack("=q", nl.attributes(options, 24)[qdisc.TCA_NETEM_LATENCY64])[0] == 20_000_000
    assert rt.TCMSG.unpack_from(delay, 16)[3] == qdisc.TBF_CLASS
