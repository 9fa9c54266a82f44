"""Each part can be somebody else's: a scheduler, a proxy and a DNS server that have nothing but a kubeconfig."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs.tools import User, until

pytestmark = pytest.mark.timeout(400)
LAB = "parts"


def kubectl(user: User, *arguments: str) -> str:
    done = user.kubectl(*arguments, lab=LAB)
    assert done.returncode == 0, done.stderr
    return done.stdout


def phase(user: User, pod: str) -> str:
    return kubectl(user, "get", "pod", pod, "-o", "jsonpath={.status.phase}")


def run_pod(user: User, name: str) -> None:
    kubectl(user, "run", name, "--image=busybox", "--restart=Never", "--", "sleep", "1000")


def holder(user: User) -> str:
    found = user.kubectl("-n", "kube-system", "get", "lease", "kube-scheduler", "-o", "json", lab=LAB)
    return str(json.loads(found.stdout)["spec"].get("holderIdentity", "")) if found.returncode == 0 else ""


def components(user: User) -> set[str]:
    found = json.loads(user.klab("--lab", LAB, "status", "-o", "json").stdout)
    ids = [one["id"] for one in found["processes"] if one["id"].startswith("component/")]
    assert "component/apiserver" in ids
    return {one.removeprefix("component/") for one in ids}


@contextlib.contextmanager
def scheduler(user: User, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The scheduler outside of the lab; killed at the end."""
    command = [*user.prefix, *user.python[0], "-m", "netlab.scheduler", f"--kubeconfig={config}"]
    with (user.home / "scheduler.log").open("ab") as log:
        process = subprocess.Popen(command, env=user.environment, cwd="/", stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_scheduler_from_outside(caller: User) -> None:
    refused = caller.klab("up", "single", "--name", LAB, "--without", "scheduler,kubelet")
    assert refused.returncode == 2
    known = "known are scheduler, controller-manager, metrics-server (or none)"
    assert refused.stderr.strip() == f"Error: --without: no component 'kubelet'; {known}"

    up = caller.klab("up", "single", "--name", LAB, "--without", "scheduler")
    assert up.returncode == 0, up.stderr
    assert "scheduler" not in components(caller)
    run_pod(caller, "first")
    time.sleep(2)
    assert (phase(caller, "first"), holder(caller)) == ("Pending", "")

    config = caller.home / "scheduler.kubeconfig"
    made = caller.klab("--lab", LAB, "kubeconfig", "--as", "system:kube-scheduler")
    assert made.returncode == 0, made.stderr
    config.write_text(made.stdout)
    who = caller.run(
        "kubectl", f"--kubeconfig={config}", "auth", "can-i", "create", "pods", "--subresource=binding", "-A"
    )
    assert who.stdout.strip() == "yes", who.stderr
    with scheduler(caller, config):
        until("the first pod runs", lambda: phase(caller, "first") == "Running", 60)
        assert holder(caller)
    run_pod(caller, "second")
    time.sleep(2)
    assert phase(caller, "second") == "Pending"
    with scheduler(caller, config) as again:
        until("the second pod runs", lambda: phase(caller, "second") == "Running", 60)
        again.terminate()
        assert again.wait(10) == 0

    assert caller.klab("down", LAB).returncode == 0
    up = caller.klab("up", "--name", LAB)
    assert up.returncode == 0, up.stderr
    assert "scheduler" not in components(caller)
    assert caller.klab("down", LAB).returncode == 0
    up = caller.klab("up", "--name", LAB, "--without", "none")
    assert up.returncode == 0, up.stderr
    assert "scheduler" in components(caller)
    run_pod(caller, "third")
    until("the third pod runs", lambda: phase(caller, "third") == "Running", 60)


# -- the proxy and the DNS server -------------------------------------------------------------------------------------

STANDIN = Path(__file__).with_name("standin_proxy.py")
CALL = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())"
ZONES = """.:53 {
    hosts {
        192.0.2.53 who.answers.test
        fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa
}
"""


def on_node(user: User, *command: str) -> str:
    done = user.klab("--lab", LAB, "exec", "node", "--", *command)
    return done.stdout if done.returncode == 0 else ""


