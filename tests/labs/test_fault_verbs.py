"""Faults on one live lab: each is injected, seen, healed; and after each test everything is as it was before.

What is seen is what a user sees: `klab ping`, kubectl, and the kernel's own tables.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netlab.lab import faulting, looking, reaching
from netlab.lab.faults.kinds import KINDS
from netlab.lab.inside import running_pods
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths
from tests.labs.tools import User, one_sentence, picture, until

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
    - {name: web, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: web}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
    - {name: web, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""
FETCH = """
import sys, urllib.request
try: print(urllib.request.urlopen(sys.argv[1], timeout=1).read().decode())
except OSError: pass
"""
LOOK = """
ip -o link; ip -o addr; ip route show table all; ip -6 route show table all; ip rule; tc qdisc show
bridge fdb show | grep -E 'permanent|static'; ip neigh show nud permanent; bridge link | sed 's/ cost .*//'
iptables-save; ip6tables-save; nft -s list tables; sysctl -a 2>/dev/null | grep -E 'forward|rp_filter|conntrack_max'
true
"""
SCENARIO = """
seed: 5
steps:
- {at: 0s, fault: loss, name: deaf, targets: [node1], percent: 100%, way: in}
- {at: 0.5s, fault: clock-skew, targets: [node2], offset: -30s, for: 500ms}
- {at: 1s, heal: deaf}
"""


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """Whoever runs the tests, with the course's lab and two pods in it."""
    user = User(Path(tempfile.mkdtemp(prefix="nl-")))
    user.prepare()
    try:
        started = user.klab("up", "course", "--name", "broken")
        assert started.returncode == 0, started.stderr
        assert user.klab("kubectl", "apply", "-f", "-", stdin=PODS).returncode == 0
        ready = user.kubectl("wait", "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s", lab="broken")
        assert ready.returncode == 0, ready.stderr + picture(user)
        _stay(user)
        _settled(user)
        yield user
    finally:
        down = user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)
    assert down.returncode == 0, down.stderr


@pytest.fixture
def as_before(user: User) -> Iterator[None]:
    """In the end everything is as it was before the test."""
    before = _state(user)
    yield
    until("everything is as before", lambda: _state(user) == before, found=lambda: _differences(before, _state(user)))
    assert _listed(user) == []


def _differences(before: str, after: str) -> str:
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", n=0))


def test_every_kind_is_injected_here_or_needs_netem() -> None:
    injected = set(re.findall(r'_(?:broken|inject)\(user, "([\w-]+)"', Path(__file__).read_text()))
    assert injected == {name for name, kind in KINDS.items() if not kind.netem}


def _metrics_server(user: User) -> str:
    available = '-o=jsonpath={.status.conditions[?(@.type=="Available")].status}'
    return user.kubectl("get", "deployment", "metrics-server", "-n=kube-system", available, lab="broken").stdout


def _stay(user: User) -> None:
    """The add-ons are not evicted while their node is lost: they, too, shall be as before."""
    for name in ("coredns", "metrics-server"):
        until(
            f"{name} is there",
            lambda name=name: user.kubectl("get", "deployment", name, "-n=kube-system", lab="broken").returncode == 0,
        )
        patch = json.dumps({"spec": {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}})
        done = user.kubectl("patch", "deployment", name, "-n=kube-system", "-p", patch, lab="broken")
        assert done.returncode == 0, done.stderr
        rolled = user.kubectl(
            "rollout", "status", f"deployment/{name}", "-n=kube-system", "--timeout=60s", lab="broken"
        )
        assert rolled.returncode == 0, rolled.stderr


def _leaving(user: User) -> str:
    """Since when the add-ons' old pods are going; empty when they are gone."""
    stamps = "-o=jsonpath={.items[*].metadata.deletionTimestamp}"
    return user.kubectl("get", "pods", "-n=kube-system", stamps, lab="broken").stdout.strip()


