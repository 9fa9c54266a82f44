"""`klab check`: the whole lab against its desired state, in sections. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from netlab.api.types import Obj
from netlab.dataplane.nodes import NodeNet
from netlab.lab.diagnosis import filters, network, objects, order, paths, processes, rules, walk
from netlab.lab.diagnosis.legs import Leg, ends_of, is_ready
from netlab.lab.diagnosis.model import Facts, Finding, NodeProxy, Place
from netlab.lab.diagnosis.places import key, pod_place
from netlab.lab.diagnosis.plan import SWITCHES
from netlab.lab.diagnosis.sockets import expected_resolver

CLOCK_SLACK = 5.0
"""Seconds by which a node's clock may seem to differ: leases are renewed only now and then."""
POD_SPACE = "cni-"


@dataclass(frozen=True, slots=True)
class Section:
    """One thing that was checked: how many of what, and what is wrong with it."""

    name: str
    looked_at: str
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings


def to_obj(section: Section) -> Obj:
    return {"name": section.name, "lookedAt": section.looked_at, "findings": [asdict(one) for one in section.findings]}


def everything(facts: Facts) -> list[Section]:
    """All sections, in the order in which one thing rests on another."""
    want = network.expected(facts)
    nets = network.node_nets(facts)
    nodes = [node.name for node in facts.topology.nodes]
    kept = {name: machine for name, machine in facts.machines.items() if name in want.states}
    network_ = [f for machine in kept.values() for f in network.compare(machine, want, all_of_it=True)]
    links = [f for f in network_ if f.code.startswith(("link-", "no-carrier", "address-")) and f.stage != "pod"]
    pods = [f for f in network_ if f.stage == "pod" or f.where.startswith("pod ")]
    sysctls = [f for f in network_ if f.code.startswith("sysctl")]
    rest = [f for f in network_ if f not in links and f not in pods and f not in sysctls]
    return [
        Section("processes", f"{_components(facts)} components", (*processes.api(facts), *processes.components(facts))),
        Section("nodes", f"{len(nodes)} nodes", (*processes.off(facts, nodes), *processes.nodes(facts, nodes))),
        Section("links", f"{sum(len(want.states[n].links) for n in kept)} links", tuple(links + _shaping(facts, want))),
        Section("overlay", "routes, neighbours, forwarding entries", tuple(rest)),
        Section("settings", f"{sum(len(m.state.sysctls) for m in kept.values())} sysctls", tuple(sysctls)),
        Section("pods", f"{len(facts.objects.pods)} pods", (*pods, *_pods(facts, want))),
        Section("services", f"{len(facts.objects.services)} Services", tuple(_services(facts))),
        Section("rules", f"{len(nets)} nodes", tuple(_rules(facts, nets))),
        Section("filters", f"{len(facts.machines)} namespaces", tuple(_filters(facts, want))),
        Section("leftovers", "interfaces, namespaces", tuple(_leftovers(facts, want))),
        Section("dns", f"asked on {len(nodes)} nodes", tuple(_probes(facts, want))),
        Section("conntrack", _fill(facts), tuple(_conntrack(facts, want))),
        Section("clock", f"{len(facts.objects.leases)} leases", tuple(_clock(facts))),
    ]


def confirmed(first: Sequence[Section], second: Sequence[Section]) -> list[Section]:
    """The sections of the second look, with only what both looks found."""
    seen = {(f.code, f.where, f.expected) for section in first for f in section.findings}
    return [
        Section(one.name, one.looked_at, tuple(f for f in one.findings if (f.code, f.where, f.expected) in seen))
        for one in second
    ]


def first_cause(sections: Iterable[Section]) -> Finding | None:
    """What to mend first."""
    found = order.causes_first(finding for section in sections for finding in section.findings)
    return found[0] if found else None


def _components(facts: Facts) -> int:
    return sum(one.id.startswith(processes.COMPONENT) for one in facts.processes)


def _shaping(facts: Facts, want: network.Expected) -> list[Finding]:
    return [finding for machine in facts.machines.values() for finding in paths.shaped(machine, facts, want)]


def _pods(facts: Facts, want: network.Expected) -> Iterator[Finding]:
    """Pods' namespaces, processes and resolv.conf."""
    running = {process.pod for process in facts.processes if process.container and process.state != "-"}
    for space, title in want.titles.items():
        if space.startswith(POD_SPACE) and space not in facts.machines and title.removeprefix("pod ") in running:
            namespace, _, name = title.removeprefix("pod ").partition("/")
            yield Finding(
                "namespace-missing", "pod", title, "its network namespace is gone", "a namespace",
                f"klab kubectl delete pod {name} -n {namespace}",
            )  # fmt: skip
    yield from processes.containers(facts, running)
    for pod in facts.objects.pods:
        text = facts.resolv.get(key(pod), "")
        expected = expected_resolver(pod, facts.topology)
        if text and expected is not None and not any(f"nameserver {server}" in text for server in expected[0]):
            yield Finding(
                "resolv-conf", "name", f"pod {key(pod)} /etc/resolv.conf", " ".join(text.split()),
                f"nameserver {expected[0][0]}", f"klab kubectl delete pod {pod['metadata']['name']} "
                f"-n {pod['metadata']['namespace']}",
            )  # fmt: skip


def _services(facts: Facts) -> Iterator[Finding]:
    """Services whose selector finds nobody, or nobody who is ready."""
    nobody = Place("node", "", "", "")
    for service in facts.objects.services:
        spec = service.get("spec") or {}
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            continue
        for port in (spec.get("ports") or ())[:1]:
            like = (spec.get("clusterIPs") or [spec.get("clusterIP") or "0"])[0]
            like = "0" if like == "None" else like
            ends = tuple(ends_of(service, port, facts.objects, like))
            leg = Leg("data", nobody, "tcp", ends, None, service, dict(port))
            yield from objects.endpoints(leg, facts)


