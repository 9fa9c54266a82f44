"""CertificateSigningRequests: the approved are signed by the CA (upstream pkg/controller/certificates/signer).

The four signers of a cluster: kube-apiserver-client, kube-apiserver-client-kubelet, kubelet-serving, legacy-unknown.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.controllers.context import Context

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest, ExtensionType

REQUESTS = ("certificates.k8s.io/v1", "certificatesigningrequests")
YEAR = 365 * 86400
"""--cluster-signing-duration: what a request without expirationSeconds gets, and the most that any gets."""
LEAST = 600
BACKDATE = timedelta(minutes=5)

_KEY_USES = {"digital signature", "key encipherment"}
SIGNERS: dict[str, tuple[set[str], set[str]]] = {
    "kubernetes.io/kube-apiserver-client": ({"client auth"}, {*_KEY_USES, "client auth"}),
    "kubernetes.io/kube-apiserver-client-kubelet": ({"client auth", "digital signature"}, {*_KEY_USES, "client auth"}),
    "kubernetes.io/kubelet-serving": ({"server auth", "digital signature"}, {*_KEY_USES, "server auth"}),
    "kubernetes.io/legacy-unknown": (set(), set()),
}
"""Signer → (usages that must be asked for, usages that may be; empty is any)."""


def waiting(request: Obj) -> bool:
    """PURE. Approved, neither denied nor failed, and not signed yet, by one of our signers."""
    if request["spec"].get("signerName") not in SIGNERS or meta.get(request, "status", "certificate"):
        return False
    refused = meta.condition_true(request, "Denied") or meta.condition_true(request, "Failed")
    return meta.condition_true(request, "Approved") and not refused


def problem(signer: str, csr: CertificateSigningRequest, usages: Sequence[str]) -> str:
    """PURE. Why this signer does not sign this; "" when it does."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    must, may = SIGNERS[signer]
    if not must <= set(usages) or (may and not set(usages) <= may):
        return "invalid usages for the signer: " + ", ".join(usages)
    try:
        names = list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    if signer in ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"):
        organisations = [found.value for found in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        commons = [str(found.value) for found in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if organisations != ["system:nodes"]:
            return "subject organization is not system:nodes"
        if not all(name.startswith("system:node:") for name in commons) or not commons:
            return "subject common name does not begin with system:node:"
        served = any(isinstance(name, (x509.DNSName, x509.IPAddress)) for name in names)
        if signer.endswith("kubelet-serving") and not served:
            return "DNS or IP subjectAltName is required"
        if signer.endswith("client-kubelet") and names:
            return "subjectAltNames are not allowed"
    return ""


def issue(ca_cert: bytes, ca_key: bytes, csr: CertificateSigningRequest, spec: Obj, now: float) -> bytes:
    """PURE. The certificate, PEM: subject, names and key are the request's; usages and duration are the spec's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = x509.load_pem_x509_certificate(ca_cert)
    key = serialization.load_pem_private_key(ca_key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key of the certificate authority is not an elliptic curve key")
    seconds = max(LEAST, min(YEAR, int(spec.get("expirationSeconds") or YEAR)))
    start = datetime.fromtimestamp(int(now), UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(authority.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATE)
        .not_valid_after(min(start + timedelta(seconds=seconds) - BACKDATE, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for extension, critical in _usages(spec.get("usages") or ()):
        builder = builder.add_extension(extension, critical=critical)
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(names.value, critical=names.critical)
    except x509.ExtensionNotFound:
        pass
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _usages(usages: Sequence[str]) -> list[tuple[ExtensionType, bool]]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

    purposes = {
        "client auth": Purpose.CLIENT_AUTH,
        "server auth": Purpose.SERVER_AUTH,
        "code signing": Purpose.CODE_SIGNING,
        "email protection": Purpose.EMAIL_PROTECTION,
        "s/mime": Purpose.EMAIL_PROTECTION,
        "timestamping": Purpose.TIME_STAMPING,
        "ocsp signing": Purpose.OCSP_SIGNING,
        "any": Purpose.ANY_EXTENDED_KEY_USAGE,
    }
    use = x509.KeyUsage(
        digital_signature=bool({"digital signature", "signing"} & set(usages)),
        content_commitment="content commitment" in usages,
        key_encipherment="key encipherment" in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement="key agreement" in usages,
        key_cert_sign="cert sign" in usages,
        crl_sign="crl sign" in usages,
        encipher_only=False,
        decipher_only=False,
    )
    found: list[tuple[ExtensionType, bool]] = []
    if set(usages) - set(purposes):
        found.append((use, True))
    extended = [purposes[usage] for usage in usages if usage in purposes]
    if extended:
        found.append((x509.ExtendedKeyUsage(extended), False))
    return found


class CsrSigningController:
    """A key is a CertificateSigningRequest. Does nothing without the CA's key."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("certificate")
        self.requests = context.informer(REQUESTS)
        self.requests.add_handler(self._enqueue, lambda old, new: self._enqueue(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.requests)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Sign one request, or say why not."""
        request = self.requests.store.get(key)
        config = self.context.config
        if request is None or not waiting(request) or not config.signing_key:
            return
        status = dict(request["status"])
        try:
            status["certificate"] = _sign(request, config.root_ca.encode(), config.signing_key.encode(), time.time())
        except ValueError as error:
            now = meta.now_rfc3339()
            failed = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": str(error)}
            failed |= {"lastUpdateTime": now, "lastTransitionTime": now}
            status["conditions"] = [*status["conditions"], failed]
        try:
            self.requests.observe(await self.client.update_status(REQUESTS, {**request, "status": status}))
        except StatusError as error:
            if error.code != 404:
                raise

    def _enqueue(self, request: Obj) -> None:
        if waiting(request):
            self.queue.add(meta.key(request))


def _sign(request: Obj, ca_cert: bytes, ca_key: bytes, now: float) -> str:
    """The certificate as the API carries it (base64 of PEM). Raises ValueError where the signer refuses."""
    from cryptography import x509

    spec = request["spec"]
    csr = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    if not csr.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    if why := problem(spec["signerName"], csr, spec.get("usages") or ()):
        raise ValueError(why)
    return base64.b64encode(issue(ca_cert, ca_key, csr, spec, now)).decode()