def _settled(user: User) -> None:
    """Every pod reaches every pod, node and Service: nothing is still on its way, nor the last of the add-ons."""
    until("the old add-ons are gone", lambda: not _leaving(user), found=lambda: picture(user))
    until(
        "the metrics server is there",
        lambda: _metrics_server(user) == "True",
        found=lambda: picture(user),
    )
    until(
        "all Services answer",
        lambda: set(_reach(user, proto="tcp", groups=("services", "dns")).values()) == {"o"},
        found=lambda: picture(user),
    )
    until("all pairs reach", lambda: set(_reach(user).values()) == {"o"}, found=lambda: picture(user))


def _lab(user: User) -> LabPaths:
    """Its places: most of what follows calls what `klab` calls, without the start of an interpreter each time."""
    return LabPaths("broken", user.home / "state/netlab/broken", user.home / "run/netlab/broken")


def _inject(user: User, kind: str, *arguments: str) -> dict[str, Any]:
    words = iter(arguments)
    targets, options = [], {}
    for word in words:
        if word.startswith("--"):
            options[word[2:]] = next(words)
        else:
            targets.append(word)
    duration, seed = options.pop("for", None), options.pop("seed", None)
    return faulting.inject(_lab(user), kind, targets, options, duration, None if seed is None else int(seed))


@contextmanager
def _broken(user: User, kind: str, *arguments: str) -> Iterator[None]:
    """Injected in the block; healed after it, also twice."""
    name = _inject(user, kind, *arguments)["id"]
    assert [one["id"] for one in _listed(user)] == [name]
    try:
        yield
    finally:
        assert [one["state"] for one in faulting.heal(_lab(user), [name])] == ["healed"]
        assert faulting.heal(_lab(user), [name]) == []
    assert _listed(user) == []


def _listed(user: User) -> list[dict[str, Any]]:
    return faulting.listed(_lab(user))


def _reach(
    user: User, source: str | None = None, target: str | None = None, **asking: Any
) -> dict[tuple[str, str], str]:
    """Letter by (source, target)."""
    found = reaching.ping(_lab(user), reaching.Asking(source=source, target=target, **asking))
    return {(one, other): letter for one, other, letter in found.pairs()}


def _reaches(user: User, source: str, target: str, **asking: Any) -> bool:
    letters = set(_reach(user, source, target, **asking).values())
    assert len(letters) == 1
    return letters <= {"o", "c"}


def _on(user: User, node: str, *command: str) -> str:
    """What it prints, whether or not it works."""
    return looking.text(_lab(user), ("sh", "-c", '"$@"; true', "sh", *command), node)


def _state(user: User) -> str:
    """Links, addresses, routes, entries, queues, rules and settings of both workers, of a pod and of the switches,
    without counters, and without what comes and goes by itself."""
    found = []
    pod = running_pods(_lab(user))["default/one"].netns.rpartition("/")[2]
    for place in ("node1", "node2", pod, None):
        said = looking.text(_lab(user), ("sh", "-c", LOOK), place)
        lines = re.sub(r"\[\d+:\d+\]|^#.*$|refcnt \d+ |(valid|preferred)_lft \S+", "", said, flags=re.MULTILINE)
        found += sorted(f"{place}: {line.strip()}" for line in lines.splitlines() if "kubelet" not in line)
    return "\n".join(found)


# -- chapters ---------------------------------------------------------------------------------------------------------


def test_the_matrix(user: User) -> None:
    """`klab ping` of every kind of target, in each way of looking at it."""
    tcp = _reach(user, proto="tcp", groups=("pods", "services", "nodes", "dns"))
    assert set(tcp.values()) <= {"o", "c"}
    assert tcp["default/one", "svc/default/web:80"] == tcp["default/two", "dns/kube-system/kube-dns"] == "o"
    udp = _reach(user, proto="udp", groups=("pods", "dns"))
    assert udp["default/one", "default/two"] == "c", "a closed port is an answer of the pod"
    assert udp["default/one", "dns/kube-system/kube-dns"] == "o"
    assert _reaches(user, "node1", "two", proto="sctp")
    file, drawing = user.home / "before.json", user.home / "map.svg"
    file.write_text(user.klab("ping", "--all", "-o", "json").stdout)
    same = user.klab("ping", "--all", "--diff", str(file), "--expect", "all", "--svg", str(drawing))
    assert (same.returncode, "no difference" in same.stdout) == (0, True), same.stdout + same.stderr
    assert drawing.read_text().startswith("<svg")
    for wrong in (("ping",), ("ping", "nobody"), ("ping", "one", "--to", "pods", "two"), ("ping", "--all", "--to", "x"),
                  ("ping", "--all", "--to", "services"), ("ping", "--all", "--diff", "/nowhere")):  # fmt: skip
        refused = user.klab(*wrong)
        assert refused.returncode == 2
        one_sentence(refused.stderr)


