"""Certificate requests carry who made them, and nobody asks for a certificate of system:masters.

Sources followed: pkg/registry/certificates/certificates/strategy.go (the requester, kept for good), and
plugin/pkg/admission/certificates/subjectrestriction.
"""

import base64

from netlab.api import errors
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

RESOURCE = "certificatesigningrequests.certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_MASTERS = "system:masters"


def _mutate(reader: Reader, attributes: Attributes) -> None:
    obj = attributes.obj
    if attributes.resource.group_resource != RESOURCE or obj is None:
        return
    if attributes.operation == "UPDATE" and attributes.old is not None:
        obj["spec"] = attributes.old["spec"]
        return
    if attributes.operation != "CREATE":
        return
    spec = obj.setdefault("spec", {})
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    spec |= attributes.user.info()


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


PLUGIN = Plugin("CertificateSubjectRestriction", mutate=_mutate, validate=_validate)
