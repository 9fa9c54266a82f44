"""What listens where, and what a resolv.conf should say. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from netlab.api.types import Obj
from netlab.lab.diagnosis import objects
from netlab.lab.diagnosis.legs import NODE_LOCAL_DNS, End, Leg
from netlab.lab.diagnosis.model import Facts, Finding, Listener
from netlab.topology.model import Topology

LOOPBACKS = ("127.0.0.1", "::1")
BACKLOG = 100
"""A server that lets so many connections wait does not accept any."""


def listening(leg: Leg, end: End, facts: Facts) -> Iterator[Finding]:
    """Whether a process listens at the endpoint, and at the right address."""
    if end.place is None or not end.port or leg.protocol == "icmp":
        return
    machine = facts.machines.get(end.place.netns)
    if machine is None or machine.listeners is None:
        return
    protocol = leg.protocol
    at_port = [one for one in machine.listeners if one.protocol == protocol and one.port == end.port]
    if any(_serves(one, end.ip) for one in at_port):
        waiting = max(one.waiting for one in at_port)
        if protocol == "tcp" and waiting >= BACKLOG:
            yield Finding(
                "not-accepting", "process", str(end.place), f"{waiting} connections to port {end.port} wait for the "
                "process to accept them", "it accepts connections", _restart(end),
            )  # fmt: skip
        return
    if answered(leg, end, facts):
        return
    if at_port:
        only = ", ".join(sorted({one.address for one in at_port}))
        yield Finding(
            "listens-on-loopback" if set(only.split(", ")) <= set(LOOPBACKS) else "listens-elsewhere", "process",
            str(end.place), f"port {end.port}/{protocol} is open at {only} alone, not at {end.ip}",
            f"a process that listens at 0.0.0.0:{end.port}", "change the address that the server binds to: 0.0.0.0 (or "
            f"::) instead of {only}",
        )  # fmt: skip
        return
    other = objects.wrong_target_port(leg, machine.listeners, end.port)
    if other is not None:
        yield other
        return
    open_ = sorted({f"{one.port}/{one.protocol}" for one in machine.listeners})
    yield Finding(
        "not-listening", "process", str(end.place),
        f"nothing listens at port {end.port}/{protocol}; open are: {', '.join(open_) or 'none'}",
        f"a process that listens at port {end.port}/{protocol}", _restart(end),
    )  # fmt: skip


def _serves(one: Listener, ip: str) -> bool:
    return one.address in ("0.0.0.0", "::", ip)


def answered(leg: Leg, end: End, facts: Facts) -> bool:
    """Whether the endpoint answered somebody: then it listens, by whatever means."""
    return any(
        o.good for o in facts.outcomes
        if o.probe.kind in ("tcp", "dns") and (o.probe.ip, o.probe.port) == (end.ip, end.port)
    )  # fmt: skip


def _restart(end: End) -> str:
    if end.place is None or end.place.kind != "pod":
        return f"klab exec {end.place.name if end.place else ''} -- ss -ltnup"
    namespace, _, name = end.place.name.partition("/")
    return f"klab kubectl logs {name} -n {namespace}; klab kubectl describe pod {name} -n {namespace}"


def expected_resolver(pod: Obj, topology: Topology) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(nameservers, search list) of a pod with DNS policy ClusterFirst; None for others."""
    spec = pod.get("spec") or {}
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy not in ("ClusterFirst", "ClusterFirstWithHostNet") or spec.get("dnsConfig"):
        return None
    if spec.get("hostNetwork") and policy == "ClusterFirst":
        return None
    domain, namespace = topology.cluster.dns_domain, pod["metadata"].get("namespace") or "default"
    servers = (topology.cluster.dns_ip, NODE_LOCAL_DNS)
    return servers, (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
