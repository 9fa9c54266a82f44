"""The kernel's part of a trace, without root: packets by a token, the rules they meet in their order, nothing left."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from netlab.kernel import features, netns, nftrace
from netlab.kernel.command import run
from netlab.kernel.netns import NetNs
from netlab.trace import model
from netlab.trace.gather import Gathered, Place
from netlab.trace.session import Request
from netlab.trace.session import run as trace
from tests.kernel.conftest import Sandbox

ISN = 0x11223344


def pair() -> tuple[NetNs, NetNs, NetNs]:
    """left — middle (a router) — right, with addresses and routes."""
    left, middle, right = (netns.create(name) for name in ("left", "middle", "right"))
    for end, net, device in ((left, "10.1.0", "toleft"), (right, "10.2.0", "toright")):
        run(middle, ["ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", end.name])
        run(middle, ["ip", "addr", "add", f"{net}.1/24", "dev", device])
        run(middle, ["ip", "link", "set", device, "up"])
        run(end, ["ip", "addr", "add", f"{net}.2/24", "dev", "eth0"])
        for name in ("lo", "eth0"):
            run(end, ["ip", "link", "set", name, "up"])
        run(end, ["ip", "route", "add", "default", "via", f"{net}.1"])
    middle.run(lambda: netns.write_proc("/proc/sys/net/ipv4/ip_forward", "1"))
    return left, middle, right


PLACES = (Place("left", "left", "host"), Place("middle", "middle", "router"), Place("right", "right", "host"))


def wait_for(path: str) -> None:
    end = time.monotonic() + 20
    while not os.path.exists(path):
        assert time.monotonic() < end, path
        time.sleep(0.01)


def traced(**fields: object) -> model.Trace:
    """Both, and they must be the same."""
    found = trace(Request(PLACES, "left", "10.2.0.2", **fields))  # type: ignore[arg-type]
    assert found["difference"] is None, found["difference"]
    assert found["error"] == ""
    return model.from_obj(found["observed"])


def test_rules_of_a_traced_packet_come_in_order(sandbox: Sandbox) -> None:
    left, middle, _ = pair()
    run(middle, ["nft", "add table ip own; add chain ip own c { type filter hook forward priority -10 ; }; "
                 "add rule ip own c tcp dport 80"])  # fmt: skip
    run(middle, ["iptables-nft" if not features.has("iptables_legacy") else "iptables-legacy", "-A", "FORWARD",
                 "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "DROP"])  # fmt: skip
    tracer = nftrace.Tracer(middle)
    tracer.arm([nftrace.Mark(6, 4, struct.pack("!I", ISN))])
    sock = left.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, 19, 1)
    sock.setsockopt(socket.IPPROTO_TCP, 20, 2)
    sock.setsockopt(socket.IPPROTO_TCP, 21, struct.pack("=I", ISN))
    sock.setsockopt(socket.IPPROTO_TCP, 19, 0)
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.connect(("10.2.0.2", 80))
    sock.close()
    hits = [hit for hit in tracer.read() if hit.what == "rule" and (hit.number or hit.handle)]
    assert [hit.chain for hit in hits][:2] == ["c", "FORWARD"]
    assert struct.pack("!I", ISN) in hits[0].packet
    tracer.close()
    assert nftrace.TABLE not in run(middle, ["nft", "list", "tables"])


def test_other_packets_are_not_traced(sandbox: Sandbox) -> None:
    left, middle, _ = pair()
    run(middle, ["nft", "add table ip own; add chain ip own c { type filter hook forward priority 0 ; }; "
                 "add rule ip own c counter"])  # fmt: skip
    tracer = nftrace.Tracer(middle)
    tracer.arm([nftrace.Mark(6, 4, struct.pack("!I", ISN))])
    sock = left.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(5)
    with pytest.raises(ConnectionRefusedError):
        sock.connect(("10.2.0.2", 80))
    assert list(tracer.read()) == []
    assert "packets 0" not in run(middle, ["nft", "list", "table", "ip", "own"]), "the rule was met all the same"
    tracer.close()


def test_nothing_is_left_after_sigkill(sandbox: Sandbox) -> None:
    _, middle, _ = pair()
    code = (
        "import sys, time; from netlab.kernel import netns, nftrace; t = nftrace.Tracer(netns.open('middle'));"
        "t.arm([nftrace.Mark(6, 4, b'abcd')]); open('/run/armed', 'w').close(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_for("/run/armed")
        assert nftrace.TABLE in run(middle, ["nft", "list", "tables"])
        process.send_signal(signal.SIGKILL)
    assert nftrace.TABLE not in run(middle, ["nft", "list", "tables"]), "the kernel took it with its owner"
    traced(protocol="icmp")  # the next trace gives the logger back, and works
    assert not nftrace.leftover(middle)


@pytest.mark.parametrize(
    ("protocol", "port", "kind"), [("icmp", 0, "delivered"), ("tcp", 80, "refused"), ("udp", 99, "refused")]
)
def test_prediction_is_what_happens(sandbox: Sandbox, protocol: str, port: int, kind: str) -> None:
    pair()
    found = traced(protocol=protocol, dport=port)
    assert [hop.key for hop in found.hops] == [
        ("left", "eth0", "out"), ("middle", "toleft", "in"), ("middle", "toright", "out"), ("right", "eth0", "in"),
    ]  # fmt: skip
    assert found.verdict.kind == kind
    assert found.hops[2].changes == ("TTL 64 → 63",)


RULES = [
    ("a filter's rule", "iptables-legacy -A FORWARD -d 10.2.0.0/24 -p tcp -j DROP", "dropped", "filter FORWARD 1"),
    ("a rule that answers", "iptables-legacy -A FORWARD -p tcp -m tcp --dport 80 -j REJECT", "rejected", "FORWARD 1"),
    ("a rule without conditions", "iptables-legacy -A FORWARD -j DROP", "dropped", "filter FORWARD 1"),
    ("one in a chain of its own", "iptables-legacy -N OWN; iptables-legacy -A OWN -p udp -j ACCEPT; "
     "iptables-legacy -A OWN -j DROP; iptables-legacy -A FORWARD -j OWN", "dropped", "filter OWN 2"),
    ("a policy", "iptables-legacy -P FORWARD DROP", "dropped", "policy of FORWARD"),
    ("iptables-nft", "iptables-nft -A FORWARD -p tcp -j DROP", "dropped", "iptables filter FORWARD 1"),
    ("nftables", "nft add table inet f; nft add chain inet f c {\ttype filter hook forward priority 0\t;\t}; "
     "nft add rule inet f c ip daddr 10.2.0.2 tcp dport 80 drop", "dropped", "nft inet f c"),
    ("a black hole", "ip route add blackhole 10.2.0.2/32", "dropped", "blackhole"),
    ("no forwarding", "sysctl -qw net.ipv4.ip_forward=0", "dropped", "does not forward"),
    ("reverse path filter", "sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 10.1.0.2/32 dev toright",
     "dropped", "rp_filter"),
    ("masquerading", "iptables-legacy -t nat -A POSTROUTING -o toright -j MASQUERADE", "refused", "right refuses"),
    ("a translated destination", "iptables-legacy -t nat -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT "
     "--to-destination 10.2.0.2:81", "refused", "port 81"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "commands", "kind", "words"), RULES, ids=[row[0] for row in RULES])
def test_whatever_rules_there_are(sandbox: Sandbox, what: str, commands: str, kind: str, words: str) -> None:
    _, middle, _ = pair()
    traced(protocol="icmp")  # everybody knows everybody's MAC address: rp_filter would not answer ARP either
    for command in commands.split("; "):
        run(middle, [word.replace("\t", " ") for word in command.split(" ")])
    found = traced(protocol="tcp", dport=80)
    assert found.verdict.kind == kind
    assert words in f"{found.verdict.text} {found.verdict.cause}"


def test_a_rule_that_cannot_be_interpreted_is_named(sandbox: Sandbox) -> None:
    _, middle, _ = pair()
    run(middle, ["iptables-legacy", "-A", "FORWARD", "-m", "length", "--length", "1:10", "-j", "DROP"])
    found = trace(Request(PLACES, "left", "10.2.0.2", "tcp", 80))
    assert found["predicted"] == []
    assert "--length 1:10" in found["error"], "the rule is named"
    assert found["observed"]["verdict"]["kind"] == "refused", "what happens is told all the same"


def test_a_black_hole_of_mtus(sandbox: Sandbox) -> None:
    _, _, right = pair()
    run(right, ["ip", "link", "set", "eth0", "mtu", "1000"])
    found = traced(protocol="icmp", size=1200)
    assert (found.verdict.kind, found.hops[-1].key) == ("dropped", ("middle", "toright", "out"))
    assert "MTU 1000" in found.verdict.text
    run(right, ["ip", "link", "set", "eth0", "mtu", "1500"])
    assert traced(protocol="icmp", size=1200).verdict.kind == "delivered"


def test_a_path_mtu_that_was_learnt(sandbox: Sandbox) -> None:
    left, middle, _ = pair()
    run(middle, ["ip", "link", "set", "toright", "mtu", "1000"])
    first = traced(protocol="icmp", size=1200)
    assert (first.verdict.kind, first.verdict.place) == ("rejected", "middle")
    again = traced(protocol="icmp", size=1200)
    assert (again.verdict.kind, again.verdict.place) == ("dropped", "left")
    assert "path MTU 1000 to 10.2.0.2" in again.verdict.text
    run(left, ["ip", "route", "flush", "cache"])
    run(middle, ["ip", "link", "set", "toright", "mtu", "1500"])
    assert traced(protocol="icmp", size=1200).verdict.kind == "delivered"


def test_machines_are_read_only_when_a_packet_gets_there(sandbox: Sandbox) -> None:
    pair()
    gathered = Gathered(PLACES)
    assert gathered["left"].interfaces["eth0"].peer == ("middle", "toleft")
    assert set(gathered._machines) == {"left"}
    gathered.close()
