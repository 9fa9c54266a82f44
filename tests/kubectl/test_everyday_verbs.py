"""Everyday verbs with every real kubectl there is, against one lab: what it printed, and what the cluster then held.

A table of the matrix is printed at the end. Where a machine has no kubectl at all the test fails: scripts/test sees to
at least one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubectl.programs import kubectls
from tests.labs.conftest import _short_directory
from tests.labs.tools import User

pytestmark = pytest.mark.timeout(300)

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080]
          ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""

RESULTS: dict[str, dict[str, str]] = {}


def test_there_is_a_kubectl() -> None:
    assert kubectls(), "no kubectl found; scripts/test installs Debian's"


@pytest.fixture(scope="module")
def lab() -> Iterator[User]:
    user = User(_short_directory())
    user.prepare()
    up = user.klab("up", "single")
    assert up.returncode == 0, up.stderr
    yield user
    print(table())
    user.klab("down", "--all", "--purge")
    shutil.rmtree(user.home, ignore_errors=True)


def table() -> str:
    verbs = list(dict.fromkeys(verb for results in RESULTS.values() for verb in results))
    lines = ["", "verb".ljust(18) + "".join(version.rjust(7) for version in RESULTS)]
    lines += [
        verb.ljust(18) + "".join(results.get(verb, "-").rjust(7) for results in RESULTS.values()) for verb in verbs
    ]
    return "\n".join(lines)


class Kubectl:
    """One version, in a namespace of its own."""

    def __init__(self, lab: User, version: str) -> None:
        self.version, self.program = version, kubectls()[version]
        self.namespace = "v" + version.replace(".", "-")
        self.environment = {
            **lab.environment,
            "KUBECONFIG": str(lab.home / "state" / "netlab" / "single" / "kubeconfig"),
        }
        self.results = RESULTS.setdefault(version, {})

    def __call__(self, *arguments: str, stdin: str = "", timeout: float = 90) -> str:
        verb = " ".join(arguments[: 2 if arguments[0] in ("rollout", "create", "set", "auth") else 1])
        self.results[verb] = "FAIL"
        result = subprocess.run(
            [self.program, "-n", self.namespace, *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, env=self.environment, check=False,
        )  # fmt: skip
        assert result.returncode == 0, f"kubectl {self.version} {' '.join(arguments)}: {result.stderr}{result.stdout}"
        self.results[verb] = "ok"
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))


@pytest.mark.parametrize("version", kubectls())
def test_a_working_day(lab: User, version: str) -> None:
    kubectl = Kubectl(lab, version)
    assert "created" in kubectl("create", "namespace", kubectl.namespace)
    _deploy(kubectl)
    _look(kubectl)
    _change(kubectl)
    _remove(kubectl)


def _deploy(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines() == [
        "deployment.apps/web created",
        "service/web created",
    ]
    assert kubectl("apply", "-f", "-", stdin=MANIFEST).splitlines() == [
        "deployment.apps/web unchanged",
        "service/web unchanged",
    ]
    assert 'deployment "web" successfully rolled out' in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")


def _look(kubectl: Kubectl) -> None:
    header, *rows = kubectl("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert len(rows) == 2
    assert all(row.split()[1:3] == ["1/1", "Running"] for row in rows)
    assert kubectl("get", "deploy", "web", "--no-headers").split()[:4] == ["web", "2/2", "2", "2"]
    described = kubectl("describe", "pod", "-l", "app=web")
    assert "Successfully assigned" in described
    assert "Started container web" in described
    kubectl("describe", "service", "web")
    pod = kubectl.json("pods")["items"][0]["metadata"]["name"]
    assert kubectl("exec", pod, "--", "hostname").strip() == pod
    assert kubectl("logs", pod).strip()
    kubectl("explain", "deployment.spec.strategy")
    assert "v1" in kubectl("api-versions").split()
    assert "deployments" in kubectl("api-resources")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"


def _change(kubectl: Kubectl) -> None:
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl.json("deployment", "web")["status"]["readyReplicas"] == 3
    kubectl("label", "deployment/web", "tier=front")
    kubectl("annotate", "deployment/web", "note=seen")
    kubectl("patch", "deployment/web", "-p", '{"spec":{"template":{"metadata":{"annotations":{"turn":"two"}}}}}')
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(kubectl("rollout", "history", "deployment/web").strip().splitlines()) == 4
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    meta = kubectl.json("deployment", "web")["metadata"]
    assert meta["labels"]["tier"] == "front"
    assert meta["annotations"]["note"] == "seen"
    kubectl("create", "configmap", "settings", "--from-literal=colour=blue")
    kubectl("create", "secret", "generic", "password", "--from-literal=word=open")
    kubectl("create", "deployment", "other", "--image=registry.k8s.io/pause:3.9")
    assert kubectl.json("configmap", "settings")["data"] == {"colour": "blue"}


def _remove(kubectl: Kubectl) -> None:
    kubectl("delete", "pod", "-l", "app=web", "--wait=false")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("delete", "-f", "-", stdin=MANIFEST)
    kubectl("delete", "namespace", kubectl.namespace, "--timeout=60s")
    assert kubectl.namespace not in {item["metadata"]["name"] for item in kubectl.json("namespaces")["items"]}
