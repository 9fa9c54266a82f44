"""Rules of CertificateSigningRequests. Source followed: `pkg/apis/certificates/validation/validation.go`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import metadata, metadata_update

USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
LEGACY = "kubernetes.io/legacy-unknown"
_DECISIONS = ("Approved", "Denied")
_LASTING = (*_DECISIONS, "Failed")
_SHORTEST = 600
_PEM = re.compile(rb"-----BEGIN ([^\n-]*)-----\r?\n(.*?)-----END \1-----", re.DOTALL)
_DOMAIN, _LABEL = 253, 63
_WHOLE = _DOMAIN + 1 + _DOMAIN + _LABEL + 1


def create(obj: Obj) -> list[FieldError]:
    """`ValidateCertificateSigningRequestCreate` of certificates.k8s.io/v1."""
    return _request(obj, None)


def _request(obj: Obj, old: Obj | None) -> list[FieldError]:
    """What was wrong before an update may stay so."""
    spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
    found = metadata(obj, False, lambda name, prefix: [])
    problem = _request_problem(_bytes(spec.get("request")))
    if problem:
        found.append(invalid("spec.request", GoSyntax(_go_bytes(_bytes(spec.get("request")))), problem))
    usages = spec.get("usages") or []
    if not usages:
        found.append(required("spec.usages", "usages must be provided"))
    known = before.get("usages") or []
    if not set(known) - set(USAGES):
        found += [
            not_supported(f"spec.usages[{index}]", one, USAGES) for index, one in enumerate(usages) if one not in USAGES
        ]
    if len(known) == len(set(known)):
        found += [duplicate(f"spec.usages[{i}]", one) for i, one in enumerate(usages) if one in usages[:i]]
    signer = str(spec.get("signerName", ""))
    if signer == LEGACY and before.get("signerName") != LEGACY:
        detail = "the legacy signerName is not allowed via this API version"
        found.append(invalid("spec.signerName", signer, detail))
    else:
        found += signer_name("spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(invalid("spec.expirationSeconds", seconds, detail))
    return found + _conditions(obj, old) + _certificate(obj, old)


def signer_name(field: str, name: str) -> list[FieldError]:
    """`ValidateSignerName`: a domain of at least two labels, a slash, a path."""
    found = [required(field)] if not name else []
    parts = name.split("/")
    if len(parts) != 2:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [*found, invalid(field, name, detail)]
    domain, path = parts
    if len(domain) > _DOMAIN:
        found.append(too_long(field, _DOMAIN))
    found += _labels(field, domain, names.dns_label)
    if "." not in domain:
        found.append(invalid(field, domain, "should be a domain with at least two segments separated by dots"))
    found += _labels(field, path, names.dns_subdomain)
    if len(name) > _WHOLE:
        found.append(too_long(field, _WHOLE))
    return found


def _labels(field: str, part: str, judge: Callable[[str], Iterable[str]]) -> list[FieldError]:
    """The complaints about the first label that is none."""
    for label in part.split("."):
        complaints = [f"validating label {quote(label)}: {one}" for one in judge(label)]
        if complaints:
            return [invalid(field, part, one) for one in complaints]
    return []


def _conditions(obj: Obj, old: Obj | None) -> list[FieldError]:
    found: list[FieldError] = []
    before = [one.get("type", "") for one in _conditions_of(old)]
    seen: list[str] = []
    for index, one in enumerate(_conditions_of(obj)):
        here, kind, status = f"status.conditions[{index}]", one.get("type", ""), one.get("status", "")
        if not kind and "" not in before:
            found.append(required(f"{here}.type"))
        allowed = ("True",) if kind in _LASTING else ("False", "True", "Unknown")
        if not status:
            found.append(required(f"{here}.status"))
        elif status not in allowed:
            found.append(not_supported(f"{here}.status", status, allowed))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in seen and not set(_DECISIONS) <= set(before):
            detail = "Approved and Denied conditions are mutually exclusive"
            found.append(invalid(f"{here}.type", kind, detail))
        if kind in seen and len(before) == len(set(before)):
            found.append(duplicate(f"{here}.type", kind))
        seen.append(kind)
    return found


def _certificate(obj: Obj, old: Obj | None) -> list[FieldError]:
    data = _bytes((obj.get("status") or {}).get("certificate"))
    before = _bytes(((old or {}).get("status") or {}).get("certificate"))
    problem = certificate_problem(data)
    if not problem or (data == before and certificate_problem(before)):
        return []
    return [invalid("status.certificate", "<certificate data>", problem)]


def certificate_problem(data: bytes) -> str:
    """Why the bytes are no PEM certificates; "" where they are, or where there are none."""
    if not data:
        return ""
    from cryptography import x509

    blocks = _PEM.findall(data)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(kind.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except (ValueError, binascii.Error):
            return "x509: malformed certificate"
    return "" if blocks else "must contain one or more CERTIFICATE PEM blocks"


def _request_problem(data: bytes) -> str:
    from cryptography import x509

    block = _PEM.search(data)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        asked = x509.load_der_x509_csr(base64.b64decode(block[2]))
    except (ValueError, binascii.Error):
        return "asn1: structure error: malformed certificate request"
    return "" if asked.is_signature_valid else "x509: signature verification failed"


def _bytes(encoded: object) -> bytes:
    try:
        return base64.b64decode(str(encoded or ""))
    except (ValueError, binascii.Error):
        return b""


def _go_bytes(data: bytes) -> str:
    return "[]byte{" + ", ".join(f"{one:#x}" for one in data) + "}" if data else "[]byte(nil)"


def _conditions_of(obj: Obj | None) -> list[Obj]:
    return ((obj or {}).get("status") or {}).get("conditions") or []


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateCertificateSigningRequestUpdate`: neither decisions nor a certificate come by the main resource."""
    return _update(new, old, certificate=False, decisions=False)


def _update(new: Obj, old: Obj, *, certificate: bool, decisions: bool) -> list[FieldError]:
    found = _request(new, old) + metadata_update(new, old)
    field = "status.conditions"
    for kind in _LASTING:
        have, had = ([one for one in _conditions_of(obj) if one.get("type") == kind] for obj in (new, old))
        if len(have) < len(had):
            found.append(forbidden(field, f"updates may not remove a condition of type {quote(kind)}"))
        elif decisions or kind not in _DECISIONS:
            continue
        elif len(have) > len(had):
            found.append(forbidden(field, f"updates may not add a condition of type {quote(kind)}"))
        elif have != had:
            found.append(forbidden(field, f"updates may not modify a condition of type {quote(kind)}"))
    after, before = ((obj.get("status") or {}).get("certificate") for obj in (new, old))
    if after != before and not certificate:
        found.append(forbidden("status.certificate", "updates may not set certificate content"))
    elif after != before and before:
        found.append(forbidden("status.certificate", "updates may not modify existing certificate content"))
    return found


def _status_update(new: Obj, old: Obj) -> list[FieldError]:
    return _update(new, old, certificate=True, decisions=False)


def _approval_update(new: Obj, old: Obj) -> list[FieldError]:
    return _update(new, old, certificate=False, decisions=True)


RULES = {"CertificateSigningRequest": Rules(create, update, _status_update, {"approval": _approval_update})}
