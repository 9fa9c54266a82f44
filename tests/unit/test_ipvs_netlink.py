"""The encoders of IPVS and ipset against pyroute2's, attribute by attribute; and what the kernel's answers mean."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pyroute2.netlink.generic.ipvs import ipvsmsg
from pyroute2.netlink.nfnetlink.ipset import ipset_msg

from netlab.dataplane.ipvs import Entry, Frontend, IpSet, RealServer, VirtualServer, ip_sets
from netlab.kernel import ipset, ipvs
from netlab.kernel import netlink as nl


def decoded(kind: Any, message: bytes) -> Any:
    """The message as pyroute2 reads it."""
    made = kind(message)
    made.decode()
    return made


def attributes(message: Any) -> dict[str, Any]:
    return dict(message["attrs"])


@pytest.mark.parametrize("address", ["10.96.0.1", "fd96::1"])
def test_a_virtual_server_is_what_pyroute2_reads(address: str) -> None:
    server = VirtualServer(Frontend("UDP", address, 53), "wlc", persistent=10800)
    message = nl.message(100, 0, bytes((ipvs.NEW_SERVICE, 1, 0, 0)), nl.nested(ipvs.ATTR_SERVICE, ipvs.service(server)))
    found = attributes(attributes(decoded(ipvsmsg, message))["IPVS_CMD_ATTR_SERVICE"])
    assert found["IPVS_SVC_ATTR_AF"] == (socket.AF_INET6 if ":" in address else socket.AF_INET)
    assert found["IPVS_SVC_ATTR_PROTOCOL"] == 17
    assert found["IPVS_SVC_ATTR_ADDR"] == address
    assert found["IPVS_SVC_ATTR_PORT"] == 53
    assert found["IPVS_SVC_ATTR_SCHED_NAME"] == "wlc"
    assert found["IPVS_SVC_ATTR_FLAGS"]["flags"] == ipvs.FLAG_PERSISTENT
    assert found["IPVS_SVC_ATTR_TIMEOUT"] == 10800
    raw = nl.attributes(ipvs.service(server))
    assert raw[ipvs.SVC_NETMASK] == (b"\x80\0\0\0" if ":" in address else b"\xff" * 4)


@pytest.mark.parametrize("address", ["10.244.0.5", "fd10:244::5"])
def test_a_real_server_is_what_pyroute2_reads_and_comes_back(address: str) -> None:
    real = RealServer(address, 8080, 3)
    message = nl.message(100, 0, bytes((ipvs.NEW_DEST, 1, 0, 0)), nl.nested(ipvs.ATTR_DEST, ipvs.destination(real)))
    found = attributes(attributes(decoded(ipvsmsg, message))["IPVS_CMD_ATTR_DEST"])
    assert found["IPVS_DEST_ATTR_ADDR"] == address
    assert found["IPVS_DEST_ATTR_PORT"] == 8080
    assert found["IPVS_DEST_ATTR_WEIGHT"] == 3
    assert found["IPVS_DEST_ATTR_FWD_METHOD"] == 0
    assert ipvs._real(nl.attributes(ipvs.destination(real))).server == real


@pytest.mark.parametrize(
    "server",
    [
        VirtualServer(Frontend("TCP", "10.96.0.1", 443)),
        VirtualServer(Frontend("SCTP", "fd96::1", 9), "sh", persistent=60),
        VirtualServer(Frontend("UDP", "10.96.0.1", 53), "mh", source_hash=True),
    ],
    ids=str,
)
def test_a_virtual_server_comes_back(server: VirtualServer) -> None:
    assert ipvs._server(nl.attributes(ipvs.service(server))).server == server


ENTRIES = {
    "hash:ip": Entry("10.0.0.1"),
    "hash:ip,port": Entry("10.0.0.1", "tcp", 80),
    "hash:ip,port,ip": Entry("10.0.0.1", "udp", 80, "10.0.0.2"),
    "hash:ip,port,net": Entry("10.0.0.1", "sctp", 80, "10.1.0.0/24"),
    "bitmap:port": Entry(port=30080),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_member_is_what_pyroute2_reads_and_comes_back(kind: Any) -> None:
    set_, entry = IpSet("S", kind), ENTRIES[kind]
    data = nl.nested(ipset.DATA, *ipset.members(set_, entry), flag=True)
    message = ipset._message(ipset.ADD, "IPv4", nl.text(ipset.SETNAME, "S"), data)
    found = attributes(decoded(ipset_msg, message))
    assert found["IPSET_ATTR_SETNAME"] == "S"
    inner = attributes(found["IPSET_ATTR_DATA"])
    if entry.port:
        assert inner.get("IPSET_ATTR_PORT", inner.get("IPSET_ATTR_PORT_FROM")) == entry.port
    if entry.address:
        ips = inner.get("IPSET_ATTR_IP") or inner["IPSET_ATTR_IP_FROM"]
        assert attributes(ips)["IPSET_ATTR_IPADDR_IPV4"] == entry.address
    assert ipset.entry(set_, nl.attributes(b"".join(ipset.members(set_, entry)))) == entry


def test_every_set_of_both_families_has_a_name_that_the_kernel_takes() -> None:
    names = [set_.name for family in ("IPv4", "IPv6") for set_ in ip_sets(family).by_name.values()]
    assert len(names) == len(set(names)) == 34
    assert max(map(len, names)) == 31
