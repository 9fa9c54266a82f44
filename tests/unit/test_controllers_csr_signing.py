"""Certificate requests: what a signer signs, and what it refuses."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from netlab.api.types import Obj
from netlab.apiserver import pki
from netlab.controllers.csr_signing import BACKDATE, _sign, waiting

NOW = 1_800_000_000.0
CLIENT, KUBELET, SERVING = (
    f"kubernetes.io/{name}" for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving")
)


def request(signer: str, common: str, group: str, usages: list[str], names: tuple[str, ...] = (), **spec: Any) -> Obj:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    encoded = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    return {
        "metadata": {"name": "r"},
        "spec": {"signerName": signer, "usages": usages, "request": encoded, **spec},
        "status": {"conditions": [{"type": "Approved", "status": "True"}]},
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.KeyPair:
    directory: Path = tmp_path_factory.mktemp("pki")
    return pki.ensure_pki(directory).ca


def test_subject_names_and_duration_are_the_requests(authority: pki.KeyPair) -> None:
    asked = request(
        SERVING, "system:node:n1", "system:nodes", ["digital signature", "server auth"], ("n1",), expirationSeconds=3600
    )
    pem = base64.b64decode(_sign(asked, authority.cert, authority.key, NOW))
    made = x509.load_pem_x509_certificate(pem)
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert))
    assert made.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    assert made.not_valid_before_utc == datetime.fromtimestamp(NOW, UTC) - BACKDATE
    assert made.not_valid_after_utc.timestamp() == NOW + 3600
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(CLIENT, "ann", "team", ["server auth"]), "invalid usage for client certificate: server auth"),
        (
            request(CLIENT, "ann", "team", ["client auth", "cert sign"]),
            "invalid usage for client certificate: cert sign",
        ),
        (request(KUBELET, "ann", "team", ["client auth", "digital signature"]), "organization is not system:nodes"),
        (request(KUBELET, "ann", "system:nodes", ["client auth", "digital signature"]), "common name"),
        (request(SERVING, "system:node:n", "system:nodes", ["server auth", "digital signature"]), "subjectAltName"),
    ],
    ids=["usage missing", "usage too many", "group of a kubelet", "name of a kubelet", "no name to serve"],
)
def test_refusals(authority: pki.KeyPair, asked: Obj, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _sign(asked, authority.cert, authority.key, NOW)


def test_who_waits() -> None:
    asked = request(CLIENT, "ann", "team", ["client auth"])
    assert waiting(asked)
    assert not waiting({**asked, "status": {}})
    assert not waiting({**asked, "spec": {**asked["spec"], "signerName": "example.com/own"}})
    assert not waiting({**asked, "status": {**asked["status"], "certificate": "x"}})
    denied = [*asked["status"]["conditions"], {"type": "Denied", "status": "True"}]
    assert not waiting({**asked, "status": {"conditions": denied}})
