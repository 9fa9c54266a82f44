"""The watch that scripts/test and the test of scripts/demo stand under is not blind: it is shown what it looks for."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest

from tests.labs import watch

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = watch.Marks(watch.lab_networks())
POD, OTHER_POD, OUTSIDE = "10.244.1.5", "10.244.2.6", "192.0.2.77"


def packet(source: str, target: str, port: int = 80, before: bytes = b"") -> bytes:
    """A UDP datagram in an Ethernet frame, `before` its Ethernet type."""
    ends = [ip_address(source).packed, ip_address(target).packed]
    udp = (999).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes([0, 12, 0, 0]) + b"word"
    if ":" in source:
        header = bytes([0x60, 0, 0, 0, 0, len(udp), 17, 64]) + b"".join(ends)
        return bytes(12) + before + b"\x86\xdd" + header + udp
    header = bytes([0x45, 0, 0, 20 + len(udp), 0, 0, 0, 0, 64, 17, 0, 0]) + b"".join(ends)
    return bytes(12) + before + b"\x08\x00" + header + udp


def arp(source: str, target: str) -> bytes:
    fixed = bytes([0, 1, 8, 0, 6, 4, 0, 1])
    ends = bytes(6) + ip_address(source).packed + bytes(6) + ip_address(target).packed
    return bytes(12) + b"\x08\x06" + fixed + ends


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (packet(POD, OUTSIDE), "10.244.1.5 is an address of a lab"),
        (packet(OUTSIDE, "10.96.0.10", 53), "10.96.0.10 is an address of a lab"),
        (packet("192.168.0.3", OUTSIDE), "192.168.0.3 is an address of a lab"),
        (packet("fd00:10:244::7", "2001:db8::1"), "fd00:10:244::7 is an address of a lab"),
        (packet(POD, OUTSIDE, before=b"\x81\x00\x00\x07"), "10.244.1.5 is an address of a lab"),
        (arp(OUTSIDE, "10.244.1.1"), "10.244.1.1 is an address of a lab"),
        (packet(OUTSIDE, "192.0.2.78", 8472), "UDP port 8472 is the overlay's"),
        (packet(OUTSIDE, "192.0.2.78"), ""),
        (packet("2001:db8:9::1", "2001:db8:9::2"), ""),
        (arp(OUTSIDE, "192.0.2.78"), ""),
        (b"", ""),
        (packet(POD, OUTSIDE)[:20], ""),
    ],
)
def test_what_is_a_labs(frame: bytes, why: str) -> None:
    assert watch.reason(frame, LAB) == why


def test_what_the_machine_says_itself_is_its_own_but_not_on_an_interface_that_is_new() -> None:
    marks = watch.Marks(LAB.networks, own=frozenset({ip_address(OUTSIDE)}))
    assert watch.reason(packet(OUTSIDE, "10.96.0.53", 53), marks) == ""
    assert watch.reason(packet(POD, OUTSIDE), marks, new=True)
    assert watch.reason(packet(POD, OTHER_POD), marks)


def test_networks_that_the_machine_has_a_route_to_are_left_out() -> None:
    mine: list[IPv4Network | IPv6Network] = [ip_network("10.96.3.0/24"), ip_network("fd00::/64")]
    kept, left_out = watch.without(LAB.networks, mine)
    assert left_out == (ip_network("10.96.0.0/12"),)
    assert set(kept) | set(left_out) == set(LAB.networks)


# In a network namespace of its own: there a veth is "the machine's interface", and its other end the world.
SEND = """
import socket, subprocess, sys
if sys.argv[2] == "new":
    subprocess.run("ip link add late type veth peer name peer && ip link set late up && ip link set peer up",
                   shell=True, check=True)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
    sender.bind((sys.argv[1], 0))
    sender.send(bytes.fromhex(sys.argv[3]))
sys.exit(int(sys.argv[4]))
"""
WORLD = (
    "ip link set lo up && ip link add wire type veth peer name world && ip link set wire up && ip link set world up "
    f'&& ip addr add {OUTSIDE}/24 dev wire && exec "$@"'
)


def watched(interface: str, frame: bytes, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The watch around a command that sends the frame on that interface ("late" is made by the command)."""
    new = "new" if interface == "late" else "old"
    command = [sys.executable, "-c", SEND, interface, new, frame.hex(), str(status)]
    around = [sys.executable, "-m", "tests.labs.watch", *command]
    enter = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    return subprocess.run(
        [*enter, "sh", "-c", WORLD, "sh", *around],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("interface", ["wire", "late"])
@pytest.mark.parametrize("frame", [packet(POD, OTHER_POD), packet("198.18.1.1", "203.0.113.9", 8472)])
def test_a_packet_of_a_lab_on_a_wire_fails_the_command_that_it_is_around(interface: str, frame: bytes) -> None:
    result = watched(interface, frame)
    assert result.returncode == 1, result.stderr
    assert "watch: packets of a lab on the machine's own network:" in result.stderr
    assert f"{interface}: " in result.stderr


def test_the_machines_own_packets_change_nothing() -> None:
    result = watched("wire", packet(OUTSIDE, "192.0.2.78"))
    assert result.returncode == 0, result.stderr
    assert "on wire" in result.stderr
    assert "none of a lab" in result.stderr


def test_the_status_of_the_command_is_kept() -> None:
    assert watched("wire", packet(OUTSIDE, "192.0.2.78"), 3).returncode == 3
    assert watched("wire", packet(POD, OTHER_POD), 3).returncode == 3


def test_without_the_right_to_look_it_says_so() -> None:
    setpriv = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    result = subprocess.run(
        [*setpriv, sys.executable, "-m", "tests.labs.watch", "false"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "no packet could be looked at (that needs root, or CAP_NET_RAW)" in result.stderr
    assert "forwarded: " in result.stderr
