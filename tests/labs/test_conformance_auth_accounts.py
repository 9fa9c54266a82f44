"""auth's conformance names: ServiceAccounts and their tokens, certificate requests, access reviews (test/e2e/auth)."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.labs.conformance_operations import discovered, operations
from tests.labs.conformance_tools import Watch, condition, names, pause, pod, said
from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, Obj, Space, kubectl

pytestmark = pytest.mark.timeout(300)
A = "ServiceAccounts "
PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
CERTIFICATES = "apis/certificates.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


def _account(ns: Space, name: str, **more: Any) -> Obj:
    return ns.create("serviceaccounts", {"metadata": {"name": name}, **more})


def _reviewed(ns: Space, token: str) -> Obj:
    body = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    status: Obj = ns.api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)["status"]
    return status


@conformance(A + "should mount an API token into pods")
def test_token_in_pods(space: Space) -> None:  # noqa: F811
    """The mounted files are the account's token, the cluster's certificate and the namespace."""
    _account(space, "mount-test")
    space.pod("with-token", "netexec", serviceAccountName="mount-test")
    content = {name: space.sh("with-token", f"cat {PLACE}/{name}") for name in ("token", "ca.crt", "namespace")}
    root = space.api.get(space.path("configmaps", "kube-root-ca.crt"))["data"]["ca.crt"]
    assert content["ca.crt"] == root
    assert content["namespace"] == space.name
    status = _reviewed(space, content["token"])
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"system:serviceaccount:{space.name}:mount-test"
    groups = {"system:serviceaccounts", f"system:serviceaccounts:{space.name}", "system:authenticated"}
    assert set(status["user"]["groups"]) >= groups


@conformance(A + "should allow opting out of API token automount")
def test_no_token(space: Space) -> None:  # noqa: F811
    """What the Pod says counts, else what the account says, else yes."""
    for account, says in (("default", None), ("mount", True), ("nomount", False)):
        if says is not None:
            _account(space, account, automountServiceAccountToken=says)
        for wish in (None, True, False):
            more: Obj = {} if wish is None else {"automountServiceAccountToken": wish}
            name = f"pod-{account}-{wish}".lower()
            made = space.create("pods", pod(pause(), name=name, serviceAccountName=account, **more))
            wanted = wish if wish is not None else says is not False
            mounts = [one["mountPath"] for one in made["spec"]["containers"][0].get("volumeMounts") or ()]
            assert (PLACE in mounts) == wanted, name


@conformance(A + "should mount projected service account token")
def test_projected(space: Space) -> None:  # noqa: F811
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 7200}}
    container = {"name": "agnhost-container", "image": AGNHOST,
                 "args": ["mounttest", "--file_content=/test-volume/token"],
                 "volumeMounts": [{"name": "v", "mountPath": "/test-volume"}]}  # fmt: skip
    text = said(space, pod(container, name="projected", restartPolicy="Never",
                           volumes=[{"name": "v", "projected": {"sources": [source]}}]))  # fmt: skip
    assert text.startswith('content of file "/test-volume/token": ey')
    token = text.partition(": ")[2].strip()
    assert _reviewed(space, token)["user"]["username"] == f"system:serviceaccount:{space.name}:default"


@conformance(A + "should create a serviceAccountToken and ensure a successful TokenReview")
def test_review(space: Space) -> None:  # noqa: F811
    _account(space, "e2e-sa")
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
    token = space.api.call("POST", space.path("serviceaccounts", "e2e-sa/token"), body)["status"]["token"]
    status = _reviewed(space, token)
    assert status["authenticated"] is True
    assert "error" not in status
    assert status["user"]["username"] == f"system:serviceaccount:{space.name}:e2e-sa"


def test_a_token_in_a_secret(space: Space) -> None:  # noqa: F811
    """Filled by the controllers, mounted by a pod, good for requests, listed by describe, gone with its account."""
    api, of = space.api, "kubernetes.io/service-account.name"
    _account(space, "robot")
    meta = {"name": "robot-token", "annotations": {of: "robot"}}
    space.create("secrets", {"metadata": meta, "type": "kubernetes.io/service-account-token"})
    path = space.path("secrets", "robot-token")
    space.wait("the token", lambda: "token" in (api.get(path).get("data") or {}))
    token = base64.b64decode(api.get(path)["data"]["token"]).decode()

    container = {"name": "agnhost-container", "image": AGNHOST,
                 "args": ["mounttest", "--file_content=/secret/token"],
                 "volumeMounts": [{"name": "v", "mountPath": "/secret"}]}  # fmt: skip
    text = said(space, pod(container, name="mounts", restartPolicy="Never",
                           volumes=[{"name": "v", "secret": {"secretName": "robot-token"}}]))  # fmt: skip
    assert text.partition(": ")[2].strip() == token
    described = kubectl(space.user, "describe", "sa", "robot", "-n", space.name)
    assert "Tokens:              robot-token" in described.stdout, described.stderr

    def status(what: str) -> int:
        context = ssl.create_default_context(cadata=base64.b64decode(api.get(path)["data"]["ca.crt"]).decode())
        request = urllib.request.Request(api.server + what, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as problem:
            return problem.code

    assert (status("/api"), status(path)) == (200, 403)
    assert _reviewed(space, token)["user"]["username"] == f"system:serviceaccount:{space.name}:robot"
    label = "kubernetes.io/legacy-token-last-used"
    space.wait("the day of its use", lambda: label in api.get(path)["metadata"].get("labels", {}))
    api.call("DELETE", space.path("serviceaccounts", "robot"))
    space.wait("the Secret to go", lambda: api.gone(path))
    assert _reviewed(space, token)["error"] == "[invalid bearer token, Token has been invalidated]"


@conformance(A + "ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer")
def test_issuer(space: Space) -> None:  # noqa: F811
    audience = "oidc-discovery-test"
    binding = {"metadata": {"name": f"{space.name}-oidc"},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                           "name": "system:service-account-issuer-discovery"},
               "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": space.name}]}  # fmt: skip
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    space.api.call("POST", bindings, binding)
    source = {"serviceAccountToken": {"path": "sa-token", "expirationSeconds": 7200, "audience": audience}}
    arguments = ["test-service-account-issuer-discovery", "--token-path", "/var/run/secrets/tokens/sa-token",
                 "--audience", audience]  # fmt: skip
    container = {"name": "oidc-discovery-validator", "image": AGNHOST, "args": arguments,
                 "volumeMounts": [{"name": "v", "mountPath": "/var/run/secrets/tokens", "readOnly": True}]}  # fmt: skip
    text = said(space, pod(container, name="validator", restartPolicy="Never", serviceAccountName="default",
                           volumes=[{"name": "v", "projected": {"sources": [source]}}]))  # fmt: skip
    assert "OK: Validated signature on JWT" in text
    assert "OK: Got valid claims from token!" in text
    space.api.call("DELETE", f"{bindings}/{space.name}-oidc")


@conformance(A + "should guarantee kube-root-ca.crt exist in any namespace")
def test_root_certificate(space: Space) -> None:  # noqa: F811
    path = space.path("configmaps", "kube-root-ca.crt")
    space.wait("the certificate", lambda: not space.api.gone(path))
    wanted = space.api.get(path)["data"]
    space.api.call("DELETE", path)
    space.wait("the certificate again", lambda: not space.api.gone(path) and space.api.get(path)["data"] == wanted)
    space.api.update(path, lambda obj: obj.update(data={"ca.crt": ""}))
    space.wait("the right content", lambda: space.api.get(path)["data"] == wanted)


@conformance(A + "should run through the lifecycle of a ServiceAccount")
def test_lifecycle(space: Space) -> None:  # noqa: F811
    api, collection = space.api, space.path("serviceaccounts")
    query = f"{collection}?labelSelector=test-serviceaccount-static%3Dtrue"
    watch = Watch(api, query)
    meta = {"name": "testserviceaccount", "labels": {"test-serviceaccount-static": "true"}}
    space.create("serviceaccounts", {"metadata": meta})
    watch.sees("ADDED")
    api.merge(f"{collection}/testserviceaccount", {"automountServiceAccountToken": False})
    watch.sees("MODIFIED", lambda obj: obj.get("automountServiceAccountToken") is False)
    assert "testserviceaccount" in names(api, "/api/v1/serviceaccounts?labelSelector=test-serviceaccount-static%3Dtrue")
    api.call("DELETE", query)
    watch.sees("DELETED")
    assert names(api, query) == set()


@conformance(A + "should update a ServiceAccount")
def test_update(space: Space) -> None:  # noqa: F811
    _account(space, "e2e-sa", automountServiceAccountToken=False)
    path = space.path("serviceaccounts", "e2e-sa")
    found = space.api.update(path, lambda obj: obj.update(automountServiceAccountToken=True))
    assert found["automountServiceAccountToken"] is True
    assert space.api.get(path)["automountServiceAccountToken"] is True


@conformance("SubjectReview should support SubjectReview API operations")
def test_subject_reviews(space: Space) -> None:  # noqa: F811
    """A ServiceAccount may not list ConfigMaps; SubjectAccessReview and LocalSubjectAccessReview say the same."""
    _account(space, "e2e")
    user = f"system:serviceaccount:{space.name}:e2e"
    attributes = {"verb": "list", "resource": "configmaps", "namespace": space.name, "version": "v1"}
    paths = {"SubjectAccessReview": f"{REVIEWS}/subjectaccessreviews",
             "LocalSubjectAccessReview": space.path("localsubjectaccessreviews", group=REVIEWS[1:])}  # fmt: skip
    for kind, path in paths.items():
        meta = {"namespace": space.name} if kind.startswith("Local") else {}
        body: Obj = {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": meta,
                     "spec": {"user": user, "resourceAttributes": attributes}}  # fmt: skip
        assert space.api.call("POST", path, body)["status"]["allowed"] is False
        body["spec"] = {"user": "kubernetes-admin", "groups": ["system:masters"], "resourceAttributes": attributes}
        assert space.api.call("POST", path, body)["status"]["allowed"] is True


def _request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


@conformance("Certificates API [Privileged:ClusterAdmin] should support CSR API operations")
def test_certificates(space: Space) -> None:  # noqa: F811
    api, resource = space.api, "certificatesigningrequests"
    discovered(api, CERTIFICATES, "CertificateSigningRequest", resource, f"{resource}/approval", f"{resource}/status")
    spec = {"request": _request(), "signerName": f"example.com/e2e-{space.name}",
            "usages": ["digital signature", "key encipherment", "server auth"], "expirationSeconds": 3600}  # fmt: skip
    path, one = f"/{CERTIFICATES}/{resource}", f"/{CERTIFICATES}/{resource}/{space.name}-own"
    api.call("POST", path, {"metadata": {"name": f"{space.name}-own"}, "spec": spec})
    assert api.get(f"{one}/approval")["metadata"]["name"] == f"{space.name}-own"
    api.merge(f"{one}/approval", {"metadata": {"annotations": {"patchedapproval": "true"}}})
    approved = {"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}

    def approve(obj: Obj) -> None:
        obj.setdefault("status", {}).setdefault("conditions", []).append(approved)

    found = api.update(f"{one}/approval", approve)
    assert condition(found, "Approved")["message"] == "Set from an e2e test"
    assert found["metadata"]["annotations"]["patchedapproval"] == "true"
    assert api.get(f"{one}/status")["metadata"]["name"] == f"{space.name}-own"
    found = api.merge(f"{one}/status", {"metadata": {"annotations": {"patchedstatus": "true"}}})
    assert found["metadata"]["annotations"]["patchedstatus"] == "true"
    updated = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    found = api.update(f"{one}/status", lambda obj: obj["status"]["conditions"].append(updated))
    assert condition(found, "StatusUpdate")["reason"] == "E2E"
    assert condition(found, "Approved")
    api.call("DELETE", one)
    objects: list[Obj] = [{"metadata": {"name": f"{space.name}-{number}", "labels": {"special-label": space.name}},
                           "spec": spec} for number in range(3)]  # fmt: skip
    operations(api, path, objects, path)
