"""What of a lab helps to understand a failure: a summary in words, and files."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.lab.facade.waiting import how_far, reached
from netlab.lab.record import LabError

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

KINDS = (
    ("v1", "events"),
    ("v1", "pods"),
    ("v1", "services"),
    ("discovery.k8s.io/v1", "endpointslices"),
    ("v1", "nodes"),
)
WARNINGS = 8


def file_name(test: str) -> str:
    """A test's id as the name of a directory."""
    return re.sub(r"[^\w.-]+", "_", test).strip("_")[-120:]


def summary(lab: Lab) -> str:
    """What is not as it should be: nodes and pods that are not Ready, the last warnings since the test began."""
    try:
        lines = [how_far({"kind": "Node", **node}) for node in lab.nodes if not reached(node, "Ready")]
        lines += [how_far({"kind": "Pod", **pod}) for pod in lab.pods() if not reached(pod, "Ready")]
        warnings = [event for event in lab.api.list(("v1", "events")) if event.get("type") == "Warning"]
        events = [event for event in warnings if _time(event) >= int(lab.since)]
    except (LabError, StatusError) as problem:
        return str(problem)
    lines += [_event(event) for event in events[-WARNINGS:]]
    return "\n".join(lines) or "nodes and pods are Ready, and there are no warnings"


def _time(event: Obj) -> float:
    """When it was seen last, in whole seconds or parts of them; the end of time where it does not say."""
    text = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(text).timestamp() if text else float("inf")


def _event(event: Obj) -> str:
    about = event.get("involvedObject") or {}
    name = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    return f"{event.get('reason')} {name}: {event.get('message', '').strip()}"


def write(lab: Lab, where: Path) -> None:
    """Objects as JSON, logs of all containers, and what was captured. A lab that has ended gives what it still can."""
    where.mkdir(parents=True, exist_ok=True)
    for number, recording in enumerate(lab.kept, 1):
        recording.stop()
        recording.save(where / f"packets-{number}.pcapng")
    for name, text in lab.notes.items():
        (where / name).write_text(text)
    try:
        for kind in KINDS:
            (where / f"{kind[1]}.json").write_text(json.dumps(lab.api.list(kind), indent=2))
        for pod in lab.pods():
            _logs(lab, pod, where / "logs")
    except (LabError, StatusError) as problem:
        (where / "incomplete.txt").write_text(f"{problem}\n")


def _logs(lab: Lab, pod: Obj, where: Path) -> None:
    where.mkdir(exist_ok=True)
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for container in pod["spec"]["containers"]:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        try:
            text = str(lab.api.call("GET", path, query={"container": container["name"]}))
        except StatusError as problem:
            text = f"{problem.message}\n"
        (where / f"{namespace}_{name}_{container['name']}.log").write_text(text)
