"""Inside pods: run, exec, attach, cp, port-forward, debug, and logs."""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path

from tests.kubectl.matrix import Chapter, Kubectl

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
PODS = f"""
apiVersion: v1
kind: Pod
metadata: {{name: box, labels: {{app: box}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: main, image: busybox, command: [sleep, "3600"]}}
    - {{name: web, image: "{AGNHOST}", args: [netexec, --http-port=8080], ports: [{{containerPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: box}}
spec: {{selector: {{app: box}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: talker}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: talker
      image: busybox
      stdin: true
      stdinOnce: true
      command: [sh, -c, 'while read line; do echo got $line; done']
"""


def _prepare(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", PODS)
    kubectl.ok("wait --for=condition=Ready pod/box pod/talker --timeout=60s")


RUNNING = Chapter("pods", _prepare)


@RUNNING.verb("exec", everyday=True)
def _exec(kubectl: Kubectl) -> None:
    assert kubectl.ok("exec box -c main -- hostname") == "box\n"
    assert kubectl.ok("exec -i box -c main -- cat", "typed") == "typed"
    result = kubectl.run("exec box -c main -- sh -c 'echo out; echo bad >&2; exit 7'")
    assert (result.code, result.out) == (7, "out\n"), str(result)
    assert result.error.splitlines()[0] == "bad", str(result)
    kubectl.fails("exec box -c main -- no-such-program", "no-such-program", 127)


@RUNNING.verb("exec -it", everyday=True)
def _exec_terminal(kubectl: Kubectl) -> None:
    # kubectl tells the size in a message of its own, which the program may be ahead of
    wait = "n=0; until stty size 2>&1 | grep [1-9] || [ $n = 50 ]; do n=$((n+1)); sleep 0.1; done"
    script = f"tty; {wait}; read x; echo got $x"
    result = kubectl.on_terminal(f"exec -it box -c main -- sh -c '{script}'", "word\n", (33, 101))
    assert result.code == 0, str(result)
    assert "/dev/pts/" in result.out, str(result)
    assert "33 101" in result.out, str(result)
    assert "got word" in result.out, str(result)


@RUNNING.verb("attach -i", everyday=True)
def _attach(kubectl: Kubectl) -> None:
    assert "got hello" in kubectl.ok("attach -i talker", "hello\n")
    kubectl.until("talker ends", lambda: kubectl.held("pods", "talker")["status"]["phase"] == "Succeeded")


@RUNNING.verb("cp to a pod", everyday=True)
def _cp_to(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "tree").mkdir()
        (Path(directory) / "tree" / "a").write_text("one")
        (Path(directory) / "tree" / "b").write_text("x" * 300_000)
        kubectl.ok(f"cp {directory}/tree box:/tmp/ -c main")
    assert kubectl.ok("exec box -c main -- sh -c 'cat /tmp/tree/a; wc -c </tmp/tree/b'") == "one300000\n"


@RUNNING.verb("cp from a pod", everyday=True)
def _cp_from(kubectl: Kubectl) -> None:
    kubectl.ok("exec box -c main -- sh -c 'mkdir -p /tmp/from; echo word >/tmp/from/file'")
    with tempfile.TemporaryDirectory() as directory:
        kubectl.ok(f"cp box:/tmp/from/file {directory}/file -c main")
        assert (Path(directory) / "file").read_text() == "word\n"
        kubectl.ok(f"cp box:/tmp/from {directory}/all -c main")
        assert (Path(directory) / "all" / "file").read_text() == "word\n"


def _fetch(kubectl: Kubectl, what: str) -> None:
    with kubectl.background(f"port-forward {what}") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Forwarding from 127.0.0.1:"), line + process.stdout.read()
        port = line.split()[2].split(":")[1]
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=20) as response:
                assert response.read() == b"box"


@RUNNING.verb("port-forward pod", everyday=True)
def _forward_pod(kubectl: Kubectl) -> None:
    _fetch(kubectl, "pod/box :8080")


@RUNNING.verb("port-forward service")
def _forward_service(kubectl: Kubectl) -> None:
    _fetch(kubectl, "service/box :80")


@RUNNING.verb("run", everyday=True)
def _run(kubectl: Kubectl) -> None:
    command = "run made --image=busybox --restart=Never --labels=a=b --env=X=1 --port=80 -- sh -c 'echo $X'"
    assert kubectl.ok(command) == "pod/made created\n"
    pod = kubectl.held("pods", "made")
    assert pod["metadata"]["labels"] == {"a": "b"}
    assert pod["spec"]["containers"][0]["env"] == [{"name": "X", "value": "1"}]
    kubectl.until("made ends", lambda: kubectl.held("pods", "made")["status"]["phase"] == "Succeeded")
    assert kubectl.ok("logs made") == "1\n"


