"""Certificate requests from the asking to the signed certificate, and who may do what with them."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import controllers
from apiserver_harness import Harness, harness
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from netlab.api import meta
from netlab.controllers.csr_cleaner import outdated

Obj = dict[str, Any]
URL = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
KUBELET, CLIENT = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kube-apiserver-client"
JOE = {"token": "joe-token"}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = {"headers": {"content-type": "application/merge-patch+json"}}


def asked(name: str, common: str, group: str, signer: str = KUBELET, usages: tuple[str, ...] = ()) -> Obj:
    subject = [(NameOID.ORGANIZATION_NAME, group), (NameOID.COMMON_NAME, common)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    )
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": signer,
        "usages": list(usages or ("digital signature", "client auth")),
    }
    return {"metadata": {"name": name}, "spec": spec}


async def role(server: Harness, name: str, resource: str, verbs: list[str], *names: str) -> None:
    """Give joe a right on a resource of certificates.k8s.io."""
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": [resource], "verbs": verbs, "resourceNames": list(names)}
    await server.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}]
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    await server.ok("POST", f"{RBAC}/clusterrolebindings", body)


async def settled(server: Harness, name: str, kind: str = "", *, certificate: bool = False) -> Obj:
    """The request, once it has the condition, or a certificate."""
    for _ in range(1000):
        found = await server.ok("GET", f"{URL}/{name}")
        status = found.get("status") or {}
        if (certificate and status.get("certificate")) or (kind and meta.condition(found, kind)):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited 10 s for {name}")


async def test_a_kubelet_gets_its_certificate_and_renews_it(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        ca = server.api.pki.ca
        keys = {"root_ca": ca.cert.decode(), "signing_key": ca.key.decode()}
        async with controllers(server, "csrapproving", "csrsigning", **keys):
            await role(server, "nodeclient", "certificatesigningrequests/nodeclient", ["create"])
            await role(server, "asks", "certificatesigningrequests", ["create", "get"])
            await server.ok("POST", URL, asked("first", "system:node:n1", "system:nodes"), **JOE)
            found = await settled(server, "first", certificate=True)
            condition = meta.condition(found, "Approved") or {}
            assert condition["reason"] == "AutoApproved"
            assert condition["message"] == "Auto approving kubelet client certificate after SubjectAccessReview."
            made = x509.load_pem_x509_certificate(base64.b64decode(found["status"]["certificate"]))
            made.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.cert))
            await server.ok("POST", URL, asked("again", "system:node:n1", "system:nodes"), token="node-token")
            condition = meta.condition(await settled(server, "again", "Approved"), "Approved") or {}
            assert condition["message"] == "Auto approving self kubelet client certificate after SubjectAccessReview."
            # a node asks for no other node
            await server.ok("POST", URL, asked("other", "system:node:n2", "system:nodes"), token="node-token")
            await server.ok("POST", URL, asked("person", "ann", "team", CLIENT, ("client auth",)), **JOE)
            await asyncio.sleep(0.1)
            for name in ("other", "person"):
                assert not (await server.ok("GET", f"{URL}/{name}")).get("status", {}).get("conditions")


async def test_approving_needs_a_right_on_the_signer(tmp_path: Path) -> None:
    approve = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}}
    async with harness(tmp_path) as server:
        await server.ok("POST", URL, asked("a", "ann", "team", CLIENT, ("client auth",)))
        await role(server, "approval", "certificatesigningrequests/approval", ["update", "patch"])
        assert await server.refused("PATCH", f"{URL}/a/approval", approve, **JOE, **MERGE) == (
            403,
            "Forbidden",
            'certificatesigningrequests.certificates.k8s.io "a" is forbidden: '
            f'user not permitted to approve requests with signerName "{CLIENT}"',
        )
        await role(server, "signer", "signers", ["approve"], "kubernetes.io/*")
        made = await server.ok("PATCH", f"{URL}/a/approval", approve, **JOE, **MERGE)
        condition = made["status"]["conditions"][0]
        assert condition["lastUpdateTime"] and condition["lastTransitionTime"]
        smuggled = {"status": {"certificate": "YQ=="}, "spec": {"signerName": KUBELET}}
        kept = await server.ok("PATCH", f"{URL}/a/approval", smuggled, **JOE, **MERGE)
        assert "certificate" not in kept["status"] and kept["spec"]["signerName"] == CLIENT
        both = {"status": {"conditions": [{"type": kind, "status": "True"} for kind in ("Approved", "Denied")]}}
        assert (await server.refused("PATCH", f"{URL}/a/approval", both, **JOE, **MERGE))[0] == 422


async def test_signing_needs_a_right_on_the_signer(tmp_path: Path) -> None:
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "r"}]}}
    async with harness(tmp_path) as server:
        await server.ok("POST", URL, asked("a", "ann", "team", "example.com/own", ("client auth",)))
        await role(server, "status", "certificatesigningrequests/status", ["update", "patch"])
        assert (await server.refused("PATCH", f"{URL}/a/status", failed, **JOE, **MERGE))[2].endswith(
            'user not permitted to sign requests with signerName "example.com/own"'
        )
        await role(server, "signer", "signers", ["sign"], "example.com/own")
        await server.ok("PATCH", f"{URL}/a/status", failed, **JOE, **MERGE)
        # nobody approves by way of the status
        conditions = [*failed["status"]["conditions"], {"type": "Approved", "status": "True"}]
        sneaked = {"status": {"conditions": conditions}}
        found = await server.ok("PATCH", f"{URL}/a/status", sneaked, **JOE, **MERGE)
        assert meta.condition(found, "Approved") is None


async def test_nobody_asks_for_the_masters(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        body = asked("a", "ann", "system:masters", CLIENT, ("client auth",))
        assert (await server.refused("POST", URL, body))[2].endswith(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        )


NOW = meta.parse_time("2030-01-02T12:00:00Z")


def request(age_hours: float, kind: str = "", decided_hours: float = 0, certificate: str = "") -> Obj:
    stamp = meta.rfc3339(NOW - decided_hours * 3600)
    status: Obj = {"conditions": [{"type": kind, "status": "True", "lastUpdateTime": stamp}]} if kind else {}
    if certificate:
        status["certificate"] = certificate
    return {"metadata": {"name": "r", "creationTimestamp": meta.rfc3339(NOW - age_hours * 3600)}, "status": status}


@pytest.mark.parametrize(
    ("found", "goes"),
    [
        (request(23), False),
        (request(25), True),
        (request(2, "Denied", 0.5), False),
        (request(2, "Denied", 1.5), True),
        (request(2, "Failed", 1.5), True),
        (request(2, "Approved", 1.5, "YQ=="), True),
        (request(2, "Approved", 1.5), False),
        (request(25, "Approved", 1.5), True),
    ],
    ids=["pending", "a day old", "denied", "long denied", "long failed", "long issued", "unsigned", "never signed"],
)
def test_what_the_cleaner_takes(found: Obj, goes: bool) -> None:
    assert bool(outdated(found, NOW)) is goes


async def test_what_a_request_must_be(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:

        async def causes(**spec: Any) -> list[tuple[str, str]]:
            body = asked("x", "joe", "dev", CLIENT)
            body["spec"] = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
            code, found = await server.call("POST", f"{URL}?dryRun=All", body)
            return [] if code == 201 else [(one["field"], one["message"]) for one in found["details"]["causes"]]

        assert await causes() == []
        assert await causes(expirationSeconds=600) == []
        why = "Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"
        assert await causes(expirationSeconds=599) == [("spec.expirationSeconds", why)]
        assert await causes(usages=[]) == [("spec.usages", "Required value: usages must be provided")]
        found = await causes(usages=["client auth", "flying", "client auth"])
        assert [field for field, _ in found] == ["spec.usages[1]", "spec.usages[2]"]
        assert found[0][1].startswith(
            'Unsupported value: "flying": supported values: "any", "cert sign", "client auth"'
        )
        assert found[1][1] == 'Duplicate value: "client auth"'
        garbage = base64.b64encode(b"no").decode()
        why = "Invalid value: []byte{0x6e, 0x6f}: PEM block type must be CERTIFICATE REQUEST"
        assert await causes(request=garbage) == [("spec.request", why)]
        rows = [
            ("kubernetes.io/legacy-unknown", "the legacy signerName is not allowed via this API version"),
            ("joe", "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
            ("joe/x", "should be a domain with at least two segments separated by dots"),
            ("Ex.com/x", 'validating label "Ex": a lowercase RFC 1123 label must consist of'),
            ("ex.com/X", 'validating label "X": a lowercase RFC 1123 subdomain must consist of'),
        ]
        for signer, why in rows:
            ((field, message),) = await causes(signerName=signer)
            assert field == "spec.signerName" and why in message, message


async def test_what_an_update_may_change(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        made = await server.ok("POST", URL, asked("x", "joe", "dev", "example.com/ours"))
        changed = {**made, "spec": {**made["spec"], "signerName": "example.com/theirs"}}
        assert (await server.ok("PUT", f"{URL}/x", changed))["spec"] == made["spec"]
        approved = {"type": "Approved", "status": "True", "reason": "r", "message": "m"}

        async def conditions(where: str, *given: Obj, **status: Any) -> tuple[int, Obj]:
            now = await server.ok("GET", f"{URL}/x")
            body = {**now, "status": {**(now.get("status") or {}), "conditions": list(given), **status}}
            return await server.call("PUT", f"{URL}/x/{where}", body)

        code, found = await conditions("approval", {**approved, "status": "False"})
        assert code == 422 and 'Unsupported value: "False": supported values: "True"' in found["message"]
        code, found = await conditions("approval", approved, {**approved, "type": "Denied"})
        assert code == 422 and found["details"]["causes"][0]["field"] == "status.conditions[1].type"
        assert "Approved and Denied conditions are mutually exclusive" in found["message"]
        code, found = await conditions("approval", approved, approved)
        assert code == 422 and 'status.conditions[1].type: Duplicate value: "Approved"' in found["message"]
        assert (await conditions("approval", approved))[0] == 200
        code, found = await conditions("approval")
        assert code == 422
        assert found["message"].endswith(
            'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
        )
        certificate = base64.b64encode(server.api.pki.ca.cert).decode()
        code, found = await conditions("status", approved, certificate=base64.b64encode(b"x").decode())
        assert code == 422 and "must contain one or more CERTIFICATE PEM blocks" in found["message"]
        assert (await conditions("status", approved, certificate=certificate))[0] == 200
        other = base64.b64encode(server.api.pki.ca.cert * 2).decode()
        code, found = await conditions("status", approved, certificate=other)
        assert code == 422 and "updates may not modify existing certificate content" in found["message"]