@pytest.mark.usefixtures("as_before")
def test_cables(user: User) -> None:
    file = user.home / "cables.json"
    file.write_text(user.klab("ping", "--all", "-o", "json").stdout)
    with _broken(user, "link-down", "node1"):
        assert "NO-CARRIER" in _on(user, "node1", "ip", "link", "show", "eth0")
        changed = user.klab("ping", "--all", "--diff", str(file))
        assert changed.returncode == 1
        assert "default/one -> default/two: reachable, now no answer" in changed.stdout
        assert user.klab("ping", "one", "two", "--expect", "none").returncode == 0
        ready = '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        until(
            "node1 is NotReady", lambda: user.kubectl("get", "node", "node1", ready, lab="broken").stdout == "Unknown"
        )
    until("node1 is Ready", lambda: user.kubectl("get", "node", "node1", ready, lab="broken").stdout == "True")
    done = user.klab("fault", "link-down", "node2--lan", "--for", "20m")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "link-down-1"), done.stderr
    assert "link-down node2--lan" in user.klab("fault", "ls").stdout
    for words in ("healed link-down-1", "nothing to heal"):
        done = user.klab("fault", "heal", "link-down-1")
        assert (done.returncode, done.stdout.startswith(words)) == (0, True), done.stderr
    assert "nothing is broken" in user.klab("fault", "ls").stdout
    with _broken(user, "link-flap", "node2--lan", "--down", "300ms", "--up", "300ms", "--seed", "3"):
        carrier = ("cat", "/sys/class/net/eth0/carrier")
        for state in ("0", "1", "0"):
            until(f"carrier {state}", lambda state=state: _on(user, "node2", *carrier).strip() == state)  # type: ignore[misc]
        for wanted in (True, False):
            until(f"packets pass: {wanted}", lambda wanted=wanted: _reaches(user, "master", "node2") == wanted)  # type: ignore[misc]
    with _broken(user, "partition", "node1", "node2"):
        assert not _reaches(user, "node1", "node2")
        assert not _reaches(user, "one", "two")
        assert _reaches(user, "node1", "master")
        assert _reaches(user, "two", "master")


@pytest.mark.usefixtures("as_before")
def test_packets(user: User) -> None:
    with _broken(user, "loss", "pod/one", "--percent", "100%"):
        assert not _reaches(user, "one", "node1")
        assert _reaches(user, "two", "node1")
    with _broken(user, "loss", "node1", "--percent", "30%", "--way", "in", "--seed", "1"):
        said = _on(user, "node1", "ping", "-q", "-c", "100", "-i", "0.01", "192.168.77.4")
        lost = int(re.findall(r"(\d+)% packet loss", said)[0])
        assert 5 <= lost <= 70, said
    with _broken(user, "bandwidth", "node2", "--rate", "2Mbit"):
        assert "rate 2Mbit" in _on(user, "node2", "tc", "qdisc", "show", "dev", "eth0")
        assert _reaches(user, "one", "two")
        said = _on(user, "node1", "ping", "-l", "60", "-c", "60", "-s", "1400", "-W", "5", "192.168.77.4")
        longest = max(float(value) for value in re.findall(r"time=([\d.]+)", said))
        assert longest >= 100, f"60 packets of 1,442 bytes at once take a third of a second: {said}"
    with _broken(user, "mtu-black-hole", "node1", "--size", "1000"):
        assert _reaches(user, "node1", "node2")
        assert " 0 received" in _on(user, "node1", "ping", "-c", "1", "-W", "1", "-s", "1200", "192.168.77.4")
    with _broken(user, "conntrack-full", "node1"):
        assert not _reaches(user, "node1", "svc/web", proto="tcp")
        assert user.kubectl("get", "nodes", lab="broken").returncode == 0
    assert _reaches(user, "node1", "svc/web", proto="tcp")
    with _broken(user, "dns-loss", "node1"):
        told = [_reach(user, proto="udp", groups=("dns",)) for _ in range(5)]
        assert {found["default/one", "dns/kube-system/kube-dns"] for found in told} == {"t"}
        # One of the two servers may be on the broken node.
        assert "o" in {found["default/two", "dns/kube-system/kube-dns"] for found in told}


