"""StatefulSets and DaemonSets: rolling out, back and again; and what is left of the smaller verbs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import yaml

from tests.kubectl.matrix import Chapter, Kubectl

IMAGE = "registry.k8s.io/pause:3.9"
SETS = f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: sts}}
spec:
  serviceName: sts
  replicas: 2
  selector: {{matchLabels: {{app: sts}}}}
  template:
    metadata: {{labels: {{app: sts}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, image: "{IMAGE}"}}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: ds}}
spec:
  selector: {{matchLabels: {{app: ds}}}}
  template:
    metadata: {{labels: {{app: ds}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, image: "{IMAGE}"}}]}}
"""
KINDS = {"sts": ("statefulset", "statefulsets"), "ds": ("daemonset", "daemonsets")}


def _prepare(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", SETS)


ROLLING_SETS = Chapter("sets", _prepare)


def _status(kubectl: Kubectl) -> None:
    for name, (kind, _) in KINDS.items():
        kubectl.ok(f"rollout status {kind}/{name} --timeout=60s")


@ROLLING_SETS.verb("rollout status sts, ds", everyday=True)
def _first(kubectl: Kubectl) -> None:
    said = kubectl.ok("rollout status statefulset/sts --timeout=60s")
    assert "partitioned roll out complete: 2 new pods have been updated" in said or "rolling update complete" in said
    assert kubectl.held("statefulsets", "sts")["status"]["readyReplicas"] == 2
    said = kubectl.ok("rollout status ds/ds --timeout=60s")
    assert 'daemon set "ds" successfully rolled out' in said
    assert kubectl.names("pods", "app=sts") == ["sts-0", "sts-1"]


@ROLLING_SETS.verb("rollout history, undo sts, ds")
def _undo(kubectl: Kubectl) -> None:
    for name, (kind, _) in KINDS.items():
        kubectl.ok(f"set env {kind}/{name} TURN=two")
    _status(kubectl)
    for name, (kind, plural) in KINDS.items():
        lines = kubectl.ok(f"rollout history {kind}/{name}").strip().splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["REVISION", "1", "2"], lines
        kubectl.says(f"rollout history {kind}/{name} --revision=2", "TURN:")
        assert kubectl.ok(f"rollout undo {kind}/{name}").endswith(" rolled back\n")
        template = kubectl.held(plural, name)["spec"]["template"]["spec"]
        assert "env" not in template["containers"][0]
    _status(kubectl)
    kubectl.fails("rollout undo ds/ds --to-revision=77", "nable to find specified revision 77 in history")


@ROLLING_SETS.verb("rollout restart sts, ds")
def _restart(kubectl: Kubectl) -> None:
    before = {pod: kubectl.held("pods", pod)["metadata"]["uid"] for pod in kubectl.names("pods", "app in (sts,ds)")}
    assert kubectl.ok("rollout restart statefulset/sts") == "statefulset.apps/sts restarted\n"
    assert kubectl.ok("rollout restart daemonset/ds") == "daemonset.apps/ds restarted\n"
    _status(kubectl)

    def others() -> bool:
        found = {kubectl.held("pods", pod)["metadata"]["uid"] for pod in kubectl.names("pods", "app in (sts,ds)")}
        return len(found) == 3 and not found & set(before.values())

    kubectl.until("all pods are others", others)


@ROLLING_SETS.verb("rollout pause of a set")
def _pause(kubectl: Kubectl) -> None:
    kubectl.fails("rollout pause statefulset/sts", "pausing is not supported")


@ROLLING_SETS.verb("scale sts")
def _scale(kubectl: Kubectl) -> None:
    assert kubectl.ok("scale sts sts --replicas=1") == "statefulset.apps/sts scaled\n"
    kubectl.until("the last goes first", lambda: kubectl.names("pods", "app=sts") == ["sts-0"])


SMALL = Chapter("small")


@SMALL.verb("config get-contexts, set-context, --minify")
def _config(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "config"
        copy.write_text(kubectl.kubeconfig.read_text())
        copy.chmod(0o600)
        config = f"--kubeconfig={copy}"
        context = kubectl.ok(f"config current-context {config}").strip()
        assert context in kubectl.ok(f"config get-contexts -o name {config}").split()
        kubectl.ok(f"config set-context --current --namespace=kube-system {config}")
        kubectl.ok(f"config set-context other --cluster=none --user=none {config}")
        shown = yaml.safe_load(kubectl.ok(f"config view --minify {config}"))
        assert [one["name"] for one in shown["contexts"]] == [context]
        assert shown["contexts"][0]["context"]["namespace"] == "kube-system"
        assert "certificate-authority-data: LS0" in kubectl.ok(f"config view --raw {config}")
        kubectl.says(f"config use-context other {config}", 'Switched to context "other"')
        kubectl.ok(f"config delete-context {context} {config}")
        assert kubectl.ok(f"config get-contexts -o name {config}").split() == ["other"]


@SMALL.verb("plugin list, a plugin")
def _plugin(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        plugin = Path(directory) / "kubectl-greet"
        plugin.write_text("#!/bin/sh\necho hello $1\n")
        plugin.chmod(0o755)
        path = f"{directory}:{os.environ['PATH']}"
        kubectl.says("plugin list", str(plugin), PATH=path)
        # flags before a plugin's name are none of its own
        import subprocess

        done = subprocess.run(
            [kubectl.program, "greet", "you"], env={**kubectl.environment, "PATH": path}, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "hello you\n")


@SMALL.verb("create secret tls")
def _tls(kubectl: Kubectl) -> None:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.com")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    with tempfile.TemporaryDirectory() as directory:
        pem = serialization.Encoding.PEM
        (Path(directory) / "c").write_bytes(certificate.public_bytes(pem))
        plain = serialization.NoEncryption()
        (Path(directory) / "k").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        )
        assert kubectl.ok(f"create secret tls web --cert={directory}/c --key={directory}/k") == "secret/web created\n"
    found = kubectl.held("secrets", "web")
    assert found["type"] == "kubernetes.io/tls"
    assert sorted(found["data"]) == ["tls.crt", "tls.key"]


@SMALL.verb("create cm --from-env-file, role --resource-name")
def _from(kubectl: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "env").write_text("A=1\n# no\nB=two words\n")
        kubectl.ok(f"create cm env --from-env-file={directory}/env")
    assert kubectl.held("configmaps", "env")["data"] == {"A": "1", "B": "two words"}
    kubectl.ok("create role one --verb=get --resource=configmaps,deployments.apps/scale --resource-name=env")
    rules = kubectl.held("roles", "one")["rules"]
    assert {rule["resources"][0] for rule in rules} == {"configmaps", "deployments/scale"}
    assert all(rule["resourceNames"] == ["env"] for rule in rules)
    kubectl.ok(f"create rolebinding one --role=one --serviceaccount={kubectl.namespace}:default")
    default = f"--as=system:serviceaccount:{kubectl.namespace}:default"
    assert kubectl.ok(f"auth can-i get cm/env {default}").strip() == "yes"
    kubectl.fails(f"auth can-i get cm/other {default}", "no")
    kubectl.fails(f"get cm other {default}", 'configmaps "other" is forbidden: User "system:serviceaccount:')


@SMALL.verb("certificate deny", since=27)
def _deny(kubectl: Kubectl) -> None:
    from base64 import b64encode

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bob")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    pem = b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    wanted = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": f"{kubectl.namespace}-no"},
        "spec": {"signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"], "request": pem},
    }
    kubectl.ok("create -f -", json.dumps(wanted))
    kubectl.says(f"certificate deny {kubectl.namespace}-no", "denied")
    kubectl.says(f"get csr {kubectl.namespace}-no", "Denied")
    # approved and denied do not go together
    result = kubectl.run(f"certificate approve {kubectl.namespace}-no")
    assert result.code == 1, str(result)
    kubectl.ok(f"delete csr {kubectl.namespace}-no")


