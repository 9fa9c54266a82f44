"""`klab capture` and the packets of `netlab.Lab` on a running lab: places, formats, one connection followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from netlab.lab.facade import Lab, Unreachable, WaitTimeout
from netlab.lab.record import LabError

WEB = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec, --http-port=8080]
      env: [{name: A, value: b}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
"""


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[Lab]:
    with Lab.up("single", name="capture") as found:
        found.apply(WEB)
        found.wait("pod/web")
        node = found.node("node").ip
        deadline = time.monotonic() + 60
        while True:  # until the rules are there
            try:
                found.http("client", f"http://{node}:30080/hostname", timeout=1)
                break
            except Unreachable:
                assert time.monotonic() < deadline, "the NodePort did not answer within 60 s"
        yield found


def capture(lab: Lab, *arguments: str) -> subprocess.Popen[bytes]:
    """`klab capture`, which ends when its standard input does."""
    command = [sys.executable, "-m", "netlab", "--lab", lab.name, "capture", *arguments]
    # unbuffered: `communicate` does not know what a buffer has read already
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=dict(os.environ))


def recorded(process: subprocess.Popen[bytes], first: bytes) -> bytes:
    """The rest of what it writes, once its input has ended."""
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return first + rest


def test_a_pcapng_stream_has_named_interfaces_and_only_the_followed_connection(lab: Lab, tmp_path: Path) -> None:
    process = capture(lab, "all", "--follow", "client→svc/web", "-w", "-")
    assert process.stdout is not None
    first = process.stdout.read(28)  # the section's header: every place is open
    node = lab.node("node").ip
    lab.http("client", f"http://{node}:30080/hostname")
    lab.exec("client", "ping", "-c", "1", node)  # is of no followed connection
    file = tmp_path / "followed.pcapng"
    file.write_bytes(recorded(process, first))
    with RawPcapNgReader(str(file)) as reader:
        seen = [(Ether(data), meta.ifname.decode()) for data, meta in reader]
    assert seen and all(TCP in packet for packet, _ in seen)
    begins = [(name, packet[IP].dst, packet[TCP].dport) for packet, name in seen if packet[TCP].flags == "S"]
    assert begins[0] == ("client:eth0", node, 30080)
    assert begins[-1] == ("pod/default/web:eth0", lab.pod("web").ip, 8080)
    if shutil.which("tshark"):
        listed = subprocess.run(
            ["tshark", "-r", str(file), "-N", "n", "-T", "fields", "-e", "frame.interface_name", "-e", "ip.dst_host"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        assert "pod/default/web:eth0\tweb.default.pod" in listed


def test_a_terminal_gets_lines_merged_in_time(lab: Lab) -> None:
    process = capture(lab, "client", "node:eth*", "--filter", "icmp", "-c", "24")
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        lab.exec("client", "ping", "-c", "1", "-W", "1", lab.node("node").ip)
    lines = recorded(process, b"").decode().splitlines()
    assert len(lines) == 24
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert {line.split()[1] for line in lines} == {"client", "node"}
    assert "(node)" in lines[0] and "echo request" in lines[0]


def test_raw_lines_say_when_they_begin_and_what_was_lost(lab: Lab) -> None:
    process = capture(lab, "node:eth0", "--raw", "--filter", "icmp")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ready": 1}
    lab.exec("client", "ping", "-c", "2", "-i", "0.2", lab.node("node").ip)
    *frames, last = map(json.loads, recorded(process, b"").splitlines())
    assert [frame["direction"] for frame in frames] == ["in", "out"] * 2
    assert last == {"place": "node", "dropped": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nod"], "did you mean 'node'?"),
        (["pod/nothing"], "no running pod 'nothing'"),
        (["node", "--filter", "tcp prot 80"], "not understood"),
        (["node", "--follow", "client"], "write FROM→TO"),
        (["node", "--follow", "client→svc/none"], "no Service 'default/none'"),
        (["node:eth9"], "capture on eth9"),
    ],
)
def test_what_cannot_be_captured_is_a_sentence(lab: Lab, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "netlab", "--lab", lab.name, "capture", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and said in result.stderr and "Traceback" not in result.stderr


def test_scapy_sends_and_sniffs_anywhere(lab: Lab) -> None:
    client, node = lab.host("client"), lab.node("node")
    request = IP(src=client.ip, dst=node.ip) / ICMP(id=77) / b"marked"
    seen = node.sniff("eth0", filter="icmp", count=2, timeout=30, trigger=lambda: client.send("eth0", request))
    assert [(packet[ICMP].type, packet[ICMP].id) for packet in seen] == [(8, 77), (0, 77)]
    assert seen[0].sniffed_on == "node:eth0"
    frame = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"a frame"
    got = node.sniff("eth0", count=1, timeout=30, filter="ether src host 02:00:00:00:00:01",
                     trigger=lambda: client.send("eth0", frame))  # fmt: skip
    assert bytes(got[0])[14:21] == b"a frame"
    with pytest.raises(LabError, match="cannot send at 'eth9'"):
        client.send("eth9", frame)
    with pytest.raises(LabError, match="no interface 'eth9'"):
        node.sniff("eth9", count=1)


def test_pods_run_commands_as_kubectl_exec_does(lab: Lab) -> None:
    web = lab.pod("web")
    assert web.run("hostname").stdout == "web\n"
    assert "A=b" in web.run("env").stdout.splitlines()
    assert web.run("cat", stdin="in and out").stdout == "in and out"
    assert web.run("false", check=False).status == 1
    with pytest.raises(LabError, match=r"sleep 100: no end after 0\.2 s"):
        web.run("sleep", "100", timeout=0.2)
    with pytest.raises(LabError, match="there are: default/web"):
        lab.pod("nothing")


def test_names_and_pages_from_anywhere(lab: Lab) -> None:
    web = lab.pod("web")
    address = lab.api.get(("v1", "services"), "web", "default")["spec"]["clusterIP"]
    assert lab.dns(web, "web").records == (address,)
    assert lab.dns("node", "web.default.svc.cluster.local").records == (address,)
    assert lab.dns(web, "nothing.default.svc.cluster.local").rcode == "NXDOMAIN"
    assert lab.http(web, "http://web/hostname").text == "web"
    with pytest.raises(Unreachable, match=r"client → http://.*:99/: refused"):
        lab.http("client", f"http://{lab.node('node').ip}:99/")
    with pytest.raises(LabError, match="has no resolver"):
        lab.dns("client", "web")
    with pytest.raises(WaitTimeout, match=r"waited 0\.1 s for pod/web to be Gone"):
        lab.wait("pod/web", "Gone", timeout=0.1)
