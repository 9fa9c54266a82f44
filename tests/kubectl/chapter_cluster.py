"""Reading, the cluster itself, access, and the work on nodes."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path

import yaml

from tests.kubectl.chapter_workloads import WEB
from tests.kubectl.matrix import Chapter, Kubectl


def _prepare(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", WEB)
    kubectl.ok("rollout status deployment/web --timeout=60s")


READING = Chapter("reading", _prepare)


@READING.verb("get", everyday=True)
def _get(kubectl: Kubectl) -> None:
    header, *rows = kubectl.ok("get pods").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row.split()[1:4] for row in rows] == [["1/1", "Running", "0"]] * 2
    assert kubectl.ok("get deploy web --no-headers").split()[:4] == ["web", "2/2", "2", "2"]
    kubectl.fails("get pod no-such", 'Error from server (NotFound): pods "no-such" not found')


@READING.verb("get -o wide", everyday=True)
def _wide(kubectl: Kubectl) -> None:
    header, *rows = kubectl.ok("get pods -o wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert all(row.split()[5].startswith("10.244.") and row.split()[6] == "node" for row in rows), rows
    kubectl.says("get svc web -o wide", "app=web")
    kubectl.says("get nodes -o wide", "INTERNAL-IP")


@READING.verb("get -o yaml, json, name, jsonpath", everyday=True)
def _outputs(kubectl: Kubectl) -> None:
    found = yaml.safe_load(kubectl.ok("get deploy web -o yaml"))
    assert (found["apiVersion"], found["kind"], found["spec"]["replicas"]) == ("apps/v1", "Deployment", 2)
    assert json.loads(kubectl.ok("get cm cm -o json"))["data"] == {"a": "b"}
    assert kubectl.ok("get deploy,svc web -o name") == "deployment.apps/web\nservice/web\n"
    path = "{range .items[*]}{.status.phase}{end}"
    assert kubectl.ok(f"get pods -o jsonpath='{path}'") == "RunningRunning"
    assert kubectl.ok("get cm cm -o go-template='{{.data.a}}'") == "b"


@READING.verb("get -o custom-columns", everyday=True)
def _columns(kubectl: Kubectl) -> None:
    out = kubectl.ok("get deploy -o custom-columns=N:.metadata.name,R:.spec.replicas")
    assert [line.split() for line in out.splitlines()] == [["N", "R"], ["web", "2"]]


@READING.verb("get -l, --field-selector, --show-labels, -L", everyday=True)
def _selectors(kubectl: Kubectl) -> None:
    assert len(kubectl.ok("get pods -l 'app in (web),!x' -o name").splitlines()) == 2
    assert (
        len(kubectl.ok("get pods --field-selector status.phase=Running,spec.nodeName=node -o name").splitlines()) == 2
    )
    assert kubectl.ok("get pods --field-selector status.phase=Failed -o name") == ""
    kubectl.says("get deploy --show-labels", "app=web")
    assert kubectl.ok("get deploy -L app").splitlines()[0].split()[-1] == "APP"
    kubectl.fails("get pods --field-selector spec.foo=x", "field label not supported")


@READING.verb("get --sort-by")
def _sorted(kubectl: Kubectl) -> None:
    names = kubectl.ok("get pods --sort-by=.metadata.name -o name").splitlines()
    assert names == sorted(names)
    assert len(names) == 2


@READING.verb("get all, -A", everyday=True)
def _all(kubectl: Kubectl) -> None:
    out = kubectl.ok("get all")
    assert all(word in out for word in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-")), out
    header, *rows = kubectl.ok("get pods -A").splitlines()
    assert header.split()[:2] == ["NAMESPACE", "NAME"]
    assert {"kube-system", kubectl.namespace} <= {row.split()[0] for row in rows}


@READING.verb("get --raw, --chunk-size")
def _raw(kubectl: Kubectl) -> None:
    assert kubectl.ok("get --raw /readyz") == "ok"
    assert len(kubectl.ok("get pods -A --chunk-size=1 --no-headers").splitlines()) >= 3


@READING.verb("get -w --output-watch-events")
def _watch(kubectl: Kubectl) -> None:
    with kubectl.background("get cm -w --output-watch-events") as process:
        assert process.stdout is not None
        seen = [process.stdout.readline().split() for _ in range(3)]  # the header, cm, kube-root-ca.crt
        kubectl.ok("create cm extra")
        kubectl.ok("label cm extra a=b")
        kubectl.ok("delete cm extra")
        seen += [process.stdout.readline().split() for _ in range(3)]
    assert [words[0] for words in seen if words[1] == "extra"] == ["ADDED", "MODIFIED", "DELETED"], seen


@READING.verb("get events", everyday=True)
def _get_events(kubectl: Kubectl) -> None:
    out = kubectl.ok("get events --sort-by=.lastTimestamp")
    assert out.splitlines()[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    for reason in ("ScalingReplicaSet", "SuccessfulCreate", "Scheduled", "Pulled", "Created", "Started"):
        assert reason in out, (reason, out)
    kubectl.says("get events --field-selector involvedObject.kind=Deployment", "deployment/web")


@READING.verb("events", since=27, everyday=True)
def _events(kubectl: Kubectl) -> None:
    kubectl.says("events --for deployment/web", "ScalingReplicaSet")
    assert "Warning" not in kubectl.ok("events --types=Normal")


@READING.verb("explain", everyday=True)
def _explain(kubectl: Kubectl) -> None:
    kubectl.says("explain deployment.spec.strategy", "rollingUpdate")
    kubectl.says("explain pod.spec.containers.livenessProbe.httpGet", "port")


@READING.verb("explain --recursive, every kind")
def _explain_more(kubectl: Kubectl) -> None:
    out = kubectl.ok("explain service --recursive")
    assert "clusterIP" in out, out
    assert "nodePort" in out, out
    for kind, word in (
        ("nodes.status.addresses", "address"),
        ("configmap", "binaryData"),
        ("endpointslice.endpoints.conditions", "serving"),
        ("ingress.spec.rules", "host"),
        ("networkpolicy.spec", "podSelector"),
        ("cronjob.spec", "schedule"),
        ("hpa --api-version=autoscaling/v2", "spec"),
    ):
        kubectl.says(f"explain {kind}", word)
    kubectl.fails("explain pod.no.such", "does not exist")


@READING.verb("api-resources", everyday=True)
def _resources(kubectl: Kubectl) -> None:
    rows = [line.split() for line in kubectl.ok("api-resources --no-headers").splitlines()]
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in rows or kubectl.minor < 27
    names = kubectl.ok("api-resources --namespaced=false -o name").split()
    assert {"nodes", "namespaces", "clusterroles.rbac.authorization.k8s.io"} <= set(names)
    assert "pods" in kubectl.ok("api-resources --api-group= --verbs=list,watch -o name").split()


@READING.verb("api-versions", everyday=True)
def _versions(kubectl: Kubectl) -> None:
    assert {"v1", "apps/v1", "networking.k8s.io/v1"} <= set(kubectl.ok("api-versions").split())


@READING.verb("cluster-info", everyday=True)
def _info(kubectl: Kubectl) -> None:
    out = kubectl.ok("cluster-info -n kube-system")
    assert "is running at" in out
    assert "https://127.0.0.1:" in out
    assert "CoreDNS" in out or "DNS is running at" in out, out


@READING.verb("cluster-info dump")
def _dump(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        kubectl.ok(f"cluster-info dump --namespaces={kubectl.namespace} --output-directory={directory}")
        assert json.loads((Path(directory) / kubectl.namespace / "pods.json").read_text())["items"]


@READING.verb("version", everyday=True)
def _version(kubectl: Kubectl) -> None:
    found = json.loads(kubectl.ok("version -o json"))
    assert found["serverVersion"]["minor"] == "33"
    assert found["clientVersion"]["minor"].rstrip("+") == str(kubectl.minor)


@READING.verb("config view, current-context", everyday=True)
def _config(kubectl: Kubectl) -> None:
    out = kubectl.ok("config view")
    assert "certificate-authority-data: DATA+OMITTED" in out
    assert kubectl.ok("config current-context").strip() == yaml.safe_load(out)["current-context"]


@READING.verb("proxy", everyday=True)
def _proxy(kubectl: Kubectl) -> None:
    with kubectl.background("proxy --port=0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.rsplit(" ", 1)[1].strip()
        place = f"http://{address}/api/v1/namespaces/{kubectl.namespace}"
        with urllib.request.urlopen(f"{place}/configmaps/cm", timeout=20) as response:
            assert json.load(response)["data"] == {"a": "b"}
        with urllib.request.urlopen(f"{place}/services/web:80/proxy/hostname", timeout=20) as response:
            assert response.read().decode() in kubectl.names("pods", "app=web")


@READING.verb("auth can-i", everyday=True)
def _can_i(kubectl: Kubectl) -> None:
    assert kubectl.ok("auth can-i create pods").strip() == "yes"
    kubectl.ok("create serviceaccount robot")
    kubectl.ok(f"create rolebinding robot --clusterrole=view --serviceaccount={kubectl.namespace}:robot")
    robot = f"--as=system:serviceaccount:{kubectl.namespace}:robot"
    assert kubectl.ok(f"auth can-i list pods {robot}").strip() == "yes"
    kubectl.fails(f"auth can-i delete pods {robot}", "no")
    kubectl.fails(f"delete pod x {robot}", "is forbidden")
    kubectl.says(f"auth can-i --list {robot}", "pods/log")


@READING.verb("auth whoami", since=27, everyday=True)
def _whoami(kubectl: Kubectl) -> None:
    out = kubectl.says("auth whoami", "kubernetes-admin")
    assert "system:authenticated" in out


@READING.verb("auth reconcile")
def _reconcile(kubectl: Kubectl) -> None:
    # from 1.27 on it wants the namespace in the file
    role = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: again, namespace: {kubectl.namespace}}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [VERB]}}]
"""
    kubectl.ok("auth reconcile -f -", role.replace("VERB", "get"))
    kubectl.ok("auth reconcile -f -", role.replace("VERB", "list"))
    verbs = [verb for rule in kubectl.held("roles", "again")["rules"] for verb in rule["verbs"]]
    assert sorted(verbs) == ["get", "list"]


