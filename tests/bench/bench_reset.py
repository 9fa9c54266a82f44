"""What a test that uses the `lab` fixture pays between two tests, beside what a lab's start costs.

One lab of the topology `course`. Ratios against the start of the same lab in the same run.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from netlab.lab.facade import Lab
from netlab.lab.sessions import OwnedLabs

ROUNDS = 11
WEB = (Path(__file__).resolve().parents[2] / "labs/00-first-look/manifests/web.yaml").read_text()
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"


def nothing(_: Lab) -> None:
    """A test that only looks."""


def config_map(lab: Lab) -> None:
    lab.apply(CONFIG)


def deployment(lab: Lab) -> None:
    """Two pods on two nodes behind a Service."""
    lab.apply(WEB)
    lab.wait("deployment/web")


def cordon(lab: Lab) -> None:
    body = {"spec": {"unschedulable": True}}
    lab.api.call("PATCH", "/api/v1/nodes/node1", body=body, content="application/merge-patch+json")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="netlab-bench-") as home:
        for variable, name in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run"), ("XDG_DATA_HOME", "data")):
            (Path(home) / name).mkdir(mode=0o700)
            os.environ[variable] = str(Path(home) / name)
        labs = OwnedLabs()
        try:
            began = time.monotonic()
            lab = labs.shared("course")
            start = time.monotonic() - began
            print(f"{'start of the lab':40}{start * 1000:8.0f} ms")
            lab.wait("pods", namespace="kube-system")
            print(f"{'a reset after':40}{'median':>11}{'worst':>11}{'of a start':>12}")
            for test in (nothing, config_map, cordon, deployment):
                _row(test, lab, start)
        finally:
            labs.end_all()


def _row(test: Callable[[Lab], None], lab: Lab, start: float) -> None:
    lab.reset()
    found = []
    for _ in range(ROUNDS):
        test(lab)
        found.append(lab.reset())
    middle = statistics.median(found)
    name = test.__name__.replace("_", " ")
    print(f"{name:40}{middle * 1000:8.1f} ms{max(found) * 1000:8.1f} ms{start / middle:11.0f}×")


if __name__ == "__main__":
    main()