@RUNNING.verb("run -i --rm", everyday=True)
def _run_rm(kubectl: Kubectl) -> None:
    result = kubectl.run("run once -i --rm --image=busybox --restart=Never -- sh -c 'read x; echo got $x'", "word\n")
    assert result.code == 0, str(result)
    assert "got word" in result.out, str(result)
    assert 'pod "once" deleted' in result.out, str(result)
    assert kubectl.gone("pods", "once")
    result = kubectl.run("run bad -i --rm --image=busybox --restart=Never -- sh -c 'sleep 0.3; exit 3'")
    assert result.code == 3, str(result)


@RUNNING.verb("run -it --rm", everyday=True)
def _run_terminal(kubectl: Kubectl) -> None:
    command = "run term -it --rm --image=busybox --restart=Never -- sh -c 'read x; tty; echo got $x'"
    result = kubectl.on_terminal(command, "word\n")
    assert result.code == 0, str(result)
    assert "/dev/pts/" in result.out, str(result)
    assert "got word" in result.out, str(result)
    kubectl.until("term is gone", lambda: kubectl.gone("pods", "term"))


@RUNNING.verb("debug (ephemeral)", since=27)
def _debug(kubectl: Kubectl) -> None:
    result = kubectl.run(
        "debug box -i --image=busybox --target=main -c dbg -- sh -c 'read x; echo got $x; hostname'", "w\n"
    )
    assert result.code == 0, str(result)
    kubectl.until("it ran", lambda: "terminated" in _ephemeral(kubectl)["state"])
    assert _ephemeral(kubectl)["state"]["terminated"]["exitCode"] == 0
    assert kubectl.ok("logs box -c dbg") == "got w\nbox\n"


def _ephemeral(kubectl: Kubectl) -> dict[str, dict[str, dict[str, int]]]:
    statuses = kubectl.held("pods", "box")["status"].get("ephemeralContainerStatuses") or [{"state": {}}]
    found: dict[str, dict[str, dict[str, int]]] = statuses[0]
    return found


@RUNNING.verb("debug --copy-to")
def _debug_copy(kubectl: Kubectl) -> None:
    kubectl.ok("debug box --copy-to=twin --image=busybox -c dbg -- sleep 3600")
    twin = kubectl.held("pods", "twin")
    assert {container["name"] for container in twin["spec"]["containers"]} == {"main", "web", "dbg"}
    kubectl.ok("wait --for=condition=Ready pod/twin --timeout=60s")
    assert kubectl.ok("exec twin -c dbg -- hostname") == "twin\n"


@RUNNING.verb("debug node")
def _debug_node(kubectl: Kubectl) -> None:
    # /host is the node's own part of the file system: what pods of that node put there, not the machine's root
    out = kubectl.ok("debug node/node --image=busybox -- sh -c 'ls -d /host && hostname && ip -o link'")
    name = out.split("debugging pod ")[1].split()[0]
    kubectl.until("it ran", lambda: kubectl.held("pods", name)["status"]["phase"] == "Succeeded")
    listed = kubectl.ok(f"logs {name}")
    assert listed.startswith("/host\nnode\n"), listed
    assert "docker0" in listed, listed


@RUNNING.verb("get -w", everyday=True)
def _watch(kubectl: Kubectl) -> None:
    with kubectl.background("get pods -w") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:2] == ["NAME", "READY"]
        kubectl.ok("run seen --image=busybox --restart=Never -- sleep 0.2")
        states = []
        for line in process.stdout:
            words = line.split()
            if words[0] == "seen":
                states.append(words[2])
                if words[2] == "Completed":
                    break
        assert states[0] == "Pending", states
        assert "Running" in states, states


@RUNNING.verb("top", everyday=True)
def _top(kubectl: Kubectl) -> None:
    def measured() -> bool:
        result = kubectl.run("top pods --no-headers")
        return result.code == 0 and "box" in {line.split()[0] for line in result.out.splitlines()}

    # the metrics server starts after all else, and needs two readings of a pod
    kubectl.until("the pod is measured", measured, 90)
    lines = [line.split() for line in kubectl.ok("top pods --containers --sort-by=memory --no-headers").splitlines()]
    assert ["box", "main"] in [line[:2] for line in lines], lines
    assert all(line[2].endswith("m") and line[3].endswith("Mi") for line in lines), lines
    node = kubectl.ok("top nodes --no-headers").split()
    assert node[1].endswith("m") and node[2].endswith("%") and node[3].endswith("Mi"), node


