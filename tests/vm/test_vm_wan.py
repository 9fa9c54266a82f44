"""A whole cluster under the stock kernel, rootless, on the shipped wide area network: the packets wait, some get lost,
names are answered all the same, and memory limits hold."""

from __future__ import annotations

import re
import statistics
from math import comb
from pathlib import Path

import pytest

from netlab.topology import load
from netlab.topology.model import Link
from tests.labs.tools import init_pid, until
from tests.vm.conftest import ORDINARY, Lab

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

PROBES = 400
UNLIKELY = 1e-6
PAIRS = [
    ("ams1", "nyc1", "gw-ams", "gw-nyc"),
    ("ams1", "sin1", "gw-ams", "gw-sin"),
    ("nyc1", "sin1", "gw-nyc", "gw-sin"),
]


def _line(gate: str, other: str) -> Link:
    (line,) = [link for link in load("wan").links if {link.a.node, link.b.node} == {gate, other}]
    return line


def _bounds(trials: int, probability: float) -> tuple[int, int]:
    """Fewer or more successes than these are less likely than UNLIKELY, each."""
    mass = [comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(trials + 1)]
    low = next(k for k in range(trials + 1) if sum(mass[: k + 1]) > UNLIKELY)
    high = next(k for k in range(trials, -1, -1) if sum(mass[k:]) > UNLIKELY)
    return low, high


def _times(said: str) -> list[float]:
    return [float(value) / 1000 for value in re.findall(r"time=([\d.]+)", said)]


def test_it_is_an_ordinary_users(wan: Lab) -> None:
    pid = init_pid(wan.user, "wan")
    assert pid is not None
    assert Path(f"/proc/{pid}").stat().st_uid == ORDINARY
    assert Path(f"/proc/{pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()


@pytest.mark.parametrize(("near", "far", "gate", "other"), PAIRS, ids=lambda value: value if "gw" not in value else "")
def test_packets_wait_and_get_lost_as_the_file_says(wan: Lab, near: str, far: str, gate: str, other: str) -> None:
    address, line = load("wan").node_ip(far), _line(gate, other)
    said = wan.klab(
        "exec", near, "--", "sh", "-c", f"ping -q -i 0.01 -c {PROBES} {address}; ping -c 20 -i 0.02 {address}"
    )

    sent, back = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0])
    low, high = _bounds(sent, 1 - (1 - line.loss) ** 2)
    assert sent == PROBES
    assert low <= sent - back <= high, said

    # how much longer than that it takes is this machine's own business
    times = _times(said)
    assert 2 * (line.delay_s - line.jitter_s) <= min(times), said
    assert 2 * line.delay_s - line.jitter_s <= statistics.median(times), said


PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: sin1
  containers: [{name: web, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec]}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  nodeName: nyc1
  containers: [{name: caller, image: busybox, command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: glutton}
spec:
  restartPolicy: Never
  containers:
    - name: glutton
      image: busybox
      command: [dd, if=/dev/zero, of=/dev/null, bs=64M, count=1]
      resources: {limits: {memory: 32Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  restartPolicy: Never
  containers:
    - name: modest
      image: busybox
      command: [dd, if=/dev/zero, of=/dev/null, bs=8M, count=1]
      resources: {limits: {memory: 32Mi}}
"""


@pytest.fixture(scope="module")
def pods(wan: Lab) -> Lab:
    """The lab with PODS in it, the two that stay being ready."""
    wan.klab("kubectl", "apply", "-f", "-", stdin=PODS)
    wan.kubectl("wait", "--for=condition=Ready", "--timeout=300s", "pod/web", "pod/caller")
    return wan


def test_every_node_is_ready(pods: Lab) -> None:
    pods.kubectl("wait", "--for=condition=Ready", "--timeout=200s", "nodes", "--all")
    assert len(pods.get("nodes")["items"]) == len(load("wan").nodes)


def test_a_service_answers_by_name_over_the_ocean(pods: Lab) -> None:
    url = "http://web.default.svc.cluster.local/hostname"
    tries = f"for i in 1 2 3 4; do timeout 60 wget -qO- {url} && exit; done; exit 1"
    assert pods.kubectl("exec", "caller", "--", "sh", "-c", tries).strip() == "web"


def test_packets_of_pods_cross_the_same_line(pods: Lab) -> None:
    address, line = pods.get("pod web")["status"]["podIP"], _line("gw-nyc", "gw-sin")
    times = _times(pods.kubectl("exec", "caller", "--", "ping", "-c", "5", address))
    assert times
    assert min(times) >= 2 * (line.delay_s - line.jitter_s)


def _ended(lab: Lab, pod: str) -> tuple[str, int] | None:
    (status,) = lab.get(f"pod {pod}")["status"].get("containerStatuses", [{}])
    end = status.get("state", {}).get("terminated")
    return None if end is None else (end["reason"], end["exitCode"])


def test_a_container_over_its_memory_limit_is_killed_and_one_below_is_not(pods: Lab) -> None:
    until("both dd end", lambda: None not in (_ended(pods, "glutton"), _ended(pods, "modest")), 300)
    assert _ended(pods, "glutton") == ("OOMKilled", 137)
    assert _ended(pods, "modest") == ("Completed", 0)
