"""metrics.k8s.io from a pod behind an APIService: top, an autoscaler under load; and CronJobs on the same lab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.labs.conftest import _short_directory
from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(400)
LAB = "metered"

BUSY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  replicas: 1
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: busybox
          command: [sh, -c, "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 0.02; done"]
          resources: {requests: {cpu: 5m}}
"""
OFTEN = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: often}
spec:
  schedule: "@every 1s"
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 1
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: busybox, command: ["true"]}]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[User]:
    user = User(_short_directory())
    user.prepare()
    try:
        up = user.klab("up", "single", "--name", LAB)
        assert up.returncode == 0, up.stderr
        yield user
    finally:
        user.klab("down", "--all", "--purge")
        shutil.rmtree(user.home, ignore_errors=True)


def kubectl(user: User, *arguments: str, stdin: str = "") -> str:
    done = user.klab("--lab", LAB, "kubectl", *arguments, stdin=stdin)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def read(user: User, *arguments: str) -> Any:
    """An object, {} where it is not there (yet)."""
    done = user.kubectl("get", *arguments, "-o", "json", lab=LAB)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def reasons(user: User, kind: str, name: str) -> set[str]:
    events = read(user, "events", f"--field-selector=involvedObject.kind={kind},involvedObject.name={name}")
    return {event["reason"] for event in events.get("items", ())}


def condition(user: User) -> tuple[str, str]:
    found = read(user, "apiservice", "v1beta1.metrics.k8s.io").get("status", {}).get("conditions") or [{}]
    return found[0].get("status", ""), found[0].get("reason", "")


def served(user: User) -> bool:
    return condition(user) == ("True", "Passed") and user.kubectl("top", "nodes", lab=LAB).returncode == 0


def test_top_and_an_autoscaler(lab: User) -> None:
    kubectl(lab, "apply", "-f", "-", stdin=BUSY)
    kubectl(lab, "autoscale", "deployment", "busy", "--min=1", "--max=3", "--cpu-percent=50")
    until("the metrics API is available", lambda: served(lab), 90)
    node = kubectl(lab, "top", "nodes", "--no-headers").split()
    assert node[0] == "node" and node[1].endswith("m") and node[3].endswith("Mi")
    header = kubectl(lab, "top", "pods", "-A", "--containers").splitlines()[0].split()
    assert header == ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]

    def burns() -> bool:
        found = lab.kubectl("top", "pods", "-l", "app=busy", "--no-headers", "--sort-by=cpu", lab=LAB)
        return found.returncode == 0 and any(int(line.split()[1][:-1]) > 10 for line in found.stdout.splitlines())

    until("the busy pod is seen to be busy", burns, 90)

    def replicas() -> int:
        return int(read(lab, "deployment", "busy")["spec"]["replicas"])

    until("three replicas", lambda: replicas() == 3, 90)
    until("the event", lambda: "SuccessfulRescale" in reasons(lab, "HorizontalPodAutoscaler", "busy"), 30)
    found = {one["type"]: one["status"] for one in read(lab, "hpa", "busy")["status"]["conditions"]}
    assert (found["AbleToScale"], found["ScalingActive"]) == ("True", "True")


def test_a_server_that_is_gone(lab: User) -> None:
    until("the metrics API is available", lambda: served(lab), 90)
    kubectl(lab, "-n", "kube-system", "scale", "deployment", "metrics-server", "--replicas=0")
    until("it is not available", lambda: condition(lab) == ("False", "MissingEndpoints"), 60)
    asked = lab.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", lab=LAB)
    assert asked.returncode == 1
    assert "the server is currently unable to handle the request" in asked.stderr
    assert lab.kubectl("get", "nodes", lab=LAB).returncode == 0
    kubectl(lab, "-n", "kube-system", "scale", "deployment", "metrics-server", "--replicas=1")
    until("the metrics API is available again", lambda: served(lab), 90)


def test_a_cron_job(lab: User) -> None:
    kubectl(lab, "apply", "-f", "-", stdin=OFTEN)
    until("a success", lambda: "lastSuccessfulTime" in read(lab, "cronjob", "often").get("status", {}), 90)
    until("events", lambda: {"SuccessfulCreate", "SawCompletedJob"} <= reasons(lab, "CronJob", "often"), 30)
    kubectl(lab, "patch", "cronjob", "often", "-p", '{"spec":{"suspend":true}}')
    kubectl(lab, "create", "job", "by-hand", "--from=cronjob/often")
    kubectl(lab, "wait", "--for=condition=Complete", "job/by-hand", "--timeout=60s")
    assert read(lab, "job", "by-hand")["metadata"]["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual"}
    kubectl(lab, "delete", "cronjob", "often")
    until("the jobs go with it", lambda: read(lab, "jobs")["items"] == [], 60)
