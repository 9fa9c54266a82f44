"""A watch on the machine's own interfaces: no packet of a lab may be there.

    python -m tests.labs.watch COMMAND...      (what scripts/test runs pytest with)

One packet socket sees every frame on every interface of the machine but `lo` and looks for a lab's addresses (pods,
Services and machines of the shipped topologies, and those of the tests) and for the overlay's port. It ends with the
command's status, or with 1 when a packet has escaped. It needs CAP_NET_RAW; without, it says so and what it could see
instead: whether the machine forwarded packets, and what its interfaces sent.

Addresses that the machine itself has, or has a route to, cannot be told apart and are left out, which is said. `lo` is
not the machine's network; two frames of the watch's own pass there, which show that it sees what passes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from netlab.topology import load

Network = IPv4Network | IPv6Network

TOPOLOGIES = ("course", "single", "leaf-spine", "fattree", "wan", "dual-stack")
OF_TESTS = ("198.18.0.0/15",)
VXLAN_PORT = 8472
PROBE = 0x88B5
"""An Ethernet type for local experiments."""
SNAP = 256
"""Bytes of a frame that are looked at."""
BUFFER = 32 << 20
SO_ATTACH_FILTER, SO_RCVBUFFORCE, PACKET_STATISTICS, SOL_PACKET = 26, 33, 6, 263


# what to look for


@dataclass(frozen=True)
class Marks:
    """What tells a lab's packet: an address in one of the networks, the overlay's port, a word in the payload.

    `own`: addresses of the machine. What it says and hears itself by interfaces that it had before is not a lab's, even
    where its correspondent has an address like one (a name server at 10.96.0.53, say): a lab's packet would have its
    own addresses at both ends, and come by an interface that is new.
    """

    networks: tuple[Network, ...]
    ports: frozenset[int] = frozenset({VXLAN_PORT})
    token: bytes = b""
    own: frozenset[IPv4Address | IPv6Address] = frozenset()


def lab_networks() -> tuple[Network, ...]:
    """Of pods, Services and machines in the shipped topologies, and of the tests that choose their own."""
    found = {ip_network(text) for text in OF_TESTS}
    for name in TOPOLOGIES:
        topology = load(name)
        found.update(map(ip_network, (*topology.cluster.pod_cidrs, *topology.cluster.service_cidrs)))
        ends = [end for link in topology.links for end in link.ends]
        texts = [text for end in ends for text in (end.address, end.address6) if text]
        found.update(ip_network(text, strict=False) for text in texts)
    return tuple(sorted(found, key=str))


def machine_addresses() -> frozenset[IPv4Address | IPv6Address]:
    """Every address of every interface."""
    said = json.loads(subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout)
    return frozenset(ip_address(entry["local"]) for interface in said for entry in interface.get("addr_info", []))


def machine_networks() -> list[Network]:
    """Those of the machine's own addresses and routes, but the default."""
    found: set[Network] = set()
    for family in ("-4", "-6"):
        for what in (["route"], ["route", "show", "table", "local"]):
            said = subprocess.run(["ip", "-j", family, *what], capture_output=True, check=True).stdout
            for route in json.loads(said or "[]"):
                with contextlib.suppress(ValueError):  # default, and types like "multicast"
                    network = ip_network(route["dst"])
                    if network.prefixlen and not network.is_loopback:
                        found.add(network)
    return sorted(found, key=str)


def without(networks: Iterable[Network], others: Iterable[Network]) -> tuple[tuple[Network, ...], tuple[Network, ...]]:
    """The networks that share nothing with the others, and those that do."""
    kept: list[Network] = []
    left_out: list[Network] = []
    for network in networks:
        shared = any(network.version == other.version and network.overlaps(other) for other in others)
        (left_out if shared else kept).append(network)
    return tuple(kept), tuple(left_out)


