"""Diagnosis, the deciding part: tables of what was seen and what must be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from netlab.api.types import Obj
from netlab.dataplane import masquerade
from netlab.dataplane.explain.desired import states
from netlab.dataplane.iptables import IptablesConfig, IptablesProgram
from netlab.dataplane.model import Fdb, Link, Neighbour, NodeState, Route, Sysctl
from netlab.lab.diagnosis import check, filters, network, objects, order, places, plan, question, rules, walk, words
from netlab.lab.diagnosis.filters import Packet
from netlab.lab.diagnosis.legs import to_target
from netlab.lab.diagnosis.model import (
    Facts,
    Finding,
    Listener,
    MachineFacts,
    NodeProxy,
    Objects,
    Outcome,
    Place,
    Probe,
    ProcessFacts,
    Question,
)
from netlab.lab.record import LabError
from netlab.node.overlay import flannel_annotations
from netlab.topology import find, load

COURSE = load(find("course"))
READY = [{"type": "Ready", "status": "True"}]
RESOLV = "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"


# -- a small cluster in which all is well -----------------------------------------------------------------------------


def node(name: str, number: int, **changes: Any) -> Obj:
    from netlab.node.config import NodeConfig

    ip = COURSE.node_ip(name)
    config = NodeConfig(name, ip, name, "", "", "", "")
    return {
        "metadata": {"name": name, "annotations": flannel_annotations(config, "vxlan"), "labels": {}},
        "spec": {"podCIDR": f"10.244.{number}.0/24", "podCIDRs": [f"10.244.{number}.0/24"]},
        "status": {"conditions": READY, "addresses": [{"type": "InternalIP", "address": ip}], **changes},
    }


def pod(name: str, on: str, ip: str, app: str, namespace: str = "default", **status: Any) -> Obj:
    container = {"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"{name:0<12}-uid", "labels": {"app": app}},
        "spec": {"nodeName": on, "containers": [container]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": READY, **status},
    }


def service(name: str, ip: str, app: str, namespace: str = "default", **spec: Any) -> Obj:
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": name},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": app}, "ports": [port], **spec},
    }


def slice_of(of: Obj, pods: Sequence[Obj], port: int = 8080, name: str = "http", protocol: str = "TCP") -> Obj:
    ends = [
        {
            "addresses": [one["status"]["podIP"]],
            "conditions": {"ready": one["status"]["conditions"] == READY},
            "nodeName": one["spec"]["nodeName"],
            "targetRef": {"uid": one["metadata"]["uid"]},
        }
        for one in pods
    ]
    labels = {"kubernetes.io/service-name": of["metadata"]["name"]}
    meta = {"name": f"{of['metadata']['name']}-x", "namespace": of["metadata"]["namespace"], "labels": labels}
    ports = [{"name": name, "port": port, "protocol": protocol}]
    return {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": ends}


CLIENT = pod("client", "node1", "10.244.1.2", "client")
NEAR, FAR = pod("near", "node1", "10.244.1.3", "web"), pod("far", "node2", "10.244.2.3", "web")
DNS = pod("coredns", "master", "10.244.0.2", "dns", "kube-system")
WEB = service("web", "10.96.7.7", "web")
KUBE_DNS = service(
    "kube-dns", "10.96.0.10", "dns", "kube-system", ports=[{"name": "dns", "port": 53, "protocol": "UDP"}]
)
ALL = Objects(
    services=(WEB, KUBE_DNS),
    slices=(slice_of(WEB, (NEAR, FAR)), slice_of(KUBE_DNS, (DNS,), 53, "dns", "UDP")),
    pods=(CLIENT, NEAR, FAR, DNS),
    nodes=tuple(node(name, number) for number, name in enumerate(("master", "node1", "node2"))),
)
GUESSES = {"tcp": "open", "dns": "NOERROR", "icmp": "echo", "udp": "sent"}


def well(found: Objects = ALL) -> Facts:
    """Facts of a lab in which the kernel has what it should."""
    facts = Facts(COURSE, found, proxies={n.name: NodeProxy("iptables") for n in COURSE.nodes})
    want = network.expected(facts)
    machines = {
        name: MachineFacts(name, state, tables={"IPv4": saved(facts, name)}, listeners=listeners(name))
        for name, state in want.states.items()
    }
    return replace(facts, machines=machines, resolv={"default/client": RESOLV})


def listeners(name: str) -> tuple[Listener, ...]:
    if not name.startswith("cni-"):
        return ()
    return (Listener("tcp", "0.0.0.0", 8080), Listener("udp", "0.0.0.0", 53))


def saved(facts: Facts, name: str) -> str:
    """What the proxy and flannel would have written on the node."""
    nets = network.node_nets(facts)
    if name not in nets:
        return ""
    view = rules.node_view(facts, nets[name], NodeProxy("iptables"), "IPv4")
    program = IptablesProgram(IptablesConfig(view.ip, view.cluster_cidr, localhost_node_ports=False))
    for state in states(facts.objects.services, facts.objects.slices, view):
        program.update(state.port.name, state)
    own = {table: [str(rule) for rule in listed] for table, listed in program.rules().items()}
    flannel = (
        *masquerade.masquerade_rules(nets[name].pod_cidr, "10.244.0.0/16"),
        *masquerade.forward_rules("10.244.0.0/16"),
    )
    for rule in flannel:
        own[rule.table].append(str(rule))
    return "".join(
        f"*{table}\n:INPUT ACCEPT [0:0]\n" + "".join(f"[0:0] {line}\n" for line in lines) + "COMMIT\n"
        for table, lines in own.items()
    )


def asked(facts: Facts, target: str = "web", source: str = "pod/client", **results: tuple[str, ...]) -> walk.Diagnosis:
    """What is found where probes of the group `results` names come out so (the others come out well)."""
    place = places.source(source, facts.topology, facts.objects)
    wish = Question(place, places.target(target, place, facts.topology, facts.objects))
    legs = plan.legs_of(wish, facts.topology, facts.objects, RESOLV)
    outcomes = []
    for probe in plan.wanted(wish, legs, facts.topology, RESOLV).probes:
        said = results.get(probe.group.replace(".", "_"), (GUESSES[probe.kind],))
        outcomes.append(Outcome(probe, said * (probe.count if len(said) == 1 else 1), _answer(probe)))
    return walk.diagnose(wish, legs, replace(facts, outcomes=tuple(outcomes)))


def _answer(probe: Probe) -> tuple[str, ...]:
    return ("10.96.7.7",) if probe.name.startswith("web.default.svc.") else ()


def machine(facts: Facts, name: str, **changes: Any) -> Facts:
    return replace(facts, machines={**facts.machines, name: replace(facts.machines[name], **changes)})


def state(facts: Facts, name: str, **changes: Any) -> Facts:
    """Links, routes … of one machine are others: a function of what is there."""
    now = facts.machines[name].state
    new = replace(now, **{field: tuple(change(getattr(now, field))) for field, change in changes.items()})
    return machine(facts, name, state=new)


def first(found: walk.Diagnosis) -> tuple[str, str]:
    assert found.findings, "something must be found"
    return found.findings[0].code, found.findings[0].where


def without(objects_: Sequence[Any], **having: Any) -> list[Any]:
    return [one for one in objects_ if not all(getattr(one, k) == v for k, v in having.items())]


# -- the walk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [("pod/client", "web"), ("client", "web:80"), ("pod/client", "svc/web:http"), ("node1", "pod/far:8080"),
     ("pod/client", "10.96.7.7:80"), ("near", "web.default.svc.cluster.local"), ("outside", "node1:22")],
)  # fmt: skip
def test_nothing_is_found_where_nothing_is_wrong(source: str, target: str) -> None:
    facts = well()
    facts = machine(facts, "node1", listeners=(Listener("tcp", "0.0.0.0", 22),))
    assert asked(facts, target, source).findings == ()


def _changed(**changes: Any) -> Facts:
    return well(replace(ALL, **changes))


def _rule(text: str, packets: int = 0, table: str = "filter") -> str:
    return f"*{table}\n:FORWARD ACCEPT [0:0]\n[{packets}:0] {text}\nCOMMIT\n"


FAR_NET = next(net for p, _, net in network.pod_nets(well(), network.node_nets(well())) if p is FAR)
FAILS = {"data_end": ("timeout",), "data_entry": ("timeout",), "data_ping": ("timeout",)}


CASES: dict[str, tuple[Facts, dict[str, Any], str, str]] = {
    "wrong selector": (
        _changed(services=(service("web", "10.96.7.7", "wed"), KUBE_DNS), slices=ALL.slices[1:]),
        {}, "selector", "Service default/web",
    ),
    "pod not ready": (
        _changed(
            pods=(CLIENT, pod("near", "node1", "10.244.1.3", "web", conditions=[{"type": "Ready", "status": "False"}],
                              containerStatuses=[{"name": "main", "state": {"running": {}}}]), DNS),
            slices=ALL.slices[1:],
        ), {}, "pod-not-ready", "pod default/near",
    ),
    "crash loop": (
        _changed(
            pods=(CLIENT, pod("near", "node1", "10.244.1.3", "web", conditions=[],
                              containerStatuses=[
                                  {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
                  DNS), slices=ALL.slices[1:],
        ), {}, "pod-not-running", "pod default/near",
    ),
    "controller dead": (
        replace(_changed(slices=ALL.slices[1:]),
                processes=(ProcessFacts("component/controller-manager", 7, "T"),)),
        {}, "component-paused", "component controller-manager",
    ),
    "agent paused, rules stale": (
        replace(machine(well(), "node1", tables={"IPv4": ""}), processes=(ProcessFacts("component/agent-0", 9, "T"),)),
        {}, "component-paused", "component agent-0",
    ),
    "no rules": (machine(well(), "node1", tables={"IPv4": ""}), {}, "rules-missing", "node1"),
    "no proxy": (
        replace(well(), proxies={"node1": NodeProxy("none")}), {"data_entry": ("timeout",)}, "no-proxy", "node1"
    ),
    "drop in FORWARD": (
        machine(well(), "node2", tables={"IPv4": saved(well(), "node2") + _rule("-A FORWARD -p tcp -j DROP", 9)}),
        FAILS, "dropped-by-rule", "node2",
    ),
    "drop by nft": (
        machine(well(), "node2", nft="table inet x {\n chain f {\n  type filter hook forward priority 0;\n"
                "  ip daddr 10.244.2.3 counter packets 4 bytes 9 drop # handle 5\n }\n}\n"),
        FAILS, "dropped-by-rule", "node2",
    ),
    "route missing": (
        state(well(), "node1", routes=lambda found: without(found, dst="10.244.2.0/24")), FAILS,
        "route-missing", "node1",
    ),
    "route diverts": (
        state(well(), "node1", routes=lambda found: [*found, Route("10.244.2.3/32", kind="blackhole")]),
        FAILS, "route-diverts", "node1",
    ),
    "wrong FDB": (
        state(well(), "node1", fdb=lambda found: [Fdb("flannel.1", one.mac, "192.0.2.1") for one in found]),
        FAILS, "fdb-wrong", "node1",
    ),
    "wrong neighbour, underlay": (
        state(well(), "node1", neighbours=lambda n: [*n, Neighbour("eth0", "192.168.77.4", "02:00:00:00:00:01")]),
        FAILS, "neighbour-wrong", "node1",
    ),
    "forwarding off": (
        state(well(), "node2", sysctls=lambda found: [
            replace(one, value="0") if one.name == "net.ipv4.ip_forward" else one for one in found]),
        FAILS, "sysctl-wrong", "node2",
    ),
    "device does not forward": (
        state(well(), "node2", sysctls=lambda found: [*found, Sysctl("net.ipv4.conf.docker0.forwarding", "0")]),
        FAILS, "sysctl-wrong", "node2",
    ),
    "cable out": (
        state(machine(well(), "node2", no_carrier=frozenset({"eth0"})), "",
              links=lambda found: [replace(one, up=False) if one.name == "lan-eth4" else one for one in found]),
        FAILS, "link-down", "the switches lan-eth4 (the cable to node2)",
    ),
    "unplugged": (
        state(well(), "node2", links=lambda found: [
            replace(one, master=None) if one.name == FAR_NET.ifname else one for one in found]),
        FAILS, "link-unplugged", f"node2 {FAR_NET.ifname} (of pod default/far)",
    ),
    "conntrack full": (machine(well(), "node1", conntrack=(262144, 262144)), FAILS, "conntrack-full", "node1"),
    "bound to loopback": (
        machine(well(), FAR_NET.netns, listeners=(Listener("tcp", "127.0.0.1", 8080),)),
        {"data_end": ("refused",), "data_near": ("refused",), "data_inside": ("refused",)},
        "listens-on-loopback", "pod default/far",
    ),
    "nothing listens": (
        machine(well(), FAR_NET.netns, listeners=()),
        {"data_end": ("refused",), "data_near": ("refused",), "data_inside": ("refused",)},
        "not-listening", "pod default/far",
    ),
    "another port": (
        machine(well(), FAR_NET.netns, listeners=(Listener("tcp", "0.0.0.0", 9090),)),
        {"data_end": ("refused",), "data_near": ("refused",), "data_inside": ("refused",)},
        "target-port", "Service default/web",
    ),
    "paused": (
        replace(well(), processes=(ProcessFacts("ctr/node2/x", 5, "T", "default/far", "main"),)), {},
        "process-paused", "pod default/far",
    ),
    "DNS on another port": (
        _changed(services=(WEB, {**KUBE_DNS, "spec": {**KUBE_DNS["spec"], "ports": [{"name": "dns", "port": 5353}]}})),
        {"name": ("timeout",)}, "dns-port", "Service kube-system/kube-dns",
    ),
    "no DNS pods": (
        _changed(pods=(CLIENT, NEAR, FAR), slices=ALL.slices[:1]), {"name": ("timeout",)}, "no-pods",
        "Service kube-system/kube-dns",
    ),
    "resolv.conf": (
        replace(well(), resolv={"default/client": "nameserver 192.0.2.53\n"}), {"name": ("timeout",)}, "resolv-conf",
        "pod default/client /etc/resolv.conf",
    ),
    "node NotReady": (
        _changed(nodes=(*ALL.nodes[:2], node("node2", 2, conditions=[{"type": "Ready", "status": "Unknown"}]))),
        FAILS, "node-not-ready", "node2",
    ),
    "node NotReady, its API server behind a filter": (
        machine(_changed(nodes=(*ALL.nodes[:2], node("node2", 2, conditions=[{"type": "Ready", "status": "Unknown"}]))),
                "node2", tables={"IPv4": saved(well(), "node2") + _rule("-A INPUT -s 192.168.77.2/32 -j DROP", 9)}),
        {"control_end": ("timeout",), **FAILS}, "dropped-by-rule", "node2",
    ),
    "MTU": (well(), {"data_full": ("timeout",)}, "mtu", "pod default/client → 10.244.1.3"),
    "loss": (well(), {"data_ping": ("echo",) * 9 + ("timeout",) * 3}, "loss", "pod default/client → 10.244.1.3"),
    "namespace gone": (
        replace(well(), machines={k: v for k, v in well().machines.items() if k != FAR_NET.netns}), FAILS,
        "namespace-missing", "pod default/far",
    ),
    "power cut": (
        state(well(), "node2", links=lambda found: [one for one in found if one.name in ("lo", "eth0")]), FAILS,
        "node-off", "node2",
    ),
    "netem": (machine(well(), "node2", qdiscs=("eth0 netem",)), FAILS, "shaped", "node2 eth0"),
    "policy Local": (
        _changed(services=(service("web", "10.96.7.7", "web", internalTrafficPolicy="Local"), KUBE_DNS),
                 slices=(slice_of(WEB, (FAR,)), ALL.slices[1]), pods=(CLIENT, FAR, DNS)),
        {"data_entry": ("timeout",)}, "traffic-policy", "Service default/web",
    ),
    "API down": (replace(well(), objects=replace(ALL, error="it did not answer")), {}, "api-unreachable", "API server"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_first_thing_that_is_wrong(case: str) -> None:
    facts, results, code, where = CASES[case]
    found = asked(facts, **results)
    assert first(found) == (code, where), [f"{f.code} {f.where}: {f.found}" for f in found.findings]
    assert all(one.remedy and one.expected and one.found for one in found.findings)
    assert found.findings[0].because == ""


@pytest.mark.parametrize(
    ("target", "code", "remedy"),
    [("wob", "service-missing", "did you mean 'web'?"), ("web:81", "service-port", "call port 80"),
     ("kube-dns", "service-missing", "call it kube-dns.kube-system")],
)  # fmt: skip
def test_what_is_not_there(target: str, code: str, remedy: str) -> None:
    found = asked(well(), target)
    assert found.findings[0].code == code
    assert remedy in found.findings[0].remedy


def test_a_cluster_ip_is_nothing_for_the_outside() -> None:
    (found,) = asked(well(), "web", "outside").findings
    assert found.code == "service-not-exposed"
    assert "NodePort" in found.remedy


# -- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "name", "port", "asks"),
    [
        ("web", "service", "default/web", None, "web"),
        ("web:http", "service", "default/web", None, "web"),
        ("kube-dns.kube-system:53", "service", "kube-system/kube-dns", 53, "kube-dns.kube-system"),
        ("svc/kube-system/kube-dns", "service", "kube-system/kube-dns", None, "kube-dns.kube-system"),
        ("far:8080", "pod", "default/far", 8080, ""),
        ("node1:30080", "machine", "node1", 30080, ""),
        ("10.244.2.3:8080", "address", "10.244.2.3", 8080, ""),
        ("[fd00::1]:80", "address", "fd00::1", 80, ""),
        ("outside", "machine", "client", None, ""),
        ("www.example.com:443", "name", "www.example.com", 443, "www.example.com"),
        ("example.com", "name", "example.com", None, "example.com"),
        ("absent.kube-system", "service", "kube-system/absent", None, "absent.kube-system"),
    ],
)
def test_what_a_target_means(text: str, kind: str, name: str, port: int | None, asks: str) -> None:
    place = places.source("pod/client", COURSE, ALL)
    found = places.target(text, place, COURSE, ALL)
    assert (found.kind, found.name, found.port, found.asked) == (kind, name, port, asks)


def test_whom_a_source_means() -> None:
    assert places.source("client", COURSE, ALL).kind == "pod", "pods come before machines"
    assert places.source("host/client", COURSE, ALL).kind == "host"
    assert places.source("outside", COURSE, ALL).name == "client"
    assert places.source("kube-system/coredns", COURSE, ALL).node == "master"
    with pytest.raises(LabError, match="did you mean 'node1'"):
        places.source("nod1", COURSE, ALL)
    with pytest.raises(LabError, match="is a switch"):
        places.target("lan", places.source("client", COURSE, ALL), COURSE, ALL)


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("web", ["web.default.svc.cluster.local.", "web.svc.cluster.local.", "web.cluster.local.", "web."]),
        ("a.b.c.d.e.f", ["a.b.c.d.e.f.", "a.b.c.d.e.f.default.svc.cluster.local.", "a.b.c.d.e.f.svc.cluster.local.",
                         "a.b.c.d.e.f.cluster.local."]),
        ("web.", ["web."]),
    ],
)  # fmt: skip
def test_names_that_a_resolver_tries(name: str, tried: list[str]) -> None:
    assert places.candidates(name, RESOLV) == tried


PACKET = Packet("10.244.1.2", "10.244.2.3", "tcp", 8080)


@pytest.mark.parametrize(
    ("rule", "meets"),
    [
        ("-j DROP", True),
        ("-d 10.244.2.0/24 -p tcp -j DROP", True),
        ("-d 10.244.3.0/24 -j DROP", False),
        ("! -d 10.244.2.0/24 -j DROP", False),
        ("-s 10.244.2.3/32 -j DROP", False),
        ("-p udp -j DROP", False),
        ("-p tcp -m tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable", True),
        ("-p tcp -m tcp --dport 81 -j DROP", False),
        ("-p tcp -m tcp --dport 8000:9000 -j DROP", True),
        ("-m statistic --mode random --probability 0.5 -j DROP", True),
        ("-d 10.244.2.3/32 -j ACCEPT", False),
    ],
)
def test_rules_that_may_drop(rule: str, meets: bool) -> None:
    facts = MachineFacts("node2", tables={"IPv4": _rule(f"-A FORWARD {rule}", 3)})
    found = filters.suspects(facts, (PACKET,))
    assert bool(found) == meets
    if found:
        assert found[0].packets == 3
        assert found[0].remove == f"iptables -D FORWARD {rule}"


@pytest.mark.parametrize(
    ("rule", "meets"),
    [
        ("counter packets 2 bytes 3 drop", True),
        ("ip daddr { 10.244.2.3, 10.244.2.4 } drop", True),
        ("ip daddr != 10.244.2.3 ip saddr 10.244.1.2 drop", False),
        ("meta l4proto udp drop", False),
        ("meta l4proto { tcp, udp } th dport 8080 drop", True),
        ("tcp dport 22 drop", False),
        ("udp dport 53 drop", False),
        ("numgen random mod 100 < 20 drop", True),
        ("ip daddr 10.244.2.3 accept", False),
    ],
)
def test_nft_rules_that_may_drop(rule: str, meets: bool) -> None:
    head = "type filter hook forward priority 0; policy accept;"
    text = f"table inet mine {{\n\tchain forward {{\n\t\t{head}\n\t\t{rule} # handle 7\n\t}}\n}}\n"
    found = filters.suspects(MachineFacts("node2", nft=text), (PACKET,))
    assert bool(found) == meets
    if found:
        assert found[0].remove == "nft delete rule inet mine forward handle 7"


def test_only_rules_that_counted_are_guilty() -> None:
    before = _rule("-A FORWARD -p tcp -j DROP", 5)
    still = MachineFacts("node2", tables={"IPv4": before}, tables_before={"IPv4": before})
    assert filters.guilty(filters.suspects(still, (PACKET,))) == []
    policy = "*filter\n:FORWARD DROP [9:0]\nCOMMIT\n"
    closed = MachineFacts("node2", tables={"IPv4": policy})
    (rule,) = filters.guilty(filters.suspects(closed, (PACKET,)))
    assert rule.remove == "iptables -P FORWARD ACCEPT"


def test_the_clusters_own_drops_are_not_suspects() -> None:
    facts = MachineFacts("node2", tables={"IPv4": _rule("-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP", 3)},
                         nft="table ip kube-proxy {\n\tchain filter {\n\t\tdrop\n\t}\n}\n")  # fmt: skip
    assert filters.suspects(facts, None) == []


def test_compatible_tables_are_read_as_iptables() -> None:
    text = "table ip filter {\n\tchain FORWARD {\n\t\tdrop\n\t}\n}\ntable ip mine {\n\tchain f {\n\t\tdrop\n\t}\n}"
    left = filters.without_compatible(text)
    assert "table ip mine" in left
    assert "table ip filter" not in left


@pytest.mark.parametrize(
    ("text", "code"),
    [("meta length > 1400 counter drop", "size-dropped"), ("numgen random mod 100 < 20 drop", "loss-by-rule"),
     ("ct state new counter drop", "new-connections-dropped"), ("ip daddr 10.0.0.1 drop", "dropped-by-rule")],
)  # fmt: skip
def test_a_rule_is_called_after_what_it_does(text: str, code: str) -> None:
    from netlab.lab.diagnosis import paths
    from netlab.lab.diagnosis.model import DropRule

    want = network.expected(well())
    found = paths.dropped(DropRule("inet netlab-faults x", text, "nft …", 3), "node1", want)
    assert found.code == code
    assert "klab fault heal" in found.remedy


def test_lookup_is_the_kernels() -> None:
    routes = (Route("default", "eth0", "10.0.0.1"), Route("10.244.0.0/16", "a"), Route("10.244.2.0/24", "b", metric=5),
              Route("10.244.2.0/24", "c"))  # fmt: skip
    for address, dev in (("10.244.2.9", "c"), ("10.244.3.9", "a"), ("8.8.8.8", "eth0")):
        chosen = network.lookup(routes, address)
        assert chosen is not None
        assert chosen.dev == dev
    assert network.lookup(routes, "fd00::1") is None
    assert network.lookup((), "10.0.0.1") is None


def test_a_link_that_is_down_takes_its_routes_along() -> None:
    facts = state(
        well(), "node1", links=lambda links: [replace(one, up=one.name != "flannel.1") for one in links],
        routes=lambda found: [one for one in found if one.dev != "flannel.1"],
    )  # fmt: skip
    found = list(network.compare(facts.machines["node1"], network.expected(facts)))
    assert [one.code for one in found] == ["link-down"], "one finding is enough"


def test_stale_endpoint_is_quoted() -> None:
    facts = well()
    text = facts.machines["node1"].tables["IPv4"].replace("COMMIT\n", "", 1)
    extra = "[0:0] -A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m comment --comment \"default/web:http\" -m tcp " \
            "-j DNAT --to-destination 10.244.9.9:8080\n"  # fmt: skip
    table = "*nat" if text.startswith("*nat") else "*filter"
    broken = text + f"COMMIT\n*nat\n{extra}COMMIT\n" if table == "*filter" else text
    net = network.node_nets(facts)["node1"]
    found = rules.service_rules(facts, replace(facts.machines["node1"], tables={"IPv4": broken}), net)
    assert any("10.244.9.9" in rule for rule in found.extra)
    said = rules.service_finding("node1", NodeProxy("iptables"), found)
    assert said.code == "rules-stale"
    assert "10.244.9.9" in said.found


def test_more_than_one_fault_is_found() -> None:
    """Behind a wrong selector the way to the pods that were meant is looked at too."""
    facts, _, _, _ = CASES["wrong selector"]
    dropping = saved(well(), "node2") + _rule("-A FORWARD -p tcp -j DROP", 9)
    found = asked(machine(facts, "node2", tables={"IPv4": dropping}), pods_end=("timeout",))
    assert [one.code for one in found.findings if not one.because] == ["selector", "dropped-by-rule"]


def test_rules_of_other_services_do_not_matter_to_why() -> None:
    other = service("other", "10.96.9.9", "web")
    facts = well(replace(ALL, services=(*ALL.services, other), slices=(*ALL.slices, slice_of(other, (NEAR, FAR)))))
    text = facts.machines["node1"].tables["IPv4"]
    fewer = "\n".join(line for line in text.splitlines() if "default/other" not in line) + "\n"
    assert asked(machine(facts, "node1", tables={"IPv4": fewer})).findings == ()
    assert asked(machine(facts, "node1", tables={"IPv4": fewer}), "other").findings[0].code == "rules-missing"


def test_causes_come_first() -> None:
    def finding(code: str) -> Finding:
        return Finding(code, "lab", "x", "", "", "")

    found = order.causes_first([finding(c) for c in ("name-unanswered", "node-not-ready", "link-down", "loss", "loss")])
    assert [one.code for one in found] == ["link-down", "name-unanswered", "node-not-ready", "loss"]
    assert [bool(one.because) for one in found] == [False, True, True, True]
    alone = order.causes_first([finding("loss")])
    assert alone[0].because == "", "a symptom without a cause stands by itself"


def test_every_code_that_something_follows_from_exists() -> None:
    """The table of `order` names codes that are really given: a typo would silently order wrongly."""
    from pathlib import Path

    import netlab.lab.diagnosis as package

    sources = "".join(p.read_text() for p in Path(package.__path__[0]).glob("*.py") if p.name != "order.py")
    made = {f"{noun}-{how}" for noun in ("link", "address", "route", "neighbour", "fdb", "sysctl")
            for how in ("missing", "wrong", "left")}  # fmt: skip
    for code in {*order.FOLLOWS, *(c for causes in order.FOLLOWS.values() for c in causes)}:
        assert f'"{code}"' in sources or code in made, code


def test_dns_messages() -> None:
    asked_ = question.encode(7, "web.default.svc.cluster.local.")
    assert question.decode(asked_) is None, "a question is no answer"
    record = b"\xc0\x0c" + bytes.fromhex("00010001000000050004") + bytes((10, 96, 7, 7))
    answer = bytes.fromhex("000785800001000100000000") + asked_[12:] + record
    assert question.decode(answer) == question.Answer(7, "NOERROR", ("10.96.7.7",))
    assert question.decode(bytes.fromhex("000785830001000000000000") + asked_[12:]) == question.Answer(
        7, "NXDOMAIN", ()
    )
    assert question.decode(answer[:-2]) == question.Answer(7, "FORMERR", ())
    assert question.decode(b"") is None


def test_an_endpoint_without_a_pod_is_named() -> None:
    stale = slice_of(WEB, (NEAR,))
    stale["endpoints"].append({"addresses": ["10.244.2.99"], "conditions": {"ready": True}})
    facts = well(replace(ALL, slices=(stale, ALL.slices[1])))
    place = places.source("client", COURSE, facts.objects)
    leg = to_target(Question(place, places.target("web", place, COURSE, facts.objects)), COURSE, facts.objects)
    codes = [one.code for one in objects.endpoints(leg, facts)]
    assert codes == ["endpoints-stale"]


# -- the whole lab ----------------------------------------------------------------------------------------------------


def test_a_lab_that_is_well() -> None:
    sections = check.everything(well())
    assert [f"{s.name}: {f.code} {f.where} {f.found}" for s in sections for f in s.findings] == []
    assert {"processes", "rules", "overlay", "leftovers", "clock"} <= {section.name for section in sections}


WRONG: dict[str, tuple[Facts, str, str]] = {
    "leftover rule": (
        machine(well(), "node1", tables={"IPv4": saved(well(), "node1") + _rule("-A FORWARD -j DROP")}), "filters",
        "dropped-by-rule",
    ),
    "leftover interface": (
        state(well(), "node1", links=lambda found: [*found, Link("veth00000000", "veth")]), "leftovers", "link-left"
    ),
    "leftover namespace": (replace(well(), spaces=("cni-000000000000",)), "leftovers", "namespace-left"),
    "peer too much": (
        state(well(), "node1", fdb=lambda found: [*found, Fdb("flannel.1", "02:00:00:00:00:09", "192.0.2.9")]),
        "overlay", "fdb-left",
    ),
    "masquerade gone": (
        machine(well(), "node2", tables={"IPv4": "\n".join(
            line for line in saved(well(), "node2").splitlines() if "FLANNEL-POSTRTG -s" not in line)}),
        "rules", "masquerade-rules",
    ),
    "component ended": (
        replace(well(), processes=(ProcessFacts("component/scheduler", 3, "-"),)), "processes", "component-ended"
    ),
    "clock": (
        replace(well(replace(ALL, leases=({"metadata": {"name": "node1", "namespace": "kube-node-lease"},
                                           "spec": {"renewTime": "2030-01-01T00:00:30.000000Z"}},))),
                read_at=1893456000.0), "clock", "clock",
    ),
    "DNS does not answer": (
        replace(well(), outcomes=(Outcome(Probe("dns", "dns", "node1", "10.96.0.10", 53, name="x."), ("timeout",)),)),
        "dns", "name-unanswered",
    ),
    "full": (machine(well(), "node1", conntrack=(100, 100)), "conntrack", "conntrack-full"),
    "resolv.conf": (
        replace(well(), resolv={"default/client": "nameserver 192.0.2.53\n"}), "pods", "resolv-conf"
    ),
    "selector": (
        well(replace(ALL, services=(*ALL.services, service("typo", "10.96.9.9", "wed")))), "services", "selector"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_each_section_finds_its_own(case: str) -> None:
    facts, name, code = WRONG[case]
    found = {section.name: [one.code for one in section.findings] for section in check.everything(facts)}
    assert code in found[name], found


def test_only_what_is_seen_twice_counts() -> None:
    first_, second = check.everything(WRONG["full"][0]), check.everything(well())
    assert all(section.ok for section in check.confirmed(first_, second))
    assert not all(section.ok for section in check.confirmed(first_, first_))
    cause = check.first_cause(first_)
    assert cause is not None
    assert cause.code == "conntrack-full"


def test_words() -> None:
    found = asked(CASES["cable out"][0], **CASES["cable out"][1])
    answer = {
        "source": "pod default/client", "target": "web", "means": "service default/web", "endpoints": [],
        "probes": {"sent": 3, "answered": 0},
        "findings": [{**{k: getattr(f, k) for k in f.__slots__}} for f in found.findings],
    }  # fmt: skip
    short, long = "\n".join(words.why(answer, everything=False)), "\n".join(words.why(answer, everything=True))
    assert "remedy:" in short
    assert short.count("wrong:") == 1
    assert "follows from link-down" in long


def test_places_are_named_as_users_name_them() -> None:
    assert str(Place("pod", "default/client", "cni-1", "10.0.0.1")) == "pod default/client"
    assert NodeState() == MachineFacts("x").state


def test_replies_are_dropped_too() -> None:
    facts = MachineFacts("node2", tables={"IPv4": _rule("-A FORWARD -s 10.244.2.3/32 -j DROP", 3)})
    assert filters.suspects(facts, (PACKET, PACKET.reply()))
