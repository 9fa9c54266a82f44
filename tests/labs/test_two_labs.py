"""Two labs of one topology at once: the same addresses everywhere, and neither sees anything of the other."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.labs.tools import Namespaces, User, init_pid, until

pytestmark = pytest.mark.timeout(300)

LABS = ("one", "two")
WORKLOAD = """
apiVersion: v1
kind: Pod
metadata: {{name: "{lab}-web", labels: {{app: web}}}}
spec:
  containers: [{{name: main, image: agnhost, args: [netexec, --http-port=8080], readinessProbe: {{tcpSocket: {{port: 8080}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, clusterIP: 10.96.7.7, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]}}
"""  # noqa: E501
EXTRA = """
apiVersion: v1
kind: Pod
metadata: {name: only-in-one}
spec: {containers: [{name: main, image: agnhost, args: [netexec, --http-port=8080]}]}
"""


def klab(user: User, lab: str, *arguments: str, stdin: str = "") -> str:
    done = user.klab("--lab", lab, *arguments, stdin=stdin)
    assert done.returncode == 0, f"{lab}: {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def fetch(user: User, lab: str, *addresses: str) -> list[str]:
    """What addresses answer to the node of a lab (NodePorts: to the outside client); "" for what does not."""
    where = "client" if addresses[0].endswith(":30080") else "node"
    get = 'for address; do echo "$(timeout 2 busybox wget -q -O - http://$address/hostname)"; done'
    return klab(user, lab, "exec", where, "--", "sh", "-c", get, "sh", *addresses).splitlines()


def pod_address(user: User, lab: str, pod: str) -> str:
    return klab(user, lab, "kubectl", "get", "pod", pod, "-o", "jsonpath={.status.podIP}")


def run_pod(user: User, lab: str, manifests: str) -> None:
    klab(user, lab, "kubectl", "apply", "-f", "-", stdin=manifests)
    klab(user, lab, "kubectl", "wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")


def test_two_labs_of_one_topology_do_not_meet(caller: User, machine_unchanged: dict[str, str]) -> None:
    ups = [caller.popen("up", "single", "--name", lab) for lab in LABS]  # at the same time
    for process in ups:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    which = caller.klab("kubectl", "get", "nodes")
    assert which.returncode == 2
    assert "several labs run (one, two)" in which.stderr

    one, two = (init_pid(caller, lab) for lab in LABS)
    assert one is not None and two is not None
    shared = Namespaces(one).names & Namespaces(two).names
    assert not shared

    for lab in LABS:
        run_pod(caller, lab, WORKLOAD.format(lab=lab))
    node = json.loads(klab(caller, "one", "status", "-o", "json"))["nodes"][0]["address"]
    for lab in LABS:  # equal addresses, and each answers with its own lab's pod
        for address in (f"{node}:30080", f"{pod_address(caller, lab, lab + '-web')}:8080"):
            until(f"{lab}: {address} answers", lambda lab=lab, address=address: fetch(caller, lab, address) != [""], 30)
            assert fetch(caller, lab, *[address] * 3) == [f"{lab}-web"] * 3
        seen = klab(caller, lab, "kubectl", "get", "pods", "-o", "name").split()
        assert seen == [f"pod/{lab}-web"]

    run_pod(caller, "one", EXTRA)
    address = pod_address(caller, "one", "only-in-one")
    until("the pod answers", lambda: fetch(caller, "one", f"{address}:8080") == ["only-in-one"], 30)
    assert fetch(caller, "two", f"{address}:8080") == [""]
    assert frames_in_two_while_one_calls(caller, address) == []

    assert caller.klab("down", "one").returncode == 0
    assert fetch(caller, "two", f"{node}:30080") == ["two-web"], "the other lab goes on"
    assert caller.klab("down", "--all").returncode == 0


def frames_in_two_while_one_calls(user: User, address: str) -> list[str]:
    """What lab two's interfaces carry to or from an address while lab one speaks with it."""
    command = [*user.klab_command, "--lab", "two", "capture", "--raw", "--filter", f"host {address}", "node", "client"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=user.environment, cwd="/"
    ) as capture:
        assert capture.stdin is not None and capture.stdout is not None
        assert capture.stdout.readline(), "the capture did not start"
        assert fetch(user, "one", *[f"{address}:8080"] * 3) == ["only-in-one"] * 3
        capture.stdin.close()
        return [line for line in capture.stdout if "dropped" not in json.loads(line)]
