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

SHORT = 8 * 3600
"""Certificates for less than this are good for the whole time from now on; others count from the backdated start."""

SIGNERS = (
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
)


def waiting(request: Obj) -> bool:
    """PURE. Approved, neither denied nor failed, and not signed yet, by one of our signers."""
    if request["spec"].get("signerName") not in SIGNERS or meta.get(request, "status", "certificate"):
        return False
    refused = meta.condition_true(request, "Denied") or meta.condition_true(request, "Failed")
    return meta.condition_true(request, "Approved") and not refused


def problem(signer: str, csr: CertificateSigningRequest, usages: Sequence[str]) -> str:
    """PURE. Why this signer does not sign this; "" when it does."""
    if signer == "kubernetes.io/kube-apiserver-client":
        return _client_problem(usages)
    if signer == "kubernetes.io/kube-apiserver-client-kubelet":
        return kubelet_client_problem(csr, usages)
    if signer == "kubernetes.io/kubelet-serving":
        return _kubelet_serving_problem(csr, usages)
    return ""


def _client_problem(usages: Sequence[str]) -> str:
    for usage in usages:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


def kubelet_client_problem(csr: CertificateSigningRequest, usages: Sequence[str]) -> str:
    """PURE. Why this is no request for a kubelet's client certificate; "" when it is one."""
    if _organisations(csr) != ["system:nodes"]:
        return "subject organization is not system:nodes"
    kinds = _alternatives(csr)
    for kind in ("DNS", "Email", "IP", "URI"):
        if kind in kinds:
            return f"{kind} subjectAltNames are not allowed"
    return _node_name_problem(csr) or _usages_problem(usages, "client auth")


def _kubelet_serving_problem(csr: CertificateSigningRequest, usages: Sequence[str]) -> str:
    if _organisations(csr) != ["system:nodes"]:
        return "subject organization is not system:nodes"
    kinds = _alternatives(csr)
    if not kinds & {"DNS", "IP"}:
        return "DNS or IP subjectAltName is required"
    for kind in ("Email", "URI"):
        if kind in kinds:
            return f"{kind} subjectAltNames are not allowed"
    return _usages_problem(usages, "server auth") or _node_name_problem(csr)


def _usages_problem(usages: Sequence[str], purpose: str) -> str:
    least = {"digital signature", purpose}
    if set(usages) in (least, least | {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(sorted(least | {'key encipherment'}))}]"


def _node_name_problem(csr: CertificateSigningRequest) -> str:
    from cryptography.x509.oid import NameOID

    names = [str(found.value) for found in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    named = names[-1:] and names[-1].startswith("system:node:")
    return "" if named else "subject common name does not begin with system:node:"


def _organisations(csr: CertificateSigningRequest) -> list[str]:
    from cryptography.x509.oid import NameOID

    return [str(found.value) for found in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _alternatives(csr: CertificateSigningRequest) -> set[str]:
    """Which kinds of subjectAltNames there are."""
    from cryptography import x509

    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    kinds: dict[type, str] = {
        x509.DNSName: "DNS",
        x509.RFC822Name: "Email",
        x509.IPAddress: "IP",
        x509.UniformResourceIdentifier: "URI",
    }
    return {kinds[type(name)] for name in names if type(name) in kinds}


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
    end = start + timedelta(seconds=seconds) - (BACKDATE if seconds >= SHORT else timedelta())
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(authority.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATE)
        .not_valid_after(min(end, authority.not_valid_after_utc))
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