@READING.verb("certificate approve", since=27)
def _certificate(kubectl: Kubectl) -> None:
    from base64 import b64decode, b64encode

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    wanted = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": kubectl.namespace},
        "spec": {
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "request": b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode(),
        },
    }
    kubectl.ok("create -f -", json.dumps(wanted))
    kubectl.says(f"certificate approve {kubectl.namespace}", "approved")
    path = f"apis/certificates.k8s.io/v1/certificatesigningrequests/{kubectl.namespace}"
    conditions = kubectl.request(path)[1]["status"]["conditions"]
    assert [(found["type"], found["status"]) for found in conditions] == [("Approved", "True")]
    kubectl.until("it is signed", lambda: kubectl.request(path)[1]["status"].get("certificate"))
    certificate = x509.load_pem_x509_certificate(b64decode(kubectl.request(path)[1]["status"]["certificate"]))
    assert certificate.subject == name
    assert kubectl.request(path)[1]["spec"]["username"] == "kubernetes-admin"
    kubectl.says("get csr", "Approved,Issued")
    kubectl.says(f"describe csr {kubectl.namespace}", "ann")
    kubectl.ok(f"delete csr {kubectl.namespace}")


@READING.verb("completion, plugin list, options")
def _rest(kubectl: Kubectl) -> None:
    kubectl.says("completion bash", "__start_kubectl")
    kubectl.says("options", "--kubeconfig")
    pods = kubectl.ok(f"__complete get -n {kubectl.namespace} pods ''") if kubectl.minor >= 27 else "web-"
    assert "web-" in pods


