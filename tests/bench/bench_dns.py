"""DNS questions per second, ours against dnsmasq serving the same names: `python -m tests.bench.bench_dns [SECONDS]`.

Both serve 1,000 Services on loopback, each in a process of its own; the asker keeps WINDOW questions under way over one
UDP socket, first to one, then to the other, three times in turn, and the median counts. The asker is a process in
Python too, so what is measured is the smaller of the two: its own limit stands in the last row (a server that sends
back what it gets).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.peers import table

SERVICES, ENDPOINTS = 1000, 10
WINDOW = 64
SECONDS = 3.0
ROUNDS = 3
DOMAIN = "default.svc.cluster.local"


def free_port() -> int:
    """Free for UDP and for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def addresses() -> dict[str, list[str]]:
    """Name → addresses: Services with one, and one headless with several."""
    found = {f"svc-{n}.{DOMAIN}": [f"10.96.{n // 250}.{n % 250 + 1}"] for n in range(SERVICES)}
    found[f"heads.{DOMAIN}"] = [f"10.244.0.{n + 1}" for n in range(ENDPOINTS)]
    return found


def serve_ours(port: int) -> None:
    """Our server, with the zone filled as informers would."""
    import uvloop

    from netlab.dns.directives import read
    from netlab.dns.server import DnsServer
    from netlab.dns.zone import Zone

    zone = Zone()
    zone.put_namespace({"metadata": {"name": "default"}})
    for name, ips in addresses().items():
        short, headless = name.partition(".")[0], len(ips) > 1
        meta = {"name": short, "namespace": "default"}
        cluster_ips = ["None"] if headless else ips
        zone.put_service({"metadata": meta, "spec": {"clusterIPs": cluster_ips, "ports": [{"port": 80}]}})
        if headless:
            labels = {"kubernetes.io/service-name": short}
            endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips]
            zone.put_slice({"metadata": {**meta, "labels": labels}, "endpoints": endpoints, "ports": [{"port": 80}]})

    async def run() -> None:
        kept = "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }"  # as kubeadm has it
        text = f".:{port} {{\n kubernetes cluster.local\n {kept}\n loadbalance\n}}"
        server = DnsServer(read(text), zone=zone, hosts=("127.0.0.1",))
        await server.start()
        await asyncio.Event().wait()

    uvloop.run(run())


def serve_echo(port: int) -> None:
    """Sends every datagram back: what the asker can do at best."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    while True:
        data, sender = sock.recvfrom(512)
        sock.sendto(data, sender)


@contextmanager
def process(target: str, port: int) -> Iterator[int]:
    """A server on that port, until the end."""
    if target == "dnsmasq":
        with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
            hosts.writelines(f"{ip} {name}\n" for name, ips in addresses().items() for ip in ips)
            hosts.flush()
            Path(hosts.name).chmod(0o644)
            argv = [
                shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin") or "dnsmasq",
                "--keep-in-foreground",
            ]
            argv += ["--no-resolv", "--no-hosts", f"--addn-hosts={hosts.name}", f"--port={port}", "--bind-interfaces"]
            argv += ["--listen-address=127.0.0.1", "--local=/cluster.local/", "--local-ttl=5", "--conf-file=/dev/null"]
            argv += ["--pid-file=", "--user=root" if os.getuid() == 0 else "--user="]
            with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                try:
                    yield port
                finally:
                    child.send_signal(signal.SIGTERM)
        return
    function = {"netlab": serve_ours, "echo": serve_echo}[target]
    worker = multiprocessing.get_context("spawn").Process(target=function, args=(port,), daemon=True)
    worker.start()
    try:
        yield port
    finally:
        worker.kill()
        worker.join()


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0, 0x100, 1, 0, 0, 0)[2:] + labels + b"\0" + struct.pack("!HH", kind, 1)


def ask(port: int, questions: Sequence[bytes], seconds: float, rcode: int | None) -> float:
    """Answers per second. RuntimeError when one is not what it should be, or too many are lost."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(1.0)
    _wait_until_there(sock, questions[0])
    order = random.Random(1).choices(questions, k=4096)
    idents = [struct.pack("!H", number) for number in range(WINDOW)]
    done = lost = at = 0
    began = time.perf_counter()
    end = began + seconds
    while time.perf_counter() < end:
        for ident in idents:
            sock.send(ident + order[at])
            at = (at + 1) % 4096
        for _ in idents:
            try:
                data = sock.recv(2048)
            except TimeoutError:
                lost += 1
                continue
            done += 1
            if rcode is not None and data[3] & 0xF != rcode:
                raise RuntimeError(f"rcode {data[3] & 0xF} instead of {rcode}")
    took = time.perf_counter() - began
    sock.close()
    if lost > done / 1000:
        raise RuntimeError(f"{lost} of {done + lost} questions were not answered")
    return done / took


def _wait_until_there(sock: socket.socket, data: bytes) -> None:
    for _ in range(200):
        try:
            sock.send(b"\0\1" + data)
            sock.recv(2048)
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start within 10 s")


def main() -> None:
    """Prints the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    names = list(addresses())
    rows: dict[str, tuple[list[bytes], int]] = {
        "A of 1,000 Services": ([question(name) for name in names[:-1]], 0),
        "A of one headless, 10 addresses": ([question(names[-1])], 0),
        "AAAA of Services (no data)": ([question(name, 28) for name in names[:-1]], 0),
        "names that do not exist": ([question(f"nope-{n}.{DOMAIN}") for n in range(1000)], 3),
    }
    found: list[tuple[object, ...]] = []
    peers = ["netlab", "dnsmasq"] if shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin") else ["netlab"]
    for title, (questions, rcode) in rows.items():
        rates: dict[str, list[float]] = {peer: [] for peer in peers}
        for _ in range(ROUNDS):
            for peer in peers:
                with process(peer, free_port()) as port:
                    rates[peer].append(ask(port, questions, seconds, rcode))
        ours, theirs = (statistics.median(rates.get(peer) or [0.0]) for peer in ("netlab", "dnsmasq"))
        found.append((title, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}" if theirs else "-"))
    with process("echo", free_port()) as port:
        found.append(
            ("(the asker's own limit)", f"{ask(port, rows['A of 1,000 Services'][0], seconds, None):,.0f}", "", "")
        )
    table("DNS questions per second", ("", "netlab", "dnsmasq", "ratio"), found)


if __name__ == "__main__":
    main()