@pytest.mark.usefixtures("as_before")
def test_entries(user: User) -> None:
    for to, shown in (("192.0.2.66", "dst 192.0.2.66"), ("none", "")):
        with _broken(user, "wrong-fdb", "node1", "--peer", "node2", "--to", to):
            assert not _reaches(user, "one", "two")
            assert user.klab("ping", "one", "two", "--diff", "predicted", "--expect", "none").returncode == 0
            assert _reaches(user, "node1", "node2")
            assert shown in _on(user, "node1", "bridge", "fdb", "show", "dev", "flannel.1")
            if shown:
                time.sleep(11)  # the overlay has compared everything meanwhile, and left it
                assert shown in _on(user, "node1", "bridge", "fdb", "show", "dev", "flannel.1")
    with _broken(user, "wrong-arp", "node1", "--ip", "192.168.77.4"):
        assert not _reaches(user, "node1", "node2")
        assert _reaches(user, "node1", "master")
    gateway = _address(user).rpartition(".")[0] + ".1"
    with _broken(user, "wrong-arp", "pod/one", "--ip", gateway):
        assert not _reaches(user, "one", "two")
    assert _reaches(user, "one", "two")


@pytest.mark.usefixtures("as_before")
def test_rules(user: User) -> None:
    with _broken(user, "stale-rule", "node1", "--service", "web", "--endpoint", "10.244.1.250:8080"):
        assert "--to-destination 10.244.1.250:8080" in _on(user, "node1", "iptables-save", "-t", "nat")
        until("a third of the connections gets lost", lambda: not _reaches(user, "node1", "svc/web", proto="tcp"))
        until("two thirds do not", lambda: _reaches(user, "node1", "svc/web", proto="tcp"))
    assert "10.244.1.250" not in _on(user, "node1", "iptables-save", "-t", "nat")
    with _broken(user, "missing-rule", "node1", "--service", "default/web:80"):
        until("it holds against the proxy", lambda: not _reaches(user, "node1", "svc/web", proto="tcp"))
        assert _reaches(user, "node2", "svc/web", proto="tcp")
    until("the proxy has written it again", lambda: _reaches(user, "node1", "svc/web", proto="tcp"))


@pytest.mark.usefixtures("as_before")
def test_what_is_refused_breaks_nothing(user: User) -> None:
    """In one sentence, with nothing broken."""
    wrong = [
        ("loss", "node1"), ("loss", "nod1", "--percent", "5%"), ("link-dwn", "node1"), ("process-kill", "nobody"),
        ("process-pause", "labd"), ("missing-rule", "node1", "--service", "nothing"), ("heal",), ("heal", "nothing-1"),
        ("wrong-fdb", "node1", "--peer", "node9"),
        ("wrong-arp", "node1", "--ip", "203.0.113.10"), ("link-down", "node1", "--for", "soon"), ("run", "/nowhere"),
    ]  # fmt: skip
    for words in wrong:
        refused = user.klab("fault", *words)
        assert refused.returncode in (1, 2), words
        assert "Error: " in refused.stderr
        assert "Traceback" not in refused.stderr
    for kind, option in (("delay", "--delay=5ms"), ("reorder", "--percent=5%"), ("duplicate", "--percent=5%")):
        tried = user.klab("fault", kind, "node1", option)
        if tried.returncode == 0:  # a kernel that has netem
            assert user.klab("fault", "heal", "--all").stdout.startswith(f"healed {kind}-1")
            continue
        assert tried.returncode == 1
        assert "netem" in tried.stderr
        assert "scripts/vm-test" in tried.stderr
        one_sentence(tried.stderr)
    assert _listed(user) == []