@RUNNING.verb("delete pod, with grace", everyday=True)
def _delete(kubectl: Kubectl) -> None:
    trap = "run ends --image=busybox --restart=Never -- sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'"
    kubectl.ok(trap)
    kubectl.ok("wait --for=condition=Ready pod/ends --timeout=60s")
    kubectl.says("delete pod ends", 'pod "ends" deleted')
    assert kubectl.gone("pods", "ends")


@RUNNING.verb("delete --grace-period=0 --force", everyday=True)
def _force(kubectl: Kubectl) -> None:
    kubectl.ok("run stays --image=busybox --restart=Never -- sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'")
    kubectl.ok("wait --for=condition=Ready pod/stays --timeout=60s")
    kubectl.says("delete pod stays --grace-period=0 --force", 'pod "stays" force deleted')
    assert kubectl.gone("pods", "stays")


LOUD = """
apiVersion: v1
kind: Pod
metadata: {name: loud, labels: {kind: loud}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: first, image: busybox, command: [sh, -c, 'for i in 1 2 3 4 5; do echo line $i; done; sleep 3600']}
    - {name: second, image: busybox, command: [sh, -c, 'echo other; sleep 3600']}
---
apiVersion: v1
kind: Pod
metadata: {name: slow, labels: {kind: loud}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - {name: slow, image: busybox, command: [sh, -c, 'echo early; sleep 5; echo late']}
---
apiVersion: v1
kind: Pod
metadata: {name: fails}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: fails
      image: busybox
      command: [sh, -c, 'cat /d/turns; echo x >>/d/turns; [ $(wc -l </d/turns) = 2 ] && sleep 999; echo broken; exit 1']
      volumeMounts: [{name: d, mountPath: /d}]
  volumes: [{name: d, emptyDir: {}}]
"""


def _prepare_logs(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", LOUD)
    kubectl.ok("wait --for=condition=Ready pod/loud pod/slow --timeout=60s")


LOGS = Chapter("logs", _prepare_logs)


@LOGS.verb("logs -f", everyday=True)
def _logs_follow(kubectl: Kubectl) -> None:
    assert kubectl.ok("logs -f slow") == "early\nlate\n"


@LOGS.verb("logs -c, --all-containers", everyday=True)
def _logs_container(kubectl: Kubectl) -> None:
    assert kubectl.ok("logs loud -c second") == "other\n"
    assert sorted(kubectl.ok("logs loud --all-containers").splitlines()) == sorted(
        ["other", *(f"line {number}" for number in range(1, 6))]
    )
    kubectl.fails("logs loud -c third", "container third is not valid for pod loud")


@LOGS.verb("logs -l, --prefix", everyday=True)
def _logs_selector(kubectl: Kubectl) -> None:
    out = kubectl.ok("logs -l kind=loud --all-containers --prefix --tail=-1")
    assert "[pod/loud/second] other" in out, out
    assert "[pod/slow/slow] early" in out, out


@LOGS.verb("logs --tail, --limit-bytes", everyday=True)
def _logs_tail(kubectl: Kubectl) -> None:
    assert kubectl.ok("logs loud -c first --tail=2") == "line 4\nline 5\n"
    assert kubectl.ok("logs loud -c first --limit-bytes=6") == "line 1"


@LOGS.verb("logs --timestamps, --since", everyday=True)
def _logs_since(kubectl: Kubectl) -> None:
    stamped = kubectl.ok("logs slow --timestamps").splitlines()
    assert [line.split()[1] for line in stamped] == ["early", "late"]
    early, late = (line.split()[0] for line in stamped)
    assert early < late
    assert early.endswith("Z")
    assert kubectl.ok(f"logs slow --since-time={late}") in ("late\n", "")
    assert kubectl.ok("logs slow --since=1h") == "early\nlate\n"
    assert kubectl.ok("logs loud -c second --since=1s") == ""


@LOGS.verb("logs --previous", everyday=True)
def _logs_previous(kubectl: Kubectl) -> None:
    def again() -> bool:
        status = kubectl.held("pods", "fails")["status"]["containerStatuses"][0]
        return bool(status["restartCount"] == 1 and "running" in status["state"])

    kubectl.until("it was started again", again, 60)
    kubectl.says("logs --previous fails", "broken")
    assert kubectl.ok("logs fails") == "x\n"
    kubectl.fails("logs --previous slow", 'previous terminated container "slow" in pod "slow" not found')
