"""`klab why` names the true cause of faults that it knows nothing of, and `klab check` sees them; on one lab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from netlab import Lab
from netlab.api.types import Obj
from netlab.lab.diagnosis.model import Finding
from tests.labs.tools import User, one_sentence, until

pytestmark = pytest.mark.timeout(420)

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  tolerations: [{{operator: Exists}}]  # a cable that is out may take longer than a pod is left on its node
  containers:
    - name: main
      image: {image}
      args: {args}
      readinessProbe: {probe}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {app}}}
  type: {kind}
  internalTrafficPolicy: {policy}
  ports: [{{name: http, port: 80, targetPort: {target}}}]
"""
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
SERVER = "[netexec, --http-port=8080]"
FINE = "{httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}"
NONE = "null"


def pod(name: str, node: str, app: str, *, image: str = AGNHOST, args: str = SERVER, probe: str = FINE) -> str:
    return POD.format(name=name, app=app, node=node, image=image, args=args, probe=probe)


def service(name: str, app: str, target: str = "8080", policy: str = "Cluster", kind: str = "ClusterIP") -> str:
    return SERVICE.format(name=name, app=app, target=target, policy=policy, kind=kind)


MANIFESTS = "---".join(
    (
        pod("client", "node1", "client", image="busybox", args="[sleep, '86400']", probe=NONE),
        pod("near", "node1", "web"),
        pod("far", "node2", "web"),
        pod("sick", "node2", "sick", probe="{httpGet: {path: /healthz, port: 8081}, periodSeconds: 1}"),
        pod("shy", "node2", "shy", image="busybox", args="[httpd, -f, -p, '127.0.0.1:8080']", probe=NONE),
        service("web", "web", kind="NodePort"),
        service("sick", "sick"),
        service("shy", "shy"),
        service("typo", "wed"),
        service("astray", "web", target="8081"),
        service("unnamed", "web", target="htpt"),
        service("local", "sick-not", policy="Cluster"),
    )
)


@dataclass(frozen=True)
class Fault:
    """`does` breaks something and returns what mends it. `codes`: any of these, at a place that contains `where`."""

    name: str
    does: Callable[[Lab], Callable[[], object] | None]
    codes: tuple[str, ...]
    where: str
    question: tuple[str, str] = ("pod/client", "web")
    settles: bool = False
    """Mended is not yet well: it takes its time."""
    stands: Callable[[Lab], bool] = lambda _: True
    """Whether it is still there: the lab mends some things by itself. Then it is broken, and asked about, again."""
    checked: bool = False
    """`klab check` is asked too."""


def break_by(lab: Lab, kind: str, *targets: str, **options: Any) -> Callable[[], object]:
    """A fault of `klab fault`."""
    block = lab.fault(kind, *targets, **options)
    block.__enter__()
    return lambda: block.__exit__(None, None, None)


def patched(lab: Lab, name: str, namespace: str, there: Obj, back: Obj) -> Callable[[], object]:
    """A Service's spec is changed with kubectl, and back."""

    def patch(spec: Obj) -> str:
        return lab.kubectl("patch", "service", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))

    patch(there)
    return lambda: patch(back)


def cidr(lab: Lab, node: str) -> str:
    return str(lab.node(node).object["spec"]["podCIDR"])


def pod_mac(lab: Lab, name: str) -> str:
    return "02:42:" + ":".join(f"{int(part):02x}" for part in lab.pod(name).ip.split("."))


def nothing(_: Lab) -> None:
    """It is broken from the beginning."""


def dropped(lab: Lab) -> Callable[[], object]:
    rule = ("FORWARD", "-d", cidr(lab, "node2"), "-p", "tcp", "-j", "DROP")
    lab.exec("node2", "iptables", "-I", *rule)
    return lambda: lab.exec("node2", "iptables", "-D", *rule)


def no_route(lab: Lab) -> Callable[[], object]:
    """The overlay agent would bring it back within ten seconds."""
    to = ("ip", "route", "replace", cidr(lab, "node2"), "via", cidr(lab, "node2").partition("/")[0])
    lab.exec("node1", "ip", "route", "del", cidr(lab, "node2"))
    return lambda: lab.exec("node1", *to, "dev", "flannel.1", "onlink")


def has_no_route(lab: Lab) -> bool:
    return not lab.exec("node1", "ip", "route", "show", cidr(lab, "node2")).strip()