def reason(frame: bytes, marks: Marks, *, new: bool = False) -> str:
    """Why this Ethernet frame is a lab's; "" if it is not. The outermost headers only: inner ones come with a port.

    `new`: it was seen at an interface that the machine did not have before."""
    if marks.token and marks.token in frame:
        return f"it holds {marks.token.decode()}"
    raw, port = _outer(frame)
    addresses = [ip_address(address) for address in raw]
    if not new and not marks.own.isdisjoint(addresses):
        return ""
    for address in addresses:
        if any(address in network for network in marks.networks if network.version == address.version):
            return f"{address} is an address of a lab"
    return f"UDP port {port} is the overlay's" if port in marks.ports else ""


def _outer(frame: bytes) -> tuple[list[bytes], int | None]:
    """The addresses of the outermost IP or ARP header, and UDP's destination port."""
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    while kind in (0x8100, 0x88A8):
        kind, at = int.from_bytes(frame[at + 2 : at + 4], "big"), at + 4
    packet = frame[at:]
    port = None
    if kind == 0x0800 and len(packet) >= 20:
        addresses, upper = [packet[12:16], packet[16:20]], packet[(packet[0] & 15) * 4 :]
        if packet[9] == socket.IPPROTO_UDP and len(upper) >= 4 and not int.from_bytes(packet[6:8], "big") & 0x1FFF:
            port = int.from_bytes(upper[2:4], "big")
    elif kind == 0x86DD and len(packet) >= 40:
        addresses, upper = [packet[8:24], packet[24:40]], packet[40:]
        if packet[6] == socket.IPPROTO_UDP and len(upper) >= 4:
            port = int.from_bytes(upper[2:4], "big")
    elif kind == 0x0806 and len(packet) >= 28:
        addresses = [packet[14:18], packet[24:28]]
    else:
        addresses = []
    return addresses, port


# the watch


class Watch:
    """Sees every frame from now until `stop`. PermissionError without CAP_NET_RAW.

    `lo`: look at that, too, for addresses (a payload may be ours there: kubectl's orders pass, to 127.0.0.1).
    """

    def __init__(self, marks: Marks, *, lo: bool = False) -> None:
        self.marks = marks
        self.lo = lo
        self.known = {name for _, name in socket.if_nameindex()}
        self.escaped: list[str] = []
        """What was seen of a lab, as "interface: why, frame"."""
        self.seen: Counter[str] = Counter()
        self.lost = 0
        self._probes: set[bytes] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # interfaces to come, too
        try:
            self._open()
        except OSError:
            self._socket.close()
            raise
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        self._probe()

    def _open(self) -> None:
        if not self.lo:
            code = _filter()
            keep = (ctypes.c_char * len(code)).from_buffer_copy(code)
            program = struct.pack("HL", len(code) // 8, ctypes.addressof(keep))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
            with contextlib.suppress(BlockingIOError):  # what came before the filter
                while True:
                    self._socket.recv(SNAP, socket.MSG_DONTWAIT)
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._socket.settimeout(0.2)

    def _probe(self) -> None:
        """Send a frame of the watch's own on `lo` and see it, and with it all that came before. TimeoutError when it
        is not seen."""
        own = bytes(12) + PROBE.to_bytes(2, "big") + os.urandom(46)  # there may be other watches
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("lo", 0))
            sender.send(own)
        end = time.monotonic() + 60
        while own not in self._probes:
            if time.monotonic() > end:
                raise TimeoutError("the watch did not see its own frame on lo within 60 s")
            time.sleep(0.02)

    def stop(self) -> None:
        """See what is still to be seen, and end."""
        try:
            self._probe()
        finally:
            self._stopped.set()
            self._thread.join()
            self.lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            self._socket.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                frame, (interface, *_) = self._socket.recvfrom(SNAP)
            except TimeoutError:
                continue
            except OSError:  # an interface has gone down
                continue
            self._look(interface, frame)

    def _look(self, interface: str, frame: bytes) -> None:
        marks = self.marks
        if interface == "lo":
            if frame[12:14] == PROBE.to_bytes(2, "big"):
                self._probes.add(frame)
            marks = replace(marks, token=b"")
        else:
            self.seen[interface] += 1
        if (why := reason(frame, marks, new=interface not in self.known)) and len(self.escaped) < 100:
            self.escaped.append(f"{interface}: {why}: {frame[:64].hex()}")

    def verdict(self) -> str:
        """What is wrong, for a reader; "" when nothing has escaped and nothing was missed."""
        if self.escaped:
            return "packets of a lab on the machine's own network:\n  " + "\n  ".join(self.escaped[:10])
        return f"{self.lost} frames came too fast to be looked at" if self.lost else ""

    def summary(self) -> str:
        """What was looked at."""
        frames = ", ".join(f"{count} on {name}" for name, count in sorted(self.seen.items())) or "none at all"
        return f"frames on the machine's own interfaces: {frames}; none of a lab"


