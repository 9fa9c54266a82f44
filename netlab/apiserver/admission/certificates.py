"""Certificate requests: they carry who made them; who approves and who signs needs a right on the signer; nobody asks
for a certificate of system:masters.

Sources followed: pkg/registry/certificates/certificates/strategy.go (what each subresource may change, times of
conditions), plugin/pkg/admission/certificates (approval, signing, subjectrestriction).
"""

import base64

from netlab.api import errors, meta
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader
from netlab.apiserver.authz.authorizer import Action

RESOURCE = "certificatesigningrequests.certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_MASTERS = "system:masters"
_DECISIONS = ("Approved", "Denied")


def _mutate(reader: Reader, attributes: Attributes) -> None:
    obj = attributes.obj
    if attributes.resource.group_resource != RESOURCE or obj is None:
        return
    if attributes.operation == "UPDATE" and attributes.old is not None:
        obj["spec"] = attributes.old["spec"]
        _keep_the_rest(obj, attributes.old, attributes.subresource)
        return
    if attributes.operation != "CREATE":
        return
    spec = obj.setdefault("spec", {})
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    spec |= attributes.user.info()


def _keep_the_rest(obj: Obj, old: Obj, subresource: str) -> None:
    """What the subresource is not for stays; conditions that bring no times get the present."""
    before = old.get("status") or {}
    if not subresource:
        obj["status"] = before
        return
    status = obj["status"] = dict(obj.get("status") or {})
    have = before.get("conditions") or []
    if subresource == "approval":
        _keep(status, before, "certificate")
    else:
        others = [one for one in status.get("conditions") or () if one.get("type") not in _DECISIONS]
        status["conditions"] = [one for one in have if one.get("type") in _DECISIONS] + others
        if not status["conditions"]:
            del status["conditions"]
    now = meta.now_rfc3339()
    for condition in status.get("conditions") or ():
        condition.setdefault("status", "True")
        known = next((one for one in have if one.get("type") == condition.get("type")), None)
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = now
        if not condition.get("lastTransitionTime"):
            same = known is not None and known.get("status") == condition["status"]
            kept = (known or {}).get("lastTransitionTime") if same else None
            condition["lastTransitionTime"] = kept or now


def _keep(status: Obj, before: Obj, field: str) -> None:
    if field in before:
        status[field] = before[field]
    else:
        status.pop(field, None)


def may(reader: Reader, attributes: Attributes, verb: str, signer: str) -> bool:
    """Whether the user may approve, sign or attest for a signer: by its name, or by its domain's."""
    names = (signer, f"{signer.partition('/')[0]}/*")
    actions = (Action(verb, "certificates.k8s.io", "signers", "", "", name) for name in names)
    return any(reader.authorizer.decide(attributes.user, action).allowed for action in actions)


def _changed(reader: Reader, attributes: Attributes, subresource: str) -> tuple[Obj, Obj] | None:
    """(new, old) of an update of a request's subresource."""
    new, old = attributes.obj, attributes.old
    if attributes.resource.group_resource != RESOURCE or attributes.subresource != subresource:
        return None
    return (new, old) if attributes.operation == "UPDATE" and new is not None and old is not None else None


def _approve(reader: Reader, attributes: Attributes) -> None:
    found = _changed(reader, attributes, "approval")
    if found is None:
        return
    signer = str(found[1]["spec"].get("signerName", ""))
    if not may(reader, attributes, "approve", signer):
        why = f"user not permitted to approve requests with signerName {errors.quote(signer)}"
        raise errors.forbidden(attributes.resource, attributes.name, why)


def _sign(reader: Reader, attributes: Attributes) -> None:
    found = _changed(reader, attributes, "status")
    if found is None:
        return
    new, old = (one.get("status") or {} for one in found)
    if all(new.get(field) == old.get(field) for field in ("certificate", "conditions")):
        return
    signer = str(found[1]["spec"].get("signerName", ""))
    if not may(reader, attributes, "sign", signer):
        why = f"user not permitted to sign requests with signerName {errors.quote(signer)}"
        raise errors.forbidden(attributes.resource, attributes.name, why)


def _validate(reader: Reader, attributes: Attributes) -> None:
    if attributes.resource.group_resource != RESOURCE or attributes.operation != "CREATE" or attributes.obj is None:
        return
    spec = attributes.obj["spec"]
    if spec.get("signerName") == _CLIENT_SIGNER and _MASTERS in _organisations(spec):
        why = f"use of {_CLIENT_SIGNER} signer with {_MASTERS} group is not allowed"
        raise errors.forbidden(attributes.resource, attributes.name, why)


def _organisations(spec: Obj) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        asked = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    except (KeyError, TypeError, ValueError):
        return []  # validation's to refuse
    return [str(found.value) for found in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


APPROVAL = Plugin("CertificateApproval", validate=_approve, about=frozenset({RESOURCE}))
SIGNING = Plugin("CertificateSigning", validate=_sign, about=frozenset({RESOURCE}))
PLUGIN = Plugin("CertificateSubjectRestriction", mutate=_mutate, validate=_validate, about=frozenset({RESOURCE}))
