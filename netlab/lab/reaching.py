"""`klab ping`: gathers what there is to ask, has it asked inside the lab, and compares."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from netlab.lab import looking
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology
from netlab.trace.reach import plan
from netlab.trace.reach.matrix import BadMatrix, Group, Matrix, Proto, Source, Target, from_obj

PREDICTED = "predicted"


@dataclass(frozen=True, slots=True)
class Asking:
    """What `klab ping` was asked. `groups` empty: those that the protocol is usually asked for."""

    proto: Proto = "icmp"
    groups: tuple[Group, ...] = ()
    source: str | None = None
    target: str | None = None
    sample: int | None = None
    seed: int = 0


def machines(topology: Topology) -> tuple[plan.Machine, ...]:
    """Nodes, then hosts and routers."""
    found = []
    for group, is_node in ((topology.nodes, True), (topology.hosts, False), (topology.routers, False)):
        for item in group:
            ends = [end for end in topology.attachments(item.name) if end.ip is not None]
            segment = topology.segment_of(ends[0]).name if ends else ""
            found.append(plan.Machine(item.name, topology.node_ips(item.name) if ends else (), is_node, segment))
    return tuple(found)


def world(paths: LabPaths, topology: Topology) -> plan.World:
    """The lab as it is now, over its API."""
    pods, services = looking.objects(paths, ("v1", "pods"), ("v1", "services"))
    return plan.World(machines(topology), tuple(pods), tuple(services), dns_domain=topology.cluster.dns_domain)


def choose(paths: LabPaths, asking: Asking) -> tuple[list[Source], list[Target], list[list[int]]]:
    """Sources, targets, and for each source the targets that it asks. LabError for a name that nothing has."""
    groups = asking.groups or (("pods", "nodes") if asking.proto == "icmp" else ("pods", "services"))
    wrong = [group for group in groups if group not in plan.GROUPS_OF[asking.proto]]
    if wrong:
        able = ", ".join(plan.GROUPS_OF[asking.proto])
        raise LabError(f"{', '.join(wrong)} cannot be asked by {asking.proto}; it can ask {able}", 2)
    try:
        sources, targets = plan.choose(
            world(paths, load(paths.topology)), asking.proto, groups, asking.source, asking.target
        )
    except plan.Unknown as unknown:
        close = get_close_matches(unknown.name, unknown.known, 1)
        if asking.proto == "icmp" and unknown.name.startswith(("svc/", "dns/")):
            raise LabError(
                f"{unknown.name} is no pod or machine: what is behind it is asked by --proto tcp", 2
            ) from None
        hint = f"; did you mean '{close[0]}'?" if close else "; 'klab kubectl get pods -A' lists the pods"
        raise LabError(f"{unknown} in lab '{paths.name}'{hint}", 2) from None
    return sources, targets, plan.work(sources, targets, asking.sample, asking.seed)


def ping(paths: LabPaths, asking: Asking) -> Matrix:
    """Ask, and what was answered. LabError where there is nothing to ask."""
    from netlab.trace.reach.__main__ import request

    sources, targets, work = choose(paths, asking)
    if not any(work):
        raise LabError(f"nothing to ask: {len(sources)} sources, {len(targets)} targets in lab '{paths.name}'")
    nodes = [node.name for node in load(paths.topology).nodes]
    return _inside(paths, "netlab.trace.reach", request(asking.proto, sources, targets, work, nodes))


def _inside(paths: LabPaths, program: str, described: str) -> Matrix:
    """Run a program of ours in the lab that reads such a description and prints a matrix."""
    with tempfile.NamedTemporaryFile("w", dir=paths.state, prefix=".reach-") as file:
        file.write(described)
        file.flush()
        return from_obj(json.loads(looking.text(paths, [sys.executable, "-m", program, file.name])))


def earlier(paths: LabPaths, asking: Asking, what: str) -> Matrix:
    """What `--diff` compares with: a file of `klab ping -o json`, or "predicted"."""
    if what == PREDICTED:
        return predicted(paths, asking)
    try:
        return from_obj(json.loads(Path(what).read_text()))
    except (OSError, ValueError) as error:
        words = (
            str(error) if isinstance(error, BadMatrix) else (getattr(error, "strerror", None) or f"no JSON: {error}")
        )
        raise LabError(f"{what}: {words}", 2) from None


def predicted(paths: LabPaths, asking: Asking) -> Matrix:
    """The same pairs as the lab's rules say they must be (`netlab.trace.predict`)."""
    from netlab.lab.tracing import Scene
    from netlab.trace.reach.__main__ import request

    if asking.proto == "sctp":
        raise LabError("SCTP is not predicted; icmp, tcp and udp are", 2)
    sources, targets, work = choose(paths, asking)
    described = json.loads(request(asking.proto, sources, targets, work, ()))
    described["places"] = Scene.of(paths).places
    return _inside(paths, "netlab.trace.reach.predicted", json.dumps(described))


def groups_of(text: str) -> tuple[Group, ...]:
    """`--to` as a list. LabError for a group that is not there."""
    found: Sequence[str] = [word.strip() for word in text.split(",") if word.strip()]
    for word in found:
        if word not in plan.GROUPS:
            close = get_close_matches(word, plan.GROUPS, 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise LabError(f"no group '{word}' to ask; {hint}there are: {', '.join(plan.GROUPS)}", 2)
    return tuple(found)  # type: ignore[arg-type]
