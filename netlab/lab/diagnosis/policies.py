"""Connections that NetworkPolicies forbid, judged from the objects. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from netlab.dataplane.policies import Cluster, Connection, Verdict, isolation, judge, pod_of
from netlab.lab.diagnosis.legs import Leg
from netlab.lab.diagnosis.model import Facts, Finding


def forbidden(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """One finding for each pod that its policies keep from asking, or from being asked.

    What comes from outside may arrive with another source address, and what comes from the pod's own node is always
    let through: neither is judged.
    """
    objects = facts.objects
    if not objects.policies or leg.external or not leg.source.ip:
        return
    labels = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in objects.namespaces}
    cluster = Cluster([pod for obj in objects.pods if (pod := pod_of(obj)) is not None], labels)
    found = [one for policy in objects.policies for one in isolation(policy, cluster)]
    told: set[tuple[str, str]] = set()
    for end in leg.ends:
        if leg.source.kind == "node" and end.place is not None and end.place.node == leg.source.name:
            continue
        connection = Connection(leg.source.ip, end.ip, leg.protocol, end.port)
        verdict = judge(found, cluster, connection)
        if not verdict.allowed and (verdict.pod, verdict.direction) not in told:
            told.add((verdict.pod, verdict.direction))
            yield _finding(leg, connection, verdict)


def _finding(leg: Leg, connection: Connection, verdict: Verdict) -> Finding:
    names = ", ".join(verdict.policies)
    which = "NetworkPolicy" if len(verdict.policies) == 1 else "NetworkPolicies"
    peer = f"from {leg.source} ({connection.src})" if verdict.direction == "ingress" else f"to {connection.dst}"
    at = f"{connection.protocol} {connection.port}" if connection.port else connection.protocol
    namespace = verdict.pod.partition("/")[0]
    mine = " ".join(one.partition("/")[2] for one in verdict.policies)
    return Finding(
        "network-policy", "filter", f"pod {verdict.pod}",
        f"{which} {names} isolate{'s' if len(verdict.policies) == 1 else ''} it for {verdict.direction}, and no rule "
        f"allows {at} {peer}",
        "a rule that allows it, or no policy that selects the pod",
        f"klab kubectl describe networkpolicy {mine} -n {namespace}",
    )  # fmt: skip
