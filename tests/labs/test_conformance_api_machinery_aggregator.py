"""api-machinery's conformance name about the aggregator: upstream's sample API server, with an etcd beside it."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Iterator

import pytest

from netlab.client.certificate import self_signed
from tests.labs.conformance_tools import MERGE
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import ApiError, Obj, Space

pytestmark = pytest.mark.timeout(300)
GROUP = "wardle.example.com"
BASE = f"/apis/{GROUP}/v1alpha1"
SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.wardle.example.com"
CERTIFICATES = "/apiserver.local.config/certificates"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def _deployment() -> Obj:
    server = {
        "name": "sample-apiserver",
        "image": "registry.k8s.io/e2e-test-images/sample-apiserver:1.29.2",
        "volumeMounts": [{"name": "apiserver-certs", "readOnly": True, "mountPath": CERTIFICATES}],
        "args": [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--tls-cert-file={CERTIFICATES}/tls.crt",
            f"--tls-private-key-file={CERTIFICATES}/tls.key",
            "--audit-log-path=-",
            "--audit-log-maxage=0",
            "--audit-log-maxbackup=0",
        ],
    }
    urls = "http://127.0.0.1:2379"
    etcd = {
        "name": "etcd",
        "image": "registry.k8s.io/etcd:3.5.21-0",
        "command": ["/usr/local/bin/etcd", "--listen-client-urls", urls, "--advertise-client-urls", urls],
    }
    labels = {"app": "sample-apiserver", "apiserver": "true"}
    pod = {
        "containers": [server, etcd],
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "apiserver-certs", "secret": {"secretName": "sample-apiserver-secret"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "sample-apiserver-deployment", "labels": labels}, "spec": spec}


def _bound(ns: Space) -> Iterator[tuple[str, Obj]]:
    """What lets the server ask who may do what: (collection, binding)."""
    who = [{"kind": "ServiceAccount", "name": "default", "namespace": ns.name}]

    def binding(name: str, kind: str, role: str) -> Obj:
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
        return {"metadata": {"name": name}, "roleRef": ref, "subjects": who}

    yield (
        f"{RBAC}/clusterrolebindings",
        binding(f"wardler:{ns.name}:auth-delegator", "ClusterRole", "system:auth-delegator"),
    )
    reader = binding("wardler-auth-reader", "Role", "extension-apiserver-authentication-reader")
    yield f"{RBAC}/namespaces/kube-system/rolebindings", reader


@pytest.fixture
def sample(space: Space) -> Iterator[Space]:  # noqa: F811
    """A namespace with the sample server running in it and registered."""
    ns, made = space, [SERVICE]
    pem = self_signed(f"sample-api.{ns.name}.svc").decode()
    certificate = pem[: pem.index("-----BEGIN PRIVATE KEY-----")]
    assert ssl.PEM_cert_to_DER_cert(certificate)
    data = {"tls.crt": certificate, "tls.key": pem[len(certificate) :]}
    ns.create("secrets", {"metadata": {"name": "sample-apiserver-secret"}, "stringData": data})
    for where, binding in _bound(ns):
        ns.api.call("POST", where, binding)
        made.append(f"{where}/{binding['metadata']['name']}")
    ns.api.call("POST", ns.path("deployments", group="apis/apps/v1"), _deployment())
    ports = [{"protocol": "TCP", "port": 7443, "targetPort": 443}]
    ns.create(
        "services", {"metadata": {"name": "sample-api"}, "spec": {"selector": {"apiserver": "true"}, "ports": ports}}
    )
    reference = {"namespace": ns.name, "name": "sample-api", "port": 7443}
    spec = {
        "service": reference,
        "group": GROUP,
        "version": "v1alpha1",
        "caBundle": base64.b64encode(certificate.encode()).decode(),
        "groupPriorityMinimum": 2000,
        "versionPriority": 200,
    }
    try:
        where, _, name = SERVICE.rpartition("/")
        ns.api.call("POST", where, {"metadata": {"name": name}, "spec": spec})
        yield ns
    finally:
        for path in made:
            with contextlib.suppress(ApiError):
                ns.api.call("DELETE", path)


def _available(ns: Space) -> bool:
    rows = ns.api.get(SERVICE).get("status", {}).get("conditions") or ()
    return any(row["type"] == "Available" and row["status"] == "True" for row in rows)


@conformance("Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator")
def test_sample_server(sample: Space) -> None:
    ns, api = sample, sample.api
    ns.wait("the sample server is available", lambda: _available(ns))
    path = f"{BASE}/namespaces/{ns.name}/flunders"
    flunder = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Flunder", "metadata": {"labels": {"sample-label": "true"}}}
    with api.open("POST", path, {**flunder, "metadata": {**flunder["metadata"], "name": "rest-flunder"}}) as answer:
        assert answer.status == 201
    assert [one["metadata"]["name"] for one in api.get(path)["items"]] == ["rest-flunder"]
    api.call("DELETE", f"{path}/rest-flunder")
    assert api.get(path)["items"] == []
    names = [one["name"] for one in api.get(BASE)["resources"]]
    assert "flunders" in names and GROUP in [one["name"] for one in api.get("/apis")["groups"]]
    made = api.call("POST", path, {**flunder, "metadata": {"name": "dynamic-flunder"}, "spec": {"reference": "other"}})
    assert made["spec"] == {"reference": "other", "referenceType": "Flunder"}
    api.call("PATCH", f"{path}/dynamic-flunder", {"metadata": {"labels": {"patched": "yes"}}}, MERGE)
    assert [one["metadata"]["uid"] for one in api.get(f"{path}?labelSelector=patched%3Dyes")["items"]] == [
        made["metadata"]["uid"]
    ]
    stale = {**made, "metadata": {**made["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(ApiError) as problem:
        api.call("PUT", f"{path}/dynamic-flunder", stale)
    assert problem.value.status["reason"] == "Conflict"
    api.call("POST", f"{BASE}/fischers", {"metadata": {"name": "no-pike"}, "disallowedFlunders": ["pike"]})
    with pytest.raises(ApiError) as problem:
        api.call("POST", path, {**flunder, "metadata": {"name": "pike"}})
    assert problem.value.status["message"].endswith("this name may not be used, please change the resource name")
    shown = ns.user.kubectl("get", "flunders", "-n", ns.name, lab="course").stdout.split()
    assert shown[:4] == ["NAME", "CREATED", "AT", "dynamic-flunder"]
    api.call("DELETE", path)
    assert api.get(path)["items"] == []