NODES = Chapter("nodes", _prepare)


def _node(kubectl: Kubectl) -> dict[str, dict]:  # type: ignore[type-arg]
    found: dict[str, dict] = kubectl.held("nodes", "node")  # type: ignore[type-arg]
    return found


@NODES.verb("cordon, uncordon", everyday=True)
def _cordon(kubectl: Kubectl) -> None:
    assert kubectl.ok("cordon node") == "node/node cordoned\n"
    try:
        assert _node(kubectl)["spec"]["unschedulable"] is True
        kubectl.says("get node node", "Ready,SchedulingDisabled")
        assert kubectl.ok("cordon node") == "node/node already cordoned\n"
    finally:
        assert kubectl.ok("uncordon node") == "node/node uncordoned\n"
    assert "unschedulable" not in _node(kubectl)["spec"]


@NODES.verb("taint", everyday=True)
def _taint(kubectl: Kubectl) -> None:
    try:
        assert kubectl.ok("taint node node key=value:NoSchedule") == "node/node tainted\n"
        assert {"key": "key", "value": "value", "effect": "NoSchedule"} in _node(kubectl)["spec"]["taints"]
        kubectl.ok("run kept-out --image=registry.k8s.io/pause:3.9")

        def refused() -> bool:
            conditions = kubectl.held("pods", "kept-out")["status"].get("conditions", [])
            return any("had untolerated taint {key: value}" in found.get("message", "") for found in conditions)

        kubectl.until("it is kept out", refused)
    finally:
        assert kubectl.ok("taint node node key-") == "node/node untainted\n"
    kubectl.ok("wait --for=condition=Ready pod/kept-out --timeout=30s")


@NODES.verb("label node")
def _label(kubectl: Kubectl) -> None:
    kubectl.ok("label node node node-role.kubernetes.io/extra=")
    kubectl.says("get nodes", "extra")
    kubectl.ok("label node node node-role.kubernetes.io/extra-")


@NODES.verb("drain", everyday=True)
def _drain(kubectl: Kubectl) -> None:
    before = set(kubectl.names("pods", "app=web"))
    try:
        result = kubectl.run("drain node --ignore-daemonsets --force --pod-selector=app=web --timeout=60s")
        assert result.code == 0, str(result)
        assert "node/node drained" in result.out or "node/node evicted" in result.out, str(result)
        assert not before & set(kubectl.names("pods", "app=web"))
    finally:
        kubectl.ok("uncordon node")
    kubectl.ok("rollout status deployment/web --timeout=60s")


@NODES.verb("drain, PodDisruptionBudget", since=27)
def _drain_budget(kubectl: Kubectl) -> None:
    kubectl.ok("create pdb web --selector=app=web --min-available=2")
    held = "poddisruptionbudgets"
    kubectl.until("it is counted", lambda: kubectl.held(held, "web")["status"].get("currentHealthy") == 2)
    assert kubectl.ok("get pdb web --no-headers").split()[:4] == ["web", "2", "N/A", "0"]
    pods = set(kubectl.names("pods", "app=web"))
    try:
        kubectl.fails(
            "drain node --ignore-daemonsets --force --pod-selector=app=web --timeout=1s",
            "Cannot evict pod as it would violate the pod's disruption budget",
        )
        assert set(kubectl.names("pods", "app=web")) == pods
    finally:
        kubectl.ok("uncordon node")
        kubectl.ok("delete pdb web")
