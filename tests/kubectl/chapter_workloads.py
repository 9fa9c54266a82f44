"""Workloads: changing, rolling and removing them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.kubectl.matrix import Chapter, Kubectl

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080]
          ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {a: b}
"""
CREATED = ["deployment.apps/web created", "service/web created", "configmap/cm created"]


def _apply(kubectl: Kubectl) -> None:
    assert kubectl.ok("apply -f -", WEB).splitlines() == CREATED


CHANGING = Chapter("changing", _apply)


def _web(kubectl: Kubectl) -> dict[str, dict]:  # type: ignore[type-arg]
    found: dict[str, dict] = kubectl.held("deployments", "web")  # type: ignore[type-arg]
    return found


def _container(kubectl: Kubectl) -> dict:  # type: ignore[type-arg]
    found: dict = _web(kubectl)["spec"]["template"]["spec"]["containers"][0]  # type: ignore[type-arg]
    return found


@CHANGING.verb("apply", everyday=True)
def _again(kubectl: Kubectl) -> None:
    version = _web(kubectl)["metadata"]["generation"]
    assert kubectl.ok("apply -f -", WEB).splitlines() == [line.replace("created", "unchanged") for line in CREATED]
    assert _web(kubectl)["metadata"]["generation"] == version
    out = kubectl.ok("apply -f -", WEB.replace("replicas: 2", "replicas: 3")).splitlines()
    assert out == ["deployment.apps/web configured", "service/web unchanged", "configmap/cm unchanged"]
    assert _web(kubectl)["spec"]["replicas"] == 3


@CHANGING.verb("apply --server-side", since=27)
def _server_side(kubectl: Kubectl) -> None:
    mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\ndata: {x: '1'}\n"
    kubectl.says("apply --server-side -f -", "configmap/mine serverside-applied", mine)
    managers = kubectl.held("configmaps", "mine")["metadata"]["managedFields"]
    assert [(manager["manager"], manager["operation"]) for manager in managers] == [("kubectl", "Apply")]
    kubectl.fails("apply --server-side --field-manager=other -f -", "conflict", stdin=mine.replace("'1'", "'2'"))
    kubectl.ok("apply --server-side --field-manager=other --force-conflicts -f -", mine.replace("'1'", "'2'"))
    assert kubectl.held("configmaps", "mine")["data"] == {"x": "2"}


@CHANGING.verb("apply --prune")
def _prune(kubectl: Kubectl) -> None:
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {set: s}}\n"
    kubectl.ok("apply -f -", one % "keep" + "---\n" + one % "drop")
    allow = "--prune-whitelist" if kubectl.minor < 27 else "--prune-allowlist"
    kubectl.says(f"apply --prune -l set=s {allow}=core/v1/ConfigMap -f -", "configmap/drop pruned", one % "keep")
    assert kubectl.gone("configmaps", "drop")
    kubectl.held("configmaps", "keep")


@CHANGING.verb("diff", everyday=True)
def _diff(kubectl: Kubectl) -> None:
    result = kubectl.run("diff -f -", WEB.replace("a: b", "a: c"))
    assert result.code == 1, str(result)
    assert "-  a: b\n+  a: c" in result.out, str(result)
    assert kubectl.held("configmaps", "cm")["data"] == {"a": "b"}


@CHANGING.verb("--dry-run=server")
def _dry(kubectl: Kubectl) -> None:
    assert kubectl.ok("create deployment d --image=nginx --dry-run=server") == (
        "deployment.apps/d created (server dry run)\n"
    )
    assert kubectl.gone("deployments", "d")
    kubectl.says("delete cm cm --dry-run=server", "deleted (server dry run)")
    kubectl.held("configmaps", "cm")


@CHANGING.verb("apply -k, kustomize")
def _kustomize(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\ndata: {a: b}\n")
        (Path(directory) / "kustomization.yaml").write_text("namePrefix: pre-\nresources: [cm.yaml]\n")
        kubectl.says(f"kustomize {directory}", "name: pre-k")
        assert kubectl.ok(f"apply -k {directory}") == "configmap/pre-k created\n"
        assert kubectl.held("configmaps", "pre-k")["data"] == {"a": "b"}
        kubectl.ok(f"delete -k {directory}")
        assert kubectl.gone("configmaps", "pre-k")


@CHANGING.verb("scale", everyday=True)
def _scale(kubectl: Kubectl) -> None:
    assert kubectl.ok("scale deployment/web --replicas=3") == "deployment.apps/web scaled\n"
    assert kubectl.ok("scale deployment/web --current-replicas=3 --replicas=1") == "deployment.apps/web scaled\n"
    kubectl.fails("scale deployment/web --current-replicas=5 --replicas=4", "xpected replicas to be 5, was 1")
    kubectl.until("one replica", lambda: _web(kubectl)["status"].get("readyReplicas") == 1)
    kubectl.until("one pod", lambda: len(kubectl.names("pods", "app=web")) == 1)


@CHANGING.verb("label", everyday=True)
def _label(kubectl: Kubectl) -> None:
    assert kubectl.ok("label deploy web tier=front") == "deployment.apps/web labeled\n"
    kubectl.fails("label deploy web tier=back", "already has a value (front), and --overwrite is false")
    kubectl.ok("label deploy web tier=back --overwrite")
    assert _web(kubectl)["metadata"]["labels"] == {"app": "web", "tier": "back"}
    kubectl.ok("label deploy web tier-")
    assert _web(kubectl)["metadata"]["labels"] == {"app": "web"}


@CHANGING.verb("annotate", everyday=True)
def _annotate(kubectl: Kubectl) -> None:
    kubectl.says("annotate svc web note=x", "service/web annotate")
    assert kubectl.held("services", "web")["metadata"]["annotations"]["note"] == "x"
    kubectl.ok("annotate svc web note-")
    assert "note" not in kubectl.held("services", "web")["metadata"]["annotations"]


@CHANGING.verb("patch (three types)", everyday=True)
def _patch(kubectl: Kubectl) -> None:
    strategic = {
        "spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "P", "value": "1"}]}]}}}
    }
    assert kubectl.ok(f"patch deploy web -p '{json.dumps(strategic)}'") == "deployment.apps/web patched\n"
    assert (_container(kubectl)["env"], _container(kubectl)["args"][0]) == ([{"name": "P", "value": "1"}], "netexec")
    assert kubectl.ok("""patch cm cm --type=merge -p '{"data":{"c":"d"}}'""") == "configmap/cm patched\n"
    assert kubectl.ok("""patch cm cm --type=merge -p '{"data":{"c":"d"}}'""") == "configmap/cm patched (no change)\n"
    operation = '[{"op":"remove","path":"/data/c"},{"op":"add","path":"/data/e","value":"f"}]'
    assert kubectl.ok(f"patch cm cm --type=json -p '{operation}'") == "configmap/cm patched\n"
    assert kubectl.held("configmaps", "cm")["data"] == {"a": "b", "e": "f"}


@CHANGING.verb("edit")
def _edit(kubectl: Kubectl) -> None:
    assert kubectl.ok("edit cm cm", KUBE_EDITOR="sed -i s/a:.b/a:\\ edited/") == "configmap/cm edited\n"
    assert kubectl.held("configmaps", "cm")["data"]["a"] == "edited"
    result = kubectl.run("edit cm cm", KUBE_EDITOR="true")
    assert "Edit cancelled, no changes made." in result.error + result.out, str(result)


@CHANGING.verb("replace, replace --force")
def _replace(kubectl: Kubectl) -> None:
    wanted = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {a: replaced}\n"
    assert kubectl.ok("replace -f -", wanted) == "configmap/cm replaced\n"
    found = kubectl.held("configmaps", "cm")
    assert found["data"] == {"a": "replaced"}
    kubectl.says("replace --force -f -", "configmap/cm replaced", wanted)
    assert kubectl.held("configmaps", "cm")["metadata"]["uid"] != found["metadata"]["uid"]


@CHANGING.verb("set image, env, resources, serviceaccount", everyday=True)
def _set(kubectl: Kubectl) -> None:
    assert kubectl.ok("set image deploy/web web=agnhost:2.54") == "deployment.apps/web image updated\n"
    assert _container(kubectl)["image"] == "agnhost:2.54"
    assert kubectl.ok("set env deploy/web A=1") == "deployment.apps/web env updated\n"
    assert {"name": "A", "value": "1"} in _container(kubectl)["env"]
    kubectl.says("set env deploy/web --list", "A=1")
    kubectl.ok("set env deploy/web A-")
    command = "set resources deploy/web --limits=cpu=200m,memory=64Mi --requests=cpu=100m"
    assert kubectl.ok(command) == "deployment.apps/web resource requirements updated\n"
    assert _container(kubectl)["resources"] == {
        "limits": {"cpu": "200m", "memory": "64Mi"},
        "requests": {"cpu": "100m"},
    }
    assert kubectl.ok("set serviceaccount deploy/web default") == "deployment.apps/web serviceaccount updated\n"
    assert _web(kubectl)["spec"]["template"]["spec"]["serviceAccountName"] == "default"


@CHANGING.verb("set selector, subject")
def _set_others(kubectl: Kubectl) -> None:
    kubectl.ok("create service clusterip sel --tcp=80")
    assert kubectl.ok("set selector service sel a=b") == "service/sel selector updated\n"
    assert kubectl.held("services", "sel")["spec"]["selector"] == {"a": "b"}
    kubectl.ok("create rolebinding rb --clusterrole=view --user=joe")
    kubectl.ok("set subject rolebinding rb --user=ann")
    assert [subject["name"] for subject in kubectl.held("rolebindings", "rb")["subjects"]] == ["joe", "ann"]


@CHANGING.verb("expose", everyday=True)
def _expose(kubectl: Kubectl) -> None:
    assert kubectl.ok("expose deploy web --port=81 --target-port=8080 --name=again --type=NodePort") == (
        "service/again exposed\n"
    )
    spec = kubectl.held("services", "again")["spec"]
    assert spec["selector"] == {"app": "web"}
    assert (spec["ports"][0]["port"], spec["ports"][0]["targetPort"]) == (81, 8080)
    assert 30000 <= spec["ports"][0]["nodePort"] < 32768


@CHANGING.verb("autoscale")
def _autoscale(kubectl: Kubectl) -> None:
    assert kubectl.ok("autoscale deploy web --min=1 --max=3 --cpu-percent=50") == (
        "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    )
    spec = kubectl.held("horizontalpodautoscalers", "web")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    assert spec["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50},
    }


@CHANGING.verb("create --validate")
def _validate(kubectl: Kubectl) -> None:
    unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nbogus: 1\n"
    kubectl.fails("create -f -", 'unknown field "bogus"', stdin=unknown)
    kubectl.ok("create --validate=false -f -", unknown)


def _apply_and_wait(kubectl: Kubectl) -> None:
    _apply(kubectl)
    kubectl.ok("rollout status deployment/web --timeout=60s")


ROLLING = Chapter("rolling", _apply_and_wait)


@ROLLING.verb("rollout status", everyday=True)
def _status(kubectl: Kubectl) -> None:
    kubectl.says("rollout status deployment/web --timeout=60s", 'deployment "web" successfully rolled out')
    assert _web(kubectl)["status"]["readyReplicas"] == 2


@ROLLING.verb("wait --for=condition", everyday=True)
def _wait_condition(kubectl: Kubectl) -> None:
    assert (
        kubectl.ok("wait --for=condition=Available deploy/web --timeout=60s") == "deployment.apps/web condition met\n"
    )
    kubectl.fails("wait --for=condition=Never deploy/web --timeout=1s", "timed out waiting for the condition")


@ROLLING.verb("wait --for=jsonpath", since=27)
def _wait_path(kubectl: Kubectl) -> None:
    kubectl.says("wait --for=jsonpath={.status.readyReplicas}=2 deploy/web --timeout=30s", "condition met")


@ROLLING.verb("wait --for=create", since=31)
def _wait_create(kubectl: Kubectl) -> None:
    with kubectl.background("wait --for=create cm/later --timeout=30s") as process:
        kubectl.ok("create cm later")
        assert process.wait(30) == 0


@ROLLING.verb("wait --for=delete")
def _wait_delete(kubectl: Kubectl) -> None:
    kubectl.ok("create cm brief")
    with kubectl.background("wait --for=delete cm/brief --timeout=60s -v=6") as process:
        # what is gone before wait looks for the first time is an error to 1.20
        kubectl.until_printed(process, "/configmaps/brief")
        kubectl.ok("delete cm brief")
        kubectl.ends(process, 0)
    absent = kubectl.run("wait --for=delete cm/brief --timeout=30s")
    assert absent.code == (0 if kubectl.minor >= 27 else 1), str(absent)


@ROLLING.verb("rollout history, undo", everyday=True)
def _undo(kubectl: Kubectl) -> None:
    kubectl.ok("set env deploy/web TURN=two")
    kubectl.ok("rollout status deployment/web --timeout=60s")
    lines = kubectl.ok("rollout history deployment/web").strip().splitlines()
    assert [line.split()[0] for line in lines] == ["deployment.apps/web", "REVISION", "1", "2"]
    kubectl.says("rollout history deployment/web --revision=2", "TURN:")
    assert kubectl.ok("rollout undo deployment/web") == "deployment.apps/web rolled back\n"
    kubectl.ok("rollout status deployment/web --timeout=60s")
    assert "env" not in _container(kubectl)
    kubectl.ok("rollout undo deployment/web --to-revision=2")
    assert _container(kubectl)["env"] == [{"name": "TURN", "value": "two"}]


@ROLLING.verb("rollout restart", everyday=True)
def _restart(kubectl: Kubectl) -> None:
    kubectl.ok("rollout status deployment/web --timeout=60s")
    before = set(kubectl.names("pods", "app=web"))
    assert kubectl.ok("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    kubectl.ok("rollout status deployment/web --timeout=60s")
    kubectl.until("the old are gone", lambda: not before & set(kubectl.names("pods", "app=web")))
    assert len(kubectl.names("pods", "app=web")) == 2


@ROLLING.verb("rollout pause, resume")
def _pause(kubectl: Kubectl) -> None:
    assert kubectl.ok("rollout pause deployment/web") == "deployment.apps/web paused\n"
    sets = kubectl.names("replicasets")
    kubectl.ok("set env deploy/web TURN=three")
    kubectl.until("it is seen", lambda: _seen(kubectl))
    assert kubectl.names("replicasets") == sets
    assert kubectl.ok("rollout resume deployment/web") == "deployment.apps/web resumed\n"
    kubectl.ok("rollout status deployment/web --timeout=60s")
    assert len(kubectl.names("replicasets")) == len(sets) + 1


def _seen(kubectl: Kubectl) -> bool:
    found = _web(kubectl)
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


REMOVING = Chapter("removing", _apply_and_wait)


@REMOVING.verb("delete --cascade=orphan", everyday=True)
def _orphan(kubectl: Kubectl) -> None:
    sets = kubectl.names("replicasets")
    kubectl.says("delete deploy web --cascade=orphan", 'deployment.apps "web" deleted')
    assert kubectl.gone("deployments", "web")
    assert kubectl.names("replicasets") == sets
    assert "ownerReferences" not in kubectl.held("replicasets", sets[0])["metadata"]
    assert len(kubectl.names("pods", "app=web")) == 2
    kubectl.ok("apply -f -", WEB)  # adopts them
    kubectl.until("adopted", lambda: "ownerReferences" in kubectl.held("replicasets", sets[0])["metadata"])


@REMOVING.verb("delete --cascade=foreground", everyday=True)
def _foreground(kubectl: Kubectl) -> None:
    kubectl.says("delete deploy web --cascade=foreground", 'deployment.apps "web" deleted')
    assert kubectl.gone("deployments", "web")
    assert kubectl.names("replicasets") == []
    assert kubectl.names("pods", "app=web") == []


@REMOVING.verb("delete (background)", everyday=True)
def _background(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", WEB)
    kubectl.ok("rollout status deployment/web --timeout=60s")
    out = kubectl.ok("delete -f -", WEB)
    assert [line.split()[1] for line in out.splitlines()] == ['"web"', '"web"', '"cm"'], out
    kubectl.until("nothing is left", lambda: kubectl.names("pods") == kubectl.names("replicasets") == [])


@REMOVING.verb("delete --all, -l")
def _all(kubectl: Kubectl) -> None:
    for name in ("one", "two"):
        kubectl.ok(f"create cm {name}")
    kubectl.ok("label cm one pick=me")
    kubectl.says("delete cm -l pick=me", 'configmap "one" deleted')
    kubectl.held("configmaps", "two")
    kubectl.ok("delete cm --all")
    kubectl.until("only the CA's is made again", lambda: kubectl.names("configmaps") == ["kube-root-ca.crt"])
    kubectl.ok("delete cm no-such --ignore-not-found")
    kubectl.fails("delete cm no-such", 'configmaps "no-such" not found')


@REMOVING.verb("delete namespace")
def _namespace(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-b"
    kubectl.ok(f"create namespace {name}")
    kubectl.ok(f"create deployment x --image=registry.k8s.io/pause:3.9 -n {name}")
    kubectl.says(f"delete namespace {name}", f'namespace "{name}" deleted')
    assert kubectl.gone("namespaces", name)
