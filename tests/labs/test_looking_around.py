"""What a person does in a lab: capture, logs, env, kubeconfig, shell; as the caller, on one lab."""

from __future__ import annotations

import json
import subprocess

from tests.labs.tools import User, one_sentence


def test_a_look_around(caller: User) -> None:
    assert caller.klab("up", "single").returncode == 0
    _capture(caller)
    _files(caller)
    _shell(caller)
    _an_ordinary_path(caller)
    _wrong_words(caller)


def _capture(user: User) -> None:
    """A ping between two machines, seen with both ends' names, ends with the end of standard input."""
    command = [*user.klab_command, "capture", "--raw", "--filter", "icmp", "node:eth0", "client"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=user.environment, cwd="/"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"ready": 2}
        assert user.klab("exec", "client", "--", "ping", "-c", "2", "-i", "0.2", "node-address").returncode != 0
        address = user.klab("exec", "node", "--", "hostname", "-I").stdout.split()[0]
        assert user.klab("exec", "client", "--", "ping", "-c", "2", "-i", "0.2", address).returncode == 0
        process.stdin.close()
        seen = [json.loads(line) for line in process.stdout]
    frames = [entry for entry in seen if "data" in entry]
    assert {(frame["place"], frame["interface"]) for frame in frames} == {("node", "eth0"), ("client", "eth0")}
    assert len(frames) == 8
    assert {entry["dropped"] for entry in seen if "dropped" in entry} == {0}


def _files(user: User) -> None:
    variables = json.loads(user.klab("env", "-o", "json").stdout)
    assert variables["KUBECONFIG"] == user.klab("kubeconfig", "--path").stdout.strip()
    assert f"export KLAB_LAB={variables['KLAB_LAB']}" in user.klab("env").stdout.splitlines()
    assert "clusters:" in user.klab("kubeconfig").stdout
    inside = user.home / "inside.conf"
    inside.write_text(user.klab("kubeconfig", "--inside").stdout)
    seen = user.klab("exec", "client", "--", "kubectl", "--kubeconfig", str(inside), "get", "nodes", "-o", "name")
    assert seen.stdout == "node/node\n", seen.stderr
    listed = user.klab("logs").stdout
    assert {"apiserver", "labd", "agent-0", "init"} <= {line.split()[0] for line in listed.splitlines()[1:]}
    assert user.klab("logs", "apiserver", "--tail", "1").returncode == 0
    wrong = user.klab("logs", "nothing")
    assert wrong.returncode == 1
    assert "there are:" in wrong.stderr


def _shell(user: User) -> None:
    assert user.klab("shell", "node", stdin="hostname\n").stdout.strip() == "node"
    made = user.klab("kubectl", "run", "look", "--image=busybox", "--", "sleep", "600")
    assert made.returncode == 0, made.stderr
    waited = user.klab("kubectl", "wait", "--for=condition=Ready", "pod/look", "--timeout=60s")
    assert waited.returncode == 0, waited.stderr
    assert user.klab("shell", "look", stdin="hostname\n").stdout.strip() == "look"
    wrong = user.klab("shell", "lok")
    assert wrong.returncode == 2
    assert "did you mean 'default/look'?" in wrong.stderr


def _an_ordinary_path(user: User) -> None:
    """Debian gives users no sbin in PATH; on a node they have what root has."""
    path = "/usr/bin:/bin"
    assert "KUBE-SERVICES" in user.klab("exec", "node", "--", "iptables-save", "-t", "nat", path=path).stdout
    assert "KUBE-SERVICES" in user.klab("shell", "node", stdin="iptables-save -t nat\n", path=path).stdout
    doctor = {one["name"]: one["ok"] for one in json.loads(user.klab("doctor", "-o", "json", path=path).stdout)}
    assert doctor["iptables_nft"]
    assert doctor["nft"]


def _wrong_words(user: User) -> None:
    """One sentence that says what there is instead, and a status that is not 0."""
    for words, said, status in (
        ("capture node:eth9", "there are: docker0, eth0", 1),
        ("conntrack --pod lok", "did you mean 'default/look'?", 2),
        ("conntrack --service kubernets", "did you mean 'default/kubernetes'?", 2),
        ("mininet -c foo", "Unknown command: foo", 1),
    ):
        wrong = user.klab(*words.split(" "))
        assert (wrong.returncode, said in wrong.stderr) == (status, True), wrong
        one_sentence(wrong.stderr)
    assert user.klab("mininet", "-c", "node sh -c 'exit 3'").returncode == 3