@pytest.mark.usefixtures("as_before")
def test_processes(user: User) -> None:
    def restarts() -> int:
        found = user.kubectl(
            "get", "pod", "one", "-o=jsonpath={.status.containerStatuses[0].restartCount}", lab="broken"
        )
        return int(found.stdout)

    with _broken(user, "process-pause", "pod/one:web"):
        assert _reaches(user, "node1", "one"), "the kernel answers all the same"
        fetch = (sys.executable, "-c", FETCH, f"http://{_address(user)}:8080/hostname")
        assert _on(user, "node1", *fetch) == ""
    until("it answers", lambda: _on(user, "node1", *fetch) == "one\n")
    count = restarts()
    assert _inject(user, "process-kill", "pod/one")["state"] == "done"
    until("the kubelet has started it again", lambda: restarts() == count + 1)
    with _broken(user, "process-kill", "scheduler", "--for", "60s"):
        until("it has ended", lambda: user.klab("status").returncode == 1)
    until("all components run", lambda: user.klab("status").returncode == 0)
    with _broken(user, "process-pause", "apiserver"):
        assert user.kubectl("get", "nodes", lab="broken").returncode != 0
    until("the API answers", lambda: user.kubectl("get", "nodes", lab="broken").returncode == 0)
    ready = user.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s", lab="broken")
    assert ready.returncode == 0, ready.stderr


def _address(user: User) -> str:
    return user.kubectl("get", "pod", "one", "-o=jsonpath={.status.podIP}", lab="broken").stdout


@pytest.mark.usefixtures("as_before")
def test_clock(user: User) -> None:
    def renewed() -> float:
        from datetime import datetime

        lease = ("get", "lease", "-n", "kube-node-lease", "node1", "-o=jsonpath={.spec.renewTime}")
        return datetime.fromisoformat(user.kubectl(*lease, lab="broken").stdout).timestamp() - time.time()

    with _broken(user, "clock-skew", "node1", "--offset", "-1h"):
        until("the lease is an hour old", lambda: renewed() < -3500)
    until("the lease is of now", lambda: renewed() > -3500)


@pytest.mark.usefixtures("as_before")
def test_scenario(user: User) -> None:
    file = user.home / "bad-day.yaml"
    file.write_text(SCENARIO)
    done = user.klab("fault", "run", str(file))
    assert done.returncode == 0, done.stderr
    said = [line.split("s  ")[1].split(":")[0] for line in done.stdout.splitlines()]
    assert said[:3] == ["deaf", "step 2", "healed loss node1 percent=1 way=in"]
    until("all is healed", lambda: _listed(user) == [])
    file.write_text(SCENARIO.replace("100%", "soon"))
    refused = user.klab("fault", "run", str(file))
    assert refused.returncode == 2
    assert f"{file}:4:" in refused.stderr
    one_sentence(refused.stderr)


@pytest.mark.usefixtures("as_before")
def test_faults_survive_labd(user: User) -> None:
    """labd dies while things are broken: they stay so, with their times, and are healed by the next one."""
    _inject(user, "loss", "node2", "--percent", "100%")
    _inject(user, "link-down", "node1", "--for", "20m")
    assert user.klab("fault", "process-kill", "labd").returncode == 0
    until("labd is back", lambda: user.klab("fault", "ls").returncode == 0)
    assert [(one["id"], one["left"] is None) for one in _listed(user)] == [("loss-1", True), ("link-down-1", False)]
    assert not _reaches(user, "node2", "master")
    healed = user.klab("fault", "heal", "--all")
    assert healed.stdout.count("healed ") == 2
    assert _reaches(user, "node1", "node2")


def test_power(user: User) -> None:
    """Pods have other addresses afterwards, as after a power cut."""
    with _broken(user, "node-crash", "node2"):
        assert "docker0" not in _on(user, "node2", "ip", "link")
        assert "KUBE" not in _on(user, "node2", "iptables-save")
        assert not _reaches(user, "node1", "node2")
        with pytest.raises(LabError, match="off already"):
            faulting.inject(_lab(user), "node-crash", ["node2"], {})
    _inject(user, "node-reboot", "node1", "--down", "500ms")
    until("it heals by itself", lambda: _listed(user) == [])
    ready = user.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s", lab="broken")
    assert ready.returncode == 0, ready.stderr + picture(user)
    _settled(user)