@SMALL.verb("apply view-last-applied, set-last-applied")
def _last(kubectl: Kubectl) -> None:
    mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last}\ndata: {x: '1'}\n"
    kubectl.ok("apply -f -", mine)
    assert yaml.safe_load(kubectl.ok("apply view-last-applied cm/last"))["data"] == {"x": "1"}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "f").write_text(mine.replace("'1'", "'2'"))
        kubectl.says(f"apply set-last-applied -f {directory}/f", "configmap/last configured")
    assert json.loads(kubectl.ok("apply view-last-applied cm/last -o json"))["data"] == {"x": "2"}
    assert kubectl.held("configmaps", "last")["data"] == {"x": "1"}


@SMALL.verb("diff without a difference")
def _same(kubectl: Kubectl) -> None:
    same = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: same}\ndata: {x: '1'}\n"
    kubectl.ok("apply -f -", same)
    result = kubectl.run("diff -f -", same)
    assert (result.code, result.out) == (0, ""), str(result)
    result = kubectl.run("diff -f -", same.replace("same", "new"))
    assert result.code == 1, str(result)
    assert "+  name: new" in result.out, str(result)
    assert kubectl.gone("configmaps", "new")


@SMALL.verb("get --ignore-not-found, -f, by version and group")
def _get(kubectl: Kubectl) -> None:
    assert kubectl.ok("get cm no-such --ignore-not-found") == ""
    kubectl.ok("create deployment g --image=nginx --replicas=0")
    names = {kubectl.ok(f"get {kind} -o name") for kind in ("deploy", "deployments.apps", "deployments.v1.apps")}
    assert names == {"deployment.apps/g\n"}
    manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: g}\n"
    assert kubectl.ok("get -f - -o name", manifest) == "deployment.apps/g\n"
    kubectl.fails("get no-such-kind", "the server doesn't have a resource type")


