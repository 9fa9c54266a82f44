"""`python -m netlab.lab.diagnosis.inside`: reads a request from standard input, looks, judges, prints findings as JSON.

The request: {"op": "why" | "check", "state": DIR, "source": TEXT, "target": TEXT, "protocol": TEXT, "objects": {…}}.
The answer: {"findings": […], …}, or {"error": TEXT, "status": n}. Runs in the lab's own namespaces.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from netlab.api.types import Obj
from netlab.lab import proxymodes
from netlab.lab.diagnosis import check, gather, places, plan, walk
from netlab.lab.diagnosis.model import Facts, NodeProxy, Objects, Question
from netlab.lab.record import LabError
from netlab.topology import load

SECOND_LOOK = 1.5
"""Seconds after which `check` looks again: what is just changing is not wrong."""

OBJECTS = ("services", "slices", "pods", "nodes", "leases", "events", "policies", "namespaces")


def facts_of(request: Obj) -> Facts:
    """What is known before anything is looked at."""
    state = Path(request["state"])
    topology = load(state / "topology.yaml")
    chosen = proxymodes.chosen(state, topology)
    proxies = {
        name: NodeProxy(one.mode, one.scheduler, proxymodes.reported(name).get("state", "ready"))
        for name, one in chosen.items()
    }
    given = request["objects"]
    found = gather.processes()
    if given.get("error"):
        given = {**given, "pods": gather.pods()}
    objects = Objects(
        **{name: tuple(given[name]) for name in OBJECTS},
        error=given.get("error", ""),
    )
    return Facts(
        topology, objects, processes=found, proxies=proxies,
        read_at=float(request["readAt"]),
    )  # fmt: skip


def why(request: Obj) -> Obj:
    """One connection."""
    facts = facts_of(request)
    source = places.source(request["source"], facts.topology, facts.objects)
    target = places.target(request["target"], source, facts.topology, facts.objects)
    question = Question(source, target, request["protocol"])
    resolv = gather.resolv_conf(facts.processes, source.name) if source.kind == "pod" else ""
    facts = replace(facts, resolv={source.name: resolv})
    legs = plan.legs_of(question, facts.topology, facts.objects, resolv)
    facts = gather.gather(facts, plan.wanted(question, legs, facts.topology, resolv))
    found = walk.diagnose(question, legs, facts)
    return {
        "source": str(source),
        "target": request["target"],
        "means": f"{target.kind} {target.name}",
        "works": found.works,
        "probes": {"sent": found.probes, "answered": found.answered},
        "endpoints": [str(end) for leg in legs if leg.purpose == "data" for end in leg.ends],
        "findings": [asdict(finding) for finding in found.findings],
    }


def whole(request: Obj) -> Obj:
    """The lab; what is wrong is looked at twice."""
    facts = facts_of(request)
    running = {process.pod for process in facts.processes if process.container and process.state != "-"}
    facts = replace(facts, resolv={pod: gather.resolv_conf(facts.processes, pod) for pod in running})
    wanted = plan.everything(facts.topology, facts.objects)
    facts = gather.gather(facts, wanted)
    found = check.everything(facts)
    if any(not section.ok for section in found):
        time.sleep(SECOND_LOOK)
        again = check.everything(gather.gather(facts, wanted))
        found = check.confirmed(found, again)
    return {"sections": [check.to_obj(section) for section in found], "ok": all(section.ok for section in found)}


def main() -> int:
    request = json.load(sys.stdin)
    try:
        answer = {"why": why, "check": whole}[request["op"]](request)
    except LabError as error:
        answer = {"error": str(error), "status": error.status}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