def _rules(facts: Facts, nets: dict[str, NodeNet]) -> Iterator[Finding]:
    """Rule by rule, against a fresh full sync."""
    if facts.objects.error:
        return
    yield from processes.proxies(facts, nets)
    for name, net in nets.items():
        if name not in facts.machines:
            continue
        machine, proxy = facts.machines[name], facts.proxies.get(name, NodeProxy("none"))
        found = rules.service_rules(facts, machine, net)
        if found:
            yield rules.service_finding(name, proxy, found)
        masquerade = rules.masquerade_rules(facts, machine, net)
        if masquerade:
            yield rules.masquerade_finding(name, masquerade)


def _filters(facts: Facts, want: network.Expected) -> Iterator[Finding]:
    for name, machine in facts.machines.items():
        for rule in filters.suspects(machine, None):
            yield paths.dropped(rule, name, want)


def _leftovers(facts: Facts, want: network.Expected) -> Iterator[Finding]:
    """Interfaces of pods that are gone on nodes; namespaces of pods that are gone."""
    if facts.objects.error:
        return
    for node in facts.topology.nodes:
        machine = None if _ending(facts, node.name) else facts.machines.get(node.name)
        for link in machine.state.links if machine else ():
            if link.name.startswith("veth") and f"{node.name} {link.name}" not in want.ports:
                yield Finding(
                    "link-left", "pod", f"{node.name} {link.name}", "the interface of no pod that there is",
                    "nothing of the kind", f"klab exec {node.name} -- ip link del {link.name}",
                )  # fmt: skip
    known = {pod_place(pod).netns for pod in facts.objects.pods}
    kept = {process.id.rpartition("/")[2].replace("-", "")[:12] for process in facts.processes}
    for space in facts.spaces:
        if space.startswith(POD_SPACE) and space not in known and space.removeprefix(POD_SPACE) not in kept:
            yield Finding(
                "namespace-left", "pod", space, "the namespace of no pod that there is", "nothing of the kind",
                f"klab mininet -c 'sh ip netns del {space}'",
            )  # fmt: skip


def _ending(facts: Facts, node: str) -> bool:
    """Whether a pod of the node is just going."""
    return any(
        pod["metadata"].get("deletionTimestamp") and (pod.get("spec") or {}).get("nodeName") == node
        for pod in facts.objects.pods
    )


def _probes(facts: Facts, want: network.Expected) -> Iterator[Finding]:
    """The cluster's DNS as each node reaches it; the control plane and the underlay's MTU from each node."""
    for outcome in facts.outcomes:
        where = network.title(outcome.probe.netns, want)
        if outcome.probe.kind == "dns" and "NOERROR" not in outcome.results:
            yield Finding(
                "name-unanswered", "name", where,
                f"{outcome.results[0]} from {outcome.probe.ip} to {outcome.probe.name}", "an answer",
                "klab why POD kubernetes shows where it ends",
            )  # fmt: skip
        elif outcome.probe.group == "ping" and not outcome.works:
            yield Finding(
                "loss", "underlay", f"{where} → {outcome.probe.ip}",
                f"{outcome.good} of {len(outcome.results)} echo requests were answered", "all of them",
                f"klab why node/{where} {outcome.probe.ip}",
            )  # fmt: skip
        elif outcome.probe.group == "full" and outcome.fails and _pinged(facts, outcome.probe.netns):
            yield Finding(
                "mtu", "underlay", f"{where} → {outcome.probe.ip}",
                f"packets of {outcome.probe.size} bytes do not arrive, small ones do",
                f"packets of up to {outcome.probe.size} bytes", f"klab why node/{where} {outcome.probe.ip}",
            )  # fmt: skip


def _pinged(facts: Facts, netns: str) -> bool:
    return any(o.good for o in facts.group("ping") if o.probe.netns == netns)


def _fill(facts: Facts) -> str:
    most = max((m.conntrack[0] / m.conntrack[1] for m in facts.machines.values() if m.conntrack and m.conntrack[1]),
               default=0.0)  # fmt: skip
    return f"at most {most * 100:.1f}% full"


def _conntrack(facts: Facts, want: network.Expected) -> Iterator[Finding]:
    for name, machine in facts.machines.items():
        if name != SWITCHES:
            yield from walk.conntrack(name, machine.conntrack, want)


def _clock(facts: Facts) -> Iterator[Finding]:
    """Leases are stamped by their nodes: one that is far from now, either way, has another clock, or has stopped."""
    nodes = {node["metadata"]["name"] for node in facts.objects.nodes if is_ready(node)}
    for lease in facts.objects.leases:
        name, spec = lease["metadata"]["name"], lease.get("spec") or {}
        stamp = spec.get("renewTime")
        if lease["metadata"].get("namespace") != "kube-node-lease" or name not in nodes or not stamp:
            continue
        behind = facts.read_at - datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
        allowed = float(spec.get("leaseDurationSeconds") or 40) / 4 + CLOCK_SLACK
        if behind > allowed or behind < -CLOCK_SLACK:
            way = "behind" if behind > 0 else "ahead of"
            yield Finding(
                "clock", "lab", name, f"its lease was renewed at {stamp}: {abs(behind):.0f} s {way} the lab's clock",
                f"within {allowed:.0f} s", "klab fault heal --all; klab logs agent-0 --tail 20",
            )  # fmt: skip