@SMALL.verb("get, patch --subresource", since=27)
def _subresource(kubectl: Kubectl) -> None:
    kubectl.ok("create deployment sub --image=nginx --replicas=0")
    scale = json.loads(kubectl.ok("get deploy sub --subresource=scale -o json"))
    assert (scale["kind"], scale["spec"]) == ("Scale", {}) or scale["spec"] == {"replicas": 0}
    condition = json.dumps({"status": {"conditions": [{"type": "Mine", "status": "True"}]}})
    kubectl.ok(f"patch deploy sub --subresource=status --type=merge -p '{condition}'")
    kubectl.ok("wait --for=condition=Mine deploy/sub --timeout=30s")
    kubectl.ok('patch deploy sub --subresource=scale --type=merge -p \'{"spec":{"replicas":1}}\'')
    assert kubectl.held("deployments", "sub")["spec"]["replicas"] == 1


@SMALL.verb("annotate --overwrite, label --all, --local")
def _annotate(kubectl: Kubectl) -> None:
    kubectl.ok("create cm marked")
    kubectl.ok("annotate cm marked note=one")
    kubectl.fails("annotate cm marked note=two", "--overwrite is false")
    kubectl.ok("annotate cm marked note=two --overwrite")
    kubectl.fails("annotate cm marked note=x --overwrite --resource-version=1", "the object has been modified")
    kubectl.ok("label cm --all pick=me")
    assert "marked" in kubectl.names("configmaps", "pick=me")
    local = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nowhere}\n"
    assert "tier: front" in kubectl.ok("label --local -f - tier=front -o yaml", local)
    assert kubectl.gone("configmaps", "nowhere")


@SMALL.verb("set env --from")
def _set(kubectl: Kubectl) -> None:
    kubectl.ok("create cm words --from-literal=a=b")
    kubectl.ok("create deployment env --image=nginx --replicas=0")
    kubectl.ok("set env deploy/env --from=configmap/words --prefix=W_")
    container = kubectl.held("deployments", "env")["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "W_A", "valueFrom": {"configMapKeyRef": {"key": "a", "name": "words"}}}], (
        container["env"]
    )
    kubectl.says("set env deploy/env --list --resolve", "W_A=b")


@SMALL.verb("wait --for=jsonpath (any value), several at once", since=31)
def _wait(kubectl: Kubectl) -> None:
    kubectl.ok("create deployment here --image=registry.k8s.io/pause:3.9")
    kubectl.ok("create deployment there --image=registry.k8s.io/pause:3.9")
    kubectl.ok("wait --for=jsonpath={.status.observedGeneration} deploy/here deploy/there --timeout=30s")
    out = kubectl.ok("wait --for=condition=Available deploy --all --timeout=60s")
    assert "deployment.apps/here condition met" in out and "deployment.apps/there condition met" in out
    kubectl.fails("wait --for=jsonpath={.status.no} deploy/here --timeout=1s", "timed out waiting for the condition")