def chains(user: User) -> tuple[bool, bool]:
    """Whether the node has rules of ours, and of the stand-in's."""
    saved = on_node(user, "iptables-save")
    assert "*nat" in saved
    return "KUBE-SERVICES" in saved, "STANDIN-SERVICES" in saved


def web(user: User, name: str) -> str:
    """Another pod takes the Service's place; the name of who answers at its address."""
    kubectl(user, "delete", "pod", "-l", "app=web", "--now", "--wait")
    image = "registry.k8s.io/e2e-test-images/agnhost:2.53"
    kubectl(user, "run", name, f"--image={image}", "-l", "app=web", "--", "netexec", "--http-port=80")
    return name


def answers(user: User, address: str) -> str:
    return on_node(user, sys.executable, "-c", CALL, f"http://{address}/hostname").strip()


@contextlib.contextmanager
def proxy(user: User, kubeconfig: str) -> Iterator[None]:
    """The stand-in in the node's namespace, until the block ends."""
    command = [*user.klab_command, "--lab", LAB, "exec", "node", "--", sys.executable, str(STANDIN)]
    command += ["--kubeconfig", kubeconfig]
    log = user.home / "proxy.log"
    with (
        log.open("ab") as complaints,
        subprocess.Popen(
            command, env=user.environment, cwd="/", text=True, stdin=-1, stdout=-1, stderr=complaints
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", log.read_text()
            yield
        finally:
            process.stdin.close()
            assert process.wait(30) == 0, log.read_text()


def test_a_proxy_and_a_dns_server_of_somebody_else(caller: User) -> None:
    up = caller.klab("up", "single", "--name", LAB)
    assert up.returncode == 0, up.stderr
    kubectl(caller, "create", "service", "clusterip", "web", "--tcp=80")
    address = kubectl(caller, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    first = web(caller, "first")
    until("our proxy leads to the pod", lambda: answers(caller, address) == first, 60)

    left = caller.klab("--lab", LAB, "proxy-mode", "external")
    assert left.returncode == 0, left.stderr
    assert chains(caller) == (False, False)
    assert answers(caller, address) == ""
    kubeconfig = next(word for word in left.stdout.split() if word.endswith("kube-proxy.kubeconfig"))
    with proxy(caller, kubeconfig):
        until("the stand-in leads to the pod", lambda: answers(caller, address) == first, 60)
        second = web(caller, "second")
        until("the stand-in follows", lambda: answers(caller, address) == second, 60)
        _answered_by_another(caller)
        assert chains(caller) == (False, True), "ours keeps its hands off"
        back = caller.klab("--lab", LAB, "proxy-mode", "iptables")
        assert back.returncode == 0, back.stderr
        assert chains(caller) == (True, True), "nothing of the stand-in's is lost"
    assert chains(caller) == (True, False)
    third = web(caller, "third")
    until("our proxy follows again", lambda: answers(caller, address) == third, 60)


def _answered_by_another(user: User) -> None:
    """The cluster's DNS address leads to whichever pods have the label; ours are scaled away, and stay away."""
    kubectl(user, "-n", "kube-system", "scale", "deployment", "coredns", "--replicas=0")
    kubectl(user, "-n", "kube-system", "create", "configmap", "theirs", f"--from-literal=Corefile={ZONES}")
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "theirs", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "serviceAccountName": "coredns", "dnsPolicy": "Default",
            "containers": [{
                "name": "dns", "image": "registry.k8s.io/coredns/coredns:v1.12.1",
                "args": ["-conf", "/etc/theirs/Corefile"],
                "volumeMounts": [{"name": "config", "mountPath": "/etc/theirs"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "theirs"}}],
        },
    }  # fmt: skip
    manifest = user.home / "theirs.json"
    manifest.write_text(json.dumps(pod))
    kubectl(user, "apply", "-f", str(manifest))

    def found(name: str) -> str:
        return user.kubectl("exec", "second", "--", "getent", "hosts", name, lab=LAB).stdout.partition(" ")[0]

    until("the other server answers", lambda: found("who.answers.test") == "192.0.2.53", 60)
    until("and knows the Services", lambda: found("kubernetes.default.svc.cluster.local") == "10.96.0.1", 60)
    deployment = kubectl(user, "-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.spec.replicas}")
    assert deployment == "0"
