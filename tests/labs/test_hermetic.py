"""A lab has no way out: whatever its pods and machines try, the machine's own network neither sees nor carries it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.labs.tools import User, host_state, until
from tests.labs.watch import Marks, Watch

pytestmark = pytest.mark.timeout(300)

TOKEN = "netlab-hermetic-7c1f"
"""In every payload that the lab sends: a frame on the machine that holds it has escaped."""
TOPOLOGY = """
name: hermetic
cluster: {podCIDR: 198.18.0.0/17, serviceCIDR: 198.18.128.0/20, dnsIP: 198.18.128.10}
nodes:
  master: {role: control-plane}
  node1: {}
hosts: {client: {}}
routers: {r1: {}}
switches: {s1: {}, s2: {}}
links:
  - ends: [{node: master, address: 198.19.0.10/25}, s1]
  - ends: [{node: node1, address: 198.19.0.11/25}, s1]
  - ends: [{node: r1, address: 198.19.0.1/25}, s1]
  - ends: [{node: r1, address: 198.19.0.129/25}, s2]
  - ends: [{node: client, address: 198.19.0.140/25}, s2]
"""
LAB_NETWORK = ip_network("198.18.0.0/15")
"""For benchmarks of networks: the machine has none of these addresses, so that whose packet it is can be told."""
OUTSIDE = ("8.8.8.8", "1.1.1.1", "224.0.0.251", "255.255.255.255")
BURST = 400

WORKLOAD = """
apiVersion: v1
kind: Pod
metadata: {name: tries, labels: {app: tries}}
spec:
  nodeName: node1
  containers: [{name: main, image: busybox, command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: main, image: nginx, readinessProbe: {tcpSocket: {port: 80}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
"""


def machine_addresses() -> list[str]:
    """What the machine answers to, and its way out."""
    entries = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
    own = [address["local"] for entry in entries for address in entry["addr_info"] if entry["ifname"] != "lo"]
    routes = json.loads(subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, check=True).stdout)
    return own + [route["gateway"] for route in routes if "gateway" in route]


def counters() -> dict[str, int]:
    """What any user may read of the machine's traffic: its own pings and forwarding, and what its interfaces sent."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    values = {
        f"{names[0]}{name}": int(value)
        for names, numbers in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], numbers[1:], strict=True)
    }
    found = {name: values[name] for name in ("Icmp:OutEchos", "Ip:ForwDatagrams")}
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            found[f"sent by {name.strip()}"] = int(numbers.split()[9])
    return found


@contextlib.contextmanager
def nothing_escapes() -> Iterator[None]:
    """The block's packets stay in the lab, as far as this user can see."""
    before = counters()
    watch = Watch(Marks((LAB_NETWORK,), token=TOKEN.encode()), lo=True) if os.geteuid() == 0 else None
    try:
        yield
    finally:
        if watch is not None:
            watch.stop()
    grown = {name: value - before.get(name, 0) for name, value in counters().items()}
    assert grown.pop("Icmp:OutEchos") == 0
    assert grown.pop("Ip:ForwDatagrams") == 0
    # other programs of the machine may send meanwhile, but not as much as this
    assert {name: count for name, count in grown.items() if count >= BURST} == {}
    if watch is not None:
        assert watch.escaped == []
        assert watch.lost == 0


TRY = f"""
import socket, sys
for target in sys.argv[2:]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range({BURST}):
            try:
                udp.sendto(b"{TOKEN}", (target, 53))
            except OSError:
                break
    with socket.socket() as tcp:
        tcp.settimeout(0.3)
        for port in (53, 443, int(sys.argv[1])):
            if tcp.connect_ex((target, port)) == 0:
                print("reached", target, port)
with socket.socket(socket.AF_UNIX) as unix:
    if unix.connect_ex("\\0{TOKEN}") == 0:
        print("reached the machine's abstract socket")
"""


def try_everything(user: User, targets: list[str], port: int) -> str:
    """Datagrams, connections, pings, names: from a pod, from its node, from a host. What answered, if anything did."""
    script = user.home / "try.py"
    script.write_text(TRY)
    script.chmod(0o644)
    program = (*user.python[0], str(script), str(port), *targets)
    said = [user.klab("exec", where, "--", *program).stdout for where in ("node1", "client", "r1")]
    pod = ("kubectl", "exec", "tries", "--")
    pings = "; ".join(f"ping -c 2 -W 1 {target} 2>&1 | grep 'bytes from'" for target in targets)
    said.append(user.klab(*pod, "sh", "-c", pings).stdout)
    connects = "; ".join(f"nc -w 1 {target} {port} </dev/null && echo reached {target}" for target in targets)
    said.append(user.klab(*pod, "sh", "-c", connects).stdout)
    datagrams = "; ".join(
        f"i=0; while [ $i -lt 20 ]; do echo {TOKEN} | nc -u -w 1 {target} 53 & i=$((i+1)); done; wait"
        for target in targets[:2]
    )
    user.klab(*pod, "sh", "-c", datagrams)
    resolved = user.klab(*pod, "nslookup", f"{TOKEN}.example.com")
    assert resolved.returncode != 0, "a name of the world outside was resolved"
    return "".join(said)


def test_nothing_leaves(caller: User, machine_unchanged: dict[str, str]) -> None:
    topology = caller.home / "hermetic.yaml"
    topology.write_text(TOPOLOGY)
    reached: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(nothing_escapes())
        listener = stack.enter_context(socket.create_server(("", 0)))
        listener.setblocking(False)
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{TOKEN}")
        abstract.listen()

        up = caller.klab("up", str(topology))
        assert up.returncode == 0, up.stderr
        assert host_state() == machine_unchanged, "the machine's network while a lab runs"
        applied = caller.klab("kubectl", "apply", "-f", "-", stdin=WORKLOAD)
        assert applied.returncode == 0, applied.stderr
        ready = caller.klab("kubectl", "wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
        assert ready.returncode == 0, ready.stderr

        # within the lab there is a network, the outside client included
        until("the NodePort answers", lambda: "<html>" in fetch(caller, "http://198.19.0.11:30080/"), 30)
        targets = [*OUTSIDE, *machine_addresses()]
        reached.append(try_everything(caller, targets, listener.getsockname()[1]))
        with contextlib.suppress(BlockingIOError):
            reached.append(f"a connection arrived from {listener.accept()[1]}")
        assert host_state() == machine_unchanged, "the machine's network while a lab runs"
        assert caller.klab("down").returncode == 0
    assert "".join(reached) == ""


def fetch(user: User, url: str) -> str:
    return user.klab("exec", "client", "--", "timeout", "5", "busybox", "wget", "-q", "-O", "-", url).stdout


def test_this_machine_does_not_have_the_addresses_of_the_test() -> None:
    """Else the watch could not tell whose packet it saw."""
    own = [ip_address(address) for address in machine_addresses()]
    assert [address for address in own if address in LAB_NETWORK] == []
