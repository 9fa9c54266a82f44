"""The caller's side: reads the API's objects, and has the rest done inside the lab."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from netlab.api.types import Obj
from netlab.lab import looking
from netlab.lab.diagnosis.model import Finding
from netlab.lab.portal import Portal, Where
from netlab.lab.record import LabError
from netlab.sandbox.enter import enter
from netlab.sandbox.paths import LabPaths

API_TIMEOUT = 4.0
MAX_EVENTS = 5000
RESOURCES: tuple[tuple[str, looking.Resource], ...] = (
    ("services", ("v1", "services")),
    ("slices", ("discovery.k8s.io/v1", "endpointslices")),
    ("pods", ("v1", "pods")),
    ("nodes", ("v1", "nodes")),
    ("leases", ("coordination.k8s.io/v1", "leases")),
    ("events", ("v1", "events")),
    ("policies", ("networking.k8s.io/v1", "networkpolicies")),
    ("namespaces", ("v1", "namespaces")),
)
RUN_TIMEOUT = 120.0
SECOND_LOOK = 1.0
"""Seconds until what may only be on its way is looked at again."""
CHANGING = frozenset({"rules-stale", "rules-missing", "endpoints-stale", "endpoints-missing", "namespace-missing"})


Runner = Callable[[Sequence[str], str], str]
"""Runs a command in the lab with a text on its standard input; its standard output."""


def why(paths: LabPaths, source: str, target: str, protocol: str, run: Runner | None = None) -> Obj:
    """{"findings": …} for one connection (see `inside`). LabError where the question makes no sense."""
    request = {"op": "why", "source": source, "target": target, "protocol": protocol}
    answer = _ask(paths, request, run)
    doubtful = _transient(answer)
    if not doubtful:
        return answer
    time.sleep(SECOND_LOOK)
    again = _ask(paths, request, run)
    gone = _transient(again) - doubtful
    again["findings"] = [one for one in again["findings"] if (one["code"], one["where"]) not in gone]
    return {**again, "works": not again["findings"]}


def _transient(answer: Obj) -> set[tuple[str, str]]:
    """Findings that a change on its way from the API to the nodes looks like."""
    return {(one["code"], one["where"]) for one in answer["findings"] if one["code"] in CHANGING}


def check(paths: LabPaths, run: Runner | None = None) -> Obj:
    """{"sections": …, "ok": …} for the whole lab."""
    return _ask(paths, {"op": "check"}, run)


def through(portal: Portal) -> Runner:
    """By a portal that is open: without a fork of the caller."""

    def run(argv: Sequence[str], text: str) -> str:
        found = portal.run(Where(), argv, stdin=text, env=os.environ, timeout=RUN_TIMEOUT, what="diagnosis")
        if found.status:
            raise LabError(f"the lab could not be looked at: {(found.stderr.strip().splitlines() or ['?'])[-1]}")
        return found.stdout

    return run


def findings(answer: Obj) -> list[Finding]:
    """Those of `why`, or of all sections of `check`."""
    listed = answer.get("findings")
    if listed is None:
        listed = [one for section in answer["sections"] for one in section["findings"]]
    return [Finding(**one) for one in listed]


def objects(paths: LabPaths) -> Obj:
    """The API's objects by kind; empty with an "error" where nobody answers: that is a finding, not a failure."""
    try:
        found = looking.objects(paths, *(resource for _, resource in RESOURCES), timeout=API_TIMEOUT)
    except LabError as error:
        return {**{name: [] for name, _ in RESOURCES}, "error": str(error)}
    listed = dict(zip((name for name, _ in RESOURCES), found, strict=True))
    listed["events"] = [event for event in listed["events"] if event.get("reason") == "Unhealthy"][-MAX_EVENTS:]
    return listed


def _ask(paths: LabPaths, request: Obj, run: Runner | None) -> Obj:
    read_at = time.time()
    whole = {
        **request, "objects": objects(paths), "readAt": read_at, "state": str(paths.state),
    }  # fmt: skip
    argv = [sys.executable, "-m", "netlab.lab.diagnosis.inside"]
    text = json.dumps(whole)
    answer: Obj = json.loads(run(argv, text) if run is not None else _run(paths, argv, text.encode()))
    if "error" in answer:
        raise LabError(answer["error"], answer.get("status", 1))
    return answer


def _run(paths: LabPaths, argv: Sequence[str], data: bytes) -> str:
    """What the command prints in the lab, given `data` on its standard input. LabError with its last words."""
    given = os.memfd_create("request")
    _write_all(given, data)
    os.lseek(given, 0, os.SEEK_SET)
    (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for old, new in ((given, 0), (out_w, 1), (err_w, 2)):
                os.dup2(old, new)
            os.closerange(3, 256)
            os._exit(enter(paths, argv))
        except BaseException as error:
            os.write(2, str(error).encode())
        os._exit(1)
    for fd in (given, out_w, err_w):
        os.close(fd)
    with os.fdopen(out_r) as stream, os.fdopen(err_r) as complaint:
        said, words = stream.read(), complaint.read().strip()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        last = words.splitlines()[-1] if words else f"exit status {status}"
        raise LabError(f"the lab could not be looked at: {last}")
    return said


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