def does_not_forward(lab: Lab) -> bool:
    return lab.exec("node2", "sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def lacks_rule(lab: Lab) -> bool:
    return "default/web:http cluster IP" not in lab.exec("node1", "iptables", "-t", "nat", "-S", "KUBE-SERVICES")


def no_dns_pods(lab: Lab) -> Callable[[], object]:
    def scale(number: int) -> None:
        lab.kubectl("scale", "deployment", "coredns", "-n", "kube-system", f"--replicas={number}")
        if not number:  # a server that ends has five seconds to say so
            gone = ("pods", "-l", "k8s-app=kube-dns", "--grace-period=0", "--force", "--wait=false")
            lab.kubectl("delete", "-n", "kube-system", *gone)
        until(
            f"{number} pods of coredns",
            lambda: len(lab.pods("k8s-app=kube-dns", namespace="kube-system")) == number,
            found=lambda: str(lab.pods("k8s-app=kube-dns", namespace="kube-system")),
        )

    scale(0)
    return lambda: scale(2)


def unplugged(lab: Lab) -> Callable[[], object]:
    """The node's end of its cable is taken off the bridge: that one behind which the bridge has seen its MAC."""
    entries = lab.exec("node2", "bridge", "fdb", "show").splitlines()
    mac = pod_mac(lab, "far")
    veth = next(line.split()[2] for line in entries if line.startswith(mac) and "dev veth" in line)
    lab.exec("node2", "ip", "link", "set", veth, "nomaster")

    def plug() -> None:
        lab.exec("node2", "ip", "link", "set", veth, "master", "docker0")
        lab.exec("node2", "bridge", "link", "set", "dev", veth, "hairpin", "on")

    return plug


def not_forwarding(lab: Lab) -> Callable[[], object]:
    lab.exec("node2", "sysctl", "-w", "net.ipv4.ip_forward=0")
    return lambda: lab.exec("node2", "sysctl", "-w", "net.ipv4.ip_forward=1")


def wrong_neighbour(lab: Lab) -> Callable[[], object]:
    def say(mac: str) -> str:
        words = ("dev", "docker0", "nud", "permanent")
        return lab.exec("node2", "ip", "neigh", "replace", lab.pod("far").ip, "lladdr", mac, *words)

    say("02:00:00:00:be:ef")
    return lambda: say(pod_mac(lab, "far"))


def diverted(lab: Lab) -> Callable[[], object]:
    route = ("blackhole", "192.168.77.4/32")
    lab.exec("node1", "ip", "route", "add", *route)
    return lambda: lab.exec("node1", "ip", "route", "del", *route)


def by(kind: str, *targets: str, **options: str) -> Callable[[Lab], Callable[[], object]]:
    return lambda lab: break_by(lab, kind, *targets, **options)


def dns(there: Obj, back: Obj) -> Callable[[Lab], Callable[[], object]]:
    return lambda lab: patched(lab, "kube-dns", "kube-system", there, back)


def dns_ports(number: int) -> Obj:
    names = (("dns", "UDP"), ("dns-tcp", "TCP"))
    return {"ports": [{"name": n, "port": number, "protocol": p, "targetPort": 53} for n, p in names]}


def local_policy(lab: Lab) -> Callable[[], object]:
    there = {"internalTrafficPolicy": "Local", "selector": {"app": "shy"}}
    return patched(lab, "local", "default", there, {"internalTrafficPolicy": "Cluster"})


CLIENT = "pod/client"
DNS_SERVICE = "kube-system/kube-dns"
FAULTS = (
    Fault("Service with a wrong selector", nothing, ("selector",), "default/typo", (CLIENT, "typo")),
    Fault("Service with a wrong targetPort", nothing, ("target-port",), "default/astray", (CLIENT, "astray")),
    Fault("targetPort without such a name", nothing, ("target-port-name",), "unnamed", (CLIENT, "unnamed")),
    Fault("failing readiness probe", nothing, ("pod-not-ready",), "default/sick", (CLIENT, "sick")),
    Fault("server bound to 127.0.0.1", nothing, ("listens-on-loopback",), "default/shy", (CLIENT, "shy:80")),
    Fault("no such Service", nothing, ("service-missing",), "namespace default", (CLIENT, "wob")),
    Fault("traffic policy Local, no local endpoint", local_policy, ("traffic-policy",), "local", (CLIENT, "local")),
    Fault(
        "DNS Service with a wrong selector",
        dns({"selector": {"k8s-app": "kubedns"}}, {"selector": {"k8s-app": "kube-dns"}}),
        ("selector",), DNS_SERVICE, settles=True,
    ),
    Fault("no DNS pods", no_dns_pods, ("no-pods",), DNS_SERVICE, settles=True),
    Fault("DNS Service on another port", dns(dns_ports(5353), dns_ports(53)), ("dns-port",), DNS_SERVICE, settles=True),
    Fault("cable of node2 out", by("link-down", "node2"), ("link-down", "no-carrier"), "node2", settles=True),
    Fault("partition of two nodes", by("partition", "node1", "node2"), ("dropped-by-rule",), "", settles=True),
    Fault("wrong FDB entry", by("wrong-fdb", "node1", peer="node2"), ("fdb-wrong",), "node1"),
    Fault("wrong ARP entry", by("wrong-arp", "node1", ip="192.168.77.4"), ("neighbour-wrong",), "node1", settles=True),
    Fault("MTU black hole", by("mtu-black-hole", "node2", size="1400"), ("size-dropped", "mtu"), ""),
    Fault(
        "connection tracking full", by("conntrack-full", "node1"),
        ("conntrack-full", "new-connections-dropped"), "node1", settles=True,
    ),
    Fault("a filter rule drops", dropped, ("dropped-by-rule",), "node2"),
    Fault("server paused", by("process-pause", "pod/far"), ("process-paused",), "default/far", settles=True),
    Fault("forwarding off", not_forwarding, ("sysctl-wrong",), "node2", settles=True, stands=does_not_forward),
    Fault(
        "stale rule", by("stale-rule", "node1", service="web", endpoint="10.244.9.9:8080"), ("rules-stale",), "node1"
    ),
    Fault("missing rule", by("missing-rule", "node1", service="web"), ("rules-missing",), "node1", stands=lacks_rule),
    Fault("route missing", no_route, ("route-missing",), "node1", stands=has_no_route),
    Fault("route diverts", diverted, ("route-diverts",), "node1"),
    Fault("interface unplugged", unplugged, ("link-unplugged",), "far", settles=True, checked=True),
    Fault("wrong neighbour on the bridge", wrong_neighbour, ("neighbour-wrong",), "node2"),
    Fault("DNS loss", by("dns-loss", "node1", percent="60%"), ("loss-by-rule",), "node1"),
    Fault("loss", by("loss", "node2", percent="40%"), ("loss-by-rule",), "", settles=True),
    Fault("from outside: a filter rule drops", dropped, ("dropped-by-rule",), "node2", ("outside", "web")),
)  # fmt: skip
MISSES_ALLOWED = len(FAULTS) // 12
"""Eleven of twelve must be named."""


@pytest.fixture
def lab(caller: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name, value in caller.environment.items():
        monkeypatch.setenv(name, value)
    with Lab.up("course") as lab:
        lab.apply(MANIFESTS)
        for name in ("client", "near", "far", "shy"):
            lab.wait(f"pod/{name}", timeout=120)
        yield lab


def test_why_and_check(lab: Lab, caller: User) -> None:
    _well(lab, PAIRS[:2])
    missed = []
    print(f"\n{'INJECTED':<42}{'NAMED':<26}{'RIGHT?':<8}WHERE AND WHAT")
    for fault in FAULTS:
        right, first = _tried(lab, fault)
        print(f"{fault.name:<42}{first.code:<26}{'yes' if right else 'NO':<8}{first.where}: {first.found}"[:220])
        if not right:
            missed.append((fault.name, first))
    print(f"{len(FAULTS) - len(missed)} of {len(FAULTS)} causes named")
    assert len(missed) <= MISSES_ALLOWED, missed
    _well(lab, PAIRS)
    left: list[Finding] = []
    until("nothing is left of the faults", lambda: _fine(lab, left), 60, lambda: str(left))
    _commands(caller)


def _tried(lab: Lab, fault: Fault) -> tuple[bool, Finding]:
    """Break it, ask, mend it, and wait until it is well again. The first finding counts."""
    for _ in range(5):
        mend = fault.does(lab)
        try:
            found = lab.why(*fault.question)
            checked = {one.code for one in lab.check()} if fault.checked else set(fault.codes)
            stood = fault.stands(lab)
        finally:
            if mend is not None:
                mend()
        if stood:
            assert checked & set(fault.codes), checked
            break
    if fault.settles:
        last: list[Finding] = []
        until(f"it works again after: {fault.name}", lambda: _works(lab, (CLIENT, "web"), last), 60, lambda: str(last))
    first = found[0] if found else Finding("nothing", "lab", "", "", "", "")
    return first.code in fault.codes and fault.where in first.where, first


PAIRS = ((CLIENT, "web"), ("outside", "web"), ("node1", "pod/far"), (CLIENT, "pod/far:8080"), ("near", "web"))


def _well(lab: Lab, pairs: Sequence[tuple[str, str]]) -> None:
    """Nothing is found where nothing is wrong, whoever asks whom."""
    last: list[Finding] = []
    for pair in pairs:
        until(f"{pair[0]} reaches {pair[1]}", lambda pair=pair: _works(lab, pair, last), 60, lambda: str(last))  # type: ignore[misc]


def _works(lab: Lab, pair: tuple[str, str], last: list[Finding]) -> bool:
    last[:] = lab.why(*pair)
    return not last


def _fine(lab: Lab, left: list[Finding]) -> bool:
    """`klab check` finds what is broken on purpose in these manifests, and nothing else."""
    meant = ("default/typo", "default/sick", "default/unnamed", "default/local")
    left[:] = [one for one in lab.check() if not one.where.endswith(meant)]
    return not left


def _commands(user: User) -> None:
    """What `klab` says and how it ends."""
    for wrong in (("clent", "web"), ("pod/client", "lan")):
        done = user.klab("why", *wrong)
        assert done.returncode == 2, done.stdout
        one_sentence(done.stderr)
    works = user.klab("why", "client", "web")
    assert works.returncode == 0, works.stdout
    assert "nothing is wrong" in works.stdout
    closed = user.klab("why", "client", "pod/far:8081", "-o", "json")
    assert closed.returncode == 1
    (finding,) = json.loads(closed.stdout)["findings"]
    assert finding["code"] == "not-listening"
    assert finding["remedy"]
