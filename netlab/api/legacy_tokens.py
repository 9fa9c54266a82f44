"""Tokens that live in Secrets of type `kubernetes.io/service-account-token`: their names and their claims.

The controllers sign them, the API server recognises them. Source followed: pkg/serviceaccount/legacy.go.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.types import Obj

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
"""Annotations: the ServiceAccount that the Secret is for."""
TOKEN, ROOT_CA, NAMESPACE = "token", "ca.crt", "namespace"
"""Keys of the Secret's data."""
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
"""Labels of the Secret, dates."""
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
"""The ConfigMap of kube-system that says since when the API server notes uses."""

ISSUER = "kubernetes/serviceaccount"
CLAIM = "kubernetes.io/serviceaccount/"
NAMESPACE_CLAIM, SECRET_CLAIM = f"{CLAIM}namespace", f"{CLAIM}secret.name"
NAME_CLAIM, UID_CLAIM = f"{CLAIM}service-account.name", f"{CLAIM}service-account.uid"


def claims(account: Obj, secret: Obj) -> Obj:
    """The token of a ServiceAccount in a Secret: for no audience, without an end."""
    namespace, name = meta.namespace(account), meta.name(account)
    return {
        "iss": ISSUER,
        NAMESPACE_CLAIM: namespace,
        SECRET_CLAIM: meta.name(secret),
        NAME_CLAIM: name,
        UID_CLAIM: meta.uid(account),
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }
