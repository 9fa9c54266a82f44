"""What a user types, with real kubectls: what it prints, and what the server then holds."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubectl_tools import Cluster, cluster, ends

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, type: NodePort, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {a: b}
"""

pytestmark = pytest.mark.skipif(not ends(), reason="no kubectl on PATH")


@pytest.fixture(params=ends(), ids=lambda path: path.name)
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, request.param) as made:
        yield made


async def get(lab: Cluster, what: str) -> dict:  # type: ignore[type-arg]
    found: dict = json.loads(await lab.ok(f"get {what} -o json"))  # type: ignore[type-arg]
    return found


async def test_apply_again_diff_replace_and_delete(lab: Cluster) -> None:
    created = await lab.ok("apply -f -", WEB)
    assert created.splitlines() == ["deployment.apps/web created", "service/web created", "configmap/cm created"]
    again = await lab.ok("apply -f -", WEB)
    assert again.splitlines() == ["deployment.apps/web unchanged", "service/web unchanged", "configmap/cm unchanged"]
    changed = await lab.ok("apply -f -", WEB.replace("replicas: 2", "replicas: 3"))
    assert changed.splitlines()[0] == "deployment.apps/web configured"
    assert (await get(lab, "deploy web"))["spec"]["replicas"] == 3
    code, out, _ = await lab.run("diff -f -", WEB)
    assert code == 1
    assert "-  replicas: 3\n+  replicas: 2" in out
    await lab.ok("replace -f -", WEB)
    assert (await get(lab, "deploy web"))["spec"]["replicas"] == 2
    gone = await lab.ok("delete -f -", WEB)
    assert 'configmap "cm" deleted' in gone
    assert await lab.fails("get cm cm") == 'Error from server (NotFound): configmaps "cm" not found\n'


async def test_changing_things(lab: Cluster) -> None:
    await lab.ok("apply -f -", WEB)
    assert await lab.ok("scale deploy/web --replicas=5") == "deployment.apps/web scaled\n"
    assert await lab.ok("scale deploy/web --current-replicas=5 --replicas=4") == "deployment.apps/web scaled\n"
    assert await lab.ok("label deploy web tier=front") == "deployment.apps/web labeled\n"
    # kubectl before 1.28 prints "annotate"
    assert (await lab.ok("annotate svc web note=x")).startswith("service/web annotate")
    assert await lab.ok("set image deploy/web c=nginx:2") == "deployment.apps/web image updated\n"
    assert await lab.ok("set env deploy/web A=1") == "deployment.apps/web env updated\n"
    assert await lab.ok("rollout pause deploy/web") == "deployment.apps/web paused\n"
    assert await lab.ok("rollout resume deploy/web") == "deployment.apps/web resumed\n"
    assert await lab.ok("rollout restart deploy/web") == "deployment.apps/web restarted\n"
    patch = """-p '{"data":{"c":"d"}}'"""
    assert await lab.ok(f"patch cm cm --type=merge {patch}") == "configmap/cm patched\n"
    found = await get(lab, "deploy web")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (found["spec"]["replicas"], container["image"]) == (4, "nginx:2")
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]
    assert (await get(lab, "cm cm"))["data"] == {"a": "b", "c": "d"}


GENERATORS = {
    "create deployment d --image=nginx --replicas=3": "deployment.apps/d created",
    "create configmap c --from-literal=a=b": "configmap/c created",
    "create secret generic s --from-literal=a=b": "secret/s created",
    "create namespace n": "namespace/n created",
    "create serviceaccount robot": "serviceaccount/robot created",
    "create job j --image=busybox -- true": "job.batch/j created",
    "create cronjob cj --image=busybox --schedule='* * * * *' -- true": "cronjob.batch/cj created",
    "create role r --verb=get,list --resource=pods": "role.rbac.authorization.k8s.io/r created",
    "create rolebinding rb --role=r --user=joe": "rolebinding.rbac.authorization.k8s.io/rb created",
    "create clusterrole cr --verb=get --resource=nodes": "clusterrole.rbac.authorization.k8s.io/cr created",
    "create quota q --hard=pods=3,requests.cpu=1": "resourcequota/q created",
    "create pdb p --selector=app=web --min-available=1": "poddisruptionbudget.policy/p created",
    "create ingress i --rule=a.com/=web:80": "ingress.networking.k8s.io/i created",
    "create priorityclass hp --value=10": "priorityclass.scheduling.k8s.io/hp created",
    "create service nodeport np --tcp=80:8080": "service/np created",
    "create service externalname en --external-name=example.com": "service/en created",
    "run p --image=busybox": "pod/p created",
    "expose deploy d --port=80 --name=e": "service/e exposed",
    "autoscale deploy d --min=1 --max=3 --cpu-percent=50": "horizontalpodautoscaler.autoscaling/d autoscaled",
}


async def test_generators(lab: Cluster) -> None:
    await lab.ok("create serviceaccount default")
    for command, want in GENERATORS.items():
        assert (await lab.ok(command)).strip() == want
    assert (await get(lab, "deploy d"))["spec"]["replicas"] == 3
    assert (await get(lab, "svc en"))["spec"]["externalName"] == "example.com"
    assert (await get(lab, "pdb p"))["spec"]["minAvailable"] == 1
    assert (await get(lab, "secret s"))["data"] == {"a": "Yg=="}
    assert (await get(lab, "role r"))["rules"][0]["verbs"] == ["get", "list"]
    assert (await get(lab, "cronjob cj"))["spec"]["schedule"] == "* * * * *"


async def test_looking_at_things(lab: Cluster) -> None:
    await lab.ok("create serviceaccount default")
    await lab.ok("apply -f -", WEB)
    await lab.ok("run p --image=busybox")
    table = await lab.ok("get all")
    assert "deployment.apps/web   0/2     0            0" in table
    assert "service/kubernetes   ClusterIP   10.96.0.1" in table
    assert "kube-system" in await lab.ok("get ns")
    wide = await lab.ok("get deploy -o wide")
    assert wide.splitlines()[0].split() == (
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    )
    described = await lab.ok("describe deploy web")
    assert "Replicas:               2 desired" in described
    assert "Service Account:  default" in await lab.ok("describe pod p")
    assert "NodePort" in await lab.ok("describe svc web")
    assert await lab.ok("get po p -o jsonpath={.spec.containers[0].image}") == "busybox"
    assert await lab.ok("get po -l run=p -o name") == "pod/p\n"
    assert await lab.ok("get po --field-selector metadata.name=other -o name") == ""
    assert "replicas\t<integer>" in await lab.ok("explain deployment.spec")
    assert "web" in await lab.ok("get deploy,svc -A")
    assert "horizontalpodautoscalers" in await lab.ok("api-resources")
    assert "apps/v1\n" in await lab.ok("api-versions")
    assert (await get(lab, "hpa,pdb -A"))["items"] == []
    assert await lab.ok("wait --for=jsonpath={.spec.replicas}=2 deploy/web --timeout=5s") == (
        "deployment.apps/web condition met\n"
    )


async def test_access(lab: Cluster) -> None:
    await lab.ok("create serviceaccount robot")
    await lab.ok("create rolebinding v --clusterrole=system:aggregate-to-view --serviceaccount=default:robot")
    token = (await lab.ok("create token robot")).strip()
    assert token.count(".") == 2
    assert (await lab.ok("auth can-i get pods")).strip() == "yes"
    as_robot = "--as system:serviceaccount:default:robot"
    assert (await lab.ok(f"auth can-i list pods {as_robot}")).strip() == "yes"
    code, out, _ = await lab.run(f"auth can-i delete pods {as_robot}")
    assert (code, out.strip()) == (1, "no")
    assert "kubernetes-admin" in await lab.ok("auth whoami")
    assert "is forbidden" in await lab.fails(f"delete pod x {as_robot}")


async def test_dry_runs_and_refusals(lab: Cluster) -> None:
    dry = await lab.ok("create deployment d --image=nginx --dry-run=server")
    assert dry == "deployment.apps/d created (server dry run)\n"
    assert await lab.fails("get deploy d") == 'Error from server (NotFound): deployments.apps "d" not found\n'
    unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nbogus: 1\n"
    assert 'unknown field "bogus"' in await lab.fails("create -f -", unknown)
    assert 'unknown field "bogus"' in (await lab.run("create --validate=warn -f -", unknown))[2]
    assert "AlreadyExists" in await lab.fails("create namespace default")
    assert "may not be deleted" in await lab.fails("delete namespace kube-system")


async def test_watching(lab: Cluster) -> None:
    await lab.ok("create configmap a --from-literal=x=1")
    _, out, _ = await lab.run("get cm -w --request-timeout=1s")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "DATA", "AGE"]
    assert lines[1].split()[:2] == ["a", "1"]
    assert len(lines) == 2
    deleted = await lab.ok("delete cm a")
    assert deleted == 'configmap "a" deleted\n' or deleted.startswith('configmap "a" deleted from')


async def test_node_work(lab: Cluster) -> None:
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
    await lab.ok("create -f -", node)
    assert await lab.ok("cordon n1") == "node/n1 cordoned\n"
    assert (await get(lab, "node n1"))["spec"]["unschedulable"] is True
    assert await lab.ok("uncordon n1") == "node/n1 uncordoned\n"
    assert await lab.ok("taint node n1 a=b:NoSchedule") == "node/n1 tainted\n"
    taints = (await get(lab, "node n1"))["spec"]["taints"]
    assert {"key": "a", "value": "b", "effect": "NoSchedule"} in taints
    assert {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"} in taints  # by admission, as upstream
    await lab.ok("create serviceaccount default")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: n1, containers: [{name: c, image: i}]}\n"
    await lab.ok("create -f -", pod)
    assert "Non-terminated Pods:          (1 in total)" in await lab.ok("describe node n1")
    _, out, error = await lab.run("drain n1 --force --timeout=1s")
    assert "evicting pod default/p" in error + out
    assert "deletionTimestamp" in (await get(lab, "pod p"))["metadata"]
