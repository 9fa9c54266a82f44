"""CertificateSigningRequests of kubelets for their client certificate are approved, if their requester may have that.

Source followed: pkg/controller/certificates/approver/sarapprove.go.
"""

from __future__ import annotations

import base64

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.controllers.context import Context
from netlab.controllers.csr_signing import REQUESTS, kubelet_client_problem

REVIEWS = ("authorization.k8s.io/v1", "subjectaccessreviews")
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
MESSAGES = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}
"""Subresource whose creation the requester must be allowed → what the approval says."""


def undecided(request: Obj) -> bool:
    """PURE. Neither approved, denied nor signed, and for the kubelets' signer."""
    decided = meta.condition_true(request, "Approved") or meta.condition_true(request, "Denied")
    return (
        not decided and not meta.get(request, "status", "certificate") and request["spec"].get("signerName") == SIGNER
    )


def recognized(request: Obj) -> list[str]:
    """PURE. The rights that would do, in the order in which they are asked for."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        csr = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))
    except ValueError:
        return []
    if kubelet_client_problem(csr, request["spec"].get("usages") or ()):
        return []
    names = [str(found.value) for found in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    own = names[-1:] == [request["spec"].get("username")]
    return ["selfnodeclient", "nodeclient"] if own else ["nodeclient"]


def review(spec: Obj, subresource: str) -> Obj:
    """PURE. The question whether the requester may create such certificates."""
    kept = {field: spec[key] for field, key in _WHO if spec.get(key)}
    attributes = {"group": "certificates.k8s.io", "resource": REQUESTS[1], "verb": "create", "subresource": subresource}
    return {
        "apiVersion": REVIEWS[0],
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {**kept, "resourceAttributes": attributes},
    }


_WHO = (("user", "username"), ("uid", "uid"), ("groups", "groups"), ("extra", "extra"))


class CsrApprovingController:
    """A key is a CertificateSigningRequest."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("csrapproving")
        self.requests = context.informer(REQUESTS)
        self.requests.add_handler(self._enqueue, lambda old, new: self._enqueue(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.requests)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Approve one request, if it is a kubelet's and allowed."""
        request = self.requests.store.get(key)
        if request is None or not undecided(request):
            return
        for right in recognized(request):
            answer = await self.client.create(REVIEWS, review(request["spec"], right))
            if answer["status"].get("allowed"):
                await self._approve(request, MESSAGES[right])
                return

    async def _approve(self, request: Obj, message: str) -> None:
        status = dict(request.get("status") or {})
        approved = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
        status["conditions"] = [*(status.get("conditions") or ()), approved]
        patch = {"metadata": {"resourceVersion": meta.resource_version(request)}, "status": status}
        try:
            written = await self.client.patch(
                REQUESTS, meta.name(request), patch, patch_type="merge", subresource="approval"
            )
        except StatusError as error:
            if error.code != 404:
                raise
            return
        self.requests.observe(written)

    def _enqueue(self, request: Obj) -> None:
        if undecided(request):
            self.queue.add(meta.key(request))