def _statement(code: int, jt: int, jf: int, k: int) -> bytes:
    return struct.pack("HBBI", code, jt, jf, k)


def _filter() -> bytes:
    """Everything but what passes on `lo`; of that, the watch's own frames. Decided in the kernel: `lo` may be busy."""
    return b"".join(
        (
            _statement(0x20, 0, 0, 0xFFFFF000),  # ld the Ethernet type
            _statement(0x15, 2, 0, PROBE),  # jeq: keep
            _statement(0x20, 0, 0, 0xFFFFF000 + 8),  # ld the interface's index
            _statement(0x15, 1, 0, socket.if_nametoindex("lo")),  # jeq: drop
            _statement(0x06, 0, 0, SNAP),
            _statement(0x06, 0, 0, 0),
        )
    )


@contextlib.contextmanager
def nothing_of_a_lab() -> Iterator[None]:
    """The block's labs send nothing on the machine's network: AssertionError names what was seen. Without CAP_NET_RAW
    the counters must do, as in `main`."""
    before = Counters()
    watch: Watch | None = None
    with contextlib.suppress(PermissionError):
        watch = Watch(_marks()[0])
    try:
        yield
    finally:
        if watch is not None:
            watch.stop()
    problem = watch.verdict() if watch is not None else _by_counters(before)
    assert not problem, problem


def _marks() -> tuple[Marks, tuple[Network, ...]]:
    kept, left_out = without(lab_networks(), machine_networks())
    return Marks(kept, own=machine_addresses()), left_out


# where there is no capture


@dataclass(frozen=True)
class Counters:
    """What any user may read: packets that the machine forwarded, and that its interfaces sent."""

    forwarded: int = field(default_factory=lambda: _snmp("ForwDatagrams"))
    sent: dict[str, int] = field(default_factory=lambda: _sent())


def _snmp(name: str) -> int:
    names, numbers = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:3] == "Ip:")
    return int(numbers[names.index(name)])


def _sent() -> dict[str, int]:
    found = {}
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            found[name.strip()] = int(numbers.split()[9])
    return found


# around a command


def main(command: list[str]) -> int:
    """Run it, watch, and say what was seen; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is asked, too, and ends in order
    before = Counters()
    marks, left_out = _marks()
    watch: Watch | None = None
    with contextlib.suppress(PermissionError):
        watch = Watch(marks)
    status = _run(command)
    if watch is None:
        return max(status, _by_counters(before))
    watch.stop()
    for network in left_out:
        _say(f"{network} was not looked for: the machine has a route to it of its own")
    if problem := watch.verdict():
        _say(problem)
        return status or 1
    _say(watch.summary())
    return status


def _run(command: list[str]) -> int:
    with subprocess.Popen(
        command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    ) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    return status if status >= 0 else 128 - status


def _by_counters(before: Counters) -> int:
    after = Counters()
    grown = {name: count - before.sent.get(name, 0) for name, count in after.sent.items()}
    sent = ", ".join(f"{count} by {name}" for name, count in grown.items() if count) or "none"
    _say("no packet could be looked at (that needs root, or CAP_NET_RAW); by the counters of this machine:")
    _say(f"packets sent: {sent}; forwarded: {after.forwarded - before.forwarded}")
    if after.forwarded != before.forwarded and Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "0":
        _say("this machine does not forward packets, and yet it has")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.flush()
    print(f"watch: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
